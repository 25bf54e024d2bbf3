"""What a query could become while it is typed."""

from __future__ import annotations

from typing import Final

from starlette.responses import JSONResponse, Response

from flowstore._faces.suggestions import suggestions
from flowstore.web.view import View

_MOST: Final = 15


async def suggest(view: View) -> Response:
    """``q``: the query up to where it is typed. Whole queries, of which the last word is made longer.

    A reader who may see a part of the store is told of no names that are in it.
    """
    before, blank, word = view.asked.query_text.rpartition(" ")
    found = await suggestions(None if view.is_narrowed else view.backend, word, _MOST)
    return JSONResponse([f"{before}{blank}{each}" for each in found], headers={"cache-control": "no-store"})
