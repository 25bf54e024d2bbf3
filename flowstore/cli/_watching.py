"""The same again and again, in place on a terminal, until Ctrl-C."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from flowstore.cli._output import Out

_CLEAR: Final = "\x1b[H\x1b[J"
_ENTER: Final = "\x1b[?1049h\x1b[?25l"
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"


async def shown_again(
    out: Out,
    show: Callable[[], Awaitable[None]],
    *,
    watch: bool,
    every: float = 1.0,
    changed: asyncio.Event | None = None,
) -> None:
    """``show`` once; with ``watch`` again after ``every`` seconds, or as soon as ``changed`` is set.

    A terminal is left as it was, with the last that was shown. On a pipe one follows the other.
    """
    if not watch:
        await show()
        return
    held: list[str] = []
    is_screen = out.is_terminal and out.is_for_people
    out.live()
    if is_screen:
        out.stdout.write(_ENTER)
    try:
        while True:
            with out.captured() as held:
                await show()
            if is_screen:
                out.stdout.write(
                    _CLEAR + _fitting(out, "".join(held)) + f"{datetime.now(UTC):%H:%M:%S} UTC\n"
                )
            else:
                out.stdout.write("".join(held))
            out.stdout.flush()
            if changed is None:
                await asyncio.sleep(every)
            else:
                await changed.wait()
                await asyncio.sleep(every)  # what comes at once is shown at once
                changed.clear()
    finally:
        if is_screen:
            out.stdout.write(_LEAVE + "".join(held))
            out.stdout.flush()


def _fitting(out: Out, text: str) -> str:
    """The lines that the terminal has room for, above the last one."""
    lines = text.splitlines(keepends=True)
    room = out.height - 2
    return "".join(lines if len(lines) <= room else [*lines[: room - 1], "…\n"])
