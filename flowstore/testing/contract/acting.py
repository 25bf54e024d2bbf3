"""The contract of actions on all that match: what they do to which tasks, and what they leave alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from flowstore import (
    BaseResultBackend,
    Operation,
    TaskResult,
    TaskStatus,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.retaining import FIRST_MOMENT
from flowstore.testing.insides import know_only, meanwhile, plant
from flowstore.testing.support import START, stored

ALL = "name:mail"
OTHERS: dict[str, Any] = {"label": {"add": ["seen"]}, "expire": {"ttl": 60}, "fail": {"error": "no use"}}
"""The arguments that actions need."""


@dataclass
class Order:
    """A type that an operator's program does not know."""

    number: int


def one_of_each(**fields: Any) -> list[TaskResult]:
    """A task in each status, whose id that is, the last one submitted first; and one that is asked to end."""
    made: list[TaskResult] = [
        TaskResult.pending("pending"),
        TaskResult.running("running", worker_id="w"),
        TaskResult.retrying("retrying", ValueError("x")),
        TaskResult.success("success", Order(1)),
        TaskResult.failed("failed", ValueError("x"), result=Order(2)),
        TaskResult.cancelled("cancelled"),
    ]
    common = {"task_name": "mail", "args": (Order(3),), "retries": 1, **fields}
    return [
        task.model_copy(update={**common, "submitted_at": START + timedelta(seconds=n)})
        for n, task in enumerate(made)
    ]


async def applied(backend: BaseResultBackend, action: Any, query: str = ALL, **options: Any) -> Operation:
    """The operation, carried out after a look that has found the same."""
    given = {**OTHERS.get(action, {}), **options}
    preview = await backend.actions.apply(action, query, **given)
    operation: Operation = await backend.actions.apply(action, query, dry_run=False, **given)
    assert preview.is_exact
    assert (preview.count, preview.effects) == (operation.matched, operation.effects)
    assert (operation.state, operation.told) == ("done", 0)
    assert await backend.actions.get(operation.id) == operation
    return operation


async def statuses(backend: BaseResultBackend) -> dict[str, str]:
    return {task.task_id: task.status.value async for task in backend.iter_by_status(load_result=False)}


class ActionsContract(Contract):
    async def test_a_look_writes_nothing(self, backend: BaseResultBackend) -> None:
        """It counts, shows ten without values, and says what would become of each."""
        await backend.store_many(
            TaskResult.failed(f"t{n:02}", ValueError("x"), task_name="mail", args=(n,)) for n in range(12)
        )
        await backend.store_many(
            [TaskResult.running("r", task_name="mail"), TaskResult.pending("o", task_name="other")]
        )
        before = [task async for task in backend.iter_by_status()]
        preview = await backend.actions.apply("requeue", ALL)
        assert (preview.count, preview.is_exact, preview.query) == (13, True, ALL)
        assert preview.by_status == {TaskStatus.FAILED: 12, TaskStatus.RUNNING: 1}
        assert preview.effects == {"requeued": 12, "left alone: running": 1}
        assert len(preview.samples) == 10
        assert not any(task.is_loaded for task in preview.samples)
        assert (preview.is_host_told, preview.action.hook) == (False, "on_requeue")
        assert (await backend.actions.apply("requeue", ALL, limit=3)).effects["requeued"] == 3
        assert [task async for task in backend.iter_by_status()] == before
        assert await backend.actions.all() == []

    async def test_a_look_is_bounded(self, backend: BaseResultBackend) -> None:
        """It looks at 10,000 records, and says that there may be more."""
        await backend.store_many(TaskResult.pending(f"t{n}", task_name="mail") for n in range(10_400))
        preview = await backend.actions.apply("cancel", ALL)
        assert (preview.count, preview.is_exact) == (10_000, False)
        assert (await backend.actions.apply("cancel", ALL, limit=700)).is_exact

    @pytest.mark.parametrize(
        ("action", "after"),
        [
            ("requeue", "pending running pending pending pending pending"),
            ("cancel", "cancelled running cancelled success failed cancelled"),
            ("fail", "failed running failed success failed cancelled"),
            ("delete", "- running - - - -"),
            ("expire", "pending running retrying success failed cancelled"),
            ("label", "pending running retrying success failed cancelled"),
        ],
    )
    async def test_what_each_does_to_each_status(
        self, make_backend: MakeBackend, action: str, after: str
    ) -> None:
        """As the method for one task does; what it does not apply to is left alone, and counted."""
        async with make_backend(types=[Order]) as backend:
            tasks = one_of_each()
            await backend.store_many(tasks)
            await backend.store("other", TaskResult.failed("other", ValueError("x"), task_name="other"))
            operation = await applied(backend, action)
            found = await statuses(backend)
            assert [found.get(task.task_id, "-") for task in tasks] == after.split()
            assert operation.matched == 6
            assert operation.done + operation.skipped == 6
            assert (await stored(backend, "other")).version == 1
            running = await stored(backend, "running")
            assert (running.cancel_request is not None) is (action == "cancel")
            assert (running.labels == {"seen"}) is (action == "label")
            assert (running.expires_at is not None) is (action == "expire")

    async def test_effects_are_told_apart(self, make_backend: MakeBackend) -> None:
        """Each has a name, and so has each reason to leave a task alone."""
        async with make_backend(types=[Order]) as backend:
            await backend.store_many(one_of_each())
            seen = [(await applied(backend, action)).effects for action in ("expire", "label", "label")]
            assert seen == [{"ttl set": 6}, {"labelled": 6}, {"left alone: nothing to change": 6}]
            assert (await applied(backend, "cancel")).effects == {
                "cancelled": 2,
                "asked to end": 1,
                "left alone: finished": 3,
            }
            assert (await applied(backend, "cancel")).effects == {
                "left alone: asked to end already": 1,
                "left alone: finished": 5,
            }
            assert (await applied(backend, "fail")).effects == {
                "left alone: running": 1,
                "left alone: finished": 5,
            }
            assert (await applied(backend, "requeue")).effects == {"requeued": 5, "left alone: running": 1}
            assert (await applied(backend, "requeue")).effects == {
                "left alone: pending already": 5,
                "left alone: running": 1,
            }
            assert (await applied(backend, "delete")).effects == {"deleted": 5, "left alone: running": 1}

    @pytest.mark.parametrize(
        ("action", "after"), [("requeue", "pending"), ("fail", "failed"), ("delete", "-")]
    )
    async def test_running_ones_only_when_asked_for(
        self, backend: BaseResultBackend, action: str, after: str
    ) -> None:
        """A look says that they are left alone."""
        await backend.store("t", TaskResult.running("t", task_name="mail"))
        assert (await applied(backend, action, "status:running")).effects == {"left alone: running": 1}
        assert (await applied(backend, action, include_running=True)).done == 1
        assert (await statuses(backend)).get("t", "-") == after

    async def test_a_requeued_one_has_its_arguments_and_no_result(self, make_backend: MakeBackend) -> None:
        """Short or long, compressed or not, of types that are not known where it is done."""
        values = [Order(1), "x" * 5_000, ["x" * 500] * 100, None]
        async with make_backend(types=[Order], compress_over=1_000) as backend:
            tasks: list[TaskResult] = [
                TaskResult.success(f"t{n}{m}", result, args=args, kwargs={"a": result}, task_name="mail")
                for n, result in enumerate(values)
                for m, args in enumerate([(), (Order(2),), ("y" * 20_000,)])
            ]
            await backend.store_many(tasks)
            know_only(backend)
            assert (await applied(backend, "requeue")).done == 12
            know_only(backend, [Order])
            for task in tasks:
                found = await stored(backend, task.task_id)
                assert (found.status, found.retries, found.result) == (TaskStatus.PENDING, 1, None)
                assert (found.args, found.kwargs) == (task.args, task.kwargs)

    @pytest.mark.parametrize("action", ["requeue", "cancel", "fail", "expire", "label"])
    @pytest.mark.parametrize("is_raw", [False, True])
    async def test_types_need_not_be_known(
        self, make_backend: MakeBackend, action: str, is_raw: bool
    ) -> None:
        """Values come out as they went in, whoever has acted on their task."""
        async with make_backend(types=[Order], history=False, max_result_bytes=200) as backend:
            await backend.store_many(one_of_each())
            know_only(backend, raw=is_raw)
            await applied(backend, action)
            know_only(backend, [Order])
            for task in one_of_each():
                found = await stored(backend, task.task_id)
                assert found.args == (Order(3),)
                assert found.result == (None if found.status is TaskStatus.PENDING else task.result)

    async def test_limit(self, backend: BaseResultBackend) -> None:
        """So many are changed, the first that the query finds; those left alone do not count."""
        await backend.store_many(
            TaskResult.pending(f"t{n:04}", task_name="mail", at=START + timedelta(seconds=n))
            if n % 2
            else TaskResult.success(f"t{n:04}", task_name="mail", submitted_at=START + timedelta(seconds=n))
            for n in range(1_400)
        )
        operation = await applied(backend, "cancel", limit=600)
        assert operation.done == 600
        left = [task_id async for task_id in backend.iter_ids("pending", newest_first=False)]
        assert left == [f"t{n:04}" for n in range(1, 201, 2)]

    async def test_only_what_there_was_at_the_start(self, make_backend: MakeBackend) -> None:
        """What is submitted or changed between the start and the step is left alone."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store_many(TaskResult.pending(f"t{n}", task_name="mail") for n in range(4))
            clock.advance(1)
            operation = await backend.actions.start("cancel", ALL)
            assert (operation.state, operation.done) == ("running", 0)
            clock.advance(1)
            await backend.store("new", TaskResult.pending("new", task_name="mail", at=START))
            await backend.store("t1", TaskResult.running("t1", task_name="mail"))
            await backend.delete("t2")
            await backend.store("t2", TaskResult.pending("t2", task_name="mail", at=START))
            operation = await backend.actions.resume(operation.id)
            assert operation.effects == {"cancelled": 2, "left alone: changed since the start": 1}
            assert await statuses(backend) == {
                "t0": "cancelled",
                "t3": "cancelled",
                "t1": "running",
                "new": "pending",
                "t2": "pending",
            }

    @pytest.mark.parametrize("action", ["requeue", "cancel", "fail", "delete", "expire", "label"])
    async def test_what_changes_after_it_was_read_is_left_alone(
        self, backend: BaseResultBackend, action: str
    ) -> None:
        """Each write is over exactly what was judged."""
        await backend.store_many(
            TaskResult.retrying(f"t{n}", ValueError("x"), task_name="mail") for n in range(3)
        )
        operation = await backend.actions.start(action, ALL, **OTHERS.get(action, {}))  # type: ignore[arg-type]
        running = TaskResult.running("t1", task_name="mail", retries=1)
        meanwhile(backend, "scan", lambda: backend.store("t1", running))
        operation = await backend.actions.resume(operation.id)
        assert operation.done == 2
        assert operation.effects["left alone: changed since the start"] == 1
        found = await stored(backend, "t1")
        assert (found.status, found.version) == (TaskStatus.RUNNING, 2)
        assert (found.labels, found.expires_at, found.cancel_request) == (frozenset(), None, None)

    async def test_one_whose_expiry_changes_meanwhile_is_read_again(self, backend: BaseResultBackend) -> None:
        """It is in the version that was judged, and so it is changed."""
        await backend.store("t", TaskResult.pending("t", task_name="mail"))
        operation = await backend.actions.start("cancel", ALL)
        meanwhile(backend, "scan", lambda: backend.expire("t", 60))
        assert (await backend.actions.resume(operation.id)).done == 1
        assert (await stored(backend, "t")).status is TaskStatus.CANCELLED

    async def test_what_is_gone_meanwhile(self, backend: BaseResultBackend) -> None:
        await backend.store_many(TaskResult.pending(f"t{n}", task_name="mail") for n in range(3))
        operation = await backend.actions.start("cancel", ALL)
        meanwhile(backend, "scan", lambda: backend.delete("t1"))
        operation = await backend.actions.resume(operation.id)
        assert operation.effects == {"cancelled": 2, "left alone: changed since the start": 1}

    async def test_typed_results_are_no_tasks(self, backend: BaseResultBackend) -> None:
        await plant(backend, TaskResult.success("t", 1, task_name="mail"), submitted_at=FIRST_MOMENT)
        assert (await applied(backend, "delete")).matched == 0
        assert await backend.exists("t")

    async def test_what_cannot_be_read_is_named(self, backend: BaseResultBackend) -> None:
        """And hides no other."""
        await backend.store_many(TaskResult.failed(f"t{n}", ValueError("x")) for n in range(3))
        for n in range(30):
            await plant(backend, TaskResult.failed(f"bad{n}", ValueError("x")), is_checked=False, due_at=7)
        operation = await backend.actions.apply("requeue", "status:failed", dry_run=False)
        assert (operation.done, operation.failed, len(operation.failures)) == (3, 30, 20)
        assert "checksum" in operation.failures[0].reason
        assert operation.failures[0].task_id.startswith("bad")
        assert (await backend.actions.apply("requeue", "status:failed")).unreadable == 30

    async def test_what_cannot_be_changed_is_named(self, backend: BaseResultBackend) -> None:
        """256 labels are the most, and 2,147,483,647 retries."""
        labels = [f"l{n}" for n in range(256)]
        await backend.store("t", TaskResult.failed("t", ValueError("x"), task_name="mail", labels=labels))
        await backend.store("u", TaskResult.failed("u", ValueError("x"), task_name="mail"))
        operation = await backend.actions.apply("label", ALL, add=["x"], dry_run=False)
        assert (operation.done, [each.task_id for each in operation.failures]) == (1, ["t"])
        assert "256" in operation.failures[0].reason
        worn = TaskResult.failed("w", ValueError("x"), retries=2**31 - 1, labels=["worn"])
        await backend.store("w", worn)
        assert (await applied(backend, "requeue", "label:worn")).effects == {
            "left alone: no attempt is left": 1
        }
