"""The contract of what hosts hand on: arguments and outcomes of attempts, and values of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from flowstore import BaseResultBackend, NotSerializable, PayloadTooLarge, TaskResult, TaskStatus
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.attempts import Flaky, attempt
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.support import START, stored, waiting


class Unknown:
    """Of no registered type."""


@dataclass
class Known:
    a: int


class HandingOnContract(Contract):
    async def test_arguments_of_a_task_that_was_never_submitted(self, backend: BaseResultBackend) -> None:
        """They are those of the block, and so is the time of its submission."""
        before = START - timedelta(minutes=1)
        async with backend.track("t", args=(1, {2}), kwargs={"a": b"x"}, submitted_at=before):
            pass
        task = await stored(backend, "t")
        assert (task.args, task.kwargs, task.submitted_at) == ((1, {2}), {"a": b"x"}, before)

    async def test_arguments_replace_those_that_are_stored(self, backend: BaseResultBackend) -> None:
        """Those that are not given stay, and so does the time at which the task was submitted."""
        submitted = TaskResult.pending("t", at=START, args=(1,), kwargs={"a": 1}, labels=("l",))
        await backend.store("t", submitted)
        async with backend.track("t", kwargs={"b": 2}, submitted_at=START + timedelta(hours=1)):
            task = await stored(backend, "t")
            assert (task.status, task.args, task.kwargs) == (TaskStatus.RUNNING, (1,), {"b": 2})
        task = await stored(backend, "t")
        assert (task.args, task.kwargs, task.submitted_at) == ((1,), {"b": 2}, START)
        assert task.labels == {"l"}

    async def test_given_arguments_need_no_types(self, make_backend: MakeBackend) -> None:
        """What is stored of a type that is unknown here fails no attempt that has its own arguments."""
        async with make_backend(types=[Known]) as one, make_backend() as other:
            await one.store("t", TaskResult.pending("t", args=(Known(a=1),)))
            async with other.track("t", args=(1,), kwargs={}) as task:
                task.result = 1
            assert (await stored(other, "t")).args == (1,)

    async def test_arguments_that_cannot_be_stored_are_a_bad_argument(
        self, backend: BaseResultBackend
    ) -> None:
        """Nothing is written, and the task is what it was."""
        await backend.store("t", TaskResult.pending("t"))
        with pytest.raises(NotSerializable):
            async with backend.track("t", args=(Unknown(),)):
                pytest.fail("the block has begun")
        assert (await stored(backend, "t")).version == 1

    @pytest.mark.parametrize(
        ("options", "trouble"),
        [
            ({"args": "ab"}, "args: expected an iterable of arguments, got str"),
            ({"args": 1}, "args: expected an iterable of arguments, got int"),
            ({"kwargs": [1]}, "kwargs: expected a mapping with names as str"),
            ({"kwargs": {1: 2}}, "kwargs: expected a mapping with names as str"),
            ({"submitted_at": 1.0}, "submitted_at: expected datetime, got float"),
            ({"submitted_at": datetime(2026, 1, 1)}, "submitted_at: expected an aware datetime"),
        ],
    )
    async def test_bad_arguments_are_named(
        self, backend: BaseResultBackend, options: Mapping[str, Any], trouble: str
    ) -> None:
        with pytest.raises((TypeError, ValueError), match=trouble):
            backend.track("t", **options)

    async def test_what_can_be_stored_is_not_refused(self, backend: BaseResultBackend) -> None:
        for value in (None, 1, "a", (1, 2), {"a": {b"b"}}, [START]):
            assert backend.refusal(value) is None

    async def test_a_refusal_is_the_error_of_store(self, make_backend: MakeBackend) -> None:
        """The same class, with the same path and reason; nothing is stored."""
        async with make_backend(max_result_bytes=1_000) as backend:
            for value, kind in (({"a": [Unknown()]}, NotSerializable), ("x" * 2_000, PayloadTooLarge)):
                refused = backend.refusal(value)
                with pytest.raises(kind) as caught:
                    await backend.store("t", TaskResult.success("t", value))
                assert (type(refused), str(refused)) == (type(caught.value), str(caught.value))
            assert await backend.get("t") is None

    async def test_outcome_that_the_host_makes(self, backend: BaseResultBackend) -> None:
        """It goes before what the block says, and has whatever a finished record can have; waiters get it."""
        waiter = await waiting(backend, "t")
        async with backend.track("t", meta={"queue": "mail"}) as task:
            task.result = "not this"
            task.retry(Flaky("nor that"))
            task.end_with(
                lambda running: TaskResult.failed(
                    running, Flaky("half"), result=[1], meta={**running.meta, "took": 0.2}
                )
            )
        done = await waiter
        assert task.outcome is not None
        assert done.error is not None
        assert (done.status, done.error.message, done.result) == (TaskStatus.FAILED, "half", [1])
        assert done.meta == task.outcome.meta == {"queue": "mail", "took": 0.2}

    async def test_outcome_that_cannot_be_made(self, backend: BaseResultBackend) -> None:
        """That is the error with which the task has failed: nobody waits for ever."""

        def broken(running: TaskResult) -> TaskResult:
            raise LookupError("nothing left")

        def child(running: TaskResult) -> TaskResult:
            return TaskResult.success(running.model_copy(update={"parent_id": running.task_id}))

        makers: list[tuple[str, Callable[[TaskResult], Any]]] = [
            ("LookupError", broken),
            ("TypeError", lambda running: None),
            ("flowstore.errors.NotSerializable", lambda running: TaskResult.success(running, object())),
            ("flowstore.errors.FamilyConflict", child),
            ("ValueError", TaskResult.running),
            ("ValueError", lambda running: TaskResult.success("another")),
            ("ValueError", lambda running: TaskResult.success(running.task_id)),
        ]
        for n, (kind, make) in enumerate(makers):
            tracked = backend.track(f"t{n}", retries=1)
            with pytest.raises((LookupError, TypeError, ValueError)):
                async with tracked:
                    tracked.end_with(make)
            failed = await stored(backend, f"t{n}")
            assert failed.error is not None
            assert (failed.status, failed.error.type) == (TaskStatus.FAILED, kind)
        with pytest.raises(TypeError, match="make: expected a callable"):
            backend.track("t").end_with(None)  # type: ignore[arg-type]

    async def test_ttl_is_that_of_the_outcome(self, make_backend: MakeBackend) -> None:
        """However the block ends, in place of the ttls of the backend; what is not finished has these."""
        clock = ManualClock()
        async with make_backend(clock=clock, ttl=5, failure_ttl=6, unfinished_ttl=700) as backend:
            for error, ttl, seconds in [
                (None, 60, 60),
                (KeyError("no"), timedelta(minutes=2), 120),
                (KeyError("no"), None, None),
                (Flaky("again"), 60, 700),
            ]:
                await attempt(backend, error, retry_on=Flaky, ttl=ttl)
                expected = None if seconds is None else START + timedelta(seconds=seconds)
                assert (await stored(backend, "t")).expires_at == expected
                await backend.delete("t")
            async with backend.track("t", ttl=60):
                assert (await stored(backend, "t")).expires_at == START + timedelta(seconds=700)
