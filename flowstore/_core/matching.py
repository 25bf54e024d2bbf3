"""What a query in words asks for: the listing to walk, and what each of its records is tested for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from flowstore._core.core import Core
from flowstore._core.filters import Selection
from flowstore._core.listing import Listing, selected
from flowstore.models import TaskResult, TaskStatus


class Matching(NamedTuple):
    """``text``: the query as it is shown and kept. ``listing``: all records that it may want, in its order.

    ``holds``: whether it wants this record, whichever way that was found. With ``needs_values`` it looks at
    result, args and kwargs as well; otherwise these may be NOT_LOADED.
    """

    text: str
    listing: Listing
    holds: Callable[[TaskResult], bool]
    needs_values: bool = False


async def matching_of(core: Core, query: str, limit: int) -> Matching:
    """The walk of ``query`` in steps of ``limit`` records, without values."""
    terms = dict(term.split(":", 1) for term in query.split())
    selection = Selection(name=terms.get("name"), label=terms.get("label"), worker_id=terms.get("worker"))
    statuses = [TaskStatus(name) for name in terms["status"].split(",")] if "status" in terms else None
    listing = selected(core, statuses, selection, limit, load_result=False)

    def holds(task: TaskResult) -> bool:
        return (
            task.status in listing.statuses
            and terms.get("name") in (None, task.task_name)
            and terms.get("worker") in (None, task.worker_id)
            and (terms.get("label") is None or terms["label"] in task.labels)
        )

    return Matching(query, listing, holds)
