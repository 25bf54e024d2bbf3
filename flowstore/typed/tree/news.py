"""How waits on a tree hear of writes, in this process and in others.

Other processes ring the doorbell of the tree (see _local/doorbell.py), with the ids that they have moved to
their places. A wait binds before it looks, so that what it does not see is told. Where no bell can be bound,
one poller looks at the files for all.

In any case all awaited ids are looked at once in a while, and what was written below the prefixes that are
watched is found by the times of files and folders: the system changes both when a file is moved.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any, Final, Protocol, TypeVar

from flowstore._local.doorbell import LOOK_AT_EVERYTHING, MOST_BYTES, Doorbell
from flowstore._trips.background import in_background
from flowstore.errors import StorageError, WaitTimeout
from flowstore.typed.tree.files import Tree, Written
from flowstore.typed.tree.watchers import Audience, Moment, Watcher

T = TypeVar("T")

POLLING: Final = 0.05
"""Seconds between two looks without a bell."""
_LEAST_REST: Final = 10
"""How many times as long as a look takes no other one follows."""


class Run(Protocol):
    def __call__(self, work: Callable[..., T], *args: Any) -> Coroutine[Any, Any, T]:
        """The result of the work, done in a thread."""


class News:
    """Of one storage in one event loop. ``run``: runs work in a thread, however many wait there."""

    def __init__(self, tree: Tree, recheck_interval: float, run: Run) -> None:
        self.audience = Audience()
        self._tree = tree
        self._recheck_interval = recheck_interval
        self._run = run
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bell: Doorbell | None = None
        self._is_deaf = False
        self._binding = Lock()
        self._posted: deque[Callable[[], object]] = deque()
        self._working: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None
        self._is_stale = False
        self._pause = 0.0
        self._looked_at = Moment.now()

    def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._bell = Doorbell(Path(self._tree.format_file), self._heard, self._post)
        self._tree.tell = self._tell

    async def close(self) -> None:
        """End all waits and stop listening."""
        self.audience.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._bell is not None:
            self._bell.close()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        if self._working:
            await asyncio.wait(self._working)

    def abandon(self) -> None:
        """Release what was left behind in a loop that is closed; ``work_off`` does the rest."""
        self._loop = None
        if self._bell is not None:
            self._bell.close()

    def work_off(self) -> None:
        """Do what was posted, in this thread."""
        with self._binding:
            self._work_off()

    def _work_off(self) -> None:
        while self._posted:
            self._posted.popleft()()

    async def appeared(self, id: str, timeout: float | None) -> None:
        with self.audience.waiting(id) as wait:
            try:
                async with asyncio.timeout(timeout):
                    if not await self._run(self._listen_and_look, id):
                        self._rest()
                        await wait
            except TimeoutError as error:
                if isinstance(error, StorageError):
                    raise
                raise WaitTimeout(id, timeout or 0) from None
        self.audience.check_open()

    async def follow(self, watcher: Watcher) -> None:
        """Let the watcher hear of all that was written since it was made."""
        self.audience.watch(watcher)
        for one in await self._run(self._listen_and_catch_up, watcher.prefix, watcher.began):
            if not self.audience.has_heard(one):
                self.audience.tell([one])
            elif watcher.known.get(one.id) != one:
                watcher.add(one.id)
        watcher.known = {}
        self._rest()

    def _listen_and_look(self, id: str) -> bool:
        self._listen()
        return self._tree.get(id) is not None

    def _listen_and_catch_up(self, prefix: str, since: Moment) -> list[Written]:
        self._listen()
        return self._tree.written_since(prefix, since.of_files)

    def _listen(self) -> None:
        assert self._bell is not None
        with self._binding:
            self._work_off()  # in the order of the loop: an earlier unbind comes before this
            try:
                self._bell.bind()
                self._is_deaf = False
            except (OSError, NotImplementedError):
                self._is_deaf = True

    def _tell(self, written: Sequence[Written]) -> None:
        """Of what this process has written, from the thread that did it."""
        if not written:
            return
        self.audience.note(written)
        if self._loop is not None and self.audience.is_waiting:
            with suppress(RuntimeError):  # the loop is closed; other processes may still wait
                self._loop.call_soon_threadsafe(self.audience.tell, written)
        if self._bell is not None:
            self._bell.ring(_messages(written))

    def _heard(self, message: bytes) -> None:
        if not self.audience.is_waiting:
            assert self._bell is not None
            self._bell.unbind()
        elif message == LOOK_AT_EVERYTHING:
            self._look()
        else:
            self.audience.tell(Written(*one) for one in json.loads(message))

    def _post(self, call: Callable[[], object]) -> None:
        self._posted.append(call)
        if self._loop is not None:
            task = in_background(self._work())
            self._working.add(task)
            task.add_done_callback(self._working.discard)

    async def _work(self) -> None:
        with suppress(StorageError):  # the folder is gone, and the bell with it
            await self._run(self.work_off)

    def _rest(self) -> None:
        """Look again after a while, if somebody still waits then."""
        if self._loop is None or not self.audience.is_waiting:
            return
        pause = max(self._pause, POLLING if self._is_deaf else self._recheck_interval)
        if self._timer is not None:
            if self._timer.when() <= self._loop.time() + pause:
                return
            self._timer.cancel()
        self._timer = self._loop.call_later(pause, self._wake_up)

    def _wake_up(self) -> None:
        self._timer = None
        if self.audience.is_waiting:
            self._look()

    def _look(self) -> None:
        self._is_stale = self._looking is not None
        if self._looking is None:
            self._looking = in_background(self._look_at_files())
            self._looking.add_done_callback(self._looked)

    async def _look_at_files(self) -> None:
        began, watched = Moment.now(), self.audience.watched(self._looked_at)
        found, missed = await self._run(self._found, self.audience.ids, watched)
        for id in found:
            self.audience.wake(id)
        self.audience.tell(one for one in missed if not self.audience.has_heard(one))
        self.audience.forget()
        self._looked_at = began
        self._pause = _LEAST_REST * (time.monotonic_ns() - began.monotonic) / 1_000_000_000

    def _found(self, ids: Iterable[str], watched: Mapping[str, Moment]) -> tuple[list[str], list[Written]]:
        self._listen()  # the socket may have been removed
        found = [id for id in ids if self._tree.get(id) is not None]
        missed = (self._tree.written_since(prefix, since.of_files) for prefix, since in watched.items())
        return found, list(chain.from_iterable(missed))

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._looking = None
        if not task.cancelled():
            task.exception()  # such as a folder that is gone: every call says so
            self._look() if self._is_stale else self._rest()


def _messages(written: Sequence[Written]) -> Iterator[bytes]:
    message = json.dumps(written, ensure_ascii=False).encode()
    if len(message) <= MOST_BYTES or len(written) == 1:
        yield message
    else:
        yield from _messages(written[: len(written) // 2])
        yield from _messages(written[len(written) // 2 :])
