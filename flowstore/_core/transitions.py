"""The one walk over the history."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Final

from flowstore._core.core import Core
from flowstore.engine import Item, Span

END_OF_TIME: Final = 2**62


async def walk_transitions(core: Core, span: Span) -> AsyncGenerator[list[Item], None]:
    """The transitions of ``span``, in steps of its limit, none of them empty."""
    while True:
        async with core.life:
            items = await core.engine.timeline(span, core.clock())
        if items:
            yield items
        if len(items) < span.limit:
            return
        span = replace(span, after=items[-1])
