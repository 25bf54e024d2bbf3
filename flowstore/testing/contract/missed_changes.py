"""The contract of ``watch_changes`` in trouble: all comes once, or a sign that some does not."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import pytest

from flowstore import (
    BaseResultBackend,
    ChangesMissed,
    StorageTimeout,
    StorageUnavailable,
    TaskChange,
    TaskResult,
)
from flowstore.testing.contract.base import NO_RECHECK, Contract, MakeBackend
from flowstore.testing.contract.changes import PATIENCE, Changes, following, said
from flowstore.testing.contract.enduring import SEEDS
from flowstore.testing.faults import CutLine, UnreliableHints
from flowstore.testing.insides import engine_of, faulty, wrap_engine
from flowstore.testing.support import in_any_order, stored


async def _live(backend: BaseResultBackend, name: str) -> None:
    """Three stores, with a report in between, which is no change."""
    await backend.store(name, TaskResult.pending(name))
    await backend.store(name, TaskResult.running(name))
    await backend.set_progress(name, 1)
    await backend.store(name, TaskResult.success(name, name))


class _Reader:
    """Takes all that comes; ``called``: when it began to listen."""

    def __init__(self, backend: BaseResultBackend) -> None:
        self.found: Counter[tuple[str, int]] = Counter()
        self._news = asyncio.Event()
        changes = backend.watch_changes()
        self.called = datetime.now(UTC)
        self._task = asyncio.ensure_future(self._take(changes))

    async def _take(self, changes: Changes) -> None:
        async with aclosing(changes):
            async for change in changes:
                assert isinstance(change, TaskChange)
                self.found[change.task_id, change.seq] += 1
                self._news.set()

    async def check(self, backend: BaseResultBackend, last: str) -> None:
        """It is given each change since it was called, and by the next one none of them twice."""
        await _live(backend, last)
        every = [step async for step in backend.history.iter() if step.at > self.called]
        async with asyncio.timeout(PATIENCE):
            await self._has({(step.task_id, step.seq) for step in every})
            await backend.store(last, TaskResult.success(last), overwrite=True)
            await self._has({(last, 4)})
        assert set(self.found.values()) == {1}
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _has(self, wanted: set[tuple[str, int]]) -> None:
        while not self.found.keys() >= wanted:
            self._news.clear()
            waiting = asyncio.ensure_future(self._news.wait())
            await asyncio.wait([waiting, self._task], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if self._task.done():
                self._task.result()


def _line(backend: BaseResultBackend) -> CutLine:
    wrap_engine(backend, CutLine)
    line = engine_of(backend)
    assert isinstance(line, CutLine)
    return line


class MissedChangesContract(Contract):
    @pytest.mark.parametrize("seed", SEEDS)
    async def test_each_once_though_hints_get_lost(self, make_backend: MakeBackend, seed: int) -> None:
        """Lost, doubled or late: whoever listens, from whenever on, is given each change since then once."""

        async def live() -> None:
            backend = make_backend(recheck_interval=0.2)
            wrap_engine(backend, lambda engine: UnreliableHints(engine, seed))
            async with backend:
                work = [asyncio.ensure_future(_live(backend, f"t{n}")) for n in range(20)]
                readers = [_Reader(backend)]
                for n in (3, 7, 19):
                    await work[n]
                    readers.append(_Reader(backend))
                await asyncio.gather(*work)
                for n, reader in enumerate(readers):
                    await reader.check(backend, f"end{n}")

        await in_any_order(seed, live)

    async def test_to_join_in_the_midst_of_it(self, make_backend: MakeBackend) -> None:
        """Among many stores, others who listen, and reads that take their time: nothing since is left out."""
        backend = make_backend(recheck_interval=NO_RECHECK)
        faults = faulty(backend)
        async with backend:
            readers = [_Reader(backend)]
            await asyncio.sleep(0)
            faults.slow("timeline", "read", "write", delay=0.005, times=None, is_carried_out=True)
            work = [asyncio.ensure_future(_live(backend, f"t{n}")) for n in range(60)]
            for n in range(0, 60, 6):
                readers.append(_Reader(backend))
                await work[n]
            await asyncio.gather(*work)
            for n, reader in enumerate(readers):
                await reader.check(backend, f"end{n}")

    async def test_nothing_is_lost_with_the_line(self, make_backend: MakeBackend) -> None:
        """What was stored while no hint came through comes once it is back; nobody waits for a re-check."""
        backend = make_backend(recheck_interval=NO_RECHECK)
        line = _line(backend)
        async with backend, aclosing(backend.watch_changes()) as changes:
            await backend.store("a", TaskResult.pending("a"))
            assert await said(changes, 1) == ["a pending 1"]
            for _ in range(3):
                line.cut()
                await backend.clear()
                await _live(backend, "a")
                await backend.store("b", TaskResult.pending("b"))
                line.mend()
                found = await said(changes, 4)
                assert sorted(found) == ["a pending 1", "a running 2", "a success 3", "b pending 1"]
            await backend.store("c", TaskResult.pending("c"))
            assert await said(changes, 1) == ["c pending 1"]

    @pytest.mark.parametrize("options", [{"history": False}, {"history_limit": 2}])
    async def test_without_a_whole_history(self, make_backend: MakeBackend, options: dict[str, Any]) -> None:
        """At the beginning and after each break a sign says that some may be missing; no more of them."""
        backend = make_backend(recheck_interval=NO_RECHECK, **options)
        line = _line(backend)
        async with backend, aclosing(backend.watch_changes()) as changes:
            assert await said(changes, 1) == ["missed"]
            for n in range(3):
                await backend.store(f"a{n}", TaskResult.pending(f"a{n}"))
                assert await said(changes, 1) == [f"a{n} pending 1"]
            line.cut()
            await backend.store("lost", TaskResult.pending("lost"))
            before = (await stored(backend, "lost")).updated_at
            line.mend()
            [missed] = await following(changes, 1)
            assert isinstance(missed, ChangesMissed)
            assert before is not None
            assert missed.since <= before
            await backend.store("b", TaskResult.pending("b"))
            rest = await said(changes, 1 if not options.get("history_limit") else 2)
            assert rest[-1] == "b pending 1"
            assert set(rest[:-1]) <= {"lost pending 1"}

    @pytest.mark.parametrize("error", [StorageUnavailable("injected"), StorageTimeout("injected")])
    @pytest.mark.parametrize("verb", ["read", "timeline", "items", "watch"])
    async def test_outages_are_ridden_out(
        self, make_backend: MakeBackend, verb: str, error: StorageUnavailable
    ) -> None:
        """Whatever the reader asks for: nothing is lost, and nothing comes twice."""
        backend = make_backend(recheck_interval=NO_RECHECK)
        faults = faulty(backend)
        async with backend:
            faults.fail(verb, error=error, times=2)
            changes = backend.watch_changes()
            await backend.store_many([TaskResult.pending("a"), TaskResult.running("a")])
            assert sorted(await said(changes, 2)) == ["a pending 1", "a running 2"]
            faults.fail(verb, error=error, times=2)
            await backend.store_many([TaskResult.pending("b"), TaskResult.running("b")])
            await backend.store("c", TaskResult.pending("c"))
            assert sorted(await said(changes, 3)) == ["b pending 1", "b running 2", "c pending 1"]
            await changes.aclose()

    async def test_a_storage_that_is_slow(self, make_backend: MakeBackend) -> None:
        """What is stored during a read is in the next one."""
        backend = make_backend(recheck_interval=NO_RECHECK)
        faults = faulty(backend)
        async with backend, aclosing(backend.watch_changes()) as changes:
            await backend.store("first", TaskResult.pending("first"))
            await following(changes, 1)
            before = faults.calls["read"]
            faults.slow("read", delay=0.05, times=1, is_carried_out=True)
            stores = [backend.store(f"t{n}", TaskResult.pending(f"t{n}")) for n in range(30)]
            await asyncio.gather(*stores)
            assert sorted(await said(changes, 30)) == sorted(f"t{n} pending 1" for n in range(30))
            assert faults.calls["read"] - before <= 10

    async def test_any_other_failure_is_told(self, make_backend: MakeBackend) -> None:
        """To all who listen; whoever begins then has a new chance."""
        backend = make_backend(recheck_interval=NO_RECHECK)
        faults = faulty(backend)
        async with backend:
            listening = [backend.watch_changes() for _ in range(2)]
            await backend.store("a", TaskResult.pending("a"))
            for changes in listening:
                await following(changes, 1)
            faults.fail("read", error=OSError("injected"))
            await backend.store("b", TaskResult.pending("b"))
            for changes in listening:
                with pytest.raises(OSError, match="injected"):
                    await following(changes, 1)
            assert backend.waiting == 0
            async with aclosing(backend.watch_changes()) as changes:
                await backend.store("c", TaskResult.pending("c"))
                assert await said(changes, 3) == ["a pending 1", "b pending 1", "c pending 1"]
