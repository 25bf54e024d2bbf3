"""The contract of retention of runs: by group, never what is going on or pinned, one process at a time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from flowstore import BaseResultBackend, RetentionBusy, RetentionPolicy, RunNotOpen
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.insides import core_of_runs
from flowstore.testing.runs_contract.base import stored
from flowstore.testing.runs_contract.removing import fill
from flowstore.testing.support import IS_STRESS


async def ids(backend: BaseResultBackend) -> set[str]:
    return {run.run_id async for run in backend.runs.iter()}


class RunRetentionContract(Contract):
    async def test_groups_are_counted_by_themselves(self, make_backend: MakeBackend) -> None:
        """Two groups with three runs each and max_per_group=3: nothing goes; of a fourth the oldest."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            for number in range(3):
                for group in ("a", "b"):
                    await backend.runs.start(f"{group}{number}", group=group)
                    await backend.runs.append(f"{group}{number}", number)
                    await backend.runs.complete(f"{group}{number}")
                clock.advance(60)
            policy = RetentionPolicy(max_per_group=3)
            assert (await backend.runs.retention.plan(policy)).items == []
            assert (await backend.runs.retention.apply(policy)).removed == 0
            assert len(await ids(backend)) == 6
            await backend.runs.start("a3", group="a")
            assert (await backend.runs.retention.plan(policy)).items == []  # it is going on
            await backend.runs.complete("a3")
            [item] = (await backend.runs.retention.plan(policy)).items
            assert (item.id, item.group) == ("a0", "a")
            assert "max_per_group is 3" in item.reason
            assert (await backend.runs.retention.plan(policy, group="b")).items == []
            assert (await backend.runs.retention.apply(policy)).removed == 1
            assert await ids(backend) == {"a1", "a2", "a3", "b0", "b1", "b2"}

    async def test_what_is_going_on_or_pinned_stays(self, make_backend: MakeBackend) -> None:
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            for run_id in ("going", "pinned", "old", "failed"):
                await backend.runs.start(run_id)
            await backend.runs.complete("pinned")
            await backend.runs.pin("pinned")
            await backend.runs.complete("old")
            await backend.runs.fail("failed", ValueError("x"))
            clock.advance(3_600)
            policy = RetentionPolicy(max_age=timedelta(minutes=1), statuses="success")
            assert (await backend.runs.retention.apply(policy)).removed == 1
            assert await ids(backend) == {"going", "pinned", "failed"}

    async def test_by_size(self, backend: BaseResultBackend) -> None:
        """The newest that fit stay, with all that belongs to them."""
        for number in range(4):
            await backend.runs.start(f"r{number}")
            await backend.runs.append(f"r{number}", "x" * 1_000)
            await backend.runs.complete(f"r{number}")
        size = (await backend.runs.size("r0")).total
        outcome = await backend.runs.retention.apply(RetentionPolicy(max_bytes=2 * size))
        assert (outcome.removed, outcome.size) == (2, 2 * size)
        assert await ids(backend) == {"r2", "r3"}

    async def test_whole_runs_go(self, backend: BaseResultBackend) -> None:
        for number in range(3):
            await fill(backend, f"r{number}")
        await backend.runs.retention.apply(RetentionPolicy(max_per_group=1))
        await backend.runs.delete("r2")
        assert await stored(backend) == 0

    async def test_resumed_after_it_was_judged(self, backend: BaseResultBackend) -> None:
        """It stays, as it is not what was judged any more."""
        for number in range(3):
            await backend.runs.start(f"r{number}")
            await backend.runs.complete(f"r{number}")
        core = core_of_runs(backend)
        inner = core.engine.scan

        async def scan(*given: object, **named: object) -> object:
            found = await inner(*given, **named)  # type: ignore[arg-type]
            core.engine.scan = inner  # type: ignore[method-assign]
            await backend.runs.start("r0", resume=True)
            return found

        core.engine.scan = scan  # type: ignore[assignment,method-assign]
        outcome = await backend.runs.retention.apply(RetentionPolicy(max_per_group=1))
        assert (outcome.removed, outcome.changed) == (1, 1)
        assert await ids(backend) == {"r0", "r2"}

    async def test_many_go_while_others_start(self, backend: BaseResultBackend) -> None:
        """None of those that start is lost, and of each group the newest stay."""
        count = 1_000 if IS_STRESS else 300
        for number in range(count):
            await backend.runs.start(f"old{number:03}", group=f"g{number % 3}")
            await backend.runs.append_many(f"old{number:03}", {"a": 1, "b": 2})
            await backend.runs.complete(f"old{number:03}")

        async def start(number: int) -> None:
            await backend.runs.start(f"new{number}", group=f"g{number % 3}")
            await backend.runs.append(f"new{number}", 1)

        outcome, *_ = await asyncio.gather(
            backend.runs.retention.apply(RetentionPolicy(max_per_group=5)), *(start(n) for n in range(30))
        )
        left = await ids(backend)
        assert outcome is not None
        assert outcome.removed == count - 15
        assert {f"new{number}" for number in range(30)} < left
        assert len(left) == 30 + 15
        assert (await backend.runs.verify()).found == 0

    async def test_what_was_interrupted_is_ended(self, backend: BaseResultBackend) -> None:
        """By the next call, whatever its policy says."""
        await fill(backend, "r")
        await fill(backend, "other")
        core = core_of_runs(backend)
        inner = core.engine.remove

        async def remove(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        core.engine.remove = remove  # type: ignore[assignment,method-assign]
        with pytest.raises(KeyboardInterrupt):
            await backend.runs.delete("r")
        core.engine.remove = inner  # type: ignore[method-assign]
        with pytest.raises(RunNotOpen):
            await backend.runs.start("r", resume=True)
        assert (await backend.runs.retention.plan(RetentionPolicy(max_per_group=9))).items == []
        await backend.runs.retention.apply(RetentionPolicy(max_per_group=9))
        assert await ids(backend) == {"other"}
        await backend.runs.delete("other")
        assert await stored(backend) == 0

    async def test_one_at_a_time(self, backend: BaseResultBackend) -> None:
        for number in range(5):
            await backend.runs.start(f"r{number}")
            await backend.runs.complete(f"r{number}")
        policy = RetentionPolicy(max_per_group=1)
        outcomes = await asyncio.gather(
            *(backend.runs.retention.apply(policy) for _ in range(5)), return_exceptions=True
        )
        assert all(isinstance(each, RetentionBusy) or not isinstance(each, Exception) for each in outcomes)
        assert await ids(backend) == {"r4"}

    async def test_bad_policies(self, backend: BaseResultBackend) -> None:
        for call in (backend.runs.retention.plan, backend.runs.retention.apply):
            with pytest.raises(TypeError, match="policy: expected RetentionPolicy"):
                await call({"max_per_group": 1})  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="group: expected"):
                await call(RetentionPolicy(max_per_group=1), group="")
