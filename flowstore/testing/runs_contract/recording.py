"""The contract of records: appended by many, found by key, walked in order, counted exactly."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from flowstore import (
    BaseResultBackend,
    CorruptRecord,
    InvalidCursor,
    NotSerializable,
    RunNotOpen,
    TaskStatus,
    UnexpectedValue,
    UnreadableRecords,
)
from flowstore.models import StatusName
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.values import is_same
from flowstore.testing.insides import damage_record, faulty_runs
from flowstore.testing.runs_contract.base import VALUES
from flowstore.testing.support import START


class Score(BaseModel):
    value: float


class RunRecordsContract(Contract):
    async def test_records_come_back_in_order(self, make_backend: MakeBackend) -> None:
        """Each with its key, its status, its time, and a value equal to what went in."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.runs.start("r")
            for number in range(5):
                clock.advance(1)
                assert await backend.runs.append("r", {"n": (number,)}, key=f"k{number}")
            found = [record async for record in backend.runs.records("r")]
            assert [record.key for record in found] == ["k0", "k1", "k2", "k3", "k4"]
            assert all(is_same(record.value, {"n": (n,)}) for n, record in enumerate(found))
            assert [record.at for record in found] == [START + timedelta(seconds=n) for n in range(1, 6)]
            assert {record.status for record in found} == {TaskStatus.SUCCESS}
            assert [r async for r in backend.runs.records("r", newest_first=True)] == found[::-1]
            assert [r async for r in backend.runs.records("r", batch_size=2)] == found

    async def test_the_order_of_one_moment(self, make_backend: MakeBackend) -> None:
        """What one process appends one after another is in that order, though its clock stands still."""
        async with make_backend(clock=ManualClock()) as backend:
            await backend.runs.start("r")
            await backend.runs.append("r", "first")
            await backend.runs.append_many("r", [(None, n) for n in range(30)])
            assert [r.value async for r in backend.runs.records("r")] == ["first", *range(30)]

    async def test_every_value_comes_back(self, backend: BaseResultBackend) -> None:
        await backend.runs.start("r")
        kept = await backend.runs.append_many("r", [(str(n), value) for n, value in enumerate(VALUES)])
        assert all(kept)
        found = [record.value async for record in backend.runs.records("r")]
        assert len(found) == len(VALUES)
        assert all(is_same(*pair) for pair in zip(found, VALUES, strict=True))

    async def test_records_without_keys_are_all_kept(self, backend: BaseResultBackend) -> None:
        await backend.runs.start("r")
        await asyncio.gather(*(backend.runs.append("r", n) for n in range(100)))
        found = [record async for record in backend.runs.records("r")]
        assert sorted(record.value for record in found) == [*range(100)]
        assert len({record.key for record in found}) == 100

    async def test_a_key_makes_it_idempotent(self, backend: BaseResultBackend) -> None:
        """The last one stands, in its own place, or the first one by choice; there is one in any case."""
        await backend.runs.start("r")
        await backend.runs.append_many("r", {"a": 1, "b": 2})
        assert await backend.runs.append("r", 3, key="a")
        last = await backend.runs.get_by_key("r", "a")
        assert last is not None
        assert (last.value, last.version) == (3, 2)
        assert [(r.key, r.value) async for r in backend.runs.records("r")] == [("b", 2), ("a", 3)]
        assert not await backend.runs.append("r", 4, key="a", keep="first")
        assert await backend.runs.append("r", 5, key="c", keep="first")
        assert [(r.key, r.value) async for r in backend.runs.records("r")] == [("b", 2), ("a", 3), ("c", 5)]
        assert (await backend.runs.progress("r")).done == 3

    async def test_of_many_with_one_key_the_first_stands(self, backend: BaseResultBackend) -> None:
        await backend.runs.start("r")
        kept = await asyncio.gather(*(backend.runs.append("r", n, key="k", keep="first") for n in range(50)))
        assert sum(kept) == 1
        record = await backend.runs.get_by_key("r", "k")
        assert record is not None
        assert record.value == kept.index(True)

    async def test_counters_are_exact(self, make_backend: MakeBackend) -> None:
        """Counted by status, by whoever asks, under any number of writers and changes of status."""
        async with make_backend(purge_interval=None) as backend:
            await backend.runs.start("r", total=80)
            await asyncio.gather(
                *(backend.runs.append("r", n, key=f"k{n % 80}", status=STATUSES[n % 3]) for n in range(240))
            )
            progress = await backend.runs.progress("r")
            records = [record async for record in backend.runs.records("r")]
            assert (progress.done, progress.total, len(records)) == (80, 80, 80)
            for status in TaskStatus:
                of_status = [r.key async for r in backend.runs.records("r", status=status)]
                assert progress.counts[status] == len(of_status)
                assert of_status == [r.key for r in records if r.status is status]

    async def test_an_append_is_one_trip(self, backend: BaseResultBackend) -> None:
        """With its counter, and with the look at the run."""
        await backend.runs.start("r")
        faults = faulty_runs(backend)
        await backend.runs.append("r", 1)
        await backend.runs.append("r", 1, key="k", keep="first", attempt=0)
        await backend.runs.append_many("r", {str(n): n for n in range(500)})
        assert faults.calls == {"write": 3}

    async def test_done_are_finished_ones(self, backend: BaseResultBackend) -> None:
        await backend.runs.start("r")
        await backend.runs.append("r", 1, key="a", status="running")
        await backend.runs.append("r", 1, key="b", status="failed", error=ValueError("bad"))
        progress = await backend.runs.progress("r")
        assert (progress.done, progress.total) == (1, None)
        assert (progress.counts[TaskStatus.RUNNING], progress.counts[TaskStatus.FAILED]) == (1, 1)
        record = await backend.runs.get_by_key("r", "b")
        assert record is not None
        assert record.error is not None
        assert record.error.message == "bad"

    async def test_missing(self, backend: BaseResultBackend) -> None:
        """In order, each once, also more than a batch; what has failed may be missing as well."""
        await backend.runs.start("r")
        await backend.runs.append_many("r", {str(n): n for n in range(0, 1_200, 2)})
        await backend.runs.append("r", None, key="1", status="failed")
        keys = [str(n) for n in range(1_200)]
        assert await backend.runs.missing("r", [*keys, *keys]) == [str(n) for n in range(3, 1_200, 2)]
        missing = await backend.runs.missing("r", ["0", "1", "3"], status="success")
        assert missing == ["1", "3"]
        assert await backend.runs.missing("r", []) == []
        with pytest.raises(TypeError, match="keys: expected several str"):
            await backend.runs.missing("r", "abc")

    async def test_pages_of_records(self, backend: BaseResultBackend) -> None:
        """They never repeat or skip one, while others append; a cursor is bound to its query."""
        await backend.runs.start("r")
        await backend.runs.append_many("r", [(str(n), n) for n in range(30)])
        seen: list[int] = []
        cursor: str | None = None
        while len(seen) < 30:
            found = await backend.runs.page("r", limit=7, cursor=cursor)
            await backend.runs.append("r", 99)
            seen += [record.value for record in found.items]
            cursor = found.next_cursor
            if cursor is None:
                break
            with pytest.raises(InvalidCursor):
                await backend.runs.page("other", cursor=cursor)
        assert seen[:30] == [*range(30)]

    async def test_types_of_values(self, backend: BaseResultBackend) -> None:
        """``as_`` gives values their type; what is of another one is told, and does not hide the others."""
        await backend.runs.start("r")
        await backend.runs.append("r", {"value": 1.5}, key="good")
        await backend.runs.append("r", {"worth": 1}, key="bad")
        record = await backend.runs.get_by_key("r", "good", as_=Score)
        assert record is not None
        assert record.value == Score(value=1.5)
        with pytest.raises(UnexpectedValue):
            await backend.runs.get_by_key("r", "bad", as_=Score)
        found = await backend.runs.page("r", as_=Score)
        assert [each.value for each in found.items] == [Score(value=1.5)]
        assert [each.key for each in found.unreadable] == ["bad"]

    async def test_bad_records(self, backend: BaseResultBackend) -> None:
        """They are named at the call, and nothing of the call is written."""
        await backend.runs.start("r")
        bad_calls: list[tuple[dict[str, Any], str]] = [
            ({"key": ""}, "key: expected"),
            ({"key": "x" * 201}, "key: expected"),
            ({"key": 7}, "key: expected"),
            ({"status": "done"}, "status: expected"),
            ({"keep": "both"}, "keep: expected"),
            ({"attempt": -1}, "attempt: expected"),
            ({"error": "text"}, "error: expected"),
        ]
        for arguments, message in bad_calls:
            with pytest.raises((TypeError, ValueError), match=message):
                await backend.runs.append("r", 1, **arguments)
        with pytest.raises(NotSerializable, match=r"^value\['x'\]: "):
            await backend.runs.append_many("r", {"a": 1, "b": {"x": object()}})
        nothing: Any = None
        with pytest.raises(TypeError, match="values: expected a mapping or pairs"):
            await backend.runs.append_many("r", nothing)
        with pytest.raises(TypeError, match="keys: expected several str"):
            await backend.runs.missing("r", nothing)
        with pytest.raises(TypeError, match=r"values\[0\]: expected a pair"):
            await backend.runs.append_many("r", ["ab"])  # type: ignore[list-item]
        with pytest.raises(ValueError, match="batch_size: expected"):
            backend.runs.records("r", batch_size=0)
        assert (await backend.runs.progress("r")).done == 0

    async def test_redacted(self, make_backend: MakeBackend) -> None:
        """What ``redact`` makes of a record is what is stored."""

        def redact(result: Any) -> Any:
            return result.model_copy(update={"result": "***"}) if result.result == "secret" else result

        async with make_backend(redact=redact) as backend:
            await backend.runs.start("r")
            await backend.runs.append("r", "secret", key="k")
            record = await backend.runs.get_by_key("r", "k")
            assert record is not None
            assert record.value == "***"

    async def test_the_config_is_redacted_once(self, make_backend: MakeBackend) -> None:
        """What completes the run leaves it as it stands."""

        def redact(result: Any) -> Any:
            return result.model_copy(update={"args": tuple(f"h({arg})" for arg in result.args)})

        async with make_backend(redact=redact) as backend:
            await backend.runs.start("r", config="c")
            await backend.runs.complete("r", 1)
            done = await backend.runs.get("r")
            assert done is not None
            assert (done.config, done.result) == ("h(c)", 1)
            assert (await backend.runs.start("r", config="c", resume=True)).attempt == 1

    async def test_types_that_are_registered_later(self, backend: BaseResultBackend) -> None:
        await backend.runs.start("r")
        backend.register_types([Score])
        await backend.runs.append("r", Score(value=1), key="k")
        record = await backend.runs.get_by_key("r", "k")
        assert record is not None
        assert record.value == Score(value=1)

    async def test_appending_while_a_run_ends(self, backend: BaseResultBackend) -> None:
        """Each append is before the end, and counted, or refused; none is lost in between."""
        await backend.runs.start("r")

        async def append(number: int) -> bool:
            try:
                return await backend.runs.append("r", number)
            except RunNotOpen:
                return False

        appended, _, late = await asyncio.gather(
            asyncio.gather(*(append(n) for n in range(100))),
            backend.runs.complete("r"),
            asyncio.gather(*(append(n) for n in range(100))),
        )
        count = sum(appended) + sum(late)
        assert (await backend.runs.progress("r")).done == count
        assert len([record async for record in backend.runs.records("r")]) == count

    async def test_a_damaged_record_hides_no_other(self, backend: BaseResultBackend) -> None:
        await backend.runs.start("r")
        await backend.runs.append_many("r", {"a": 1, "b": 2, "c": 3})
        await damage_record(backend, "r", "b")
        seen: list[str] = []

        async def read() -> None:
            async for record in backend.runs.records("r"):
                seen.append(record.key)  # noqa: PERF401  # what came before it raised

        with pytest.raises(UnreadableRecords):
            await read()
        assert seen == ["a", "c"]
        assert [each.key for each in (await backend.runs.page("r")).unreadable] == ["b"]
        with pytest.raises(CorruptRecord):
            await backend.runs.get_by_key("r", "b")


STATUSES: tuple[StatusName, ...] = ("success", "failed", "cancelled")
