"""The check of histories finds what must not be, and nothing else."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from itertools import combinations, permutations
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstore import BaseResultBackend, StorageUnavailable, TaskResult, TaskStatus
from flowstore.backends.memory import MemoryEngine
from flowstore.engine import ANY_STAGE, APPLIED, Entry, Outcome, Standing, Verdict, Write
from flowstore.testing.faults import History, NotExplained, Recorder, ShuffleLoop, crowd
from flowstore.testing.faults.ordering import Call, explains
from flowstore.testing.model import EMPTY

RUNNING: TaskResult = TaskResult.running("t")
FIRST, SECOND = TaskResult.success("t", 1), TaskResult.success("t", 2)
NEXT_TRY = TaskResult(task_id="t", status=TaskStatus.RUNNING, retries=1)


def store(began: float, ended: float, result: TaskResult, outcome: object, **options: bool) -> Call:
    return Call("store", began, ended, outcome, result, **options)


def get(began: float, ended: float, result: TaskResult | None, version: int = 1) -> Call:
    return Call("get", began, ended, result and result.model_copy(update={"version": version}))


def delete(began: float, ended: float, outcome: object) -> Call:
    return Call("delete", began, ended, outcome)


WRONG = {
    "acknowledged write is lost": [store(0, 1, FIRST, True), get(2, 3, None)],
    "second finished write wins": [store(0, 1, FIRST, True), store(2, 3, SECOND, True)],
    "second finished write is seen": [
        store(0, 1, FIRST, True), store(2, inf, SECOND, None), get(3, 4, SECOND, 2)],
    "zombie is accepted": [store(0, 1, NEXT_TRY, True), store(2, 3, FIRST, True)],
    "write of a later try is refused": [store(0, 1, FIRST, True), store(2, 3, NEXT_TRY, False)],
    "stale read": [store(0, 1, RUNNING, True), store(2, 3, FIRST, True), get(4, 5, RUNNING)],
    "two reads go back": [store(0, 9, RUNNING, True), get(1, 2, RUNNING), get(3, 4, None)],
    "refused, and yet seen": [store(0, 1, FIRST, True), store(2, 3, SECOND, False), get(4, 5, SECOND, 2)],
    "applied twice": [store(0, 1, FIRST, True), get(2, 3, FIRST, 2)],
    "read before it was stored": [get(0, 1, FIRST), store(2, 3, FIRST, True)],
    "unknown before it began": [get(0, 1, FIRST), store(2, inf, FIRST, None)],
    "unknown takes effect twice": [
        store(0, inf, FIRST, None), get(1, 2, FIRST), delete(3, 4, True), get(5, 6, FIRST)],
    "deleted, and yet seen": [store(0, 1, FIRST, True), delete(2, 3, True), get(4, 5, FIRST)],
    "two deletions of one record": [store(0, 1, FIRST, True), delete(2, 3, True), delete(2, 3, True)],
    "deletion of nothing": [delete(0, 1, True), store(2, 3, FIRST, True)],
}  # fmt: skip
RIGHT = {
    "nothing": [],
    "first finished write wins": [
        store(0, 3, FIRST, True), store(0, 3, SECOND, False), get(1, 2, FIRST), get(4, 5, FIRST)],
    "a new try": [store(0, 1, FIRST, True), store(2, 3, NEXT_TRY, True), get(4, 5, NEXT_TRY, 2)],
    "overwritten": [
        store(0, 1, FIRST, True), store(2, 3, RUNNING, True, overwrite=True), get(4, 5, RUNNING, 2)],
    "unknown that never came": [store(0, inf, FIRST, None), get(1, 2, None), store(3, 4, SECOND, True)],
    "unknown that came late": [store(0, inf, FIRST, None), get(1, 2, None), get(3, 4, FIRST)],
    "unknown deletion": [
        store(0, 1, FIRST, True), delete(2, inf, None), get(3, 4, FIRST), store(5, 6, SECOND, True)],
    "read in the middle": [get(0, 9, FIRST), store(1, 8, RUNNING, False), store(2, 3, FIRST, True)],
    "versions begin anew": [
        store(0, 1, RUNNING, True), store(2, 3, FIRST, True), delete(4, 5, True),
        store(6, 7, SECOND, True), get(8, 9, SECOND, 1)],
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_histories_are_found(name: str) -> None:
    """Each promise that a register breaks."""
    assert not explains(WRONG[name])


@pytest.mark.parametrize("name", RIGHT)
def test_right_histories_are_explained(name: str) -> None:
    """Though they look odd."""
    assert explains(RIGHT[name])


TIMES = st.tuples(st.integers(0, 8), st.integers(0, 4)).map(lambda drawn: (drawn[0], drawn[0] + drawn[1]))
RESULTS = st.sampled_from([RUNNING, FIRST, SECOND, NEXT_TRY])
CALLS = st.one_of(
    st.builds(lambda at, *rest: store(*at, *rest), TIMES, RESULTS, st.booleans()),
    st.builds(lambda at, *rest: store(at[0], inf, *rest), TIMES, RESULTS, st.none()),
    st.builds(lambda at, *rest: get(*at, *rest), TIMES, st.none() | RESULTS, st.integers(1, 2)),
    st.builds(lambda at, outcome: delete(at[0], at[1], outcome), TIMES, st.booleans()),
    st.builds(lambda at: delete(at[0], inf, None), TIMES),
)


@settings(max_examples=300)
@given(st.lists(CALLS, max_size=5))
def test_as_trying_every_order_does(calls: list[Call]) -> None:
    """The search finds an order exactly where there is one."""
    known = [call for call in calls if call.is_known]
    unknown = [call for call in calls if not call.is_known]
    orders = (
        order
        for some in range(len(unknown) + 1)
        for came in combinations(unknown, some)
        for order in permutations([*known, *came])
    )
    assert explains(calls) == any(map(is_answered_so, orders))


def is_answered_so(order: Sequence[Call]) -> bool:
    register = EMPTY
    for place, call in enumerate(order):
        after = call.after(register)
        if after is None or any(later.ended < call.began for later in order[place + 1 :]):
            return False
        register = after
    return True


class Faulty(MemoryEngine):
    """Does one thing wrong, now and then."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self._fault = fault
        self._random = random.Random(fault)
        self._old: dict[str, Entry | None] = {}

    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        if self._random.random() < 0.1:
            if self._fault == "loses":
                return [APPLIED]
            if self._fault == "second wins":
                writes = [write._replace(ceiling=max(write.ceiling, write.entry.stage)) for write in writes]
            if self._fault == "zombie wins":
                writes = [write._replace(ceiling=ANY_STAGE) for write in writes]
            if self._fault == "writes twice":
                await super().write([write._replace(token=f"{write.token} again") for write in writes], now)
            if self._fault == "says no":
                await super().write(writes, now)
                return [Outcome(Verdict.STANDING, version=1)]
        return await super().write(writes, now)

    async def read(
        self, ids: Sequence[str], *, with_body: bool = True, max_body: int | None = None
    ) -> list[Entry | None]:
        is_fresh = self._random.random() > 0.1 or not self._old.keys() >= set(ids)
        if self._fault != "reads old" or is_fresh:
            self._old |= dict(zip(ids, await super().read(ids), strict=True))
        return [self._old[task_id] for task_id in ids]

    async def remove(
        self, ids: Sequence[str], now: int, standing: Sequence[Standing] | None = None
    ) -> list[bool]:
        if self._fault == "deletes nothing" and self._random.random() < 0.3:
            return [True]
        return await super().remove(ids, now, standing)


def run_crowd(engine: MemoryEngine, seed: int) -> History:
    history = History()

    async def live() -> None:
        async with BaseResultBackend(engine, namespace="default") as backend:
            await crowd([Recorder(backend, history.note) for _ in range(4)], seed, 60)

    with asyncio.Runner(loop_factory=lambda: ShuffleLoop(seed)) as runner:
        runner.run(live())
    return history


@pytest.mark.parametrize(
    "fault",
    ["loses", "second wins", "zombie wins", "writes twice", "says no", "reads old", "deletes nothing"],
)
def test_a_crowd_meets_a_fault(fault: str) -> None:
    """At the first try."""
    with pytest.raises(NotExplained, match=r"no order .* 't\d+'"):
        run_crowd(Faulty(fault), 1).check()


async def test_a_call_that_raised_may_have_been_carried_out() -> None:
    """Its outcome is unknown, whatever it raised."""

    class Breaking(MemoryEngine):
        async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
            await super().write(writes, now)
            raise StorageUnavailable("gone")

    history = History()
    async with BaseResultBackend(Breaking(), namespace="default") as backend:
        client = Recorder(backend, history.note)
        with pytest.raises(StorageUnavailable):
            await client.store(FIRST)
        assert len(history) == 0
        assert (await client.wait_for("t", 5)).unwrap() == 1
        history.check()
        assert len(history) == 1
        history._ended.clear()
        history.check()
