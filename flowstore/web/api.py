"""The interface for programs: the same JSON as the command line prints. See flowstore.web.openapi."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.responses import JSONResponse, PlainTextResponse, Response

from flowstore import BaseResultBackend, MissingPackage, TaskResult
from flowstore._faces import figures
from flowstore._faces.records import VERSION, as_json
from flowstore.web.asked import BadRequest
from flowstore.web.openapi import described
from flowstore.web.pages.tasks import counts_of
from flowstore.web.view import NotThere, View

MOST_VALUE: Final = 65_536
"""Bytes of an argument or a result; of a longer one the beginning is given."""
_VALUES: Final = {"result", "args", "kwargs"}

_Read = Callable[[str], Awaitable[tuple[bytes, str]]]


async def tasks(view: View) -> Response:
    """A page of tasks without their values."""
    found = await view.backend.search(
        view.narrowed(view.asked.query), limit=view.asked.limit, cursor=view.asked.cursor
    )
    document = {
        "v": VERSION,
        "items": [_told(each) for each in found.items],
        "next_cursor": found.next_cursor,
        "prev_cursor": found.prev_cursor,
        "unreadable": [each.model_dump(mode="json") for each in found.unreadable],
        "looked_at": found.looked_at,
        "looked_back_to": found.model_dump(mode="json", include={"looked_back_to"})["looked_back_to"],
    }
    if view.is_narrowed:  # among those that were looked at are some of others
        document |= {"unreadable": [], "looked_at": len(found.items), "looked_back_to": None}
    return JSONResponse(document)


async def task(view: View) -> Response:
    """One task; with its values for who may see them."""
    known = await view.task(view.part("id"))
    if view.may("values"):
        whole = await view.backend.get(known.task_id, max_value=MOST_VALUE)
        if whole is None:
            raise NotThere
        return JSONResponse(as_json(whole))
    return JSONResponse(_told(known))


async def counts(view: View) -> Response:
    """How many tasks there are by status, where an index knows it."""
    found = await counts_of(view, view.narrowed(view.asked.query))
    if found is None:
        raise BadRequest(
            "q", view.asked.query_text, "at most one term besides status: name, label, worker, error"
        )
    numbers = {str(status): number for status, number in found.items()}
    return JSONResponse({"v": VERSION, "counts": numbers, "is_exact": found.is_exact})


async def stats(view: View) -> Response:
    """What became of tasks in the ``window``, of those with the ``name`` or of all: in total, over time."""
    window = figures.WINDOWS[view.asked.window]
    name, since = view.asked.text("name", 512) or None, view.now - window.span
    async with asyncio.TaskGroup() as group:
        total = group.create_task(view.backend.stats.total(name, since=since))
        series = group.create_task(view.backend.stats.series(name, since=since, every=window.every))
    rows = [figures.as_json(each) for each in series.result()]
    return JSONResponse({"v": VERSION, "total": figures.as_json(total.result()), "series": rows})


async def openapi(view: View) -> Response:
    return JSONResponse(described())


async def metrics(view: View) -> Response:
    """Of the whole store, for Prometheus, if its package is there. What was read is kept for two seconds."""
    kept = view.stores.beside(view.backend)
    if "metrics" not in kept:
        kept.setdefault("metrics", await asyncio.to_thread(_reader, view.backend))
    read: _Read | None = kept["metrics"]
    if read is None:
        return PlainTextResponse("metrics need the extra prometheus of flowstore\n", status_code=501)
    body, media_type = await read(view.request.headers.get("accept", ""))
    return Response(body, headers={"content-type": media_type})


def _reader(backend: BaseResultBackend) -> _Read | None:
    try:
        from flowstore.integrations.prometheus import StoreMetrics
    except MissingPackage:
        return None
    return StoreMetrics(backend).text


def _told(task: TaskResult[Any]) -> dict[str, Any]:
    """Without values: they were not loaded, or are not for the reader."""
    return {name: value for name, value in as_json(task).items() if name not in _VALUES}
