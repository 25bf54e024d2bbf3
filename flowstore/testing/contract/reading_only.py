"""The contract of ``read_only``: such backends see what others store, and write nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from datetime import timedelta
from typing import Any, Final

import pytest
import pytest_asyncio

from flowstore import AccessDenied, BaseResultBackend, TaskResult, TaskStatus
from flowstore.testing.calls import CALLS, CALLS_OF_RUNS, Call
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract
from flowstore.testing.contract.neighbours import MakeNeighbour
from flowstore.testing.support import as_given, failed, ids, stored

StoredBytes = Callable[[], object]
"""Returns all that the storage of ``make_neighbour`` holds now, so that it can be compared."""

SOON: Final = 0.02
"""A ``recheck_interval``, in seconds, for waits that nothing else ends."""
_REFUSED: Final = "read_only=True: this backend stores, changes and removes nothing"
_ANSWERS: Final = [
    *("get", "get_many", "exists", "wait_for", "wait_for, one look", "wait_for_many"),
    *("list_by_status", "page", "page, by finish", "iter_by_status", "iter_ids", "search"),
    *("search, for text", "iter_search", "count_by_status", "count_by_status, capped", "data.get"),
    *("data.entry", "data.all", "checkpoints.latest", "checkpoints.all", "workers.get", "workers.all"),
    *("workers.find", "workers.stale", "workers.running_tasks", "app.info", "app.namespaces"),
    *("app.data.get", "app.data.entry", "app.data.all", "archive.digest", "families.children"),
    *("families.descendants", "facets.names", "facets.labels", "facets.workers", "families.picture"),
    *("workflows.types", "workflows.runs", "workflows.get", "watch", "watch_status", "history.of"),
    *("history.iter", "history.iter_ids", "history.of_many", "history.of_family", "history.page"),
    *("stats.total", "stats.percentiles", "stats.series", "stats.by", "stats.names", "errors.groups"),
    *("errors.get", "errors.occurrences", "errors.types", "retention.plan", "actions.apply"),
    *("actions.all", "integrity.verify", "integrity.findings", "runs.get", "runs.list", "runs.iter"),
    *("runs.exists", "runs.get_by_key", "runs.records", "runs.page", "runs.missing"),
    *("runs.evaluations", "runs.evaluation", "runs.all_evaluations", "runs.latest_checkpoint"),
    *("runs.checkpoints", "runs.size", "runs.verify", "runs.retention.plan", "runs.archive.digest"),
    *("runs.datasets.all",),
]
_OTHER_READS: Final = [
    "as_completed",
    "ping",
    "facts",
    "archive.export",
    "archive.table",
    "runs.archive.export",
]
"""Their answers say when they were given, or where."""
_ALL: Final[dict[str, Call]] = {**CALLS, **CALLS_OF_RUNS}
READS: Final = [*_ANSWERS, *_OTHER_READS]
"""The calls that write nothing. All others do, or begin with one that does."""
WRITES: Final = sorted(_ALL.keys() - {*READS})


async def _filled(backend: BaseResultBackend) -> None:
    """With something of every kind that can be read."""
    for n in range(10):
        parent = f"t{n - 1}" if n else None
        done = TaskResult.success(f"t{n}", n, task_name="a", labels=["x"], worker_id="w", parent_id=parent)
        await backend.store(f"t{n}", done)
    await backend.store("broken", failed("broken", task_name="b"))
    await backend.data.set("t0", "k", 1)
    await backend.checkpoints.save("t0", 1)
    await backend.workers.register("w")
    await backend.app.register({"name": "x"})
    await backend.app.data.set("k", 1)
    await backend.actions.start("cancel", "name:a")
    await backend.runs.start("r")
    await backend.runs.append("r", 1, key="k")
    await backend.runs.evaluate("r", "k", 1)
    await backend.runs.datasets.save("r", range(3))


async def _refusal(call: Call, backend: BaseResultBackend) -> str | None:
    try:
        await call(backend)
    except AccessDenied as refused:
        return str(refused)
    return None


class ReadOnlyContract(Contract):
    """For storages that several backends share. Override ``make_neighbour`` and ``stored_bytes``."""

    @pytest.fixture
    def make_neighbour(self) -> MakeNeighbour:
        pytest.fail("override the fixture make_neighbour: a callable from a namespace to an unopened backend")

    @pytest.fixture
    def stored_bytes(self) -> StoredBytes:
        pytest.fail("override the fixture stored_bytes: a callable that returns all that is stored")

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest_asyncio.fixture
    async def reader(
        self, make_neighbour: MakeNeighbour, clock: ManualClock
    ) -> AsyncIterator[BaseResultBackend]:
        """Of a namespace that a writer has filled, and left."""
        async with make_neighbour("shop", clock=clock) as writer:
            await _filled(writer)
        async with make_neighbour("shop", clock=clock, read_only=True, recheck_interval=SOON) as opened:
            yield opened

    async def test_what_writes_is_refused_and_nothing_is_written(
        self, reader: BaseResultBackend, stored_bytes: StoredBytes
    ) -> None:
        """Every call is either refused, in the same words, or reads; what is stored stays byte for byte."""
        before = await asyncio.to_thread(stored_bytes)
        for name in WRITES:
            assert await _refusal(_ALL[name], reader) == _REFUSED, name
        for name in READS:
            await _ALL[name](reader)
        assert await asyncio.to_thread(stored_bytes) == before

    async def test_a_reader_is_answered_as_a_writer_is(
        self, reader: BaseResultBackend, make_neighbour: MakeNeighbour, clock: ManualClock
    ) -> None:
        """Each reading call, about tasks and all that belongs to them, workers, the app and runs."""
        async with make_neighbour("shop", clock=clock) as writer:
            for name in _ANSWERS:
                assert await _ALL[name](reader) == await _ALL[name](writer), name
        counts = await reader.count_by_status()
        assert (counts[TaskStatus.SUCCESS], counts.total) == (10, 11)

    async def test_a_namespace_that_nobody_has_founded(
        self, reader: BaseResultBackend, make_neighbour: MakeNeighbour, stored_bytes: StoredBytes
    ) -> None:
        """It is empty, stays unknown to others, and is there as soon as somebody stores in it."""
        before = await asyncio.to_thread(stored_bytes)
        async with make_neighbour("new", read_only=True) as early:
            assert await early.get("t") is None
            assert (await early.page()).items == []
            assert (await early.count_by_status()).total == 0
            assert [run async for run in early.runs.iter()] == []
            with pytest.raises(AccessDenied, match="read_only=True"):
                await early.store("t", TaskResult.pending("t"))
            assert await asyncio.to_thread(stored_bytes) == before
            async with make_neighbour("new") as writer:
                await writer.store("t", TaskResult.success("t", 1))
                assert ids((await early.page()).items) == ["t"]
                assert as_given(await stored(early, "t")).result == 1

    async def test_waits_of_a_reader_end_by_looking_again(
        self, reader: BaseResultBackend, make_neighbour: MakeNeighbour, clock: ManualClock
    ) -> None:
        """Nobody tells it of anything: waits, watches and the changes of all are read every so often."""
        async with AsyncExitStack() as stack:
            writer = await stack.enter_async_context(make_neighbour("shop", clock=clock))
            changes = await stack.enter_async_context(aclosing(reader.watch_changes("id:late")))
            states = await stack.enter_async_context(aclosing(reader.watch("late")))
            waits = asyncio.ensure_future(reader.wait_for_many(["late", "later"], 30))
            heard: list[asyncio.Future[Any]] = [
                asyncio.ensure_future(anext(each)) for each in (changes, states)
            ]
            await reader.ping()
            await writer.store("late", TaskResult.success("late", 1))
            await writer.store("later", TaskResult.success("later", 2))
            assert (await waits).keys() == {"late", "later"}
            assert [(await each).task_id for each in heard] == ["late", "late"]

    async def test_a_reader_removes_nothing_that_has_expired(
        self,
        reader: BaseResultBackend,
        make_neighbour: MakeNeighbour,
        stored_bytes: StoredBytes,
        clock: ManualClock,
    ) -> None:
        """It shows none of it, and leaves it for those who may remove it."""
        async with make_neighbour("shop", clock=clock, purge_interval=None) as writer:
            await writer.store("short", failed("short"), ttl=timedelta(seconds=10))
        clock.advance(11)
        before = await asyncio.to_thread(stored_bytes)
        async with make_neighbour("shop", clock=clock, read_only=True, purge_interval=0.01) as other:
            assert await other.get("short") is None
            assert ids((await other.page(TaskStatus.FAILED)).items) == ["broken"]
            assert (await other.facts()).options["purge_interval"] is None
        assert await asyncio.to_thread(stored_bytes) == before

    async def test_a_reader_says_that_it_is_one(self, reader: BaseResultBackend) -> None:
        """In a word of its own, in its runs and in the facts, which do not warn of it."""
        facts = await reader.facts()
        assert reader.is_read_only is True
        assert (facts.is_writable, facts.options["read_only"]) == (False, True)
        assert "read-only" not in {warning.code for warning in facts.warnings}

    async def test_read_only_is_a_bool(self, make_neighbour: MakeNeighbour) -> None:
        """It is checked where the backend is made; without it a backend writes."""
        with pytest.raises(TypeError, match="read_only: expected bool"):
            make_neighbour("shop", read_only="no")
        assert make_neighbour("shop").is_read_only is False
