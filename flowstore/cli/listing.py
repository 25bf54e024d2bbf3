"""``flowstore ls``."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any, Final

from flowstore import Found, TaskQuery, TaskResult, UnreadableRecords
from flowstore._faces.showing import counted as number_of
from flowstore.cli._counting import Count, counted, known_count
from flowstore.cli._desk import Desk, at_desk
from flowstore.cli._exits import Exit, usage
from flowstore.cli._output import Column, Kind
from flowstore.cli._queries import Words, query_in
from flowstore.cli._settings import Common
from flowstore.cli._tasks import tasks, tell_unreadable
from flowstore.cli._watching import Watch, follow, shown_again, told_of

_LIMIT: Final = 50
_VALUES: Final = frozenset(("args", "kwargs", "result"))
_BATCH: Final = 100
_SECONDS: Final = 2.0
_MOST_COUNTED: Final = 10_000


async def ls(
    *query: Words,
    limit: int | None = None,
    all: bool = False,
    cursor: str | None = None,
    values: bool = False,
    count: bool = False,
    at_most: int | None = None,
    exists: bool = False,
    watch: Watch = False,
    common: Common | None = None,
) -> int:
    """List tasks, the newest first.

    Parameters
    ----------
    query
        What tasks: status:failed name:mail.send since:1h "timed out", see docs/queries.md. None: all.
    limit
        How many at most; none: 50.
    all
        All of them, as they are found.
    cursor
        Go on where an earlier page has ended.
    values
        Also arguments and results.
    count
        Print how many there are, and nothing else.
    at_most
        With --count: look no further, and print such as 10,000+.
    exists
        Print nothing, and exit with 1 if there is none.
    watch
        Keep the list up to date until Ctrl-C; on a pipe, print each change as a line.
    """
    asked = query_in(query)
    _check(
        {"--all": all, "--count": count, "--exists": exists, "--watch": watch},
        {"--limit": limit is not None, "--cursor": cursor is not None, "--values": values},
        {"--all": {"--values"}, "--watch": {"--limit", "--values"}},
    )
    if at_most is not None and (not count or at_most < 1):
        raise usage(f"--at-most: expected a number from 1 on, with --count, got {at_most}")
    async with at_desk(common, read_only=not watch) as desk:
        values = values or not _VALUES.isdisjoint(desk.settings.fields or ())
        if count:
            await _count(desk, asked, at_most)
        elif exists:
            return await _exists(desk, asked)
        elif all:
            await _all(desk, asked, values)
        elif watch:
            await _watch(desk, asked, limit or _LIMIT, values)
        else:
            found = await _page(desk, asked, _LIMIT if limit is None else limit, cursor, values)
            await _tell(desk, asked, found, limit)
    return Exit.OK


def _check(ways: dict[str, bool], others: dict[str, bool], fitting: dict[str, set[str]]) -> None:
    """One way at most, and only the other options that fit it."""
    chosen = [name for name, is_given in ways.items() if is_given]
    rest = [name for name, is_given in others.items() if is_given]
    for name in chosen:
        for other in (*chosen, *rest):
            if other != name and other not in fitting.get(name, ()):
                raise usage(f"{name} and {other} do not go together")


async def _page(desk: Desk, asked: TaskQuery, limit: int, cursor: str | None, values: bool) -> Found[Any]:
    kind = tasks(desk.out, has_values=values)
    found: Found[Any] = await desk.backend.search(
        asked, limit=limit, cursor=cursor, seconds=_SECONDS, load_result=values
    )
    desk.out.items(kind, found.items)
    return found


async def _tell(desk: Desk, asked: TaskQuery, found: Found[Any], limit: int | None) -> None:
    """On stderr: how to go on, and what could not be shown."""
    out, shown = desk.out, len(found.items)
    tell_unreadable(out, found.unreadable)
    if found.cut:
        out.note(f"of {found.cut:,} only the first 1 MiB was searched")
    if found.next_cursor is None:
        return
    if shown + len(found.unreadable) < (_LIMIT if limit is None else limit):
        back = f", back to {out.time(found.looked_back_to)}" if found.looked_back_to else ""
        out.note(f"looked at {found.looked_at:,}{back}: --cursor {found.next_cursor} goes on")
        return
    total = await known_count(desk.backend, asked, _MOST_COUNTED)
    of = "" if total is None else f" of {number_of(total.number, is_exact=total.is_exact)}"
    out.note(f"{shown:,}{of or ' shown'} · next: --cursor {found.next_cursor}")


async def _all(desk: Desk, asked: TaskQuery, values: bool) -> None:
    """In batches: never are more of them in memory."""
    out = desk.out
    out.live()
    printer = out.printer(tasks(out, has_values=values))
    batch: list[TaskResult[Any]] = []
    try:
        async with aclosing(desk.backend.iter_search(asked, load_result=values)) as found:
            async for task in found:
                batch.append(task)
                if len(batch) == _BATCH:
                    printer.add(batch)
                    batch = []
    except UnreadableRecords as unreadable:
        printer.add(batch)
        printer.end()
        tell_unreadable(out, unreadable.errors, unreadable.count)
        return
    printer.add(batch)
    printer.end()


async def _count(desk: Desk, asked: TaskQuery, at_most: int | None) -> None:
    out = desk.out
    found = await counted(desk.backend, asked, at_most)
    if out.is_for_people and out.is_terminal:
        out.text(number_of(found.number, is_exact=found.is_exact))
    elif out.format in ("table", "ids"):  # a program reads it that asks for no format, such as a shell
        out.text(f"{found.number}" + ("" if found.is_exact else "+"))
    elif out.format == "csv":
        out.items(_COUNT, [found])
    else:
        out.document(_as_json(found))


def _as_json(count: Count) -> dict[str, Any]:
    return {"v": 1, "count": count.number, "is_exact": count.is_exact}


_COUNT: Final = Kind[Count](
    columns=(Column("count", lambda count: str(count.number)),),
    as_json=_as_json,
    csv=("count", "is_exact"),
)


async def _exists(desk: Desk, asked: TaskQuery) -> int:
    try:
        async with aclosing(desk.backend.iter_search(asked)) as found:
            async for _ in found:
                return Exit.OK
    except UnreadableRecords as unreadable:
        tell_unreadable(desk.out, unreadable.errors, unreadable.count)
    return Exit.NO


async def _watch(desk: Desk, asked: TaskQuery, limit: int, values: bool) -> None:
    out = desk.out
    if not (out.is_terminal and out.is_for_people):
        await follow(desk, asked)
        return

    async def show() -> None:
        found = await _page(desk, asked, limit, None, values)
        if found.unreadable:
            out.text(f"{len(found.unreadable):,} cannot be read")

    async with told_of(desk.backend) as changed:
        await shown_again(out, show, watch=True, every=0.25, changed=changed)
