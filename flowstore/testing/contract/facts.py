"""The contract of facts: what an operator is told of a store, whatever it holds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flowstore import BaseResultBackend, Facts, StorageUnavailable, TaskResult, TaskStatus
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.observing import GONE
from flowstore.testing.insides import calls_in_flight, faulty, plant, plant_kept
from flowstore.testing.support import START


def pending(task_id: str, second: float | None) -> TaskResult:
    at = None if second is None else START + timedelta(seconds=second)
    return TaskResult.pending(task_id).model_copy(update={"submitted_at": at})


class FactsContract(Contract):
    async def test_facts_of_an_empty_store(self, backend: BaseResultBackend) -> None:
        """It may be the first call of all. The storage has a name; there is nothing else."""
        facts = await backend.facts()
        assert facts.backend
        assert (facts.namespace, facts.is_writable) == (backend.namespace, True)
        assert facts.python_version.startswith("3.")
        assert facts.counts == dict.fromkeys(TaskStatus, 0)
        assert (facts.oldest_pending, facts.oldest_running) == (None, None)
        assert (facts.workers, facts.silent_workers) == (0, 0)
        assert 0 < facts.latency < 30
        assert facts.format == facts.program_format

    async def test_facts_count_records_and_name_the_oldest(self, make_backend: MakeBackend) -> None:
        """By submission; neither what has expired nor what was never submitted."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store("gone", pending("gone", 0), ttl=50)
            await backend.store_many([pending("p2", 20), pending("p1", 10), pending("never", None)])
            running: TaskResult = TaskResult.running(
                "r1", at=START + timedelta(seconds=9), submitted_at=START + timedelta(seconds=5)
            )
            await backend.store_many([running, TaskResult.running("r2"), TaskResult.success("s", 1)])
            clock.advance(100)
            await backend.purge_expired()
            facts = await backend.facts()
        assert {status: count for status, count in facts.counts.items() if count} == {
            TaskStatus.PENDING: 3,
            TaskStatus.RUNNING: 2,
            TaskStatus.SUCCESS: 1,
        }
        assert facts.oldest_pending is not None
        assert facts.oldest_running is not None
        assert (facts.oldest_pending.task_id, facts.oldest_pending.started_at) == ("p1", None)
        assert facts.oldest_pending.submitted_at == START + timedelta(seconds=10)
        assert facts.oldest_running.task_id == "r1"
        assert facts.oldest_running.started_at == START + timedelta(seconds=9)
        assert facts.at == START + timedelta(seconds=100)

    async def test_facts_of_silent_workers(self, make_backend: MakeBackend) -> None:
        """Without a heartbeat for longer than that."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.workers.register("w1")
            clock.advance(61)
            await backend.workers.register("w2")
            facts = await backend.facts()
            assert (facts.workers, facts.silent_workers) == (2, 1)
            assert (await backend.facts(silent_after=61)).silent_workers == 0
            assert (await backend.facts(silent_after=timedelta(seconds=1))).silent_workers == 1

    async def test_damage_hides_no_facts(self, backend: BaseResultBackend) -> None:
        """They are what an operator asks for when something is wrong."""
        await plant_kept(backend, "worker", "", "w", b"{", is_checked=False)
        await plant(backend, pending("t", 0), is_checked=False, head=b"{")
        facts = await backend.facts()
        assert (facts.workers, facts.counts[TaskStatus.PENDING]) == (1, 1)
        assert facts.oldest_pending is not None
        assert facts.oldest_pending.task_id == "t"

    async def test_options_in_effect(self, make_backend: MakeBackend) -> None:
        """In seconds, whatever they were given in, and with the defaults."""
        options: dict[str, Any] = {"ttl": timedelta(hours=1), "history_limit": 5, "facets": ["name"]}
        async with make_backend(**options) as backend:
            found = (await backend.facts()).options
        assert (found["ttl"], found["failure_ttl"], found["unfinished_ttl"]) == (3_600, 3_600, None)
        assert (found["history_limit"], found["facets"], found["op_timeout"]) == (5, ("name",), 10)

    async def test_facts_as_json(self, backend: BaseResultBackend) -> None:
        """They can be sent, and are the same on the other side."""
        await backend.store("t", pending("t", 0))
        facts = await backend.facts()
        assert Facts.model_validate_json(facts.model_dump_json()) == facts

    @pytest.mark.parametrize("bad", [-1, float("nan"), "60", None])
    async def test_bad_silent_after(self, backend: BaseResultBackend, bad: Any) -> None:
        with pytest.raises((ValueError, TypeError), match=r"^silent_after: "):
            await backend.facts(silent_after=bad)

    @pytest.mark.parametrize("verb", ["facts", "read", "count", "scan", "items"])
    async def test_facts_of_a_storage_that_is_gone(self, make_backend: MakeBackend, verb: str) -> None:
        """They raise what a read raises, once nothing of them is under way any more."""
        backend = make_backend()
        faults = faulty(backend)
        async with backend:
            faults.fail(verb, error=GONE)
            with pytest.raises(StorageUnavailable, match="gone"):
                await backend.facts()
            assert calls_in_flight(backend) == 0
            faults.heal()
            assert (await backend.facts()).is_writable
