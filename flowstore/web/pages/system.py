"""The system: server, sizes, formats, what is wrong with them, and which namespaces there are to look at."""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from flowstore import AppInfo, Facts
from flowstore.web.live import MOST_STREAMS
from flowstore.web.pages.overview import SILENT_AFTER
from flowstore.web.view import View


async def system(view: View) -> Response:
    """Who sees a part of the tasks only is told nothing of the store."""
    facts, info, namespaces = (None, None, [view.backend.namespace]) if view.is_narrowed else await _all(view)
    return view.render(
        "system.html",
        facts=facts,
        info=info,
        namespaces=namespaces,
        main=view.stores.main.namespace,
        streams=view.hub.streams,
        most_streams=MOST_STREAMS,
    )


async def _all(view: View) -> tuple[Facts, AppInfo | None, list[str]]:
    async with asyncio.TaskGroup() as group:
        facts = group.create_task(view.backend.facts(silent_after=SILENT_AFTER))
        info = group.create_task(view.backend.app.info())
        names = group.create_task(view.namespaces())
    return facts.result(), info.result(), names.result()
