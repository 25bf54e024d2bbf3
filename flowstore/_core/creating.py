"""Records that are stored along the way, for a caller who does not want to store one first: ``or_store``."""

from __future__ import annotations

from flowstore._core.core import Core
from flowstore._core.storing import store_many
from flowstore._values.arguments import check_result
from flowstore._values.records import DEFAULT_TTL
from flowstore.models import TaskResult


def check_or_store(or_store: TaskResult | None, task_id: str) -> TaskResult | None:
    if or_store is None:
        return None
    if not isinstance(or_store, TaskResult):
        raise TypeError(f"or_store: expected TaskResult or None, got {type(or_store).__name__}")
    if or_store.task_id != task_id:
        raise ValueError(f"or_store: expected a result of task {task_id!r}, got one of {or_store.task_id!r}")
    return check_result(or_store)


async def create(core: Core, result: TaskResult) -> bool:
    """Store the result if there is no record of its task; whether there was none."""
    [is_new] = await store_many(core, [result], DEFAULT_TTL, overwrite=False, create=True)
    return is_new
