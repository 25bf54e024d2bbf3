"""The contract of observers that keep something with each task, and harm none by that."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest

from flowstore import BaseResultBackend, TaskResult, TaskStatus
from flowstore.observing import Event
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.support import stored


class Adding:
    """An observer that adds ``meta``, or raises it."""

    def __init__(self, meta: Any) -> None:
        self.meta = meta
        self.asked: list[str] = []

    def on_event(self, event: Event) -> None:
        pass

    def on_submit(self, task: TaskResult) -> Mapping[str, Any]:
        self.asked.append(task.task_id)
        if isinstance(self.meta, Exception):
            raise self.meta
        return self.meta  # type: ignore[no-any-return]  # whatever it is


async def metas(backend: BaseResultBackend, *task_ids: str) -> list[dict[str, Any]]:
    return [dict((await stored(backend, task_id)).meta) for task_id in task_ids]


class SubmittingContract(Contract):
    async def test_what_is_added_to_submitted_tasks(self, make_backend: MakeBackend) -> None:
        """By each verb that submits one; it stays to the end of the task, through its attempts."""
        adding = Adding({"trace": "abc"})
        async with make_backend(observers=[adding]) as backend:
            await backend.store("a", TaskResult.pending("a", args=(1,), meta={"own": 1}))
            await backend.store_many([TaskResult.pending("b"), TaskResult.running("r")])
            await backend.update("c", lambda _: TaskResult.pending("c"))
            await backend.data.set("d", "key", 1, or_store=TaskResult.pending("d"))
            assert await metas(backend, "a", "b", "c", "d", "r") == [
                {"own": 1, "trace": "abc"},
                *[{"trace": "abc"}] * 3,
                {},
            ]
            adding.meta = {"trace": "another"}
            async with backend.track("a", retry_on=ValueError) as task:
                task.retry(ValueError())
            await backend.requeue("a")
            async with backend.track("a", meta={"more": 2}):
                pass
            done = await stored(backend, "a")
        assert (done.status, done.args, dict(done.meta)) == (
            TaskStatus.SUCCESS,
            (1,),
            {"own": 1, "trace": "abc", "more": 2},
        )
        assert adding.asked == ["a", "b", "c", "d"]

    async def test_nothing_is_replaced_by_what_is_added(self, make_backend: MakeBackend) -> None:
        """Neither of what the program has set, nor of another observer, nor in a record that stands."""
        first, second = Adding({"trace": 1, "one": 1}), Adding({"trace": 2, "two": 2, "own": 2})
        async with make_backend(observers=[first, second]) as backend:
            await backend.store("t", TaskResult.pending("t", meta={"own": 0}))
            assert await metas(backend, "t") == [{"own": 0, "trace": 1, "one": 1, "two": 2}]
            first.meta = {"later": 3}
            await backend.update("t", lambda task: task and TaskResult.pending(task, labels={"x"}))
            assert await metas(backend, "t") == [{"own": 0, "trace": 1, "one": 1, "two": 2}]

    @pytest.mark.parametrize(
        "meta", [{f"n{n}": n for n in range(64)}, {"long": "x" * 16_300}], ids=["entries", "bytes"]
    )
    async def test_what_does_not_fit_is_not_added(
        self, make_backend: MakeBackend, meta: dict[str, Any]
    ) -> None:
        """The task is stored as it is."""
        async with make_backend(observers=[Adding({"trace": "x" * 100})]) as backend:
            assert await backend.store("t", TaskResult.pending("t", meta=meta))
            assert await metas(backend, "t") == [meta]

    @pytest.mark.parametrize("bad", [ValueError("no"), {"trace": [1]}, {1: 1}, 7, None])
    async def test_observers_that_add_nothing_usable(
        self, make_backend: MakeBackend, caplog: pytest.LogCaptureFixture, bad: Any
    ) -> None:
        """Tasks are stored, and it is logged once."""
        async with make_backend(observers=[Adding(bad), Adding({"good": 1})]) as backend:
            for name in ("a", "b"):
                assert await backend.store(name, TaskResult.pending(name))
            assert await metas(backend, "a", "b") == [{"good": 1}] * 2
        errors = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert [record.name for record in errors] == ["flowstore.observers"]

    async def test_what_is_added_is_redacted(self, make_backend: MakeBackend) -> None:
        """The program has the last word."""
        adding = Adding({"trace": "secret"})

        def redact(task: TaskResult) -> TaskResult:
            return task.model_copy(update={"meta": dict.fromkeys(task.meta, "***")})

        async with make_backend(observers=[adding], redact=redact) as backend:
            await backend.store("t", TaskResult.pending("t"))
            assert await metas(backend, "t") == [{"trace": "***"}]
