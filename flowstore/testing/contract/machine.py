"""A backend against a plain dict, driven by hypothesis: the model says what every call must return."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from flowstore import TaskResult, TaskStatus, VersionConflict
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.model import EMPTY, Register
from flowstore.testing.support import START, ids, loop_like, walk

T = TypeVar("T")

IDS = st.sampled_from(["a", "b", "c", "d:*"])
STATUSES = st.sampled_from(list(TaskStatus))
RESULTS = st.builds(
    lambda task_id, status, retries, value, at: TaskResult(
        task_id=task_id, status=status, retries=retries, result=value, submitted_at=at
    ),
    IDS,
    STATUSES,
    st.integers(0, 2),
    st.integers(),
    st.none() | st.sampled_from([START, START.replace(year=2025)]),
)
TTLS = st.sampled_from([None, 5, 50])


class MachineContract(Contract):
    async def test_against_a_model(self, make_backend: MakeBackend) -> None:
        """Random sequences of calls return what a dict with the advance rule would."""

        loop = asyncio.get_running_loop()

        class Machine(BackendMachine):
            def __init__(self) -> None:
                super().__init__(make_backend, lambda: loop_like(loop))

        limits = settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        await asyncio.to_thread(run_state_machine_as_test, Machine, settings=limits)


class BackendMachine(RuleBasedStateMachine):
    """``model`` maps an id to the standing result and its expiry, in microseconds or None."""

    def __init__(self, make_backend: MakeBackend, make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.runner = asyncio.Runner(loop_factory=make_loop)
        self.model: dict[str, tuple[Register, int | None]] = {}
        self.backend = make_backend(clock=self.clock)
        self.run(self.backend.open())

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    def teardown(self) -> None:
        self.run(self.backend.close())
        self.runner.close()

    def live(self) -> dict[str, Register]:
        now = self.clock()
        return {
            name: register
            for name, (register, expiry) in self.model.items()
            if expiry is None or expiry > now
        }

    def kept(self) -> list[TaskResult]:
        return [register.standing for register in self.live().values() if register.standing]

    def keep(self, register: Register, ttl: int | None) -> None:
        assert register.standing is not None
        expiry = None if ttl is None else self.clock() + ttl * 1_000_000
        self.model[register.standing.task_id] = (register, expiry)

    @rule(result=RESULTS, ttl=TTLS, overwrite=st.booleans())
    def store(self, result: TaskResult, ttl: int | None, overwrite: bool) -> None:
        after = self.live().get(result.task_id, EMPTY).stored(result, overwrite=overwrite)
        wins = self.run(self.backend.store(result.task_id, result, ttl=ttl, overwrite=overwrite))
        assert wins is (after is not None)
        if after is not None:
            self.keep(after, ttl)

    @rule(result=RESULTS, ttl=TTLS, version=st.integers(0, 3))
    def store_if_version(self, result: TaskResult, ttl: int | None, version: int) -> None:
        standing = self.live().get(result.task_id, EMPTY)
        call = self.backend.store(result.task_id, result, ttl=ttl, if_version=version)
        if version == standing.version:
            assert self.run(call) is True
            self.keep(standing.written(result), ttl)
        else:
            with pytest.raises(VersionConflict) as caught:
                self.run(call)
            assert caught.value.actual == standing.version

    @rule(task_id=IDS)
    def delete(self, task_id: str) -> None:
        assert self.run(self.backend.delete(task_id)) is (task_id in self.live())
        self.model.pop(task_id, None)

    @rule()
    def clear(self) -> None:
        assert self.run(self.backend.clear()) == len(self.live())
        self.model.clear()

    @rule(task_id=IDS, ttl=TTLS)
    def change_expiry(self, task_id: str, ttl: int | None) -> None:
        standing = self.live().get(task_id)
        assert self.run(self.backend.expire(task_id, ttl)) is (standing is not None)
        if standing is not None:
            self.keep(standing, ttl)

    @rule(seconds=st.sampled_from([1, 5, 50]))
    def expire(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule()
    def purge(self) -> None:
        self.run(self.backend.purge_expired())
        counts = dict.fromkeys(TaskStatus, 0)
        for result in self.kept():
            counts[result.status] += 1
        assert self.run(self.backend.count_by_status()) == counts

    @invariant()
    def records_agree(self) -> None:
        live = self.live()
        found = self.run(self.backend.get_many(["a", "b", "c", "d:*"]))
        assert found.keys() == live.keys()
        assert all(live[name].shows(read) for name, read in found.items()), (found, live)

    @invariant()
    def listings_agree(self) -> None:
        kept = self.kept()
        expected = [result.task_id for result in sorted(kept, key=_order)]
        pages = self.run(walk(self.backend, None, limit=2))
        assert [name for page in pages for name in ids(page.items)] == expected
        failed = [result.task_id for result in sorted(kept, key=_order) if result.status is TaskStatus.FAILED]
        assert ids(self.run(self.backend.list_by_status(TaskStatus.FAILED))) == failed


def _order(result: TaskResult) -> tuple[bool, float, str]:
    at = result.submitted_at
    return (at is None, -at.timestamp() if at else 0.0, result.task_id)
