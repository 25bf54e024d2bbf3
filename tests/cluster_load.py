"""Waits, writers and readers of a namespace on a cluster, who note what each call took and how it ended."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis

from flowstore import RedisClusterBackend, ResultDeleted, StorageError, TaskResult, TaskStatus
from flowstore.backends.cluster.slots import placing, prefixes, slot_of
from tests.cluster_nodes import Node, slots_of
from tests.clusters import Cluster
from tests.redis_whole import check_whole

BUCKETS = 16
NAMESPACE = "default"
PREFIXES = prefixes(NAMESPACE, BUCKETS)
_PLACE = placing(BUCKETS)
_WRITERS = 8
_PATIENCE = 120.0  # seconds


def slot_of_id(task_id: str) -> int:
    return slot_of(PREFIXES[_PLACE(task_id)])


def slots_at(node: Node) -> set[int]:
    """Those of the buckets that the node has."""
    return slots_of(node.slots) & {slot_of(prefix) for prefix in PREFIXES}


def ids_in(slots: set[int], number: int) -> list[str]:
    named = (f"in {n}" for n in itertools.count())
    return list(itertools.islice((one for one in named if slot_of_id(one) in slots), number))


@dataclass
class Call:
    slot: int | None
    """None: it asked all of them."""
    task_id: str
    """The one that was stored, if any."""
    began: float
    ended: float
    error: StorageError | None = None

    @property
    def took(self) -> float:
        return self.ended - self.began


@dataclass
class Load:
    """``worker`` stores what ``waiter`` awaits, in ``seconds``, and races with another one for other ids."""

    worker: RedisClusterBackend
    rival: RedisClusterBackend
    waiter: RedisClusterBackend
    waits: int
    seconds: float
    calls: list[Call] = field(default_factory=list)
    acknowledged: dict[str, float] = field(default_factory=dict)
    """When a store was, by id."""
    counts: list[tuple[int, int, int]] = field(default_factory=list)
    """How many were acknowledged before a count began, what it said, and how many had begun when it ended."""
    winners: list[int] = field(default_factory=list)
    """How many of those who raced for an id were told that they won."""
    was_missing: list[str] = field(default_factory=list)
    """What was acknowledged, and not there in the end."""
    told: dict[str, TaskResult | ResultDeleted] = field(default_factory=dict)
    """What each wait ended with, by id."""
    _woken: dict[str, float] = field(default_factory=dict)
    _begun: int = 0

    async def fill(self, ids: list[str]) -> None:
        """Results that are there before."""
        await self.worker.store_many(_result(one, one) for one in ids)
        self._begun += len(ids)
        self.acknowledged |= dict.fromkeys(ids, time.monotonic())

    async def run(self, disturb: Callable[[], Awaitable[object]]) -> None:
        """All of it, while ``disturb`` does what it does. What was lost is stored again, as a worker does."""
        ids = iter([f"w{n}" for n in range(self.waits)])
        is_over = asyncio.Event()
        async with asyncio.TaskGroup() as waiting:
            for n in range(self.waits):
                waiting.create_task(self._wait(f"w{n}"))
            await asyncio.sleep(0)
            async with asyncio.TaskGroup() as looking:
                for look in (self._count, self._read, self._race):
                    looking.create_task(look(is_over))
                async with asyncio.TaskGroup() as writing:
                    for _ in range(_WRITERS):
                        writing.create_task(self._write(ids))
                    await disturb()
                is_over.set()
            self.was_missing = await self.missing()
            await self.worker.store_many(_result(one, one) for one in self.was_missing)

    async def _wait(self, task_id: str) -> None:
        try:
            self.told[task_id] = await self.waiter.wait_for(task_id, _PATIENCE)
        except ResultDeleted as error:  # its record was lost before it could be read
            self.told[task_id] = error
        self._woken[task_id] = time.monotonic()

    async def missing(self) -> list[str]:
        found = await self.worker.get_many(list(self.acknowledged))
        return [one for one in self.acknowledged if one not in found]

    async def _write(self, ids: Iterator[str]) -> None:
        for one in ids:
            while not await self._store(self.worker, one):
                pass
            await asyncio.sleep(self.seconds * _WRITERS / self.waits)

    async def _store(self, backend: RedisClusterBackend, task_id: str, value: object = None) -> bool | None:
        """None: it raised."""
        self._begun += 1
        result = _result(task_id, task_id if value is None else value)
        stored = await self._made(slot_of_id(task_id), backend.store(task_id, result), task_id)
        if stored is not None:
            self.acknowledged.setdefault(task_id, time.monotonic())
        return None if stored is None else True if value is None else bool(stored)

    async def _race(self, is_over: asyncio.Event) -> None:
        for n in itertools.count():
            rivals = [self._store(each, f"r{n}", i) for i, each in enumerate([self.worker, self.rival] * 2)]
            told = await asyncio.gather(*rivals)
            if None not in told:
                self.winners.append(told.count(True))
            await asyncio.sleep(0.01)
            if is_over.is_set():
                return

    async def _count(self, is_over: asyncio.Event) -> None:
        while not is_over.is_set():
            least = len(self.acknowledged)
            counted = await self._made(None, self.rival.count_by_status())
            if counted is not None:
                self.counts.append((least, counted[TaskStatus.SUCCESS], self._begun))
            await asyncio.sleep(0.02)

    async def _read(self, is_over: asyncio.Event) -> None:
        for task_id in itertools.cycle(ids_in({slot_of(prefix) for prefix in PREFIXES}, 100)):
            await self._made(slot_of_id(task_id), self.rival.get(task_id))
            await asyncio.sleep(0.005)
            if is_over.is_set():
                return

    async def _made(self, slot: int | None, call: Awaitable[Any], task_id: str = "") -> Any:
        began, error = time.monotonic(), None
        try:
            return await call
        except StorageError as failure:
            error = failure
        finally:
            self.calls.append(Call(slot, task_id, began, time.monotonic(), error))

    @property
    def errors(self) -> list[StorageError]:
        return [call.error for call in self.calls if call.error is not None]

    @property
    def wrong_counts(self) -> list[tuple[int, int, int]]:
        return [each for each in self.counts if not each[0] <= each[1] <= each[2]]

    @property
    def lost_waits(self) -> list[str]:
        """The ids whose waits did not end with what was stored."""
        told = {one: isinstance(each, TaskResult) and each.result == one for one, each in self.told.items()}
        return [one for one in (f"w{n}" for n in range(self.waits)) if not told.get(one)]

    def resent(self, fault: float) -> list[str]:
        """What was on its way when the fault came: it may have been stored, told, lost and stored again."""
        return [call.task_id for call in self.calls if call.began < fault < call.ended]

    def slowest(self, slots: set[int]) -> float:
        return max((call.took for call in self.calls if call.slot in slots), default=0.0)

    def back_after(self, fault: float, slots: set[int]) -> float:
        """Seconds until these slots answered a call that began after the fault."""
        answered = (call for call in self.calls if call.slot in slots and not call.error)
        return min(call.ended for call in answered if call.began >= fault) - fault

    def slowest_wake(self, slots: set[int]) -> float:
        """Seconds from the answer to a store until the wait for it has ended."""
        woken = (one for one in self._woken if slot_of_id(one) in slots)
        return max((self._woken[one] - self.acknowledged[one] for one in woken), default=0.0)


def _result(task_id: str, value: object) -> TaskResult:
    return TaskResult.success(task_id, value, task_name="load")


async def check_all_whole(cluster: Cluster, backend: RedisClusterBackend) -> dict[str, str]:
    """Records and indexes agree, as the backend sees them and behind its back; id to status."""
    verified = await backend.integrity.verify()
    assert verified.is_sound, verified
    statuses: dict[str, str] = {}
    for prefix in PREFIXES:
        with view_of(cluster.owner(slot_of(prefix))) as view:
            statuses |= check_whole(view, prefix)
    counted = await backend.count_by_status()
    assert sum(counted.values()) == len(statuses)
    return statuses


@contextmanager
def view_of(node: Node) -> Iterator[Any]:
    """Past any gate."""
    with redis.Redis(port=node.port, decode_responses=True) as client:
        yield client
