"""``flowstore ls``."""

from __future__ import annotations

from flowstore.cli._desk import at_desk
from flowstore.cli._exits import Exit
from flowstore.cli._queries import Words, query_in
from flowstore.cli._settings import Common
from flowstore.cli._tasks import tasks


async def ls(
    *query: Words,
    limit: int = 50,
    cursor: str | None = None,
    exists: bool = False,
    common: Common | None = None,
) -> int:
    """List tasks, the newest first.

    Parameters
    ----------
    query
        What tasks: status:failed name:mail.send since:1h "timed out", see docs/queries.md. None: all.
    limit
        How many at most.
    cursor
        Go on where an earlier page has ended.
    exists
        Exit with 1 if there is none.
    """
    asked = query_in(query)
    async with at_desk(common) as desk:
        found = await desk.backend.search(asked, limit=limit, cursor=cursor)
        desk.out.items(tasks(desk.out), found.items)
        if found.next_cursor is not None:
            desk.out.note(f"{len(found.items)} shown · next: --cursor {found.next_cursor}")
    return Exit.NO if exists and not found.items else Exit.OK
