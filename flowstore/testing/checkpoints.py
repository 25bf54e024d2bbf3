"""The contract of checkpoints: values that a task saves in order, and that go with it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from flowstore import BackendClosed, BaseResultBackend, NotSerializable, TaskResult, UnknownTask
from flowstore.testing.keeping import ENDINGS
from flowstore.testing.sharing import count_trips
from flowstore.testing.storing import BAD_IDS
from flowstore.testing.support import START, Contract, MakeBackend, ManualClock
from flowstore.testing.values import is_same


class CheckpointsContract(Contract):
    async def test_checkpoints_are_kept_in_order(self, make_backend: MakeBackend) -> None:
        """Any number in one moment, each with a number of its own, a time and a value as it went in."""
        async with make_backend(clock=ManualClock()) as backend:
            await backend.store("t", TaskResult.running("t"))
            assert [await backend.save_checkpoint("t", {"step": (n,)}) for n in range(12)] == [*range(1, 13)]
            found = await backend.checkpoints("t")
            assert [(one.seq, one.at) for one in found] == [(seq, START) for seq in range(1, 13)]
            assert all(is_same(one.value, {"step": (one.seq - 1,)}) for one in found)
            assert await backend.latest_checkpoint("t") == found[-1]

    async def test_latest_checkpoint_tells_none_from_nothing(self, make_backend: MakeBackend) -> None:
        """A saved None is a checkpoint, with the time at which it was saved."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store("t", TaskResult.running("t"))
            assert await backend.latest_checkpoint("t") is None
            assert await backend.checkpoints("t") == []
            clock.advance(5)
            await backend.save_checkpoint("t", None)
            latest = await backend.latest_checkpoint("t")
            assert latest is not None
            assert (latest.seq, latest.at, latest.value) == (1, START + timedelta(seconds=5), None)

    async def test_concurrent_checkpoints_are_all_kept(self, backend: BaseResultBackend) -> None:
        """100 at once: no number twice, none left out, and each has the value that was saved under it."""
        await backend.store("t", TaskResult.running("t"))
        seqs = await asyncio.gather(*(backend.save_checkpoint("t", n) for n in range(100)))
        assert sorted(seqs) == [*range(1, 101)]
        found = await backend.checkpoints("t")
        assert [one.seq for one in found] == [*range(1, 101)]
        assert {one.seq: one.value for one in found} == dict(zip(seqs, range(100), strict=True))

    async def test_keep_bounds_the_checkpoints(self, backend: BaseResultBackend) -> None:
        """Of one task: the last ones stay, and the numbers go on."""
        await backend.store_many([TaskResult.running("t"), TaskResult.running("other")])
        for n in range(5):
            await backend.save_checkpoint("other", n)
        for n in range(5):
            await backend.save_checkpoint("t", n, keep=3)
        assert [(one.seq, one.value) for one in await backend.checkpoints("t")] == [(3, 2), (4, 3), (5, 4)]
        assert await backend.save_checkpoint("t", 5, keep=100) == 6
        assert len(await backend.checkpoints("t")) == 4
        assert await backend.save_checkpoint("t", 6, keep=1) == 7
        assert [one.value for one in await backend.checkpoints("t")] == [6]
        assert await backend.save_checkpoint("t", 7) == 8
        assert len(await backend.checkpoints("t")) == 2
        assert len(await backend.checkpoints("other")) == 5

    async def test_keep_holds_under_concurrency(self, backend: BaseResultBackend) -> None:
        """50 at once that keep 3 each: the last 3 numbers are left."""
        await backend.store("t", TaskResult.running("t"))
        seqs = await asyncio.gather(*(backend.save_checkpoint("t", n, keep=3) for n in range(50)))
        assert sorted(seqs) == [*range(1, 51)]
        assert [one.seq for one in await backend.checkpoints("t")] == [48, 49, 50]

    @pytest.mark.parametrize("ending", ENDINGS)
    async def test_checkpoints_go_with_their_task(self, make_backend: MakeBackend, ending: str) -> None:
        """Nothing is found or saved after it; a record stored anew under the same id begins at 1."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store("t", TaskResult.running("t"), ttl=60)
            await backend.save_checkpoint("t", "old")
            await ENDINGS[ending](backend, clock)
            assert await backend.latest_checkpoint("t") is None
            assert await backend.checkpoints("t") == []
            with pytest.raises(UnknownTask, match="'t'"):
                await backend.save_checkpoint("t", "ghost")
            await backend.store("t", TaskResult.pending("t"))
            assert await backend.checkpoints("t") == []
            assert await backend.save_checkpoint("t", "new") == 1

    async def test_checkpoints_outlive_a_failed_try(self, backend: BaseResultBackend) -> None:
        """The next try reads what the one before saved; data under the same name is another thing."""
        await backend.store("t", TaskResult.running("t", worker_id="w1"))
        await backend.save_checkpoint("t", 7)
        await backend.set_data("t", f"{1:016}", "data")
        await backend.requeue("w1")
        await backend.store("t", TaskResult.running("t", retries=1, worker_id="w2"))
        latest = await backend.latest_checkpoint("t")
        assert latest is not None
        assert latest.value == 7
        assert await backend.all_data("t") == {f"{1:016}": "data"}

    async def test_bad_checkpoints(self, backend: BaseResultBackend) -> None:
        """Bad ids, bounds and values are named, and nothing is saved."""
        await backend.store("t", TaskResult.running("t"))
        for bad_id, error in BAD_IDS:
            with pytest.raises(error, match=r"^task_id: "):
                await backend.save_checkpoint(bad_id, 1)
            for read in (backend.latest_checkpoint, backend.checkpoints):
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
                await backend.save_checkpoint("t", 1, keep=bad)
        with pytest.raises(NotSerializable, match=r"^value\[0\]: function"):
            await backend.save_checkpoint("t", [lambda: 0])
        assert await backend.checkpoints("t") == []

    async def test_checkpoints_are_one_trip_each(self, backend: BaseResultBackend) -> None:
        """One to save, also where it drops others, one to read the latest."""
        await backend.store("t", TaskResult.running("t"))
        trips = count_trips(backend)
        await backend.save_checkpoint("t", 1, keep=1)
        await backend.save_checkpoint("t", 2, keep=1)
        assert trips == {"put": 2}
        await backend.latest_checkpoint("t")
        assert trips == {"put": 2, "kept": 1}

    async def test_checkpoints_of_a_closed_backend(self, make_backend: MakeBackend) -> None:
        """Every call raises BackendClosed."""
        backend = make_backend()
        await backend.open()
        await backend.close()
        for call in (
            backend.save_checkpoint("t", 1),
            backend.latest_checkpoint("t"),
            backend.checkpoints("t"),
        ):
            with pytest.raises(BackendClosed):
                await call
