"""The contract of data and checkpoints: values that belong to a task, and go with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from flowstore import (
    BackendClosed,
    BaseResultBackend,
    CorruptRecord,
    NotSerializable,
    PayloadTooLarge,
    TaskResult,
    UnknownTask,
    VersionConflict,
)
from flowstore.belongings import Put, Section
from flowstore.testing.sharing import count_trips
from flowstore.testing.storing import BAD_IDS, ODD_IDS
from flowstore.testing.support import START, Contract, MakeBackend, ManualClock
from flowstore.testing.values import SAMPLE_TYPES, Point, is_same

NESTED = {"rows": [(1, 2.5), {3: b"x"}], None: {"a", "b"}, "at": START}

Ending = Callable[[BaseResultBackend, ManualClock], Awaitable[object]]


async def _expire(_: BaseResultBackend, clock: ManualClock) -> None:
    clock.advance(61)


async def _expire_and_purge(backend: BaseResultBackend, clock: ManualClock) -> None:
    clock.advance(61)
    assert await backend.purge_expired() == 1


ENDINGS: dict[str, Ending] = {
    "delete": lambda backend, _: backend.delete("t"),
    "clear": lambda backend, _: backend.clear(),
    "expiry": _expire,
    "purge": _expire_and_purge,
}
"""How the record "t", which lives for a minute, can go."""


class DataContract(Contract):
    async def test_data_comes_back_as_it_went_in(self, backend: BaseResultBackend) -> None:
        """Type included; a fresh object each time, of which neither writer nor reader holds a part."""
        await backend.store("t", TaskResult.pending("t"))
        rows = [1]
        assert await backend.set_data("t", "nested", NESTED) == 1
        await backend.set_data("t", "rows", rows)
        rows.append(2)
        assert is_same(await backend.get_data("t", "nested"), NESTED)
        (await backend.get_data("t", "rows")).append(3)
        assert await backend.all_data("t") == {"nested": NESTED, "rows": [1]}

    async def test_stored_none_is_not_missing(self, backend: BaseResultBackend) -> None:
        """None is a value like others; the default, of any kind, only stands in for what is not there."""
        await backend.store("t", TaskResult.pending("t"))
        await backend.set_data("t", "none", None)
        assert await backend.get_data("t", "none", "default") is None
        assert await backend.get_data("t", "missing", "default") == "default"
        assert await backend.get_data("t", "missing") is None
        datum = await backend.get_datum("t", "none")
        assert datum is not None
        assert datum.value is None
        assert await backend.get_datum("t", "missing") is None
        assert await backend.all_data("t") == {"none": None}
        assert await backend.delete_data("t", "missing") is False
        assert await backend.delete_data("t", "none") is True
        assert await backend.delete_data("t", "none") is False
        assert await backend.get_data("t", "none", "default") == "default"

    async def test_datum_tells_version_and_time(self, make_backend: MakeBackend) -> None:
        """Of its own key; a key that was deleted begins anew."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store("t", TaskResult.pending("t"))
            await backend.set_data("t", "other", 0)
            for version in (1, 2, 3):
                clock.advance(1)
                assert await backend.set_data("t", "k", version * 10) == version
            datum = await backend.get_datum("t", "k")
            assert datum is not None
            assert datum.at == START + timedelta(seconds=3)
            assert (datum.key, datum.value, datum.version) == ("k", 30, 3)
            await backend.delete_data("t", "k")
            assert await backend.set_data("t", "k", 40) == 1

    async def test_compare_and_set_of_data(self, backend: BaseResultBackend) -> None:
        """Only over the version named, 0 only where there is no such key; a conflict tells what stands."""
        await backend.store("t", TaskResult.pending("t"))
        with pytest.raises(VersionConflict, match=r"data 'k' of task 't' is at version 0, not 1"):
            await backend.set_data("t", "k", "x", if_version=1)
        assert await backend.all_data("t") == {}
        assert await backend.set_data("t", "k", "a", if_version=0) == 1
        with pytest.raises(VersionConflict) as caught:
            await backend.set_data("t", "k", "x", if_version=0)
        conflict = caught.value
        assert (conflict.task_id, conflict.key, conflict.expected, conflict.actual) == ("t", "k", 0, 1)
        assert await backend.set_data("t", "k", "b", if_version=1) == 2
        assert await backend.get_data("t", "k") == "b"

    async def test_one_of_20_concurrent_writers_wins_each_version(self, backend: BaseResultBackend) -> None:
        """Whose value then stands; all others are told so."""
        await backend.store("t", TaskResult.pending("t"))
        for version in range(10):
            writes = (backend.set_data("t", "k", n, if_version=version) for n in range(20))
            outcomes = await asyncio.gather(*writes, return_exceptions=True)
            assert outcomes.count(version + 1) == 1
            assert sum(isinstance(outcome, VersionConflict) for outcome in outcomes) == 19
            datum = await backend.get_datum("t", "k")
            assert datum is not None
            assert (datum.value, datum.version) == (outcomes.index(version + 1), version + 1)

    async def test_concurrent_counting_loses_nothing(self, backend: BaseResultBackend) -> None:
        """20 tasks read, add one and set it again until nobody was in between: none is lost."""
        await backend.store("t", TaskResult.pending("t"))
        await backend.set_data("t", "count", 0)

        async def add_one() -> None:
            while True:
                datum = await backend.get_datum("t", "count")
                assert datum is not None
                try:
                    await backend.set_data("t", "count", datum.value + 1, if_version=datum.version)
                except VersionConflict:
                    continue
                return

        await asyncio.gather(*(add_one() for _ in range(20)))
        assert await backend.get_data("t", "count") == 20

    @pytest.mark.parametrize("ending", ENDINGS)
    async def test_data_goes_with_its_task(self, make_backend: MakeBackend, ending: str) -> None:
        """Nothing is found or written after it, and a record stored anew under the same id has none of it."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store("t", TaskResult.pending("t"), ttl=60)
            await backend.set_data("t", "k", "old")
            await backend.set_data("t", "k", "old")
            await ENDINGS[ending](backend, clock)
            assert await backend.get_data("t", "k", "default") == "default"
            assert await backend.all_data("t") == {}
            assert await backend.delete_data("t", "k") is False
            with pytest.raises(UnknownTask, match=r"no record of 't'"):
                await backend.set_data("t", "k", "ghost")
            await backend.store("t", TaskResult.pending("t"))
            assert await backend.all_data("t") == {}
            assert await backend.set_data("t", "k", "new") == 1

    async def test_data_stays_while_the_record_changes(self, backend: BaseResultBackend) -> None:
        """Through every state, an overwrite included; it belongs to the task, not to a write."""
        await backend.store("t", TaskResult.pending("t"))
        await backend.set_data("t", "k", 1)
        await backend.store("t", TaskResult.running("t"))
        await backend.store("t", TaskResult.success("t"))
        await backend.store("t", TaskResult.pending("t"), overwrite=True)
        assert await backend.all_data("t") == {"k": 1}
        record = await backend.get("t")
        assert record is not None
        assert record.version == 4

    async def test_data_of_a_task_that_is_not_stored(self, backend: BaseResultBackend) -> None:
        """Writing says so, whatever the version; reading finds nothing."""
        for if_version in (None, 0, 1):
            with pytest.raises(UnknownTask, match="'t'"):
                await backend.set_data("t", "k", 1, if_version=if_version)
        assert await backend.get_data("t", "k", 5) == 5
        assert await backend.all_data("t") == {}
        await backend.store("t", TaskResult.pending("t"))
        assert await backend.all_data("t") == {}

    async def test_odd_ids_and_keys_are_kept_apart(self, backend: BaseResultBackend) -> None:
        """Of tasks and of data; all of a task's come in the order of keys."""
        odd = [*ODD_IDS, "\uffff"]
        await backend.store_many(TaskResult.pending(task_id) for task_id in odd)
        await asyncio.gather(*(backend.set_data(id_, key, [id_, key]) for id_ in odd for key in odd))
        for task_id in odd:
            found = await backend.all_data(task_id)
            assert list(found.items()) == [(key, [task_id, key]) for key in sorted(odd)]

    async def test_refused_values_are_not_kept(self, make_backend: MakeBackend) -> None:
        """What cannot come back, or is too large, is named by its path, and what stood there stays."""
        async with make_backend(max_result_bytes=1_000) as backend:
            await backend.store("t", TaskResult.pending("t"))
            await backend.set_data("t", "k", "old")
            with pytest.raises(NotSerializable, match=r"^value\['rows'\]\[1\]: builtin_function"):
                await backend.set_data("t", "k", {"rows": [1, print]})
            with pytest.raises(PayloadTooLarge, match=r"^value: .* limit is 1000"):
                await backend.set_data("t", "k", "x" * 1_000)
            assert await backend.get_data("t", "k") == "old"

    async def test_data_of_a_type_unknown_to_the_reader(self, make_backend: MakeBackend) -> None:
        """Raises CorruptRecord with the key, and leaves the other keys readable."""
        async with make_backend(types=SAMPLE_TYPES) as backend:
            await backend.store("t", TaskResult.pending("t"))
            await backend.set_data("t", "p", Point(1, 2))
            await backend.set_data("t", "q", 1)
            assert await backend.get_data("t", "p") == Point(1, 2)
            backend._records.codec._types.clear()
            with pytest.raises(CorruptRecord, match=r"'t'.*data 'p'.*Point"):
                await backend.get_data("t", "p")
            assert await backend.get_data("t", "q") == 1

    async def test_unreadable_data(self, backend: BaseResultBackend) -> None:
        """Raises CorruptRecord with task and key, until it is set again."""
        await backend.store("t", TaskResult.pending("t"))
        for bad in (b"[]", b"{}", b'{"value":{"$nothing":1}}'):
            await backend._engine.put([Put(Section.DATA, "t", "k", bad)], 0)
            with pytest.raises(CorruptRecord, match=r"'t' cannot be read: data 'k'"):
                await backend.get_data("t", "k")
        await backend.set_data("t", "k", 1)
        assert await backend.all_data("t") == {"k": 1}

    @pytest.mark.parametrize(("bad", "error"), BAD_IDS)
    async def test_bad_ids_and_keys_of_data(
        self, backend: BaseResultBackend, bad: Any, error: type[Exception]
    ) -> None:
        """Each call names the argument, and nothing is written."""
        await backend.store("t", TaskResult.pending("t"))
        for task_id, key, name in ((bad, "k", "task_id"), ("t", bad, "key")):
            for call in (backend.get_data, backend.get_datum, backend.delete_data):
                with pytest.raises(error, match=f"^{name}: "):
                    await call(task_id, key)
            with pytest.raises(error, match=f"^{name}: "):
                await backend.set_data(task_id, key, 1)
        with pytest.raises(error, match=r"^task_id: "):
            await backend.all_data(bad)
        assert await backend.all_data("t") == {}

    @pytest.mark.parametrize(
        ("bad", "error"), [(-1, ValueError), (2**54, ValueError), (True, TypeError), ("1", TypeError)]
    )
    async def test_bad_version_of_data(
        self, backend: BaseResultBackend, bad: Any, error: type[Exception]
    ) -> None:
        """Is named, and nothing is written."""
        await backend.store("t", TaskResult.pending("t"))
        with pytest.raises(error, match=r"^if_version: "):
            await backend.set_data("t", "k", 1, if_version=bad)
        assert await backend.all_data("t") == {}

    async def test_data_calls_are_one_trip_each(self, backend: BaseResultBackend) -> None:
        """One to set, one to get, one to get all, one to delete."""
        await backend.store("t", TaskResult.pending("t"))
        trips = count_trips(backend)
        await backend.set_data("t", "k", 1)
        await backend.delete_data("t", "k")
        assert trips == {"put": 2}
        await backend.get_data("t", "k")
        await backend.all_data("t")
        assert trips == {"put": 2, "kept": 2}

    async def test_data_of_a_closed_backend(self, make_backend: MakeBackend) -> None:
        """Every call raises BackendClosed."""
        backend = make_backend()
        await backend.open()
        await backend.close()
        for call in (
            backend.set_data("t", "k", 1),
            backend.get_data("t", "k"),
            backend.get_datum("t", "k"),
            backend.all_data("t"),
            backend.delete_data("t", "k"),
        ):
            with pytest.raises(BackendClosed):
                await call


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
