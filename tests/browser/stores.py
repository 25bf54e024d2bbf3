"""What other processes do to a store while its page is open."""

from __future__ import annotations

import flowstore
from flowstore import TaskResult


async def store(url: str, *tasks: TaskResult) -> None:
    async with flowstore.connect(url) as backend:
        for task in tasks:
            await backend.store(task.task_id, task)


async def read(url: str, task_id: str) -> TaskResult | None:
    async with flowstore.connect(url) as backend:
        return await backend.get(task_id)
