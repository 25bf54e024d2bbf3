"""The contract of update: read, change, compare-and-set, and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from flowstore import (
    BaseResultBackend,
    CorruptRecord,
    FamilyConflict,
    NotSerializable,
    Progress,
    TaskResult,
    TaskStatus,
    VersionConflict,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.sharing import count_trips
from flowstore.testing.faults import cancel_at_each_await
from flowstore.testing.insides import know_only, meanwhile, plant
from flowstore.testing.support import START, in_any_order, stored


@dataclass
class Point:
    x: int


Step = Callable[[TaskResult | None], TaskResult | None]


def increment(found: TaskResult | None) -> TaskResult:
    return TaskResult.pending("t", at=START, args=(1 if found is None else found.args[0] + 1,))


def adding(label: str) -> Callable[[TaskResult | None], TaskResult | None]:
    return lambda found: found and found.model_copy(update={"labels": found.labels | {label}})


class UpdateContract(Contract):
    async def test_the_state_that_step_makes_is_stored_and_returned(self, make_backend: MakeBackend) -> None:
        """Exactly as ``get`` returns it: with version, expiry and family; in two trips, mostly."""
        async with make_backend(ttl=60, clock=ManualClock()) as backend:
            await backend.store("p", TaskResult.running("p", parent_id="r", root_id="r"))
            steps: list[Callable[[TaskResult | None], TaskResult | None]] = [
                lambda found: TaskResult.pending("t", task_name="n", args=([1],), meta={"m": 1}),
                adding("x"),
                lambda found: found and TaskResult.running(found, parent_id="p"),
                adding("y"),
                lambda found: TaskResult.success("t", {"v": 1}),
                lambda found: found and TaskResult.pending(found),
            ]
            for version, step in enumerate(steps, start=1):
                trips = count_trips(backend)
                updated = await backend.update("t", step)
                # The first time it meets a name, a backend learns whether that is counted by itself.
                assert sum(trips.values()) <= {1: 4, 3: 4, 5: 3}.get(version, 2)
                assert updated == await backend.get("t")
                assert updated is not None
                assert updated.version == version
                assert (updated.parent_id, updated.root_id) == ((None,) * 2 if version < 3 else ("p", "r"))
            assert [each.seq for each in await backend.history.of("t")] == [1, 2, 3, 4, 5, 6]

    async def test_what_step_leaves_is_left(self, backend: BaseResultBackend) -> None:
        """None, or the record itself: no new version. Without a record step gets None, and may leave that."""
        assert await backend.update("t", lambda found: None) is None
        assert await backend.update("t", lambda found: found) is None
        await backend.store("t", TaskResult.success("t", 1))
        for step in (lambda found: None, lambda found: found):
            left = await backend.update("t", step)
            assert left == await backend.get("t")
            assert left is not None
            assert left.version == 1

    async def test_a_write_in_between(self, backend: BaseResultBackend) -> None:
        """Step is called again with it; also with what is stored or removed at the first look."""
        calls: list[int] = []

        def step(found: TaskResult | None) -> TaskResult | None:
            calls.append(0 if found is None else found.version)
            return increment(found)

        meanwhile(backend, "read", lambda: backend.store("t", TaskResult.pending("t", args=(5,))))
        updated = await backend.update("t", step)
        assert updated is not None
        assert updated.args == (6,)
        meanwhile(backend, "read", lambda: backend.delete("t"))
        updated = await backend.update("t", step)
        assert updated is not None
        assert (updated.args, calls) == ((1,), [0, 1, 2, 0])

    async def test_100_increments(self, backend: BaseResultBackend) -> None:
        """None is lost, and each returns a number of its own."""
        updated = await asyncio.gather(*(backend.update("t", increment) for _ in range(100)))
        assert sorted(each.args[0] for each in updated if each is not None) == [*range(1, 101)]
        assert (await stored(backend, "t")).version == 100

    @pytest.mark.parametrize("seed", range(3))
    async def test_increments_in_any_order(self, make_backend: MakeBackend, seed: int) -> None:
        """Beside removals: each number is counted up from what was there."""

        async def live() -> None:
            async with make_backend() as backend:
                steps = [backend.update("t", increment) for _ in range(20)]
                updated = await asyncio.gather(*steps[:10], backend.delete("t"), *steps[10:])
                counted = sorted(each.args[0] for each in updated if isinstance(each, TaskResult))
                last = (await stored(backend, "t")).args[0]
                removed = 20 - last
                assert counted == sorted([*range(1, last + 1), *range(1, removed + 1)])

        await in_any_order(seed, live)

    async def test_values_that_stay(self, make_backend: MakeBackend) -> None:
        """Without being read, whatever they are: step and caller see NOT_LOADED, and get the rest."""
        async with make_backend(types=[Point], ttl=60, clock=ManualClock()) as backend:
            for size in (1, 10_000):
                value = [Point(n) for n in range(size)]
                first = TaskResult.running("t", args=(value,), kwargs={"k": 1}, progress=Progress(done=1))
                await backend.store("t", first, overwrite=True)
                know_only(backend)
                trips = count_trips(backend)
                steps: list[Step] = [
                    adding("x"),
                    lambda found: found and found.model_copy(update={"task_name": "n", "meta": {"m": 1}}),
                    lambda found: found and TaskResult.failed(found, ValueError("e"), parent_id="p"),
                ]
                for step in steps:
                    updated = await backend.update("t", step, load_result=False)
                    assert updated is not None
                    assert not updated.is_loaded
                    assert updated == await backend.get("t", load_result=False)
                assert trips["read"] <= 2 * len(steps) + 2
                know_only(backend, [Point])
                found = await stored(backend, "t")
                assert (found.args, found.kwargs, found.progress) == ((value,), {"k": 1}, first.progress)
                assert (found.labels, found.task_name, found.parent_id) == (frozenset("x"), "n", "p")
                assert found.status is TaskStatus.FAILED
                await backend.delete("t")

    async def test_values_that_others_change_meanwhile(self, make_backend: MakeBackend) -> None:
        """They are those that stay, also where they come with the same version; or another expiry."""
        async with make_backend(clock=ManualClock()) as backend:

            async def store_anew() -> None:
                await backend.delete("t")
                await backend.store("t", TaskResult.pending("t", args=("new",)))

            await backend.store("t", TaskResult.pending("t", args=("old",)))
            meanwhile(backend, "read", store_anew)
            await backend.update("t", adding("x"), load_result=False)
            found = await stored(backend, "t")
            assert (found.args, found.labels, found.version) == (("new",), frozenset("x"), 2)
            meanwhile(backend, "read", lambda: backend.expire("t", 60))
            await backend.update("t", adding("y"), load_result=False)
            found = await stored(backend, "t")
            assert (found.args, found.labels) == (("new",), frozenset("xy"))
            assert found.expires_at == START + timedelta(seconds=60)

    async def test_new_values_without_the_old(self, backend: BaseResultBackend) -> None:
        """A whole result is stored whole; half of one is refused, and nothing is written."""
        for version in (1, 2):
            updated = await backend.update("t", lambda _: TaskResult.success("t", 7), load_result=False)
            assert updated is not None
            assert (updated.result, updated.version) == (7, version)
        with pytest.raises(NotSerializable, match="load_result=False"):
            await backend.update("t", lambda found: found and TaskResult.success(found, 8), load_result=False)
        bad: Any = "no"
        with pytest.raises(TypeError, match="load_result"):
            await backend.update("t", lambda _: None, load_result=bad)
        assert (await stored(backend, "t")).result == 7

    async def test_a_damaged_record_is_not_mended(self, backend: BaseResultBackend) -> None:
        """Neither by a change beside its values, which keep their checksum, nor where the rest is damaged."""
        await plant(backend, TaskResult.running("body"), body=b'{"result":7', is_checked=False)
        await plant(backend, TaskResult.running("head"), head=b'{"meta":{}}', is_checked=False)
        with pytest.raises(CorruptRecord):
            await backend.update("head", adding("x"), load_result=False)
        updated = await backend.update("body", adding("x"), load_result=False)
        assert updated is not None
        assert updated.labels == {"x"}
        with pytest.raises(CorruptRecord):
            await backend.get("body")

    async def test_it_gives_up_after_op_timeout(self, make_backend: MakeBackend) -> None:
        """Where somebody else is always faster."""
        async with make_backend(op_timeout=0.1) as backend:
            number = 0

            async def overtake() -> None:
                nonlocal number
                number += 1
                meanwhile(backend, "read", overtake)
                await backend.store("t", TaskResult.pending("t", args=(number,)))

            meanwhile(backend, "read", overtake)
            with pytest.raises(VersionConflict):
                await backend.update("t", increment)
            assert number > 1

    async def test_errors_write_nothing(self, backend: BaseResultBackend) -> None:
        """Those of step pass; what it must not return is named; bad values and parents are refused."""
        await backend.store("t", TaskResult.pending("t", parent_id="p"))
        error = RuntimeError("mine")

        def fail(_: object) -> None:
            raise error

        async def late(_: object) -> None:
            raise AssertionError("not to be run")

        wrong: list[tuple[Any, type[Exception], str]] = [
            (fail, RuntimeError, "mine"),
            (late, TypeError, "step: expected a plain function"),
            (lambda _: 7, TypeError, "step: .* got int"),
            (lambda _: TaskResult.success("u"), ValueError, "step: .*'u'"),
            (lambda _: TaskResult.success("t", object()), NotSerializable, "result"),
            (lambda _: TaskResult.pending("t", parent_id="q"), FamilyConflict, "q"),
            (lambda _: TaskResult.pending("t", parent_id="t"), FamilyConflict, "t"),
            (7, TypeError, "step: expected a callable"),
        ]
        for step, kind, words in wrong:
            with pytest.raises(kind, match=words):
                await backend.update("t", step)
        for ttl in (0, "1", True):
            bad: Any = ttl
            with pytest.raises((TypeError, ValueError), match="ttl"):
                await backend.update("t", lambda _: None, ttl=bad)
        assert (await stored(backend, "t")).version == 1
        await plant(backend, TaskResult.success("damaged"), body=b"{", is_checked=False)
        with pytest.raises(CorruptRecord):
            await backend.update("damaged", lambda _: TaskResult.success("damaged"))

    async def test_ttl_of_an_update(self, make_backend: MakeBackend) -> None:
        """The expiry is kept, or as ``ttl`` says; an expired record is None."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store("t", TaskResult.running("t"), ttl=60)
            clock.advance(50)
            kept = await backend.update("t", adding("x"))
            assert kept is not None
            assert kept.expires_at == START + timedelta(seconds=60)
            longer = await backend.update("t", adding("y"), ttl=timedelta(seconds=60))
            assert longer is not None
            assert longer.expires_at == START + timedelta(seconds=110)
            clock.advance(60)
            assert await backend.update("t", adding("z")) is None
            assert (await backend.count_by_status())[TaskStatus.RUNNING] <= 1

    async def test_an_update_cancelled_at_each_await(self, backend: BaseResultBackend) -> None:
        """Each is carried out once or not at all."""
        before: list[int] = [0]

        async def check() -> None:
            found = await backend.get("t")
            number = 0 if found is None else found.args[0]
            assert number - before[0] in (0, 1)
            before[0] = number

        await cancel_at_each_await(lambda: backend.update("t", increment), check)
        assert before[0] >= 1
