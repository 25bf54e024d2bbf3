"""The planner of retention over any source, against the rules applied to a list of all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstore import InMemoryBackend, RetentionPolicy
from flowstore._core.retaining import Subject, apply, plan
from flowstore.engine import Standing
from flowstore.models import Unreadable
from flowstore.testing.clock import ManualClock
from flowstore.testing.insides import core_of
from flowstore.testing.support import EFFORT

SECOND = 1_000_000
CLOCK = ManualClock()
NOW = CLOCK()


class Listed:
    """Subjects in a list, the newest first, in steps of three; the ``stubborn`` are never removed."""

    unreadable: list[Unreadable] = []  # noqa: RUF012  # of nobody

    def __init__(self, subjects: Sequence[Subject], stubborn: frozenset[str] = frozenset()) -> None:
        self.subjects = list(subjects)
        self.stubborn = stubborn
        self.is_closed = False

    async def steps(self, policy: RetentionPolicy) -> AsyncGenerator[list[Subject], None]:
        try:
            listed = [*self.subjects]
            for start in range(0, len(listed), 3):
                yield listed[start : start + 3]
        finally:
            self.is_closed = True

    async def remove(self, subjects: Sequence[Subject]) -> list[bool]:
        assert 0 < len(subjects) <= 3
        gone = [one.id not in self.stubborn for one in subjects]
        self.subjects = [one for one in self.subjects if one not in subjects or one.id in self.stubborn]
        return gone


def subject(n: int, age: int, group: str | None, status: str, size: int, is_pinned: bool) -> Subject:
    is_finished = status != "running"
    return Subject(f"s{n}", group, status, NOW - age * SECOND, is_finished, is_pinned, Standing(1, n), size)


SUBJECTS = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.sampled_from([None, "a", "b"]),
        st.sampled_from(["success", "success", "failed", "cancelled", "running"]),
        st.integers(0, 5),
        st.sampled_from([False, False, False, True]),
    ),
    max_size=20,
).map(lambda rows: [subject(n, *row) for n, row in enumerate(rows)])


@st.composite
def policies(draw: st.DrawFn) -> RetentionPolicy:
    most = draw(st.none() | st.integers(1, 5))
    limits: dict[str, Any] = {
        "max_per_group": most,
        "max_age": draw(st.none() | st.integers(1, 9)),
        "max_bytes": draw(st.none() | st.integers(1, 12)),
    }
    if not any(limits.values()):
        limits["max_age"] = 4
    return RetentionPolicy(
        **limits,
        statuses=draw(st.sampled_from([None, ("success",), ("failed", "cancelled")])),
        keep_latest=draw(st.integers(0, most or 4)),
    )


def going(subjects: Sequence[Subject], policy: RetentionPolicy) -> list[str]:
    """By the rules, with the whole list at hand."""

    def is_meant(one: Subject) -> bool:
        has_status = policy.statuses is None or one.status in policy.statuses
        return one.is_finished and not one.is_pinned and has_status

    gone: set[str] = set()
    for group in {one.group for one in subjects}:
        meant = [one for one in subjects if one.group == group and is_meant(one)]
        spared = meant[: policy.keep_latest]
        rest = meant[policy.keep_latest :]
        if policy.max_age is not None:
            age = policy.max_age
            assert isinstance(age, timedelta)
            rest = [one for one in rest if timedelta(microseconds=NOW - one.finished_at) <= age]
        if policy.max_per_group is not None:
            rest = rest[: policy.max_per_group - len(spared)]
        if policy.max_bytes is not None:
            while rest and sum(one.size or 0 for one in [*spared, *rest]) > policy.max_bytes:
                rest.pop()
        gone |= {one.id for one in meant} - {one.id for one in [*spared, *rest]}
    return [one.id for one in subjects if one.id in gone]


@settings(max_examples=200 * EFFORT)
@given(SUBJECTS, policies())
def test_what_goes_is_what_goes_by_the_rules(subjects: list[Subject], policy: RetentionPolicy) -> None:
    """In order; what is applied is what was planned; and then nothing is left to do."""
    expected = going(subjects, policy)
    source = Listed(subjects)

    async def live() -> None:
        async with InMemoryBackend(clock=CLOCK) as backend:
            core = core_of(backend)
            planned = await plan(core, source, policy)
            assert [item.id for item in planned.items] == expected
            outcome = await apply(core, source, policy)
            assert (outcome.removed, outcome.kept) == (len(expected), planned.kept)
            assert [one.id for one in source.subjects] == [
                one.id for one in subjects if one.id not in expected
            ]
            assert (await plan(core, source, policy)).items == []

    asyncio.run(live())


async def test_what_is_not_removed_is_counted_and_the_walk_is_closed() -> None:
    """Those that have changed meanwhile; also where ``progress`` ends it in the midst."""
    subjects = [subject(n, n, "a", "success", 1, False) for n in range(10)]
    source = Listed(subjects, stubborn=frozenset({"s4", "s9"}))
    calls = count(1)

    def fail(_: object) -> None:
        if next(calls) == 2:
            raise RuntimeError("no")

    async with InMemoryBackend(clock=CLOCK) as backend:
        core, policy = core_of(backend), RetentionPolicy(max_per_group=2)
        outcome = await apply(core, source, policy)
        assert (outcome.removed, outcome.changed, outcome.size) == (6, 2, None)
        source = Listed(subjects)
        with pytest.raises(RuntimeError, match="no"):
            await apply(core, source, policy, fail)
        assert source.is_closed
        assert [one.id for one in source.subjects] == ["s0", "s1", "s6", "s7", "s8", "s9"]
