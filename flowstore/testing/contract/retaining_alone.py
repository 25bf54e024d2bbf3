"""The contract of retention among others: tasks that change meanwhile, several processes, outages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from flowstore import (
    BaseResultBackend,
    ResultDeleted,
    RetentionBusy,
    RetentionOutcome,
    RetentionPolicy,
    StorageUnavailable,
    TaskResult,
    TaskStatus,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.retaining import done, going, of_two_names
from flowstore.testing.insides import faulty, listening, meanwhile, plant_kept, replaced_verb
from flowstore.testing.support import START, waiting

LEASE_SECONDS = 30


class RetentionRacesContract(Contract):
    @pytest.mark.parametrize("change", ["requeue", "pin", "store", "delete"])
    async def test_what_changes_after_it_was_judged_stays(
        self, backend: BaseResultBackend, change: str
    ) -> None:
        """Begun again, pinned or stored anew: that is not what was judged, and it is counted."""
        await of_two_names(backend)
        changes: dict[str, Callable[[], Any]] = {
            "requeue": lambda: backend.requeue("a0"),
            "pin": lambda: backend.retention.pin("a0"),
            "store": lambda: backend.store("a0", done("a0", 9), overwrite=True),
            "delete": lambda: backend.delete("a0"),
        }
        meanwhile(backend, "scan", changes[change])
        outcome = await backend.retention.apply(RetentionPolicy(max_per_group=2))
        assert (outcome.removed, outcome.changed, outcome.kept) == (1, 1, 4)
        assert await backend.exists("a0") is (change != "delete")
        assert not await backend.exists("b0")

    async def test_1000_go_while_others_come(self, backend: BaseResultBackend) -> None:
        """What is stored meanwhile stays, and is there whole."""
        await backend.store_many(done(f"t{n:04}", n, f"name {n % 4}") for n in range(1_040))
        begun, is_over = asyncio.Event(), False

        async def come() -> int:
            n = 0
            while not is_over:
                await backend.store(f"r{n}", TaskResult.running(f"r{n}", task_name="name 0"))
                await backend.store(f"new{n}", done(f"new{n}", 5_000 + n, f"new {n}", n))
                begun.set()
                n += 1
                await asyncio.sleep(0)
            return n

        coming = asyncio.ensure_future(come())
        await begun.wait()
        seen: list[RetentionOutcome] = []
        policy = RetentionPolicy(max_per_group=10)
        outcome = await backend.retention.apply(policy, name="name 0", progress=seen.append)
        assert (outcome.removed, outcome.kept, outcome.changed) == (250, 10, 0)
        outcome = await backend.retention.apply(policy, progress=seen.append)
        is_over = True
        came = await coming
        assert (outcome.removed, outcome.changed) == (750, 0)
        assert seen[0].removed <= 200
        assert seen[-1].removed == 750
        left = [task_id async for task_id in backend.iter_ids("success")]
        assert left[:came] == [f"new{n}" for n in reversed(range(came))]
        assert left[came:] == [f"t{n:04}" for n in range(1_039, 999, -1)]
        assert (await backend.count_by_status())[TaskStatus.RUNNING] == came > 1

    async def test_no_wait_is_left_over(self, backend: BaseResultBackend) -> None:
        """One for a result that goes at once ends with it, or as after ``delete``."""
        await backend.store("t", TaskResult.running("t", task_name="a"))
        wait = await waiting(backend, "t")
        await listening(backend, "t")
        meanwhile(backend, "write", lambda: backend.retention.apply(RetentionPolicy(max_age=0.000_001)))
        await backend.store("t", done("t"))
        outcome = (await asyncio.gather(wait, return_exceptions=True))[0]
        assert isinstance(outcome, TaskResult | ResultDeleted)
        assert not await backend.exists("t")

    async def test_one_at_a_time(self, make_backend: MakeBackend) -> None:
        """A second call is refused while the first is at it, and takes over once that has been silent."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store_many(done(f"t{n:03}", n) for n in range(500))
            policy = RetentionPolicy(max_per_group=10)
            reached, go_on = asyncio.Event(), asyncio.Event()

            def held(remove: Callable[..., Any]) -> Callable[..., Any]:
                async def wait_and_remove(*args: Any) -> Any:
                    reached.set()
                    await go_on.wait()
                    return await remove(*args)

                return wait_and_remove

            with replaced_verb(backend, "remove", held):
                slow = asyncio.ensure_future(backend.retention.apply(policy))
                await reached.wait()
            clock.advance(LEASE_SECONDS - 1)
            with pytest.raises(RetentionBusy, match=r"^\S+:\d+ applies a retention policy here; ") as busy:
                await backend.retention.apply(policy)
            assert busy.value.until == START + timedelta(seconds=LEASE_SECONDS)
            assert (await backend.retention.plan(policy)).kept == 10  # a look is free
            clock.advance(1)
            assert (await backend.retention.apply(policy)).removed == 490
            go_on.set()
            late = await slow
            assert (late.removed, late.changed) == (0, 190)
            assert (await backend.count_by_status())[TaskStatus.SUCCESS] == 10

    async def test_whoever_was_too_slow_stops(self, make_backend: MakeBackend) -> None:
        """Once another has taken over, the first removes no more."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store_many(done(f"t{n:03}", n) for n in range(900))
            policy = RetentionPolicy(max_per_group=10)
            second: list[asyncio.Task[RetentionOutcome]] = []
            reached, go_on = asyncio.Event(), asyncio.Event()

            def held(remove: Callable[..., Any]) -> Callable[..., Any]:
                async def remove_and_take_over(*args: Any) -> Any:
                    if not second:
                        clock.advance(LEASE_SECONDS)
                        second.append(asyncio.ensure_future(backend.retention.apply(policy)))
                        await reached.wait()
                    else:
                        reached.set()
                        await go_on.wait()
                    return await remove(*args)

                return remove_and_take_over

            with replaced_verb(backend, "remove", held):
                with pytest.raises(RetentionBusy):
                    await backend.retention.apply(policy)
                go_on.set()
                outcome = await second[0]
            assert outcome.removed + outcome.changed == 890
            assert (await backend.count_by_status())[TaskStatus.SUCCESS] == 10

    async def test_a_long_one_stays_the_only_one(self, make_backend: MakeBackend) -> None:
        """It renews what keeps the others out, between its steps."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store_many(done(f"t{n:04}", n) for n in range(1_100))
            policy = RetentionPolicy(max_per_group=100)
            refused: list[RetentionBusy] = []

            def slow(remove: Callable[..., Any]) -> Callable[..., Any]:
                async def remove_slowly(*args: Any) -> Any:
                    removed = await remove(*args)
                    clock.advance(LEASE_SECONDS - 1)
                    with pytest.raises(RetentionBusy) as busy:
                        await backend.retention.apply(policy)
                    refused.append(busy.value)
                    return removed

                return remove_slowly

            with replaced_verb(backend, "remove", slow):
                assert (await backend.retention.apply(policy)).removed == 1_000
            assert len({busy.until for busy in refused}) == len(refused) == 6

    @pytest.mark.parametrize(
        "kept", [b"{}", b'{"lease":7}', b'{"lease":{"holder":"h","token":"t","until":1e9}}']
    )
    async def test_a_lease_that_cannot_be_read_keeps_nobody_out(
        self, backend: BaseResultBackend, kept: bytes
    ) -> None:
        """Nor one of a clock that was years ahead. Nobody sees leases among the data of the app."""
        await of_two_names(backend)
        await plant_kept(backend, "app", "", "lease:retention", kept)
        assert await backend.app.data.all() == {}
        assert await backend.app.info() is None
        assert await going(backend, max_per_group=2) == ["b0", "a0"]
        ahead = b'{"lease":{"holder":"h","token":"t","until":9000000000000000}}'
        await plant_kept(backend, "app", "", "lease:retention", ahead)
        assert await going(backend, max_per_group=1) == ["b1", "a1"]

    async def test_outage(self, make_backend: MakeBackend) -> None:
        """The error says so; called again it goes on with what is left, at once."""
        backend = make_backend()
        faults = faulty(backend)
        async with backend:
            await backend.store_many(done(f"t{n:03}", n) for n in range(500))
            seen: list[RetentionOutcome] = []
            policy = RetentionPolicy(max_per_group=10)
            faults.fail("remove", error=StorageUnavailable("injected"), skip=1, times=1)
            with pytest.raises(StorageUnavailable):
                await backend.retention.apply(policy, progress=seen.append)
            assert [outcome.removed for outcome in seen] == [190]
            assert (await backend.retention.apply(policy)).removed == 300

    async def test_progress_that_raises(self, backend: BaseResultBackend) -> None:
        """Ends the call; what was removed is removed, and nobody is kept out."""

        def fail(_: RetentionOutcome) -> None:
            raise RuntimeError("no")

        await of_two_names(backend)
        with pytest.raises(RuntimeError, match="no"):
            await backend.retention.apply(RetentionPolicy(max_per_group=2), progress=fail)
        assert await going(backend, max_per_group=1) == ["b1", "a1"]
