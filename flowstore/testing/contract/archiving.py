"""The contract of exports, imports and copies: records come back exactly as they were, on every backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from flowstore import (
    BaseResultBackend,
    CancelRequest,
    ImportConflict,
    InMemoryBackend,
    RestoreConflict,
    SQLiteBackend,
    StorageUnavailable,
    TaskResult,
    VersionConflict,
)
from flowstore.engine import EngineWrapper, Outcome, Put, Write
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import NO_RECHECK, Contract, MakeBackend
from flowstore.testing.contract.values import Colour, Order, Point
from flowstore.testing.insides import wrap_engine
from flowstore.testing.support import START, waiting

TYPES = [Colour, Order, Point]


async def fill(backend: BaseResultBackend, clock: ManualClock) -> None:
    """Records of every kind, with all that a record can have."""
    meta = {"a": 1, "b": None}
    await backend.store("root", TaskResult.pending("root", task_name="run", meta=meta, at=START))
    clock.advance(1)
    given: dict[str, Any] = {"parent_id": "root", "worker_id": "w1", "labels": ["x", "y"], "at": START}
    child = TaskResult.running("child", task_name="step", **given)
    await backend.store("child", child, ttl=3_600)
    await backend.store("grandchild é\0*", TaskResult.running("grandchild é\0*", parent_id="child", at=START))
    await backend.set_progress("child", 3, 10, "half \U0001f600")
    for number in range(4):
        clock.advance(0.25)
        await backend.data.set("child", "counter", number)
        await backend.data.set("child", "of types", Point(1, {"d": Decimal("1.50")}))
        await backend.checkpoints.save("child", {"row": (number, b"\xff")}, keep=2)
    await backend.history.record("child", "seen", {"by": "me"}, at=START)
    values = [1, 2.5, (None, "\ud800"), {3: date(2026, 1, 1)}]
    given = {"args": (2**70,), "kwargs": {"k": 1e22}, "at": START}
    await backend.store("again", TaskResult.success("again", values, **given))
    await backend.requeue("again")
    for retries in range(3):
        clock.advance(1)
        given = {"retries": retries, "labels": ["x"], "at": START}
        await backend.store("failed", TaskResult.failed("failed", ValueError("no"), **given))
    await backend.store("asked", TaskResult.running("asked", worker_id="w1", at=START))
    await backend.cancel("asked", "no more")
    await backend.store_many(
        TaskResult.success(f"many-{n}", Order(number=n), at=START + timedelta(seconds=n), submitted_at=START)
        for n in range(1_203)
    )
    await backend.store("plain", TaskResult.success("plain", at=START))


async def shown(backend: BaseResultBackend) -> dict[str, Any]:
    """All that a backend shows of its records."""
    ids = ["root", "child", "grandchild é\0*", "again", "failed", "asked", "plain", "many-7"]
    beside = {
        task_id: [
            await backend.history.of(task_id),
            [await backend.data.entry(task_id, key) for key in await backend.data.all(task_id)],
            await backend.checkpoints.all(task_id),
        ]
        for task_id in ids
    }
    listed = {
        "all": [each async for each in backend.iter_by_status()],
        "failed": (await backend.page("failed", order="finished")).items,
        "label": [each.task_id for each in (await backend.page(label="x")).items],
        "worker": [each.task_id for each in (await backend.page(worker_id="w1")).items],
        "family": [each.task_id async for each in backend.families.descendants("root")],
        "history": sorted([(each.at, each.task_id, each.seq) async for each in backend.history.iter()]),
        "counts": await backend.count_by_status(),
    }
    return {**beside, **listed}


class Killed(EngineWrapper):
    """Carries out so many writes and puts, and not one more."""

    def __init__(self, inner: Any, left: int) -> None:
        super().__init__(inner)
        self._left = left

    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        return await self._some(self.inner.write, writes, now)

    async def put(self, puts: Sequence[Put], now: int) -> list[Outcome]:
        return await self._some(self.inner.put, puts, now)

    async def _some(self, verb: Callable[..., Any], items: Sequence[Any], now: int) -> list[Outcome]:
        some, self._left = items[: self._left], max(0, self._left - len(items))
        outcomes: list[Outcome] = await verb(some, now) if some else []
        if len(some) < len(items):
            raise StorageUnavailable("killed")
        return outcomes


class ArchiveContract(Contract):
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    async def test_records_come_back_on_every_backend(
        self, make_backend: MakeBackend, clock: ManualClock, tmp_path: Path
    ) -> None:
        """From this one to memory, SQLite and another one of this kind, by files: everything is as it was."""
        options: dict[str, Any] = {"clock": clock, "types": TYPES, "recheck_interval": NO_RECHECK}
        makers: list[MakeBackend] = [
            InMemoryBackend,
            lambda **given: SQLiteBackend(tmp_path / "to.db", **given),
            make_backend,
        ]
        async with AsyncExitStack() as stack:
            source = await stack.enter_async_context(make_backend(**options))
            await fill(source, clock)
            expected = await shown(source)
            for number, make in enumerate(makers):
                target = await stack.enter_async_context(make(**options))
                file = tmp_path / f"{number}.jsonl{('', '.gz', '')[number]}"
                out = await source.archive.export(file)
                assert (out.records, out.unreadable) == (1_210, [])
                came = await target.archive.load(file)
                assert (came.restored, came.unchanged, came.conflict_count) == (1_210, 0, 0)
                assert await target.archive.digest() == out.digest
                assert await shown(target) == expected
                source = target  # and on, from one to the next

    async def test_records_go_on_where_they_are_restored(
        self, make_backend: MakeBackend, clock: ManualClock
    ) -> None:
        """Versions, keys of the history and numbers of checkpoints count on; first parents stay."""
        async with make_backend(clock=clock, types=TYPES) as source, make_backend(clock=clock) as backend:
            await fill(source, clock)
            await source.archive.copy_to(backend, task_ids=["root", "child"])
            with pytest.raises(VersionConflict):
                await backend.data.set("child", "counter", 9, if_version=3)
            assert await backend.data.set("child", "counter", 9, if_version=4) == 5
            assert await backend.checkpoints.save("child", 1) == 5
            assert await backend.store("child", TaskResult.success("child", 1), if_version=2)
            assert [step.seq for step in await backend.history.of("child")] == [1, 2, 3]
            found = await backend.get("child")
            assert found is not None
            assert (found.version, found.parent_id) == (3, "root")

    async def test_copies_are_verified(self, clock: ManualClock, make_backend: MakeBackend) -> None:
        """A copy is the same to the last byte, from memory, and back into it."""
        async with InMemoryBackend(clock=clock, types=TYPES) as memory, make_backend(clock=clock) as middle:
            await fill(memory, clock)
            done: list[int] = []
            out = await memory.archive.copy_to(middle, progress=done.append)
            assert out.is_verified
            assert (out.restored, out.digest) == (1_210, await memory.archive.digest())
            assert done == sorted(done)
            assert done[-1] == 1_210
            async with InMemoryBackend(clock=clock, types=TYPES) as back:
                assert (await middle.archive.copy_to(back)).digest == out.digest
                assert await shown(back) == await shown(memory)
                again = await middle.archive.copy_to(back)
                assert (again.unchanged, again.restored, again.digest) == (1_210, 0, out.digest)

    async def test_equal_records_have_equal_digests(self, make_backend: MakeBackend) -> None:
        """Whatever backend they were stored in: digests need no copy to compare with."""
        digests = []
        for make in (make_backend, InMemoryBackend):
            clock = ManualClock()
            async with make(clock=clock, types=TYPES) as backend:
                await fill(backend, clock)
                digests.append([await backend.archive.digest(), await backend.archive.digest("failed")])
                digests[-1].append(await backend.archive.digest(task_ids=["again", "child", "nothing"]))
                digests[-1].append(await backend.archive.digest("failed", order="finished", label="x"))
        assert digests[0] == digests[1]
        assert len({*digests[0]}) == 3  # the last one is that of the only failed task

    async def test_digests_tell_of_each_change(self, backend: BaseResultBackend) -> None:
        """Of values, of what belongs to a record, and of its history."""
        await backend.store("t", TaskResult.running("t"))
        seen = [await backend.archive.digest()]
        for change in (
            backend.store("t", TaskResult.running("t", args=(1,))),
            backend.data.set("t", "k", 1),
            backend.data.set("t", "k", 1),
            backend.checkpoints.save("t", 1),
            backend.set_progress("t", 1),
            backend.expire("t", 3_600),
            backend.delete("t"),
        ):
            await change
            seen.append(await backend.archive.digest())
        assert len({*seen}) == len(seen)

    async def test_an_import_that_was_killed_is_completed(
        self, make_backend: MakeBackend, tmp_path: Path
    ) -> None:
        """After any number of writes and puts: repeated, it restores the rest, and all is as in one go."""
        async with make_backend() as source:
            for status in (TaskResult.pending, TaskResult.running, TaskResult.success):
                await source.store_many([status("a"), status("b", parent_id="a")])
            await source.data.set("a", "k", 1)
            await source.data.set("a", "k", 2)
            await source.data.set("a", "l", 3)
            await source.checkpoints.save("b", 1)
            out = await source.archive.export(tmp_path / "x")
        for left in range(9):
            target = make_backend()
            killed = Killed(None, left)

            def wrap(engine: Any, killed: Killed = killed) -> Any:
                killed.inner = engine
                return killed

            wrap_engine(target, wrap)
            async with target:
                with pytest.raises(StorageUnavailable, match="killed"):
                    await target.archive.load(tmp_path / "x")
                killed._left = 1_000
                came = await target.archive.load(tmp_path / "x")
                assert came.restored + came.unchanged == 2
                assert await target.archive.digest() == out.digest

    async def test_what_stands_there_is_a_conflict(self, make_backend: MakeBackend, tmp_path: Path) -> None:
        """It is named and nothing is changed, or kept, or replaced with all that belongs to it."""
        async with make_backend() as source, make_backend() as target:
            await source.store_many([TaskResult.success(name, 1) for name in "abc"])
            out = await source.archive.export(tmp_path / "x")
            await target.store("b", TaskResult.failed("b", ValueError("other")))
            await target.store("b", TaskResult.success("b", 2), overwrite=True)
            await target.data.set("b", "k", 1)
            before = await target.archive.digest()
            with pytest.raises(RestoreConflict, match=r"'b'.*version 2.*version 1"):
                await target.archive.load(tmp_path / "x")
            assert await target.archive.digest() == before
            came = await target.archive.load(tmp_path / "x", on_conflict="keep")
            [conflict] = came.conflicts
            assert (came.restored, came.conflict_count, conflict.task_id) == (2, 1, "b")
            assert "version 2" in conflict.reason
            assert await target.archive.digest(task_ids=["b"]) == before
            came = await target.archive.load(tmp_path / "x", on_conflict="replace")
            assert (came.restored, came.replaced, came.unchanged) == (1, 1, 2)
            assert await target.archive.digest() == out.digest
            assert await target.data.all("b") == {}

    async def test_conflicts_say_what_differs(self, make_backend: MakeBackend) -> None:
        """Also where the versions are the same."""
        clock = ManualClock()
        async with make_backend(clock=clock) as source, make_backend(clock=clock) as target:
            for backend, value in ((source, 1), (target, 2)):
                await backend.store("values", TaskResult.success("values", value, at=START))
                await backend.store("data", TaskResult.success("data", at=START))
                await backend.data.set("data", "k", value)
            came = await source.archive.copy_to(target, on_conflict="keep")
            assert {(each.task_id, each.reason) for each in came.conflicts} == {
                ("values", "what stands there has another body"),
                ("data", "what stands there has another data"),
            }
            assert isinstance(came.conflicts[0], ImportConflict)

    async def test_waits_end_with_what_is_restored(self, make_backend: MakeBackend) -> None:
        """A wait for a record that comes by an import ends as by any store."""
        async with make_backend() as source, make_backend(recheck_interval=NO_RECHECK) as target:
            await source.store("t", TaskResult.pending("t"))
            await source.store("t", TaskResult.success("t", 7))
            wait = await waiting(target, "t")
            await source.archive.copy_to(target)
            assert (await wait).unwrap() == 7

    async def test_what_has_expired_is_left_out(self, make_backend: MakeBackend, tmp_path: Path) -> None:
        """Of an export, and of an import that comes too late; otherwise it expires when it would have."""
        clock = ManualClock()
        async with make_backend(clock=clock) as source, make_backend(clock=clock) as target:
            for name, ttl in (("gone", 10), ("soon", 60), ("later", 600), ("never", None)):
                await source.store(name, TaskResult.success(name), ttl=ttl)
            clock.advance(30)
            assert (await source.archive.export(tmp_path / "x")).records == 3
            clock.advance(60)
            came = await target.archive.load(tmp_path / "x")
            assert (came.restored, came.expired) == (2, 1)
            assert {each.task_id async for each in target.iter_by_status()} == {"later", "never"}
            clock.advance(600)
            assert await target.get("later") is None

    async def test_long_values_and_many_versions(self, make_backend: MakeBackend) -> None:
        """Bodies of more than is read at first, and a record that was written a thousand times."""
        async with make_backend(history_limit=20) as source, make_backend() as target:
            await source.store_many([TaskResult.success(f"t{n}", "x" * 150_000) for n in range(40)])
            await source.store_many([TaskResult.running("often", args=(n,)) for n in range(1_000)])
            copied = await source.archive.copy_to(target)
            assert (copied.is_verified, copied.restored) == (True, 41)
            assert copied.digest == await target.archive.digest() == await source.archive.digest()
            assert [step.seq for step in await target.history.of("often")] == [*range(981, 1_001)]

    async def test_what_is_in_no_index(self, make_backend: MakeBackend) -> None:
        """Fields that the source does not list come along; so does a request to cancel."""
        request = CancelRequest(at=datetime(2026, 1, 1, tzinfo=UTC), reason="why")
        for facets in ((), ("label", "finished")):
            async with make_backend(facets=facets) as source, make_backend() as target:
                given: dict[str, Any] = {"task_name": "n", "worker_id": "w", "labels": ["l"]}
                await source.store(
                    "t", TaskResult.running("t", **given, meta={"a": 1}, cancel_request=request)
                )
                assert (await source.archive.copy_to(target)).is_verified
                assert await target.get("t") == await source.get("t")
