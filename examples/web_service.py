"""A web service that renders reports in the background: start one, wait for it, follow it, and see it fail.

    pip install 'flowstore[asgi,redis]' fastapi uvicorn
    FLOWSTORE_URL=sqlite:///reports.db uvicorn --app-dir examples web_service:app --workers 2

    curl -i -H 'X-User: ada' 'localhost:8000/reports?pages=50' -X POST
    curl -i -H 'X-User: ada' 'localhost:8000/tasks/{the id}?wait=20s'
    curl -N -H 'X-User: ada' 'localhost:8000/tasks/{the id}/events'

Any process answers for any task. If one is killed, another finds out and fails what ran there.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import uuid4

from fastapi import BackgroundTasks, Depends, FastAPI, Header, Query, Request, Response

from flowstore import BaseResultBackend, StorageError, TaskResult
from flowstore.integrations.asgi import (
    Access,
    TrackedBackgroundTasks,
    backend_of,
    background_task,
    get_backend,
    lifespan,
    task_routes,
)

URL = os.environ.get("FLOWSTORE_URL", "sqlite:///reports.db")
SILENT_AFTER = float(os.environ.get("SILENT_AFTER", "30"))
"""Seconds after which a process that says nothing is taken for dead."""

logger = logging.getLogger("uvicorn.error")


def may_see(request: Request, task: TaskResult) -> Access:
    """Users see the results of their own tasks. Who they are, a real service would not just believe."""
    is_owner = task.meta.get("owner") == request.headers.get("x-user")
    return Access.RESULT if is_owner else Access.NOTHING


async def sweep(backend: BaseResultBackend) -> None:
    """Fail what is lost with its process. Every process does this; each lost task is found by one."""
    while True:
        await asyncio.sleep(SILENT_AFTER / 4)
        try:
            swept = await backend.workers.sweep(
                silent_after=SILENT_AFTER, silent="fail", lost="fail", pending_after=3_600
            )
            for task in swept.tasks:
                logger.info("%s is lost (%s)", task.task_id, task.reason)
        except StorageError as error:  # the next sweep finds it
            logger.warning("%s", error)


storage = lifespan(URL, ttl=86_400, heartbeat=SILENT_AFTER / 6)


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[None]:
    async with storage(app), asyncio.TaskGroup() as group:
        sweeping = group.create_task(sweep(backend_of(app)))
        yield
        sweeping.cancel()


app = FastAPI(lifespan=serving)
app.mount("/tasks", task_routes(access=may_see))


async def render(pages: int, seconds: float) -> dict[str, int]:
    """``seconds`` is what each page takes."""
    for page in range(1, pages + 1):
        await asyncio.sleep(seconds)
        await background_task().progress(page, pages, f"page {page}")
    return {"pages": pages, "bytes": 52_000 * pages}


@app.post("/reports", status_code=202)
async def start(
    request: Request,
    response: Response,
    background: BackgroundTasks,
    x_user: Annotated[str, Header()],
    pages: Annotated[int, Query(ge=1, le=10_000)] = 20,
    seconds: Annotated[float, Query(ge=0, le=10)] = 0.2,
) -> dict[str, str]:
    task_id = f"report/{uuid4().hex}"
    tasks = TrackedBackgroundTasks(request)
    background.add_task(tasks)
    await tasks.submit(TaskResult.pending(task_id, meta={"owner": x_user}), render, pages, seconds)
    response.headers["Location"] = f"/tasks/{task_id}"
    return {"task_id": task_id}


@app.delete("/reports/{task_id:path}")
async def cancel(
    task_id: str,
    backend: Annotated[BaseResultBackend, Depends(get_backend)],
    x_user: Annotated[str, Header()],
) -> dict[str, bool]:
    task = await backend.get(task_id, load_result=False)
    is_own = task is not None and task.meta.get("owner") == x_user
    return {"cancelled": is_own and await backend.cancel(task_id, "the user did not want it any more")}
