"""The contract of data: values that a task has under keys, and that are removed with it."""

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
    UnresolvedValue,
    VersionConflict,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.sharing import count_trips
from flowstore.testing.contract.storing import BAD_IDS, ODD_IDS
from flowstore.testing.contract.values import SAMPLE_TYPES, Point, is_same
from flowstore.testing.insides import know_only, plant_kept
from flowstore.testing.support import START

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
"""The ways in which the record "t", which lives for a minute, can go away."""


class DataContract(Contract):
    async def test_data_comes_back_as_it_went_in(self, backend: BaseResultBackend) -> None:
        """Type included; a fresh object each time, which shares no part with the writer or other readers."""
        await backend.store("t", TaskResult.pending("t"))
        rows = [1]
        assert await backend.data.set("t", "nested", NESTED) == 1
        await backend.data.set("t", "rows", rows)
        rows.append(2)
        assert is_same(await backend.data.get("t", "nested"), NESTED)
        (await backend.data.get("t", "rows")).append(3)
        assert await backend.data.all("t") == {"nested": NESTED, "rows": [1]}

    async def test_stored_none_is_not_missing(self, backend: BaseResultBackend) -> None:
        """None is a value like any other; the default, of any type, is only returned for a missing key."""
        await backend.store("t", TaskResult.pending("t"))
        await backend.data.set("t", "none", None)
        assert await backend.data.get("t", "none", "default") is None
        assert await backend.data.get("t", "missing", "default") == "default"
        assert await backend.data.get("t", "missing") is None
        datum = await backend.data.entry("t", "none")
        assert datum is not None
        assert datum.value is None
        assert await backend.data.entry("t", "missing") is None
        assert await backend.data.all("t") == {"none": None}
        assert await backend.data.delete("t", "missing") is False
        assert await backend.data.delete("t", "none") is True
        assert await backend.data.delete("t", "none") is False
        assert await backend.data.get("t", "none", "default") == "default"

    async def test_datum_tells_version_and_time(self, make_backend: MakeBackend) -> None:
        """Each key has its own; after a deletion it starts again at 1."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store("t", TaskResult.pending("t"))
            await backend.data.set("t", "other", 0)
            for version in (1, 2, 3):
                clock.advance(1)
                assert await backend.data.set("t", "k", version * 10) == version
            datum = await backend.data.entry("t", "k")
            assert datum is not None
            assert datum.at == START + timedelta(seconds=3)
            assert (datum.key, datum.value, datum.version) == ("k", 30, 3)
            await backend.data.delete("t", "k")
            assert await backend.data.set("t", "k", 40) == 1

    async def test_compare_and_set_of_data(self, backend: BaseResultBackend) -> None:
        """Only over the given version, 0 only if there is no such key; a conflict has the actual version."""
        await backend.store("t", TaskResult.pending("t"))
        with pytest.raises(VersionConflict, match=r"data 'k' of task 't' is at version 0, not 1"):
            await backend.data.set("t", "k", "x", if_version=1)
        assert await backend.data.all("t") == {}
        assert await backend.data.set("t", "k", "a", if_version=0) == 1
        with pytest.raises(VersionConflict) as caught:
            await backend.data.set("t", "k", "x", if_version=0)
        conflict = caught.value
        assert (conflict.task_id, conflict.key, conflict.expected, conflict.actual) == ("t", "k", 0, 1)
        assert await backend.data.set("t", "k", "b", if_version=1) == 2
        assert await backend.data.get("t", "k") == "b"

    async def test_one_of_20_concurrent_writers_wins_each_version(self, backend: BaseResultBackend) -> None:
        """Its value stands; all others get VersionConflict."""
        await backend.store("t", TaskResult.pending("t"))
        for version in range(10):
            writes = (backend.data.set("t", "k", n, if_version=version) for n in range(20))
            outcomes = await asyncio.gather(*writes, return_exceptions=True)
            assert outcomes.count(version + 1) == 1
            assert sum(isinstance(outcome, VersionConflict) for outcome in outcomes) == 19
            datum = await backend.data.entry("t", "k")
            assert datum is not None
            assert (datum.value, datum.version) == (outcomes.index(version + 1), version + 1)

    async def test_concurrent_counting_loses_nothing(self, backend: BaseResultBackend) -> None:
        """20 tasks read, add one and set, until no other came in between: no increment is lost."""
        await backend.store("t", TaskResult.pending("t"))
        await backend.data.set("t", "count", 0)

        async def add_one() -> None:
            while True:
                datum = await backend.data.entry("t", "count")
                assert datum is not None
                try:
                    await backend.data.set("t", "count", datum.value + 1, if_version=datum.version)
                except VersionConflict:
                    continue
                return

        await asyncio.gather(*(add_one() for _ in range(20)))
        assert await backend.data.get("t", "count") == 20

    @pytest.mark.parametrize("ending", ENDINGS)
    async def test_data_goes_with_its_task(self, make_backend: MakeBackend, ending: str) -> None:
        """Nothing is found or written afterwards, and a new record with the same id has none of it."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store("t", TaskResult.pending("t"), ttl=60)
            await backend.data.set("t", "k", "old")
            await backend.data.set("t", "k", "old")
            await ENDINGS[ending](backend, clock)
            assert await backend.data.get("t", "k", "default") == "default"
            assert await backend.data.all("t") == {}
            assert await backend.data.delete("t", "k") is False
            with pytest.raises(UnknownTask, match=r"no record of 't'"):
                await backend.data.set("t", "k", "ghost")
            await backend.store("t", TaskResult.pending("t"))
            assert await backend.data.all("t") == {}
            assert await backend.data.set("t", "k", "new") == 1

    async def test_data_stays_while_the_record_changes(self, backend: BaseResultBackend) -> None:
        """Through every state and an overwrite; it belongs to the task, not to a single write."""
        await backend.store("t", TaskResult.pending("t"))
        await backend.data.set("t", "k", 1)
        await backend.store("t", TaskResult.running("t"))
        await backend.store("t", TaskResult.success("t"))
        await backend.store("t", TaskResult.pending("t"), overwrite=True)
        assert await backend.data.all("t") == {"k": 1}
        record = await backend.get("t")
        assert record is not None
        assert record.version == 4

    async def test_data_of_a_task_that_is_not_stored(self, backend: BaseResultBackend) -> None:
        """Writing raises UnknownTask, whatever the version; reading finds nothing."""
        for if_version in (None, 0, 1):
            with pytest.raises(UnknownTask, match="'t'"):
                await backend.data.set("t", "k", 1, if_version=if_version)
        assert await backend.data.get("t", "k", 5) == 5
        assert await backend.data.all("t") == {}
        await backend.store("t", TaskResult.pending("t"))
        assert await backend.data.all("t") == {}

    async def test_odd_ids_and_keys_are_kept_apart(self, backend: BaseResultBackend) -> None:
        """Of tasks and of data; ``all`` returns them in the order of their keys."""
        odd = [*ODD_IDS, "\uffff"]
        await backend.store_many(TaskResult.pending(task_id) for task_id in odd)
        await asyncio.gather(*(backend.data.set(id_, key, [id_, key]) for id_ in odd for key in odd))
        for task_id in odd:
            found = await backend.data.all(task_id)
            assert list(found.items()) == [(key, [task_id, key]) for key in sorted(odd)]

    async def test_refused_values_are_not_kept(self, make_backend: MakeBackend) -> None:
        """A value that cannot come back, or is too large, is named by its path; the old value stays."""
        async with make_backend(max_result_bytes=1_000) as backend:
            await backend.store("t", TaskResult.pending("t"))
            await backend.data.set("t", "k", "old")
            with pytest.raises(NotSerializable, match=r"^value\['rows'\]\[1\]: builtin_function"):
                await backend.data.set("t", "k", {"rows": [1, print]})
            with pytest.raises(PayloadTooLarge, match=r"^value: .* limit is 1000"):
                await backend.data.set("t", "k", "x" * 1_000)
            assert await backend.data.get("t", "k") == "old"

    async def test_data_of_a_type_unknown_to_the_reader(self, make_backend: MakeBackend) -> None:
        """Raises UnresolvedValue with the key, and leaves the other keys readable."""
        async with make_backend(types=SAMPLE_TYPES) as backend:
            await backend.store("t", TaskResult.pending("t"))
            await backend.data.set("t", "p", Point(1, 2))
            await backend.data.set("t", "q", 1)
            assert await backend.data.get("t", "p") == Point(1, 2)
            know_only(backend)
            with pytest.raises(UnresolvedValue, match=r"'t'.*data 'p'.*Point"):
                await backend.data.get("t", "p")
            assert await backend.data.get("t", "q") == 1

    async def test_unreadable_data(self, backend: BaseResultBackend) -> None:
        """Raises CorruptRecord with task and key, until it is set again."""
        await backend.store("t", TaskResult.pending("t"))
        for bad in (b"[]", b"{}", b'{"value":{"$uuid":1}}'):
            await plant_kept(backend, "data", "t", "k", bad)
            with pytest.raises(CorruptRecord, match=r"'t' cannot be read: data 'k'"):
                await backend.data.get("t", "k")
        await backend.data.set("t", "k", 1)
        assert await backend.data.all("t") == {"k": 1}

    @pytest.mark.parametrize(("bad", "error"), BAD_IDS)
    async def test_bad_ids_and_keys_of_data(
        self, backend: BaseResultBackend, bad: Any, error: type[Exception]
    ) -> None:
        """Each call names the argument, and nothing is written."""
        await backend.store("t", TaskResult.pending("t"))
        for task_id, key, name in ((bad, "k", "task_id"), ("t", bad, "key")):
            for call in (backend.data.get, backend.data.entry, backend.data.delete):
                with pytest.raises(error, match=f"^{name}: "):
                    await call(task_id, key)
            with pytest.raises(error, match=f"^{name}: "):
                await backend.data.set(task_id, key, 1)
        with pytest.raises(error, match=r"^task_id: "):
            await backend.data.all(bad)
        assert await backend.data.all("t") == {}

    @pytest.mark.parametrize(
        ("bad", "error"), [(-1, ValueError), (2**54, ValueError), (True, TypeError), ("1", TypeError)]
    )
    async def test_bad_version_of_data(
        self, backend: BaseResultBackend, bad: Any, error: type[Exception]
    ) -> None:
        """Is named, and nothing is written."""
        await backend.store("t", TaskResult.pending("t"))
        with pytest.raises(error, match=r"^if_version: "):
            await backend.data.set("t", "k", 1, if_version=bad)
        assert await backend.data.all("t") == {}

    async def test_data_calls_are_one_trip_each(self, backend: BaseResultBackend) -> None:
        """One to set, one to get, one to get all, one to delete."""
        await backend.store("t", TaskResult.pending("t"))
        trips = count_trips(backend)
        await backend.data.set("t", "k", 1)
        await backend.data.delete("t", "k")
        assert trips == {"put": 2}
        await backend.data.get("t", "k")
        await backend.data.all("t")
        assert trips == {"put": 2, "items": 2}

    async def test_data_of_a_closed_backend(self, make_backend: MakeBackend) -> None:
        """Every call raises BackendClosed."""
        backend = make_backend()
        await backend.open()
        await backend.close()
        for call in (
            backend.data.set("t", "k", 1),
            backend.data.get("t", "k"),
            backend.data.entry("t", "k"),
            backend.data.all("t"),
            backend.data.delete("t", "k"),
        ):
            with pytest.raises(BackendClosed):
                await call
