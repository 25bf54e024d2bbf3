"""What is live on a page: the stream of changes, and the rows of tasks that have changed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import anyio
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.responses import Response

from flowstore import TaskQuery, TaskResult, format_query
from flowstore._faces.records import run_time, wait_time
from flowstore._faces.terms import term
from flowstore.web.addresses import text_of
from flowstore.web.asked import BadRequest
from flowstore.web.live import RETRY_AFTER, Event
from flowstore.web.view import View

PING_EVERY: Final = 15
GRACE: Final = 2.0
"""Seconds in which a stream has to end by itself when the server stops."""
MOST_ROWS: Final = 25
_STAYING: Final = frozenset({"name", "label", "id", "root", "parent"})
"""Terms of which a task satisfies as good as always the same: those of a query that a stream is about."""


async def events(view: View) -> Response:
    """``q``: the query of the list, of which the terms count that tasks satisfy for good."""
    view.hub.check_room()
    asked = view.asked.query
    staying = TaskQuery(tuple(term for term in asked.terms if term.name in _STAYING))
    query = view.narrowed(staying)
    if query.has_text:  # changes come without values; the page asks every few seconds instead
        raise BadRequest("q", format_query(query), "no text to look for")
    leaving = anyio.Event()
    changes = view.hub.stream(view.backend, query, _last(view), leaving)
    return EventSourceResponse(
        _written(changes),
        ping=PING_EVERY,
        sep="\n",
        shutdown_event=leaving,
        shutdown_grace_period=GRACE,
    )


def _last(view: View) -> str | None:
    """By the header of a browser that comes back by itself, or by the parameter of a page that does."""
    return view.request.headers.get("last-event-id") or view.asked.text("last", 100) or None


async def _written(changes: AsyncGenerator[Event, None]) -> AsyncGenerator[ServerSentEvent, None]:
    yield ServerSentEvent(event="hello", data="{}", retry=RETRY_AFTER)
    async with aclosing(changes):
        async for event in changes:
            yield ServerSentEvent(event.data, event="changes", id=event.id)


async def rows(view: View) -> Response:
    """The rows of the tasks ``id``, at most MOST_ROWS, without those that are gone or not for the reader."""
    parts = view.request.query_params.getlist("id")
    ids = [text for part in parts if (text := text_of(part)) is not None]
    if not 0 < len(ids) == len(parts) <= MOST_ROWS:
        raise BadRequest("id", f"{len(parts)} of them", f"1 to {MOST_ROWS} ids as they stand in addresses")
    return view.render(
        "rows.html",
        tasks=await _tasks(view, list(dict.fromkeys(ids))),
        selects=view.asked.flag("selects"),
        columns=view.asked.columns,
        when=view.asked.one_of("when", ("submitted", "finished"), "submitted"),
        run_time=run_time,
        wait_time=wait_time,
    )


async def _tasks(view: View, ids: list[str]) -> list[TaskResult]:
    if view.is_narrowed:
        found = await view.backend.search(view.narrowed(term("id", *ids)), limit=MOST_ROWS)
        return found.items
    known = await view.backend.get_many(ids, load_result=False)
    return [task for task in known.values() if task is not None]
