"""The same again and again, in place on a terminal, or what changes, line by line; until Ctrl-C."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Annotated, Final, TypeAlias

from cyclopts import Parameter

from flowstore import BaseResultBackend, ChangesMissed, TaskQuery
from flowstore.cli._desk import Desk
from flowstore.cli._output import Out
from flowstore.cli._tasks import changes as changes_of

Watch: TypeAlias = Annotated[bool, Parameter(alias="-w")]

_CLEAR: Final = "\x1b[H\x1b[J"
_ENTER: Final = "\x1b[?1049h\x1b[?25l"
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"
_SECONDS_OF_AN_AGE: Final = 10.0


async def shown_again(
    out: Out,
    show: Callable[[], Awaitable[None]],
    *,
    watch: bool,
    every: float = 1.0,
    changed: asyncio.Event | None = None,
    ended: Callable[[], bool] | None = None,
) -> None:
    """``show`` once; with ``watch`` again after ``every`` seconds, or as soon as ``changed`` is set.

    ``ended``: whether what was shown is the last. With ``changed`` it is shown again every 10 seconds as
    well, for the ages in it. A terminal is left as it was, with the last that was shown. On a pipe one
    follows the other.
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
            if changed is not None:
                changed.clear()  # before it is read: what comes meanwhile is shown next
            with out.captured() as held:
                await show()
            if is_screen:
                out.stdout.write(
                    _CLEAR + _fitting(out, "".join(held)) + f"{datetime.now(UTC):%H:%M:%S} UTC\n"
                )
            else:
                out.stdout.write("".join(held))
            out.stdout.flush()
            if ended is not None and ended():
                return
            await asyncio.sleep(every)
            if changed is not None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), _SECONDS_OF_AN_AGE if is_screen else None)
    finally:
        if is_screen:
            out.stdout.write(_LEAVE + "".join(held))
            out.stdout.flush()


def _fitting(out: Out, text: str) -> str:
    """The lines that the terminal has room for, above the last one."""
    lines = text.splitlines(keepends=True)
    room = out.height - 2
    return "".join(lines if len(lines) <= room else [*lines[: room - 1], "…\n"])


@asynccontextmanager
async def told_of(backend: BaseResultBackend, task_id: str | None = None) -> AsyncIterator[asyncio.Event]:
    """An event that is set by what becomes of a task, its progress too; None: by every change of any.

    A task may leave a listing by a change, so all of them count. An error of the watch ends the block.
    """
    changed = asyncio.Event()

    async def listen() -> None:
        states = backend.watch_changes() if task_id is None else backend.watch(task_id)
        async with aclosing(states):
            async for _ in states:
                changed.set()

    async with asyncio.TaskGroup() as group:
        listener = group.create_task(listen())
        yield changed
        listener.cancel()


async def follow(desk: Desk, asked: TaskQuery) -> None:
    """Print each change of the tasks that are asked for, as it comes: JSON lines if no format was chosen."""
    out = desk.out
    if out.is_for_people:
        out.format = "jsonl"
    out.live()
    printer = out.printer(changes_of(out))
    async with aclosing(desk.backend.watch_changes(asked if asked.terms else None)) as changes:
        async for change in changes:
            if isinstance(change, ChangesMissed):
                out.note("some changes were missed")
            else:
                printer.add([change])
