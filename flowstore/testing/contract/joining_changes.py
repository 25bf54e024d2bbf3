"""The contract of ``watch_changes`` for those who join others: each gets its own, and waits for nobody."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing

from flowstore import BaseResultBackend, ChangesMissed, TaskResult
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import NO_RECHECK, Contract, MakeBackend
from flowstore.testing.contract.changes import PATIENCE, Changes, following, said
from flowstore.testing.insides import meanwhile

LATE = 10
"""Seconds that a store may take until it is seen: the op_timeout here."""


async def _store(backend: BaseResultBackend, *names: str) -> None:
    for name in names:
        await backend.store(name, TaskResult.pending(name))


class JoiningChangesContract(Contract):
    async def test_what_a_late_joiner_reads_is_for_it_alone(self, make_backend: MakeBackend) -> None:
        """Others are not given what was stored before their call, nor once more what they had already."""
        clock = ManualClock()
        async with (
            make_backend(clock=clock, recheck_interval=NO_RECHECK, op_timeout=LATE) as backend,
            aclosing(backend.watch_changes()) as late,
        ):
            await _store(backend, "x")
            clock.advance(60)
            async with aclosing(backend.watch_changes(most=3)) as early:
                await _store(backend, "a")
                assert await said(early, 1) == ["a pending 1"]
                clock.advance(60)
                names = [f"y{n}" for n in range(8)]
                for name in names:
                    await _store(backend, name)
                    assert await said(early, 1) == [f"{name} pending 1"]
                assert await said(late, 10) == [f"{name} pending 1" for name in ("x", "a", *names)]
                await _store(backend, "last")
                assert await said(early, 1) == await said(late, 1) == ["last pending 1"]

    async def test_a_joiner_is_passed_over_by_nothing_that_it_can_read(
        self, make_backend: MakeBackend
    ) -> None:
        """It reads the history as it takes it, however little is kept for it."""
        async with (
            make_backend(recheck_interval=NO_RECHECK) as backend,
            aclosing(backend.watch_changes(most=2)) as changes,
        ):
            await backend.store_many(TaskResult.pending(f"t{n:04}") for n in range(1_200))
            assert sorted(await said(changes, 1_200)) == [f"t{n:04} pending 1" for n in range(1_200)]
            await _store(backend, "last")
            assert await said(changes, 1) == ["last pending 1"]

    async def test_nobody_waits_for_a_joiner(self, make_backend: MakeBackend) -> None:
        """While it reads the history, others are told what is stored."""
        async with AsyncExitStack() as stack:
            backend = await stack.enter_async_context(make_backend(recheck_interval=NO_RECHECK))
            first = await stack.enter_async_context(aclosing(backend.watch_changes()))
            await _store(backend, "a")
            assert await said(first, 1) == ["a pending 1"]
            joining = await stack.enter_async_context(aclosing(backend.watch_changes()))
            told: list[str] = []

            async def others() -> None:
                await _store(backend, "b")
                told.extend(await said(first, 1))

            meanwhile(backend, "timeline", others)
            assert await said(joining, 2) == ["a pending 1", "b pending 1"]
            assert told == ["b pending 1"]

    async def test_a_store_that_is_seen_late(self, make_backend: MakeBackend) -> None:
        """Stamped before the call and seen only after a listing: it comes, though no hint has told of it.

        Who reads cannot tell it from what was seen before, so that comes as well, if it is as new.
        """
        clock = ManualClock()
        async with make_backend(clock=clock, recheck_interval=NO_RECHECK, op_timeout=LATE) as backend:
            await _store(backend, "old")
            clock.advance(LATE)
            await _store(backend, "late")
            clock.advance(LATE - 1)
            async with aclosing(backend.watch_changes()) as changes:
                await _store(backend, "new")
                assert await said(changes, 2) == ["late pending 1", "new pending 1"]

    async def test_a_state_that_the_history_does_not_keep(self, make_backend: MakeBackend) -> None:
        """It was replaced before it could be read: a sign comes in its place."""
        backend = make_backend(recheck_interval=NO_RECHECK, history_limit=1)
        async with backend, aclosing(backend.watch_changes()) as changes:
            assert await said(changes, 1) == ["missed"]
            await _store(backend, "first")
            assert await said(changes, 1) == ["first pending 1"]
            await backend.store_many([TaskResult.pending("t"), TaskResult.running("t")])
            missed, shown = await following(changes, 2)
            assert isinstance(missed, ChangesMissed)
            [step] = await backend.history.of("t")
            assert missed.since <= step.at
            assert (step.status, step.seq) == ("running", 2)
            assert not isinstance(shown, ChangesMissed)
            assert (shown.task_id, shown.seq) == ("t", 2)
            await _store(backend, "last")
            assert await said(changes, 1) == ["last pending 1"]

    async def test_to_be_closed_while_it_joins(self, make_backend: MakeBackend) -> None:
        """In the midst of what it reads, like others who wait: nothing is left behind."""
        async with make_backend(recheck_interval=NO_RECHECK) as backend:
            changes: list[Changes] = [backend.watch_changes() for _ in range(3)]
            await backend.store_many(TaskResult.pending(f"t{n:04}") for n in range(700))
            for each in changes:
                await following(each, 1)
            waiting = asyncio.ensure_future(following(changes[0], 800))
            await asyncio.sleep(0)
            waiting.cancel()
            async with asyncio.timeout(PATIENCE):
                await asyncio.wait([waiting])
            for each in changes:
                await each.aclose()
            assert backend.waiting == 0
