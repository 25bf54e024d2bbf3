"""The contract of workflows: runs are root tasks, their types are names, their steps are families."""

from __future__ import annotations

from typing import Any

import pytest

from flowstore import NOT_LOADED, BaseResultBackend, InvalidCursor, TaskResult, TaskStatus
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.support import failed, ids


class WorkflowContract(Contract):
    async def test_types_are_names_of_roots(self, backend: BaseResultBackend) -> None:
        """Sorted and distinct; without names that only tasks with a parent have, and without deleted ones."""
        assert await backend.workflows.types() == []
        for n, name in enumerate(["b", "a", "b", "\N{SNAKE}", "B", None]):
            await backend.store(f"t{n}", failed(f"t{n}", n, task_name=name))
        await backend.store("step", failed("step", parent_id="t0", task_name="step"))
        assert await backend.workflows.types() == ["B", "a", "b", "\N{SNAKE}"]
        await backend.delete("t0")
        await backend.delete("t1")
        assert await backend.workflows.types() == ["B", "b", "\N{SNAKE}"]
        await backend.store("t2", TaskResult.running("t2", retries=1, task_name="renamed"))
        await backend.store("t4", TaskResult.running("t4", retries=1, task_name="B", parent_id="t5"))
        assert await backend.workflows.types() == ["renamed", "\N{SNAKE}"]

    async def test_types_of_expired_runs(self, make_backend: MakeBackend) -> None:
        """They are gone with the purge at the latest."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store("t", failed("t", task_name="gone"), ttl=10)
            await backend.store("u", failed("u", task_name="kept"))
            clock.advance(11)
            assert (await backend.workflows.runs("gone")).items == []
            await backend.purge_expired()
            assert await backend.workflows.types() == ["kept"]

    async def test_runs(self, backend: BaseResultBackend) -> None:
        """Root tasks of that name, newest first, page after page; further restricted by statuses."""
        for n in range(20):
            run = failed(f"run{n:02}", n, task_name="import")
            await backend.store(run.task_id, run if n % 4 else TaskResult.running(run))
            await backend.store(f"step{n}", failed(f"step{n}", n, task_name="import", parent_id=run.task_id))
        await backend.store("other", failed("other", task_name="export"))
        runs, cursor = [], None
        while True:
            page = await backend.workflows.runs("import", limit=6, cursor=cursor)
            runs += ids(page.items)
            cursor = page.next_cursor
            if cursor is None:
                break
            assert len(page.items) == 6
        assert runs == [f"run{n:02}" for n in reversed(range(20))]
        backwards = await backend.workflows.runs("import", newest_first=False, load_result=False)
        assert ids(backwards.items) == runs[::-1]
        values: list[Any] = [run.result for run in backwards.items]
        assert values == [NOT_LOADED] * 20
        running = await backend.workflows.runs("import", TaskStatus.RUNNING)
        assert ids(running.items) == ["run16", "run12", "run08", "run04", "run00"]
        assert (await backend.workflows.runs("import", [])).items == []
        assert (await backend.workflows.runs("import", [TaskStatus.PENDING])).items == []
        assert (await backend.workflows.runs("nobody")).items == []

    async def test_cursor_of_runs(self, backend: BaseResultBackend) -> None:
        """It is valid for this listing, not for that of all tasks of the name."""
        await backend.store_many(failed(f"t{n}", n, task_name="a") for n in range(4))
        cursor = (await backend.workflows.runs("a", limit=2)).next_cursor
        assert cursor is not None
        assert ids((await backend.workflows.runs("a", cursor=cursor)).items) == ["t1", "t0"]
        with pytest.raises(InvalidCursor):
            await backend.page(name="a", cursor=cursor)
        with pytest.raises(InvalidCursor):
            await backend.workflows.runs("b", cursor=cursor)

    async def test_workflow(self, backend: BaseResultBackend) -> None:
        """The root with its result, the counts of the whole family, and a first page to continue from."""
        root: TaskResult = TaskResult.success("r", {"sum": 3}, task_name="import")
        await backend.store("r", root)
        await backend.store_many(failed(f"c{n:02}", n, parent_id="r") for n in range(70))
        await backend.store_many(TaskResult.running(f"d{n}", parent_id="c05") for n in range(5))
        await backend.store("stranger", failed("stranger"))
        workflow = await backend.workflows.get("r")
        assert workflow is not None
        assert workflow.root.unwrap() == {"sum": 3}
        expected = {TaskStatus.SUCCESS: 1, TaskStatus.FAILED: 70, TaskStatus.RUNNING: 5}
        assert workflow.counts == dict.fromkeys(TaskStatus, 0) | expected
        assert {task.is_loaded for task in workflow.tasks.items} == {False}
        rest = await backend.page(root_id="r", cursor=workflow.tasks.next_cursor, limit=100)
        assert rest.next_cursor is None
        whole = await backend.page(root_id="r", limit=100)
        assert ids(workflow.tasks.items) + ids(rest.items) == ids(whole.items)
        assert len(whole.items) == 76

    async def test_no_workflow(self, make_backend: MakeBackend) -> None:
        """None for an unknown id, for a task with a parent, and for a root that is gone."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store("c", failed("c", parent_id="r"))
            assert await backend.workflows.get("r") is None
            assert await backend.workflows.get("c") is None
            await backend.store("r", failed("r"), ttl=10)
            assert await backend.workflows.get("r") is not None
            clock.advance(11)
            assert await backend.workflows.get("r") is None

    async def test_bad_arguments_of_workflows(self, backend: BaseResultBackend) -> None:
        """Each is named."""
        bad: list[tuple[Any, str]] = [
            (backend.workflows.runs(""), "type"),
            (backend.workflows.runs(None), "type"),  # type: ignore[arg-type]  # on purpose
            (backend.workflows.runs("a", "done"), "statuses"),  # type: ignore[arg-type]  # on purpose
            (backend.workflows.runs("a", limit=0), "limit"),
            (backend.workflows.runs("a", limit=10_001), "limit"),
            (backend.workflows.runs("a", newest_first=1), "newest_first"),  # type: ignore[arg-type]  # on purpose
            (backend.workflows.runs("a", load_result=1), "load_result"),  # type: ignore[arg-type]  # on purpose
            (backend.workflows.runs("a", cursor=7), "cursor"),  # type: ignore[arg-type]  # on purpose
            (backend.workflows.get(""), "root_id"),
            (backend.workflows.get(7), "root_id"),  # type: ignore[arg-type]  # on purpose
        ]
        for call, name in bad:
            with pytest.raises((ValueError, TypeError), match=name):
                await call
