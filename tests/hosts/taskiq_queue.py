"""A broker of taskiq in memory whose last middleware is flowstore, for the tests."""

from __future__ import annotations

from typing import Any

from taskiq import (
    InMemoryBroker,
    TaskiqMessage,
    TaskiqMiddleware,
)

import flowstore
from flowstore.integrations.taskiq import (
    FlowstoreResultBackend,
)


class Queue:
    """A broker in memory whose last middleware is flowstore, and its results."""

    def __init__(self, given: Any, *middlewares: TaskiqMiddleware, **options: Any) -> None:
        self.results = FlowstoreResultBackend(given)
        self.broker = InMemoryBroker(**options).with_result_backend(self.results)
        self.broker.add_middlewares(*middlewares, self.results)

    @property
    def backend(self) -> flowstore.BaseResultBackend:
        return self.results.backend

    async def __aenter__(self) -> Queue:
        await self.broker.startup()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.broker.wait_all()
        await self.broker.shutdown()

    async def steps(self, task_id: str) -> list[str]:
        return [f"{step.retries} {step.status}" for step in await self.backend.history.of(task_id)]

    async def receive(self, task_id: str, name: str) -> None:
        """Deliver a message of the task once more, as a queue does that has not seen it acknowledged."""
        message = TaskiqMessage(task_id=task_id, task_name=name, labels={}, args=[], kwargs={})
        await self.broker.receiver.callback(self.broker.formatter.dumps(message).message)
