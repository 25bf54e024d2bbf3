"""The contract of store, get, delete and clear: which write wins, what stands, what is refused."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from flowstore import (
    BaseResultBackend,
    NotSerializable,
    Progress,
    TaskResult,
    TaskStatus,
    VersionConflict,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.support import as_given, failed

ODD_IDS = ["a:b", "a*", "[x]", "../x", "x" * 512, "\N{SNAKE}", "a\0b", "a", "a\0", " ", "%", "{x}", "A"]
BAD_IDS: list[tuple[Any, type[Exception]]] = [
    ("", ValueError),
    ("x" * 513, ValueError),
    ("\N{SNAKE}" * 129, ValueError),
    ("\ud800", ValueError),
    (None, TypeError),
    (7, TypeError),
    (b"x", TypeError),
]
RANK = {status: 2 if status.is_finished else 1 for status in TaskStatus} | {TaskStatus.PENDING: 0}


def _result(status: TaskStatus, retries: int, mark: str) -> TaskResult:
    return TaskResult(task_id="t", status=status, retries=retries, result=mark)


class StoringContract(Contract):
    async def test_stored_record_comes_back_whole(self, backend: BaseResultBackend) -> None:
        """Every field of a record is read as it was stored; version counts from 1."""
        pending = TaskResult.pending(
            "t", task_name="add", args=(1, [2]), kwargs={"k": None}, labels={"x", "y"}
        )
        running = TaskResult.running(
            pending, worker_id="w1", parent_id="p", progress=Progress(done=1, total=3)
        )
        stored = TaskResult.failed(running, KeyError("k"), retries=3)
        assert await backend.store("t", stored) is True
        read = await backend.get("t")
        assert read is not None
        assert read.version == 1
        assert as_given(read).model_copy(update={"root_id": None}).model_dump() == stored.model_dump()

    async def test_missing_record_is_none(self, backend: BaseResultBackend) -> None:
        """None means that there is no such record, and nothing else."""
        assert await backend.get("t") is None
        assert await backend.exists("t") is False
        assert await backend.delete("t") is False
        assert await backend.get_many(["t", "u"]) == {}

    async def test_read_values_are_fresh(self, backend: BaseResultBackend) -> None:
        """It aliases neither what was stored nor what was read before."""
        value = [1]
        await backend.store("t", TaskResult.success("t", value))
        value.append(2)
        first = await backend.get("t")
        assert first is not None
        assert first.result == [1]
        first.result.append(3)
        second = await backend.get("t")
        assert second is not None
        assert second.result == [1]

    async def test_advance_rule(self, make_backend: MakeBackend) -> None:
        """For every pair of states: a write advances by (retries, rank), and the first finished one wins."""
        states = list(itertools.product(TaskStatus, (0, 1)))
        async with make_backend() as backend:
            for (old, old_try), (new, new_try) in itertools.product(states, states):
                await backend.store("t", _result(old, old_try, "old"), overwrite=True)
                before, after = (old_try, RANK[old]), (new_try, RANK[new])
                wins = after > before or (after == before and not old.is_finished)
                assert await backend.store("t", _result(new, new_try, "new")) is wins, (old, new, new_try)
                standing = await backend.get("t")
                assert standing is not None
                assert standing.result == ("new" if wins else "old")
                assert (standing.status, standing.retries) == ((new, new_try) if wins else (old, old_try))

    async def test_late_running_and_late_pending_change_nothing(self, backend: BaseResultBackend) -> None:
        """A late running after success, and the producer's pending after running, are refused."""
        await backend.store("t", TaskResult.running("t", worker_id="w"))
        assert await backend.store("t", TaskResult.pending("t")) is False
        await backend.store("t", TaskResult.success("t", 1))
        before = await backend.get("t")
        assert await backend.store("t", TaskResult.running("t")) is False
        assert await backend.get("t") == before

    async def test_one_of_200_concurrent_writers_wins(self, backend: BaseResultBackend) -> None:
        """The first finished write wins, exactly once, and its value stands."""
        writes = (backend.store("t", TaskResult.success("t", n)) for n in range(200))
        outcomes = await asyncio.gather(*writes)
        assert outcomes.count(True) == 1
        standing = await backend.get("t")
        assert standing is not None
        assert standing.result == outcomes.index(True)

    async def test_overwrite_writes_whatever_stands(self, backend: BaseResultBackend) -> None:
        """overwrite=True replaces a finished record, even by an earlier state."""
        await backend.store("t", TaskResult.success("t", 1, retries=5))
        assert await backend.store("t", TaskResult.pending("t"), overwrite=True) is True
        standing = await backend.get("t")
        assert standing is not None
        assert (standing.status, standing.retries, standing.version) == (TaskStatus.PENDING, 0, 2)

    async def test_if_version_is_compare_and_set(self, backend: BaseResultBackend) -> None:
        """Only over the given version; 0 only if there is no record; a conflict has the actual version."""
        with pytest.raises(VersionConflict, match="version 0, not 1"):
            await backend.store("t", TaskResult.success("t"), if_version=1)
        assert await backend.exists("t") is False
        assert await backend.store("t", TaskResult.success("t", 1), if_version=0)
        with pytest.raises(VersionConflict) as caught:
            await backend.store("t", TaskResult.success("t", 2), if_version=0)
        assert (caught.value.expected, caught.value.actual) == (0, 1)
        assert await backend.store("t", TaskResult.pending("t"), if_version=1)
        with pytest.raises(VersionConflict):
            await backend.store("t", TaskResult.success("t", 3), if_version=1)
        standing = await backend.get("t")
        assert standing is not None
        assert (standing.status, standing.version) == (TaskStatus.PENDING, 2)

    async def test_bulk_calls_do_as_the_single_ones(self, backend: BaseResultBackend) -> None:
        """store_many in order, get_many and delete_many by id, across more than one trip."""
        names = [f"t{n}" for n in range(1_203)]
        assert await backend.store_many(TaskResult.success(name, name) for name in names) == [True] * 1_203
        twice = [TaskResult.running("x"), TaskResult.success("x", 1), TaskResult.success("x", 2)]
        assert await backend.store_many(twice) == [True, True, False]
        found = await backend.get_many([*reversed(names), "nobody", names[0]])
        assert list(found) == list(reversed(names))
        assert all(result.result == name for name, result in found.items())
        assert await backend.delete_many([*names[:1_000], "nobody", names[0]]) == 1_000
        assert await backend.exists(names[0]) is False
        assert await backend.exists(names[-1]) is True

    async def test_store_many_creates(self, make_backend: MakeBackend) -> None:
        """Only where there is no record: no later state, no other attempt; of two in one call the first."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store_many([TaskResult.pending("p"), TaskResult.success("s", 1)])
            await backend.store("e", TaskResult.success("e", 1), ttl=5)
            clock.advance(5)
            later = TaskResult.success("p", 2).model_copy(update={"retries": 3})
            wanted = [later, *(TaskResult.success(name, 2) for name in "spnne")]
            assert await backend.store_many(wanted, create=True) == [False, False, False, True, False, True]
            found = await backend.get_many(list("psne"))
            assert [(each.result, each.version) for each in found.values()] == [
                *((None, 1), (1, 1), (2, 1), (2, 1))
            ]
            children = [TaskResult.pending(f"c{n}", parent_id="p") for n in range(3)]
            assert await backend.store_many([*children, *children], create=True) == [True] * 3 + [False] * 3
            other = TaskResult.pending("c0", parent_id="s")
            assert await backend.store_many([other], create=True) == [False], "not even a conflict"

    async def test_of_racing_creators_one_wins(self, backend: BaseResultBackend) -> None:
        """For each of the ids."""
        names = [f"t{n}" for n in range(20)]
        created = await asyncio.gather(
            *(backend.store_many([TaskResult.pending(t) for t in names], create=True) for _ in range(50))
        )
        assert [sum(each) for each in zip(*created, strict=True)] == [1] * 20

    async def test_bad_arguments_of_store_many(self, backend: BaseResultBackend) -> None:
        calls: list[tuple[dict[str, Any], type[Exception], str]] = [
            ({"create": 1}, TypeError, "create"),
            ({"overwrite": None}, TypeError, "overwrite"),
            ({"overwrite": True, "create": True}, ValueError, "overwrite"),
        ]
        for options, error, name in calls:
            with pytest.raises(error, match=name):
                await backend.store_many([TaskResult.success("t", 1)], **options)
        assert not await backend.exists("t")

    async def test_store_many_checks_all_before_it_sends_any(self, backend: BaseResultBackend) -> None:
        """With one value that cannot be stored, nothing of the batch is."""
        with pytest.raises(NotSerializable):
            await backend.store_many([TaskResult.success("good", 1), TaskResult.success("bad", object())])
        assert await backend.get_many(["good", "bad"]) == {}

    async def test_delete_and_clear_count_exactly(self, backend: BaseResultBackend) -> None:
        """delete returns whether there was one, clear how many; both leave nothing to list."""
        await backend.store_many(failed(f"t{n}") for n in range(2_345))
        assert await backend.delete("t7") is True
        assert await backend.delete("t7") is False
        assert await backend.clear() == 2_344
        assert await backend.clear() == 0
        assert await backend.list_by_status(TaskStatus.FAILED) == []
        assert set((await backend.count_by_status()).values()) == {0}
        assert await backend.store("t7", TaskResult.pending("t7")) is True

    async def test_odd_ids_are_just_ids(self, backend: BaseResultBackend) -> None:
        """Separators, globs, paths, NUL, emoji and 512 bytes are kept apart everywhere."""
        for odd in ODD_IDS:
            assert await backend.store(odd, failed(odd, task_name=odd)) is True
        assert list(await backend.get_many(ODD_IDS)) == ODD_IDS
        assert {item.task_id async for item in backend.iter_by_status(TaskStatus.FAILED)} == set(ODD_IDS)
        for odd in ODD_IDS:
            assert [item.task_id for item in (await backend.page(name=odd)).items] == [odd]
            assert (await backend.wait_for(odd, 5)).task_id == odd
            assert await backend.delete(odd) is True
        assert await backend.clear() == 0

    @pytest.mark.parametrize(("bad", "error"), BAD_IDS)
    async def test_bad_ids_are_refused(
        self, backend: BaseResultBackend, bad: Any, error: type[Exception]
    ) -> None:
        """Every call names the argument before anything is sent."""
        record: TaskResult = TaskResult.pending("t")
        with pytest.raises(error, match="task_id"):
            await backend.store(bad, record)
        for call in (backend.get, backend.delete, backend.exists, backend.wait_for):
            with pytest.raises(error, match="task_id"):
                await call(bad)
        for many in (backend.get_many, backend.delete_many, backend.wait_for_many):
            with pytest.raises(error, match="task_ids"):
                await many([bad])
        assert set((await backend.count_by_status()).values()) == {0}

    async def test_bad_arguments_of_store_write_nothing(self, backend: BaseResultBackend) -> None:
        """Wrong result, foreign id, bad ttl, version and flags: a clear error for each, and no record."""
        record: Any = TaskResult.success("t", 1)
        calls: list[tuple[dict[str, Any], type[Exception], str]] = [
            ({"ttl": 0}, ValueError, "ttl"),
            ({"ttl": -1}, ValueError, "ttl"),
            ({"ttl": float("nan")}, ValueError, "ttl"),
            ({"ttl": float("inf")}, ValueError, "ttl"),
            ({"ttl": True}, TypeError, "ttl"),
            ({"ttl": "1"}, TypeError, "ttl"),
            ({"if_version": -1}, ValueError, "if_version"),
            ({"if_version": True}, TypeError, "if_version"),
            ({"overwrite": 1}, TypeError, "overwrite"),
            ({"overwrite": True, "if_version": 1}, ValueError, "overwrite"),
        ]
        for options, error, name in calls:
            with pytest.raises(error, match=name):
                await backend.store("t", record, **options)
        with pytest.raises(ValueError, match="task_id"):
            await backend.store("u", record)
        not_a_result: Any = {"task_id": "t"}
        with pytest.raises(TypeError, match="result"):
            await backend.store("t", not_a_result)
        assert await backend.get_many(["t", "u"]) == {}

    async def test_unloaded_result_is_not_stored(self, backend: BaseResultBackend) -> None:
        """An item of a listing without results cannot wipe the stored values."""
        await backend.store("t", TaskResult.success("t", "value"))
        [item] = (await backend.page(load_result=False)).items
        with pytest.raises(TypeError, match="load_result=False"):
            item.unwrap()
        with pytest.raises(NotSerializable, match="load_result=False"):
            await backend.store("t", item, overwrite=True)
        assert (await backend.wait_for("t")).unwrap() == "value"
