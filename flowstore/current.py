"""Which task the running code belongs to."""

from __future__ import annotations

from flowstore._core.scopes import enclosing
from flowstore.base import BaseResultBackend


def current_task(backend: BaseResultBackend) -> str | None:
    """The id of the innermost tracked block of ``backend`` around the caller; None outside of any.

    Also across ``asyncio.create_task``. A task that is submitted there is its child, with this as its
    ``parent_id``.
    """
    scope = enclosing(backend._core, "")
    return None if scope is None else scope.task_id
