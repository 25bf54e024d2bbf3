"""The list of tasks: any query, page after page, in either direction."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.responses import Response

from flowstore import Counts, FacetValue, Found, TaskQuery, format_query, parse_query
from flowstore._faces.records import run_time, wait_time
from flowstore._faces.selecting import selection_of
from flowstore.web.asked import COLUMNS, LIMITS
from flowstore.web.looks import STATUSES
from flowstore.web.pages.acting import RIGHTS_OF
from flowstore.web.view import View

MOST_COUNTED: Final = 10_000
_MOST_FACETS: Final = 12
_SECONDS: Final = 0.04
"""A search takes about so long at most, and then says how far it has looked."""
_LONGER: Final = 1.0
"""And so long for who has seen that, and goes on."""
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


async def tasks(view: View) -> Response:
    """``q``, ``limit``, ``cursor``: all that is seen stands in the address."""
    asked = view.asked.query
    query = view.narrowed(asked)
    limit = view.asked.limit
    columns = view.asked.columns
    found, counts, facets = await asyncio.gather(
        view.backend.search(
            query,
            limit=limit,
            cursor=view.asked.cursor,
            seconds=_LONGER if view.asked.flag("longer") else _SECONDS,
        ),
        counts_of(view, query),
        _facets(view),
    )
    return view.render(
        "tasks.html",
        q=view.asked.query_text,
        tabs=_tabs(asked),
        counts=counts,
        found=found,
        found_statuses=asked.statuses,
        when="finished" if query.is_by_finish else "submitted",
        newest_since=_newest_since(view, query, found),
        limit=limit,
        limits=LIMITS,
        run_time=run_time,
        wait_time=wait_time,
        acts=[action for action, right in RIGHTS_OF.items() if view.may(right)],
        verbs=_VERBS,
        said=_SAID.get(view.asked.text("said", 20), ""),
        columns=columns,
        column_choice=_column_choice(columns),
        facets=facets,
    )


async def _facets(view: View) -> list[tuple[str, str, list[FacetValue]]]:
    """For the side bar, if it is asked for: the first names, labels and workers, with how many tasks."""
    if not view.asked.flag("facets") or view.is_narrowed:
        return []
    facets = view.backend.facets
    found = await asyncio.gather(
        *(each(limit=_MOST_FACETS, at_most=1_000) for each in (facets.names, facets.labels, facets.workers))
    )
    titles = (("Names", "name"), ("Labels", "label"), ("Workers", "worker"))
    return [(title, name, values) for (title, name), values in zip(titles, found, strict=True) if values]


def _column_choice(chosen: tuple[str, ...]) -> list[tuple[str, bool, str]]:
    """Each column, whether it is shown, and the columns that there are once that is changed."""
    choice = []
    for column in COLUMNS:
        after = [each for each in COLUMNS if (each in chosen) is not (each == column)]
        choice.append(
            (column, column in chosen, "" if len(after) == len(COLUMNS) else ",".join(after) or "none")
        )
    return choice


def _newest_since(view: View, query: TaskQuery, found: Found) -> int | None:
    """A task that comes to be listed is on this page if it was submitted then, in milliseconds since 1970.

    None: this is no page on which new tasks come.
    """
    if view.asked.cursor is not None or not query.newest_first or query.has_text:
        return None
    last = found.items[-1].submitted_at if found.items else None
    if found.is_complete or query.is_by_finish or last is None:
        return 0
    return int(last.timestamp() * 1_000)


def _tabs(query: TaskQuery) -> list[tuple[str, str, bool]]:
    """For all tasks, and for each status: its name, the query of its tab, and whether that is shown."""
    others = tuple(term for term in query.terms if term.name != "status" or term.is_negated)
    rest = format_query(TaskQuery(others))
    chosen = {*query.statuses} if len(others) < len(query.terms) else set()
    tabs = [("all", rest, not chosen)]
    return tabs + [(status, f"status:{status} {rest}".strip(), chosen == {status}) for status in STATUSES]


async def counts_of(view: View, query: TaskQuery) -> Counts | None:
    """By status, where an index has them: of all tasks, or of those that ``selection_of`` knows.

    None: only a search would know.
    """
    filters = parse_query(view.access.filters).terms
    if any(term.name == "status" for term in filters):  # the others are not for the reader
        return None
    selection = selection_of(query)
    if selection is None or any(term.name == "status" and term.is_negated for term in query.terms):
        return None
    return await view.backend.count_by_status(None, at_most=MOST_COUNTED, **selection)
