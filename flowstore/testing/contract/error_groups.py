"""The contract of error groups: the same error once, counted exactly, open until somebody decides it."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from flowstore import BaseResultBackend, ErrorState, InvalidQuery, StorageUnavailable, TaskError, TaskResult
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.statistics import in_order_of_writing
from flowstore.testing.insides import faulty, wants
from flowstore.testing.support import START

TIMEOUT = TaskError(type="TimeoutError", message="no answer from 10.0.0.7:8080 after 3.5 s")
VALUE = TaskError(type="ValueError", message="page 17 of '/tmp/a' is empty")


async def fail(
    backend: BaseResultBackend, task_id: str, error: TaskError = TIMEOUT, **fields: Any
) -> TaskResult:
    task = TaskResult.failed(task_id, error, **fields)
    assert await backend.store(task_id, task)
    return task


async def group_of(backend: BaseResultBackend, error: TaskError = TIMEOUT) -> Any:
    found = await backend.errors.get(error.fingerprint)
    assert found is not None
    return found


class ErrorGroupsContract(Contract):
    """For a backend whose engine ``counts_writes``."""

    async def test_the_same_error_is_one_group(self, make_backend: MakeBackend) -> None:
        """Whatever numbers, paths and times are in its message; retries count as well."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await fail(backend, "t1", task_name="a")
            clock.advance(60)
            other = TaskError(type="TimeoutError", message="no answer from 192.168.1.1:99 after 17 s")
            await backend.store("t2", TaskResult.retrying("t2", other, task_name="b"))
            await fail(backend, "t3", VALUE)
            first, second = await backend.errors.groups(order="total")
            assert (first.id, first.total) == (TIMEOUT.fingerprint, 2)
            assert (first.type, first.message) == ("TimeoutError", "no answer from <ip> after <time>")
            assert (first.example, first.example_id, first.example_name) == (other.message, "t2", "b")
            assert (first.first_at, first.last_at) == (START, START + timedelta(seconds=60))
            assert (first.state, first.recent, first.names, first.decided_at) == (
                ErrorState.OPEN,
                *[None] * 3,
            )
            assert (second.message, second.example_name) == ("page <n> of <text> is empty", None)

    async def test_a_failure_counts_once(self, backend: BaseResultBackend) -> None:
        """However often it is stored, and whatever else is changed of the task; a next attempt is another."""
        task = await fail(backend, "t")
        await backend.store("t", task, overwrite=True)
        await backend.update("t", lambda found: found and found.model_copy(update={"labels": {"x"}}))
        await backend.history.record("t", "noticed")
        assert (await group_of(backend)).total == 1
        await backend.store("t", TaskResult.retrying("t", TIMEOUT, retries=1))
        await fail(backend, "t", retries=1)
        assert (await group_of(backend)).total == 3
        await backend.delete("t")
        assert (await group_of(backend)).total == 3

    async def test_resolved_until_it_comes_again(self, make_backend: MakeBackend) -> None:
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await fail(backend, "t")
            clock.advance(5)
            group = TIMEOUT.fingerprint
            assert await backend.errors.resolve(group, by="ann", reason="deployed 1.2") is True
            found = await group_of(backend)
            assert (found.state, found.by, found.reason) == (ErrorState.RESOLVED, "ann", "deployed 1.2")
            assert found.decided_at == START + timedelta(seconds=5)
            assert await backend.errors.groups("open") == []
            assert [each.id for each in await backend.errors.groups("resolved")] == [group]
            await fail(backend, "u")
            found = await group_of(backend)
            assert (found.state, found.by) == (ErrorState.OPEN, "ann")
            assert await backend.errors.groups(ErrorState.RESOLVED) == []

    async def test_a_failure_while_it_is_resolved_opens_it(self, backend: BaseResultBackend) -> None:
        """Also one between the look at the group and the decision, at the same time by the clock."""
        await fail(backend, "t")
        put = backend.errors._decisions.put

        async def fail_before(group: str, decision: Any) -> None:
            await fail(backend, "u")
            await put(group, decision)

        backend.errors._decisions.put = fail_before  # type: ignore[method-assign]  # the moment in between
        assert await backend.errors.resolve(TIMEOUT.fingerprint) is True
        assert (await group_of(backend)).state is ErrorState.OPEN

    async def test_ignored_until_a_time_or_so_many_more(self, make_backend: MakeBackend) -> None:
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await fail(backend, "t")
            group, until = TIMEOUT.fingerprint, START + timedelta(hours=1)
            assert await backend.errors.ignore(group, until=until)
            await fail(backend, "u")
            found = await group_of(backend)
            assert (found.state, found.ignored_until, found.ignored_total) == (
                ErrorState.IGNORED,
                until,
                None,
            )
            clock.advance(3_600)
            found = await group_of(backend)
            assert (found.state, found.ignored_until) == (ErrorState.OPEN, None)
            assert await backend.errors.ignore(group, more=2)
            await fail(backend, "v")
            assert (await group_of(backend)).ignored_total == 4
            await fail(backend, "w")
            assert (await group_of(backend)).state is ErrorState.OPEN
            assert await backend.errors.ignore(group)
            await fail(backend, "x")
            clock.advance(10**6)
            assert (await group_of(backend)).state is ErrorState.IGNORED
            assert await backend.errors.reopen(group, by="bob")
            found = await group_of(backend)
            assert (found.state, found.by) == (ErrorState.OPEN, "bob")

    async def test_a_clock_that_is_behind_opens_nothing(self, make_backend: MakeBackend) -> None:
        """An ignored group stays so, though there is an earlier failure than the first one was."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await fail(backend, "t")
            assert await backend.errors.ignore(TIMEOUT.fingerprint)
            clock.advance(-30)
            await fail(backend, "u")
            found = await group_of(backend)
            assert (found.state, found.total) == (ErrorState.IGNORED, 2)
            assert found.first_at == START - timedelta(seconds=30)

    async def test_recent_failures_by_name(self, make_backend: MakeBackend) -> None:
        """Since a time, from the minute that it is in; groups without any are left out."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await fail(backend, "old", VALUE)
            await fail(backend, "t0", task_name="a")
            clock.advance(7_200)
            for n, name in enumerate(("a", "b", "b", None), 1):
                await fail(backend, f"t{n}", task_name=name)
            since = START + timedelta(seconds=7_230)
            [found] = await backend.errors.groups(since=since - timedelta(seconds=60), order="recent")
            assert (found.total, found.recent, found.names) == (5, 4, {"b": 2, "a": 1, "": 1})
            long_ago = await backend.errors.groups(since=START - timedelta(days=2), order="recent")
            assert [(each.type, each.recent) for each in long_ago] == [("TimeoutError", 5), ("ValueError", 1)]
            assert await backend.errors.groups(since=since) == []

    async def test_order_and_limit_of_groups(self, make_backend: MakeBackend) -> None:
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            for n, letters in enumerate(("aab", "b", "cccca")):
                for place, letter in enumerate(letters):
                    clock.advance(1)
                    await fail(backend, f"t{n}{place}", TaskError(type=letter, message="x"))

            async def types(**options: Any) -> str:
                return "".join(group.type for group in await backend.errors.groups(**options))

            assert await types() == await types(order="last") == "acb"
            assert await types(order="first") == "cba"
            assert await types(order="total", limit=2) == "ca"

    async def test_occurrences(self, make_backend: MakeBackend) -> None:
        """The last to fail first, whenever they were submitted; requeued and successful ones are none."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            for n in range(7):
                submitted = None if n == 3 else START - timedelta(hours=n)
                at = START + timedelta(seconds=n)
                await fail(backend, f"t{n}", submitted_at=submitted, at=at)
                await fail(backend, f"v{n}", VALUE, at=at)
            await backend.store("retrying", TaskResult.retrying("retrying", TIMEOUT))
            group = TIMEOUT.fingerprint
            first = await backend.errors.occurrences(group, limit=4)
            assert [task.task_id for task in first.items] == ["t6", "t5", "t4", "t3"]
            assert not any(task.is_loaded for task in first.items)
            rest = await backend.errors.occurrences(group, limit=4, cursor=first.next_cursor)
            assert [task.task_id for task in rest.items] == ["t2", "t1", "t0"]
            oldest = await backend.errors.occurrences(group, limit=2, newest_first=False)
            assert [task.task_id for task in oldest.items] == ["t0", "t1"]
            retrying = await backend.page("retrying", error=group)
            assert [task.task_id for task in retrying.items] == ["retrying"]
            assert (await backend.count_by_status(error=group)).total == 8
            await backend.requeue("t6")
            await backend.store("t5", TaskResult.success("t5", 1), overwrite=True)
            left = await backend.errors.occurrences(group)
            assert [task.task_id for task in left.items] == ["t4", "t3", "t2", "t1", "t0"]
            assert (await backend.count_by_status(error=group)).total == 6

    async def test_groups_in_queries(self, backend: BaseResultBackend) -> None:
        """By the beginning of a fingerprint, by submission and by finish, and for each task by itself."""
        for n in range(4):
            await fail(backend, f"t{n}", at=START + timedelta(seconds=n), task_name="a" if n % 2 else "b")
            await fail(backend, f"v{n}", VALUE, at=START + timedelta(seconds=n))
        await backend.store("retrying", TaskResult.retrying("retrying", TIMEOUT, task_name="b"))
        group = TIMEOUT.fingerprint

        async def found(query: str) -> list[str]:
            return [task.task_id async for task in backend.iter_search(query)]

        assert sorted(await found(f"error:{group[:6]}")) == ["retrying", "t0", "t1", "t2", "t3"]
        assert await found(f"error:{group[:6]} sort:-finished") == ["t3", "t2", "t1", "t0"]
        assert await found(f"error:{group[:6]} name:a sort:finished") == ["t1", "t3"]
        assert await found(f"status:failed -error:{group} sort:finished") == ["v0", "v1", "v2", "v3"]
        holds = await wants(backend, f"error:{group} name:b")
        for task_id, expected in (("t0", True), ("t1", False), ("v0", False), ("retrying", True)):
            task = await backend.get(task_id)
            assert task is not None
            assert holds(task) is expected

    async def test_types_of_errors(self, backend: BaseResultBackend) -> None:
        """By their failures, those of all their groups together."""
        for n, (kind, said) in enumerate([("a.B", "x"), ("a.B", "y"), ("a.C", "x"), ("b.C", "x")]):
            await fail(backend, f"t{n}", TaskError(type=kind, message=said))
        assert await backend.errors.types("a.") == {"a.B": 2, "a.C": 1}
        assert await backend.errors.types(limit=1) == {"a.B": 2}
        assert await backend.errors.types("none") == {}

    async def test_many_fail_at_once(self, backend: BaseResultBackend) -> None:
        """Exactly as many are counted as were applied, as the history tells."""

        async def race(n: int) -> None:
            task_id, error = f"t{n % 30}", TIMEOUT if n % 3 else VALUE
            await backend.store(task_id, TaskResult.retrying(task_id, error, retries=n % 4))
            await backend.store(task_id, TaskResult.failed(task_id, error, retries=n % 4))

        await asyncio.gather(*(race(n) for n in range(120)))
        expected: Counter[str] = Counter()
        last: dict[str, Any] = {}
        for step in await in_order_of_writing(backend):
            if last.get(step.task_id) != (step.status, step.retries) and step.error is not None:
                expected[step.error.type] += 1
            last[step.task_id] = (step.status, step.retries)
        assert {group.type: group.total for group in await backend.errors.groups()} == expected

    async def test_an_answer_that_is_lost_is_one_failure(self, make_backend: MakeBackend) -> None:
        backend = make_backend()
        faults = faulty(backend)
        async with backend:
            for n, is_carried_out in enumerate((True, False)):
                trouble = StorageUnavailable("injected")
                faults.fail("write", error=trouble, is_carried_out=is_carried_out)
                task = TaskResult.failed(f"t{n}", TIMEOUT)
                await backend.store(f"t{n}", task, patience=30)
            assert (await group_of(backend)).total == 2

    async def test_groups_are_forgotten_90_days_after_their_last_failure(
        self, make_backend: MakeBackend
    ) -> None:
        """And one that comes anew after that is open, whatever was decided then."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            for n in range(3):
                await fail(backend, f"t{n}")
            await backend.errors.resolve(TIMEOUT.fingerprint)
            clock.advance(91 * 86_400)
            await backend.purge_expired()
            assert await backend.errors.groups() == []
            await fail(backend, "u")
            found = await group_of(backend)
            assert (found.total, found.state) == (1, ErrorState.OPEN)

    async def test_clear_leaves_groups_and_drop_does_not(self, backend: BaseResultBackend) -> None:
        await fail(backend, "t")
        await backend.clear()
        assert (await group_of(backend)).total == 1
        await backend.drop_namespace()
        assert await backend.errors.groups() == []

    async def test_no_groups_without_the_option(self, make_backend: MakeBackend) -> None:
        async with make_backend(error_groups=False) as backend:
            await fail(backend, "t")
            assert await backend.errors.groups() == []
            assert (await backend.stats.total()).failed == 1
            with pytest.raises(ValueError, match="error: not indexed by this backend"):
                await backend.page("failed", error=TIMEOUT.fingerprint)
            with pytest.raises(InvalidQuery, match="error_groups=False"):
                await backend.search(f"error:{TIMEOUT.fingerprint}")
        with pytest.raises(TypeError, match="error_groups"):
            make_backend(error_groups="yes")

    async def test_what_is_redacted_is_not_kept_as_an_example(self, make_backend: MakeBackend) -> None:
        def without_message(result: TaskResult) -> TaskResult:
            error = result.error and TaskError(type=result.error.type, message="(redacted)")
            return result.model_copy(update={"error": error})

        async with make_backend(redact=without_message) as backend:
            await fail(backend, "t")
            [group] = await backend.errors.groups()
            assert group.message == group.example == "(redacted)"

    async def test_hostile_errors_are_grouped(self, backend: BaseResultBackend) -> None:
        """Of any text and length."""
        texts = ["", "\0", "\U0001f40d" * 5_000, "x" * 100_000, "\u202e<script>", "'" * 4_000]
        for n, text in enumerate(texts):
            await fail(backend, f"t{n}", TaskError(type=text or "E", message=text))
        groups = await backend.errors.groups()
        assert {group.example_id for group in groups} == {f"t{n}" for n in range(len(texts))}
        assert all(re.fullmatch("[0-9a-f]{16}", group.id) for group in groups)

    async def test_bad_arguments_of_errors(self, make_backend: MakeBackend) -> None:
        async with make_backend(clock=ManualClock()) as backend:
            errors: Any = backend.errors
            known = (await fail(backend, "t")).error
            group = known.fingerprint if known else ""
            naive = datetime(2026, 1, 1)  # that is the point
            bad: list[tuple[Any, type[Exception], str]] = [
                (lambda: errors.groups("closed"), ValueError, "closed"),
                (lambda: errors.groups(limit=0), ValueError, "limit"),
                (lambda: errors.groups(order="name"), ValueError, "order: expected 'last'"),
                (lambda: errors.groups(order="recent"), ValueError, "order: 'recent' needs since"),
                (lambda: errors.groups(since=naive), ValueError, "since"),
                (lambda: errors.get("5d0c"), ValueError, "group: expected 16 hexadecimal digits"),
                (lambda: errors.get(7), TypeError, "group"),
                (lambda: errors.occurrences("x"), ValueError, "group: expected 16 hexadecimal digits"),
                (lambda: errors.occurrences(group, limit=0), ValueError, "limit"),
                (lambda: errors.types(7), TypeError, "prefix"),
                (lambda: errors.types(limit=0), ValueError, "limit"),
                (lambda: errors.ignore(group, more=0), ValueError, "more"),
                (lambda: errors.ignore(group, until=START), ValueError, "until: .* has passed"),
                (lambda: errors.ignore(group, until=naive), ValueError, "until"),
                (lambda: errors.resolve(group, by=""), ValueError, "by"),
                (lambda: errors.resolve(group, reason=7), TypeError, "reason"),
            ]
            for call, kind, said in bad:
                with pytest.raises(kind, match=said):
                    await call()
            unknown = "0" * 16
            assert await errors.get(unknown) is None
            decided = [
                await errors.resolve(unknown),
                await errors.ignore(unknown),
                await errors.reopen(unknown),
            ]
            assert decided == [False, False, False]
