"""The contract of checkpoints: values that a task saves in order, and that are removed with it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from flowstore import BackendClosed, BaseResultBackend, NotSerializable, TaskResult, UnknownTask
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.keeping import ENDINGS
from flowstore.testing.contract.sharing import count_trips
from flowstore.testing.contract.storing import BAD_IDS
from flowstore.testing.contract.values import is_same
from flowstore.testing.support import START


class CheckpointsContract(Contract):
    async def test_checkpoints_are_kept_in_order(self, make_backend: MakeBackend) -> None:
        """Any number at the same time, each with its own number, a time and a value equal to what went in."""
        async with make_backend(clock=ManualClock()) as backend:
            await backend.store("t", TaskResult.running("t"))
            assert [await backend.checkpoints.save("t", {"step": (n,)}) for n in range(12)] == [*range(1, 13)]
            found = await backend.checkpoints.all("t")
            assert [(one.seq, one.at) for one in found] == [(seq, START) for seq in range(1, 13)]
            assert all(is_same(one.value, {"step": (one.seq - 1,)}) for one in found)
            assert await backend.checkpoints.latest("t") == found[-1]

    async def test_latest_checkpoint_tells_none_from_nothing(self, make_backend: MakeBackend) -> None:
        """A saved None is a checkpoint, with the time at which it was saved."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store("t", TaskResult.running("t"))
            assert await backend.checkpoints.latest("t") is None
            assert await backend.checkpoints.all("t") == []
            clock.advance(5)
            await backend.checkpoints.save("t", None)
            latest = await backend.checkpoints.latest("t")
            assert latest is not None
            assert (latest.seq, latest.at, latest.value) == (1, START + timedelta(seconds=5), None)

    async def test_concurrent_checkpoints_are_all_kept(self, backend: BaseResultBackend) -> None:
        """100 at once: no number twice, none missing, and each has the value that was saved under it."""
        await backend.store("t", TaskResult.running("t"))
        seqs = await asyncio.gather(*(backend.checkpoints.save("t", n) for n in range(100)))
        assert sorted(seqs) == [*range(1, 101)]
        found = await backend.checkpoints.all("t")
        assert [one.seq for one in found] == [*range(1, 101)]
        assert {one.seq: one.value for one in found} == dict(zip(seqs, range(100), strict=True))

    async def test_keep_bounds_the_checkpoints(self, backend: BaseResultBackend) -> None:
        """The last ones of the task are kept, and the numbers go on."""
        await backend.store_many([TaskResult.running("t"), TaskResult.running("other")])
        for n in range(5):
            await backend.checkpoints.save("other", n)
        for n in range(5):
            await backend.checkpoints.save("t", n, keep=3)
        assert [(one.seq, one.value) for one in await backend.checkpoints.all("t")] == [
            (3, 2),
            (4, 3),
            (5, 4),
        ]
        assert await backend.checkpoints.save("t", 5, keep=100) == 6
        assert len(await backend.checkpoints.all("t")) == 4
        assert await backend.checkpoints.save("t", 6, keep=1) == 7
        assert [one.value for one in await backend.checkpoints.all("t")] == [6]
        assert await backend.checkpoints.save("t", 7) == 8
        assert len(await backend.checkpoints.all("t")) == 2
        assert len(await backend.checkpoints.all("other")) == 5

    async def test_keep_holds_under_concurrency(self, backend: BaseResultBackend) -> None:
        """50 at once that keep 3 each: the last 3 numbers remain."""
        await backend.store("t", TaskResult.running("t"))
        seqs = await asyncio.gather(*(backend.checkpoints.save("t", n, keep=3) for n in range(50)))
        assert sorted(seqs) == [*range(1, 51)]
        assert [one.seq for one in await backend.checkpoints.all("t")] == [48, 49, 50]

    @pytest.mark.parametrize("ending", ENDINGS)
    async def test_checkpoints_go_with_their_task(self, make_backend: MakeBackend, ending: str) -> None:
        """Nothing is found or saved afterwards; a new record with the same id starts at 1."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store("t", TaskResult.running("t"), ttl=60)
            await backend.checkpoints.save("t", "old")
            await ENDINGS[ending](backend, clock)
            assert await backend.checkpoints.latest("t") is None
            assert await backend.checkpoints.all("t") == []
            with pytest.raises(UnknownTask, match="'t'"):
                await backend.checkpoints.save("t", "ghost")
            await backend.store("t", TaskResult.pending("t"))
            assert await backend.checkpoints.all("t") == []
            assert await backend.checkpoints.save("t", "new") == 1

    async def test_checkpoints_outlive_a_failed_try(self, backend: BaseResultBackend) -> None:
        """The next attempt reads what the last one saved; data under the same name is separate."""
        await backend.store("t", TaskResult.running("t", worker_id="w1"))
        await backend.checkpoints.save("t", 7)
        await backend.data.set("t", f"{1:016}", "data")
        await backend.workers.requeue("w1")
        await backend.store("t", TaskResult.running("t", retries=1, worker_id="w2"))
        latest = await backend.checkpoints.latest("t")
        assert latest is not None
        assert latest.value == 7
        assert await backend.data.all("t") == {f"{1:016}": "data"}

    async def test_bad_checkpoints(self, backend: BaseResultBackend) -> None:
        """Bad ids, bounds and values are named, and nothing is saved."""
        await backend.store("t", TaskResult.running("t"))
        for bad_id, error in BAD_IDS:
            with pytest.raises(error, match=r"^task_id: "):
                await backend.checkpoints.save(bad_id, 1)
            for read in (backend.checkpoints.latest, backend.checkpoints.all):
                with pytest.raises(error, match=r"^task_id: "):
                    await read(bad_id)
        bad_bounds: list[tuple[Any, type[Exception]]] = [
            (0, ValueError),
            (-1, ValueError),
            (True, TypeError),
            (1.5, TypeError),
            ("3", TypeError),
        ]
        for bad, error in bad_bounds:
            with pytest.raises(error, match=r"^keep: "):
                await backend.checkpoints.save("t", 1, keep=bad)
        with pytest.raises(NotSerializable, match=r"^value\[0\]: function"):
            await backend.checkpoints.save("t", [lambda: 0])
        assert await backend.checkpoints.all("t") == []

    async def test_checkpoints_are_one_trip_each(self, backend: BaseResultBackend) -> None:
        """One to save, even if it drops others, and one to read the latest."""
        await backend.store("t", TaskResult.running("t"))
        trips = count_trips(backend)
        await backend.checkpoints.save("t", 1, keep=1)
        await backend.checkpoints.save("t", 2, keep=1)
        assert trips == {"put": 2}
        await backend.checkpoints.latest("t")
        assert trips == {"put": 2, "items": 1}

    async def test_checkpoints_of_a_closed_backend(self, make_backend: MakeBackend) -> None:
        """Every call raises BackendClosed."""
        backend = make_backend()
        await backend.open()
        await backend.close()
        for call in (
            backend.checkpoints.save("t", 1),
            backend.checkpoints.latest("t"),
            backend.checkpoints.all("t"),
        ):
            with pytest.raises(BackendClosed):
                await call
