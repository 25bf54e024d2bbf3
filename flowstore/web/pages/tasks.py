"""The list of tasks: any query, page after page, in either direction."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.responses import Response

from flowstore import Counts, Selection, TaskQuery, format_query
from flowstore._faces.records import run_time, wait_time
from flowstore.web.asked import LIMITS
from flowstore.web.looks import STATUSES
from flowstore.web.pages.acting import RIGHTS_OF
from flowstore.web.view import View

MOST_COUNTED: Final = 10_000
_VERBS: Final = {
    "requeue": "make pending again",
    "cancel": "cancel",
    "fail": "fail",
    "delete": "remove",
    "expire": "set the expiry",
    "label": "label",
}
_SAID: Final = {
    "deleted": "The task was removed.",
    "done": "It is done.",
    "started": "It is being done.",
}
_SECONDS: Final = 0.3
"""A search takes so long at most, and then says how far it has looked."""
_SELECTS: Final = {"name": "name", "label": "label", "worker": "worker_id", "error": "error"}


async def tasks(view: View) -> Response:
    """``q``, ``limit``, ``cursor``: all that is seen stands in the address."""
    asked = view.asked.query
    query = view.narrowed(asked)
    limit = view.asked.limit
    found, counts = await asyncio.gather(
        view.backend.search(query, limit=limit, cursor=view.asked.cursor, seconds=_SECONDS),
        _counts(view, query),
    )
    return view.render(
        "tasks.html",
        q=view.asked.query_text,
        tabs=_tabs(asked),
        counts=counts,
        found=found,
        limit=limit,
        limits=LIMITS,
        run_time=run_time,
        wait_time=wait_time,
        acts=[action for action, right in RIGHTS_OF.items() if view.may(right)],
        verbs=_VERBS,
        said=_SAID.get(view.asked.text("said", 20), ""),
    )


def _tabs(query: TaskQuery) -> list[tuple[str, str, bool]]:
    """For all tasks, and for each status: its name, the query of its tab, and whether that is shown."""
    others = tuple(term for term in query.terms if term.name != "status" or term.is_negated)
    rest = format_query(TaskQuery(others))
    chosen = {*query.statuses} if len(others) < len(query.terms) else set()
    tabs = [("all", rest, not chosen)]
    return tabs + [(status, f"status:{status} {rest}".strip(), chosen == {status}) for status in STATUSES]


async def _counts(view: View, query: TaskQuery) -> Counts | None:
    """For the tabs, where an index has them: of all tasks, or of those with one name, label or worker."""
    selection: Selection = {}
    for term in query.terms:
        if term.name in ("status", "sort") and not term.is_negated:
            continue
        if term.name not in _SELECTS or term.is_negated or len(term.values) > 1 or selection:
            return None
        selection[_SELECTS[term.name]] = str(term.values[0])  # type: ignore[literal-required]
    return await view.backend.count_by_status(None, at_most=MOST_COUNTED, **selection)
