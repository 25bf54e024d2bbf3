"""The contract of statistics: exact counts of what became of tasks, by the minute and hour."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from flowstore import (
    EVER,
    BaseResultBackend,
    StorageUnavailable,
    TaskResult,
    TaskStats,
    TaskStatus,
    Transition,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import NO_RECHECK, Contract, MakeBackend
from flowstore.testing.insides import faulty, replaced_verb
from flowstore.testing.support import START

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def done(task_id: str, ran: float = 1.0, waited: float = 0.0, **fields: Any) -> TaskResult:
    """A task that was submitted at START."""
    started = START + timedelta(seconds=waited)
    running = TaskResult.running(task_id, at=started, submitted_at=START, **fields)
    return TaskResult.success(running, 1, at=started + timedelta(seconds=ran))


def counted(found: TaskStats) -> dict[str, int]:
    """What is not 0."""
    names = ("submitted", "requeued", "retried", "succeeded", "failed", "cancelled")
    return {name: number for name in names if (number := getattr(found, name))}


async def in_order_of_writing(backend: BaseResultBackend) -> list[Transition]:
    """The history of all tasks, that of each in the order of its writes, which need not be that of time."""
    return sorted([step async for step in backend.history.iter()], key=lambda step: (step.task_id, step.seq))


async def by_history(backend: BaseResultBackend) -> dict[str, int]:
    """What statistics have to say, as far as the history of all tasks tells: it has every store."""
    counts: Counter[str] = Counter()
    last: dict[str, tuple[TaskStatus, int]] = {}
    names = {"success": "succeeded", "retrying": "retried", "failed": "failed", "cancelled": "cancelled"}
    for step in await in_order_of_writing(backend):
        state = (step.status, step.retries)
        if step.task_id not in last:
            counts["submitted"] += 1
        if last.get(step.task_id) != state:
            if step.status is TaskStatus.PENDING and step.retries:
                counts["requeued"] += 1
            elif step.status.value in names:
                counts[names[step.status.value]] += 1
        last[step.task_id] = state
    return dict(counts)


class StatisticsContract(Contract):
    """For a backend whose engine ``counts_writes``."""

    async def test_everything_counts_once(self, make_backend: MakeBackend) -> None:
        """From the first store to the end, with a retry in between; and by name."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            task = TaskResult.pending("t", at=START, task_name="a")
            await backend.store("t", task)
            await backend.store("t", task)
            assert counted(await backend.stats.total()) == {"submitted": 1}
            task = TaskResult.running(task, at=START)
            await backend.store("t", task)
            await backend.store("t", task)
            await backend.store("t", TaskResult.retrying(task, OSError("x")))
            await backend.store("t", TaskResult.pending(task, retries=1))
            task = TaskResult.running(task, retries=1, at=START)
            await backend.store("t", task)
            await backend.store("t", TaskResult.success(task, 1, at=START + timedelta(seconds=2)))
            await backend.store("t", TaskResult.failed(task, OSError("late")))
            await backend.store("u", TaskResult.cancelled("u", task_name="b"))
            await backend.store("v", TaskResult.failed("v", OSError()))
            found = await backend.stats.total()
            assert counted(found) == {
                "submitted": 3,
                "requeued": 1,
                "retried": 1,
                "succeeded": 1,
                "failed": 1,
                "cancelled": 1,
            }
            assert (found.ended, found.failure_rate) == (3, 0.5)
            of_a = await backend.stats.total("a")
            assert counted(of_a) == {"submitted": 1, "requeued": 1, "retried": 1, "succeeded": 1}
            assert of_a.name == "a"
            assert counted(await backend.stats.total("nobody")) == {}
            assert counted(found) == await by_history(backend)

    async def test_what_leaves_a_state_alone_counts_nothing(self, backend: BaseResultBackend) -> None:
        """Updates, events, progress, expiry; and what is refused."""
        await backend.store("t", TaskResult.failed("t", OSError()))
        before = counted(await backend.stats.total())
        await backend.update("t", lambda found: found and found.model_copy(update={"labels": {"x"}}))
        await backend.history.record("t", "noticed")
        await backend.expire("t", 60)
        await backend.store("t", TaskResult.success("t", 1))
        await backend.store("t", TaskResult.failed("t", OSError()), overwrite=True)
        assert counted(await backend.stats.total()) == before == {"submitted": 1, "failed": 1}

    async def test_percentiles(self, make_backend: MakeBackend) -> None:
        """Known to 9 percent, from milliseconds to days."""
        async with make_backend(clock=ManualClock()) as backend:
            seconds = [0.0001, 0.004, 0.25, 1.0, 3.0, 60.0, 3_600.0, 90_000.0]
            await backend.store_many(done(f"t{n}", ran, 2 * ran) for n, ran in enumerate(seconds))
            found = await backend.stats.total()
            for n, expected in enumerate(seconds):
                share = (n + 1) / len(seconds)
                for distribution, factor in ((found.run, 1), (found.wait, 2)):
                    given = distribution.percentile(share)
                    assert given == pytest.approx(factor * expected, rel=0.091, abs=0.0005)
            assert await backend.stats.percentiles(0, 1) == {
                0: found.run.percentile(0),
                1: found.run.percentile(1),
            }
            assert (await backend.stats.percentiles(0.5, of="wait"))[0.5] == found.wait.percentile(0.5)
            assert found.run.total == found.wait.total == len(seconds)
            assert found.run.sum == pytest.approx(sum(seconds), rel=0.09)
            assert found.wait.sum == pytest.approx(2 * sum(seconds), rel=0.09)
            assert await backend.stats.percentiles(0.5, name="nobody") == {0.5: None}

    async def test_times_by_status(self, make_backend: MakeBackend) -> None:
        """How long tasks ran is known by how they ended; what is not known is not counted."""
        async with make_backend(clock=ManualClock()) as backend:
            running = TaskResult.running("t", at=START, submitted_at=START)
            await backend.store("t", TaskResult.failed(running, OSError(), at=START + HOUR))
            await backend.store("u", done("u", 1.0))
            await backend.store("v", TaskResult.success("v"))
            [of_failed] = (await backend.stats.percentiles(0.5, status="failed")).values()
            assert of_failed == pytest.approx(3_600, rel=0.09)
            rows = {row.status: row for row in await backend.stats.by("status")}
            assert {status: row.ended for status, row in rows.items()} == {"success": 2, "failed": 1}
            assert rows[TaskStatus.SUCCESS].run.total == 1
            assert (await backend.stats.total()).run.total == 2

    async def test_waits_of_later_attempts_are_not_counted(self, make_backend: MakeBackend) -> None:
        async with make_backend(clock=ManualClock()) as backend:
            await backend.store("t", done("t", 1.0, 5.0, retries=2))
            found = await backend.stats.total()
            assert (found.run.total, found.wait.total) == (1, 0)

    async def test_series(self, make_backend: MakeBackend) -> None:
        """Every period, the empty ones too, by the time of the store."""
        clock = ManualClock(START + timedelta(minutes=30))
        async with make_backend(clock=clock) as backend:
            for n, minutes in enumerate((0, 1, 61, 0)):
                clock.advance(60 * minutes)
                await backend.store(f"t{n}", done(f"t{n}"))
            until = START + 2 * HOUR
            hours = await backend.stats.series(since=START - HOUR, until=until)
            assert [(found.start - START) / HOUR for found in hours] == [-1, 0, 1]
            assert [found.succeeded for found in hours] == [0, 2, 2]
            fine = await backend.stats.series(since=START, until=until, every="minute")
            assert len(fine) == 120
            where = {(found.start - START) // MINUTE: found.succeeded for found in fine if found.ended}
            assert where == {30: 1, 31: 1, 92: 2}
            ten = await backend.stats.series(since=START, until=until, every=10 * MINUTE)
            assert [found.succeeded for found in ten if found.ended] == [2, 2]
            assert all(found.end - found.start == 10 * MINUTE for found in ten)
            [day] = await backend.stats.series(since=START, until=until, every="day")
            assert (day.start, day.end, day.succeeded) == (START, START + 24 * HOUR, 4)

    async def test_bounds_of_a_total(self, make_backend: MakeBackend) -> None:
        """Widened to minutes, or to hours where it is long ago or long."""
        clock = ManualClock(START + 5 * HOUR)
        async with make_backend(clock=clock) as backend:
            await backend.store("t", done("t"))
            clock.advance(120)
            await backend.store("u", done("u"))
            now = START + 5 * HOUR + 2 * MINUTE
            found = await backend.stats.total(since=now - timedelta(seconds=90))
            assert (found.start, found.end) == (now - 2 * MINUTE, now + MINUTE)
            assert found.succeeded == 2
            assert (await backend.stats.total(since=now)).succeeded == 1
            found = await backend.stats.total(since=START, until=now)
            assert (found.start, found.end, found.succeeded) == (START, START + 5 * HOUR + 2 * MINUTE, 1)
            found = await backend.stats.total()
            assert (found.start, found.end) == (START - 19 * HOUR, START + 6 * HOUR)

    async def test_by_name_and_status(self, make_backend: MakeBackend) -> None:
        """The most first; those without a name are a row of their own."""
        async with make_backend(clock=ManualClock()) as backend:
            for n, name in enumerate(["a", "b", "b", None, None, None]):
                await backend.store(f"t{n}", TaskResult.success(f"t{n}", task_name=name))
            await backend.store("f", TaskResult.failed("f", OSError(), task_name="a"))
            rows = await backend.stats.by("name")
            assert [(row.name, row.ended) for row in rows] == [(None, 3), ("a", 2), ("b", 2)]
            pairs = await backend.stats.by("name", "status")
            assert {(row.name, row.status, row.ended) for row in pairs} == {
                *((None, TaskStatus.SUCCESS, 3), ("a", TaskStatus.SUCCESS, 1)),
                *(("a", TaskStatus.FAILED, 1), ("b", TaskStatus.SUCCESS, 2)),
            }
            assert await backend.stats.names() == ["a", "b"]

    async def test_removed_records_stay_counted_until_it_is_dropped(self, backend: BaseResultBackend) -> None:
        await backend.store("t", TaskResult.success("t", task_name="a"))
        await backend.delete("t")
        await backend.store("t", TaskResult.success("t", task_name="a"))
        await backend.clear()
        assert counted(await backend.stats.total("a")) == {"submitted": 2, "succeeded": 2}
        await backend.drop_namespace()
        assert counted(await backend.stats.total()) == {}
        assert await backend.stats.by("name") == []
        await backend.store("t", TaskResult.success("t", task_name="a"))
        assert [row.name for row in await backend.stats.by("name")] == ["a"]

    async def test_minutes_are_kept_for_a_day_and_hours_for_90(self, make_backend: MakeBackend) -> None:
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store("t", TaskResult.success("t"))
            clock.advance(26 * 3_600)
            await backend.purge_expired()
            now = START + 26 * HOUR
            fine = await backend.stats.series(since=now - 23 * HOUR, every="minute")
            assert sum(found.ended for found in fine) == 0
            assert (await backend.stats.total(since=START, until=now)).succeeded == 1
            clock.advance(93 * 86_400)
            await backend.purge_expired()
            assert (await backend.stats.total(since=START, until=now)).succeeded == 0

    async def test_an_answer_that_is_lost_counts_once(self, make_backend: MakeBackend) -> None:
        """Whether the store was carried out or not, and is tried again."""
        backend = make_backend(recheck_interval=NO_RECHECK)
        faults = faulty(backend)
        async with backend:
            for n, is_carried_out in enumerate((True, False)):
                trouble = StorageUnavailable("injected")
                faults.fail("write", error=trouble, is_carried_out=is_carried_out)
                await backend.store(f"t{n}", TaskResult.success(f"t{n}", task_name="a"), patience=30)
            assert counted(await backend.stats.total("a")) == {"submitted": 2, "succeeded": 2}

            def failing(items: Any) -> Any:
                async def fail(*_: Any) -> None:
                    raise StorageUnavailable("injected")

                return fail

            with replaced_verb(backend, "items", failing, in_storage=True), pytest.raises(StorageUnavailable):
                await backend.store("u", TaskResult.success("u", task_name="new"))
            await backend.store("u", TaskResult.success("u", task_name="new"))
            assert counted(await backend.stats.total("new")) == {"submitted": 1, "succeeded": 1}

    async def test_blocks_are_counted(self, backend: BaseResultBackend) -> None:
        """Whatever becomes of them; as their history says."""
        for n, raised in enumerate((None, ValueError, asyncio.CancelledError, None)):
            try:
                async with backend.track(f"t{n}", name="block"):
                    if raised is not None:
                        raise raised
            except (ValueError, asyncio.CancelledError):
                pass
        await backend.requeue("t0")
        expected = {"submitted": 4, "requeued": 1, "succeeded": 2, "failed": 1, "cancelled": 1}
        assert counted(await backend.stats.total("block")) == expected == await by_history(backend)

    async def test_many_at_once(self, backend: BaseResultBackend) -> None:
        """A hundred writers that race for the same tasks: exactly what the history has."""

        async def race(n: int) -> None:
            task_id = f"t{n % 25}"
            await backend.store(task_id, TaskResult.pending(task_id, task_name=f"n{n % 3}"))
            await asyncio.sleep(0)
            await backend.store(task_id, TaskResult.running(task_id, task_name=f"n{n % 3}"))
            outcome = OSError(str(n)) if n % 2 else None
            made = TaskResult.failed(task_id, outcome) if outcome else TaskResult.success(task_id, n)
            await backend.store(task_id, made)
            if n % 10 == 0:
                await backend.requeue(task_id)

        await asyncio.gather(*(race(n) for n in range(100)))
        assert counted(await backend.stats.total()) == await by_history(backend)

    async def test_nothing_is_counted_without_stats(self, make_backend: MakeBackend) -> None:
        async with make_backend(stats=None) as backend:
            await backend.store("t", TaskResult.failed("t", OSError(), task_name="a"))
            assert counted(await backend.stats.total()) == {}
            assert await backend.stats.by("name") == []
            assert await backend.errors.groups() == []
        with pytest.raises(ValueError, match=r"stats: expected 'minute' or None, got 'second'"):
            make_backend(stats="second")

    async def test_bad_arguments_of_statistics(self, make_backend: MakeBackend) -> None:
        async with make_backend(clock=ManualClock()) as backend:
            stats: Any = backend.stats
            naive, later = datetime(2026, 1, 1), START + HOUR  # that is the point
            bad: list[tuple[Any, type[Exception], str]] = [
                (lambda: stats.total(""), ValueError, "name"),
                (lambda: stats.total(7), TypeError, "name"),
                (lambda: stats.total(since=naive), ValueError, "since: expected an aware datetime"),
                (lambda: stats.total(since=later), ValueError, "since: expected a time before until"),
                (lambda: stats.total(until="now"), TypeError, "until"),
                (lambda: stats.series(every="week"), ValueError, "every: expected 'minute', 'hour', 'day'"),
                (lambda: stats.series(every=timedelta(seconds=90)), ValueError, "every: expected a multiple"),
                (lambda: stats.series(every=timedelta()), ValueError, "every: expected a multiple"),
                (
                    lambda: stats.series(since=START - 40 * HOUR, every="minute"),
                    *(ValueError, "every: minutes are kept for a day"),
                ),
                (
                    lambda: stats.series(since=START - 9_000 * HOUR),
                    *(ValueError, "every: expected at most 3000 periods, got 9001"),
                ),
                (lambda: stats.total(since=EVER, until=later), ValueError, "until: expected None, as what"),
                (lambda: stats.series(since=EVER), ValueError, "every: expected at most 3000 periods"),
                (lambda: stats.by(), ValueError, "fields: expected 'name', 'status' or both, got none"),
                (lambda: stats.by("worker"), ValueError, "fields: expected 'name', 'status' or both"),
                (lambda: stats.percentiles(50), ValueError, "q: expected a share from 0 to 1"),
                (lambda: stats.percentiles(0.5, of="x"), ValueError, "of: expected 'run' or 'wait'"),
                (lambda: stats.percentiles(0.5, of="wait", status="failed"), ValueError, "status: how long"),
                (lambda: stats.percentiles(0.5, status="x"), ValueError, "status"),
            ]
            for call, kind, said in bad:
                with pytest.raises(kind, match=said):
                    await call()

    async def test_the_runs_of_a_backend_are_not_counted(self, backend: BaseResultBackend) -> None:
        await backend.runs.start("r")
        await backend.runs.complete("r", 1)
        assert counted(await backend.stats.total()) == {}
