"""An application of taskiq whose worker and scheduler run in processes of their own: ``taskiq worker``.

FLOWSTORE_APP_QUEUE is the Redis of its queue, FLOWSTORE_APP_STORE where flowstore keeps its tasks.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Annotated, Any

from taskiq import TaskiqDepends, TaskiqMessage, TaskiqMiddleware, TaskiqScheduler
from taskiq.middlewares import SimpleRetryMiddleware
from taskiq.schedule_sources import LabelScheduleSource
from taskiq_redis import ListQueueBroker

from flowstore import TrackedTask
from flowstore.integrations.taskiq import FlowstoreResultBackend, tracked_task


def kill() -> None:
    """As the kernel does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


class Killer(TaskiqMiddleware):
    """Kills its process in the hook that a task names, in its first attempt, on one side of flowstore."""

    def _strike(self, hook: str, message: TaskiqMessage) -> None:
        attempt = tracked_task()
        if message.args == [hook] and (attempt is None or attempt.retries == 0):
            kill()

    def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        self._strike("pre_execute", message)
        return message

    def on_error(self, message: TaskiqMessage, *_: Any) -> None:
        self._strike("on_error", message)

    def post_execute(self, message: TaskiqMessage, *_: Any) -> None:
        self._strike("post_execute", message)

    def post_save(self, message: TaskiqMessage, *_: Any) -> None:
        self._strike("post_save", message)


results = FlowstoreResultBackend(os.environ["FLOWSTORE_APP_STORE"])
broker = ListQueueBroker(os.environ["FLOWSTORE_APP_QUEUE"]).with_result_backend(results)
broker.add_middlewares(SimpleRetryMiddleware(), results, Killer())  # which never sends a task again
scheduler = TaskiqScheduler(broker, [LabelScheduleSource(broker)])


@broker.task
async def add(one: int, other: int) -> int:
    return one + other


@broker.task
async def parent() -> str:
    return (await add.kiq(1, 2)).task_id


@broker.task(retry_on_error=True, max_retries=2)
async def flaky(attempt: Annotated[TrackedTask, TaskiqDepends(tracked_task)]) -> str:
    if attempt.retries == 0:
        raise ConnectionError("not yet", 1)
    return "done"


@broker.task
async def fail() -> None:
    raise LookupError("no such customer", {"id": 7})


@broker.task
async def rest() -> None:
    await asyncio.sleep(60)


@broker.task
async def work(kill_at: str) -> int:
    attempt = tracked_task()
    assert attempt is not None
    if attempt.retries == 0 and kill_at == "task":
        kill()
    if attempt.retries == 0 and kill_at == "on_error":
        raise ValueError
    return attempt.retries


@broker.task(schedule=[{"interval": 1}])
async def tick() -> str:
    return "tock"
