"""DBOS (MIT) on SQLite: a workflow's row and output in the system database, by DBOS's own asyncio interface.

Waiting polls every second, at most half the pool's connections at a time. Outputs are pickled and kept for
ever. DBOS calls its SQLite database one for development and testing; on Python 3.12 and later it
fails unless SQLite is 3.42 or later. It keeps SQLite's default of a rollback journal with synchronous=FULL:
a store is durable. A task ends only once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import ClassVar

from dbos import DBOS, SetWorkflowID, WorkflowHandleAsync

from benchmarks.peers.base import Peer, TaskError, Value

_ends: dict[str, asyncio.Future[Value]] = {}


@DBOS.workflows.get()  # type: ignore[untyped-decorator, unused-ignore]  # typed, where dbos is installed
async def work() -> Value:
    """Runs until store() tells how it ends."""
    task_id = DBOS.workflow_id
    assert task_id is not None
    try:
        return await _ends[task_id]
    finally:
        del _ends[task_id]


class Dbos(Peer):
    """DBOS is one for each process: the peers of a process share it, and its database."""

    name = "dbos (sqlite)"
    package = "dbos"
    storage = "sqlite"
    _opened: ClassVar[int] = 0

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self._running: dict[str, WorkflowHandleAsync[Value]] = {}

    async def open(self) -> None:
        """Each process is an executor of its own, or one would take up the running workflows of another."""
        if Dbos._opened == 0:
            url = f"sqlite:///{self.location}"
            DBOS(
                config={
                    "name": "work",
                    "system_database_url": url,
                    "executor_id": str(os.getpid()),
                    "log_level": "CRITICAL",
                }
            )
            DBOS.launch()
        Dbos._opened += 1

    async def close(self) -> None:
        Dbos._opened -= 1
        if Dbos._opened == 0:
            DBOS.destroy()

    async def prepare(self, task_id: str) -> None:
        """Start the workflow: without its row there is no result."""
        _ends[task_id] = asyncio.get_running_loop().create_future()
        with SetWorkflowID(task_id):
            self._running[task_id] = await DBOS.start_workflow_async(work)

    async def store(self, task_id: str, value: Value, *, is_failed: bool = False) -> None:
        """Let the workflow end, until DBOS has written its outcome."""
        if task_id not in self._running:
            await self.prepare(task_id)
        end, handle = _ends[task_id], self._running.pop(task_id)
        if is_failed:
            end.set_exception(TaskError("failed"))
            with contextlib.suppress(TaskError):
                await handle.get_result()
        else:
            end.set_result(value)
            await handle.get_result()

    async def get(self, task_id: str) -> Value:
        handle: WorkflowHandleAsync[Value] = await DBOS.retrieve_workflow_async(task_id)
        value: Value = await handle.get_result()
        return value

    async def wait(self, task_id: str, timeout: float) -> Value:
        handle: WorkflowHandleAsync[Value] = await DBOS.retrieve_workflow_async(
            task_id, existing_workflow=False
        )
        value: Value = await asyncio.wait_for(handle.get_result(), timeout)
        return value

    async def failed(self, limit: int, skip: int) -> list[str]:
        found = await DBOS.list_workflows_async(
            status="ERROR", limit=limit, offset=skip, sort_desc=True, load_input=False, load_output=False
        )
        return [workflow.workflow_id for workflow in found]
