"""The one walk over the history."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Final

from flowstore._core.core import Core
from flowstore.engine import Span, TransitionRow

END_OF_TIME: Final = 2**62


async def walk_transitions(core: Core, span: Span) -> AsyncGenerator[list[TransitionRow], None]:
    """The transitions of ``span``, in steps of its limit, none of them empty."""
    while True:
        async with core.life:
            rows = await core.engine.history(span, core.clock())
        if rows:
            yield rows
        if len(rows) < span.limit:
            return
        span = replace(span, after=rows[-1])
