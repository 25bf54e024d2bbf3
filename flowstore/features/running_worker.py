"""A worker that runs in this process: registered, beating, and telling which tasks it has under way.

A heartbeat is one write, which names the tasks, up to a limit. It is a compare-and-set on the worker's own
item: where that fails, the item says why. It is gone: the worker was declared dead, and its tasks were given
to others. It is that of another process: the id was taken over. It is as this worker would write it: the
answer to the last heartbeat was lost. If it was removed by mistake nothing is lost: it registers again, and
its blocks go on, unless their tasks were given to others.

Blocks are counted from before their first trip until after their last. So a task that is stored as running on
this worker since before ``as_of``, and that is not among its ``tasks``, is one that nobody runs.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self, Unpack

from flowstore._core import tracking
from flowstore._core.attempts import TrackOptions
from flowstore._core.core import Core
from flowstore._core.crews import Block
from flowstore._core.keeping import Keeping
from flowstore._core.tracking import TrackedTask
from flowstore._trips.background import in_background
from flowstore._trips.lifecycle import to_its_end
from flowstore._trips.patience import Pauses
from flowstore._values.arguments import Seconds, check_duration, check_int, check_texts
from flowstore._values.typed import TypeForm, typed_of
from flowstore.engine import NAMESPACE, Item, Section
from flowstore.errors import BackendMisuse, StorageError, UnreadableRecord, WorkerStopped
from flowstore.features.registered import MAX_TASKS, Worker, encode_worker, read_worker
from flowstore.fields import Scalar, check_meta
from flowstore.models import T
from flowstore.text import check_text
from flowstore.times import from_micros


class RunningWorker:
    """Use as ``async with backend.worker("w1") as worker:`` around all that a worker process does.

    Tasks that are tracked in the same backend with its id belong to it, those of ``worker.track`` and others.
    ``is_draining``: it takes no new ones. ``is_lost``: another process has registered with this id.
    """

    def __init__(
        self,
        core: Core,
        worker_id: str,
        every: Seconds,
        slots: int | None,
        info: Mapping[str, Scalar],
        labels: Iterable[str],
        parent_id: str | None,
    ) -> None:
        self.worker_id = check_text("worker_id", worker_id)
        self.is_draining = False
        self.is_lost = False
        self._core = core
        self._keeping = Keeping(core, Section.WORKER)
        self._every = check_duration("every", every)
        self._slots = None if slots is None else check_int("slots", slots, 1, 2**53)
        self._info = check_meta(info, "info")
        self._labels = frozenset(check_texts("labels", labels))
        self._parent_id = None if parent_id is None else check_text("parent_id", parent_id)
        self._blocks: dict[Block, None] = {}
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._started_at = from_micros(0)
        self._version = 0
        self._is_unsettled = False
        self._beating: asyncio.Task[None] | None = None

    @property
    def tasks(self) -> list[str]:
        """The ids of the tasks under way, sorted."""
        return sorted({block.task_id for block in [*self._blocks]})  # copied, as other threads may ask

    @property
    def info(self) -> Mapping[str, Scalar]:
        """What the worker says of itself. Assign another mapping, and the next heartbeat carries it."""
        return self._info

    @info.setter
    def info(self, info: Mapping[str, Scalar]) -> None:
        self._info = check_meta(info, "info")

    def __repr__(self) -> str:
        return f"RunningWorker({self.worker_id!r})"

    def track(
        self, task_id: str, *, result_type: TypeForm[T] = None, **options: Unpack[TrackOptions]
    ) -> TrackedTask[T]:
        """``backend.track`` with the id of this worker. Raises WorkerStopped if it is draining or lost."""
        if options.setdefault("worker_id", self.worker_id) != self.worker_id:
            raise ValueError(f"worker_id: expected {self.worker_id!r}, got {options['worker_id']!r:.80}")
        self._check_open()
        return tracking.track(self._core, task_id, typed_of(result_type, "result_type"), options)

    async def drain(self, grace: Seconds | None = None) -> list[str]:
        """Take no new tasks, and return once those under way have ended and are stored.

        After ``grace`` seconds, or such a timedelta, the tasks of asyncio that run what is left are
        cancelled, and ``on_cancel`` says what becomes of it; returns the ids of these, sorted. None: never. A
        block that catches CancelledError and goes on is waited for.
        """
        seconds = None if grace is None else check_duration("grace", grace)
        self.is_draining = True
        given_up: list[Block] = []
        try:
            async with asyncio.timeout(seconds):
                await self._is_idle.wait()
        except TimeoutError:
            given_up = [*self._blocks]
            for block in given_up:
                block.give_up()
            await self._is_idle.wait()
        return sorted({block.task_id for block in given_up if block.was_given_up})

    async def __aenter__(self) -> Self:
        if self._beating is not None:
            raise RuntimeError(f"worker {self.worker_id!r}: entered twice; call worker for each block")
        if self.worker_id in self._core.crews:
            raise ValueError(f"worker_id: {self.worker_id!r} runs in this backend already")
        self._core.crews[self.worker_id] = self
        try:
            await self._register()
        except BaseException:
            del self._core.crews[self.worker_id]
            raise
        self._beating = in_background(self._beat_on())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_draining = True
        self._core.crews.pop(self.worker_id, None)
        assert self._beating is not None
        self._beating.cancel()
        await asyncio.wait([self._beating])
        try:
            await to_its_end(self._deregister())
        except Exception as trouble:
            # An exception of the block goes first: it is what the caller has to handle.
            if error is None:
                raise
            error.add_note(f"worker {self.worker_id!r} stays registered: {type(trouble).__name__}: {trouble}")

    async def _deregister(self) -> None:
        """With tasks left, that may be stored as running, it goes silent instead, and a sweep frees them."""
        while not (self._blocks or self._is_unsettled or self.is_lost):
            gone = await self._keeping.put(NAMESPACE, self.worker_id, None, if_version=self._version)
            if gone.is_applied or await self._standing() is None:
                return

    def joined(self, block: Block) -> None:
        self._check_open()
        self._blocks[block] = None
        self._is_idle.clear()

    def left(self, block: Block, *, is_settled: bool) -> None:
        self._blocks.pop(block, None)
        self._is_unsettled |= not is_settled
        if not self._blocks:
            self._is_idle.set()

    def _check_open(self) -> None:
        if self.is_draining or self.is_lost:
            raise WorkerStopped(self.worker_id, self.is_lost)

    async def beat(self) -> None:
        """Send a heartbeat now, with what has changed. It is sent every ``every`` seconds anyway."""
        while not self.is_lost:
            value = encode_worker(self._facts())
            outcome = await self._keeping.put(NAMESPACE, self.worker_id, value, if_version=self._version)
            if outcome.is_applied:
                self._version = outcome.version
                return
            if await self._standing() is None:
                # Declared dead. Blocks whose tasks were given to others hear that, as soon as it is read.
                self._core.waiters.look_again()

    async def _beat_on(self) -> None:
        pauses = Pauses()
        pause = self._every * random.uniform(0.9, 1.0)
        while not self.is_lost:
            await asyncio.sleep(pause)
            try:
                await to_its_end(self.beat())  # or nobody would know what stands
                pauses.reset()
                pause = self._every * random.uniform(0.9, 1.0)
            except BackendMisuse:  # closed before the worker was
                return
            except StorageError:  # ridden out: soon again, as by now it may be taken for dead
                pause = min(self._every, pauses.next())

    async def _standing(self) -> Item | None:
        """What is registered, if not by the last heartbeat: its own, which is adopted, or another process."""
        found = await self._keeping.kept(NAMESPACE, keys=[self.worker_id])
        if not found:
            self._version = 0
            return None
        if self._is_own(found[0]):
            self._version = found[0].version
        else:
            self.is_lost = True
        return found[0]

    def _is_own(self, standing: Item) -> bool:
        try:
            worker = read_worker(standing)
        except UnreadableRecord:  # the next heartbeat mends it
            return True
        own = self._facts()
        return (worker.host, worker.pid, worker.started_at) == (own.host, own.pid, own.started_at)

    async def _register(self) -> None:
        """In place of whatever is registered with this id: an earlier process, which learns it later."""
        self._started_at = from_micros(self._core.clock())
        outcome = await self._keeping.put(NAMESPACE, self.worker_id, encode_worker(self._facts()))
        self._version = outcome.version

    def _facts(self) -> Worker:
        now = from_micros(self._core.clock())
        return Worker(
            worker_id=self.worker_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=self._started_at,
            last_seen=now,
            parent_id=self._parent_id,
            labels=self._labels,
            info=self._info,
            slots=self._slots,
            running=len(self._blocks),
            tasks=tuple(self.tasks) if len(self._blocks) <= MAX_TASKS else None,
            as_of=now,
            is_draining=self.is_draining,
            every=self._every,
        )
