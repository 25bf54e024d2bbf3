"""``flowstore purge``, ``vacuum`` and ``backup``."""

from __future__ import annotations

import asyncio
from pathlib import Path

from flowstore import SQLiteBackend
from flowstore._faces.moments import duration
from flowstore._faces.showing import count_of, plain, sized
from flowstore.cli._acting import Options, act
from flowstore.cli._asking import progress
from flowstore.cli._desk import at_desk
from flowstore.cli._exits import CommandError, Exit, usage
from flowstore.cli._queries import Words
from flowstore.cli._settings import Common


async def purge(
    *query: Words,
    expired: bool = False,
    older: str | None = None,
    options: Options | None = None,
    common: Common | None = None,
) -> int:
    """Remove what has expired, or is old.

    Parameters
    ----------
    query
        With --older: which tasks, such as status:success. None: all that are finished.
    expired
        Remove what has expired, which is done without --older as well.
    older
        Remove tasks that finished so long ago: 30d. None: only what has expired, whatever it is.
    """
    if expired and older is not None:
        raise usage("--expired: either that or --older")
    if older is not None:
        duration("--older", older)
        return await act("delete", (*query, f"finished:>{older}"), options, common)
    if query:
        raise usage("--older: how old? a query alone removes nothing here", "rm removes what a query finds")
    async with at_desk(common) as desk:
        if options is not None and options.dry_run:
            raise usage("--dry-run: what has expired is removed by every program sooner or later")
        removed = 0
        with progress(desk.out, "purge") as bar:
            while step := await desk.backend.purge_expired():
                removed += step
                bar(removed)
        if desk.out.is_for_people:
            desk.out.text(f"{count_of(removed, 'expired task')} removed")
        else:
            desk.out.document({"v": 1, "removed": removed})
    return Exit.OK


async def vacuum(*, full: bool = False, common: Common | None = None) -> None:
    """Give free space of a SQLite file back.

    Parameters
    ----------
    full
        Write the file anew: all of it, and nobody can store meanwhile.
    """
    async with at_desk(common) as desk:
        with progress(desk.out, "vacuum"):
            freed = await desk.backend.vacuum(full=full)
        if desk.out.is_for_people:
            desk.out.text(f"{sized(freed)} given back")
        else:
            desk.out.document({"v": 1, "bytes": freed})


async def backup(file: Path, /, *, force: bool = False, common: Common | None = None) -> None:
    """Copy a SQLite file while it is in use.

    Parameters
    ----------
    file
        Where the copy goes.
    force
        Replace a file that is there, once the copy is whole.
    """
    async with at_desk(common, read_only=True) as desk:
        if not isinstance(desk.backend, SQLiteBackend):
            raise CommandError(
                Exit.REFUSED,
                "only a file can be copied like this",
                "of a server: its own backup (BGSAVE), or flowstore export --to tasks.jsonl.gz",
            )
        if file.exists() and not force:
            raise CommandError(Exit.REFUSED, f"{file} is there already", "--force replaces it")
        target = file.with_name(file.name + ".new") if file.exists() else file
        await asyncio.to_thread(target.unlink, missing_ok=True) if target != file else None
        with progress(desk.out, f"backup to {file.name}"):
            size = await desk.backend.backup(target)
        if target != file:
            await asyncio.to_thread(target.replace, file)
        if desk.out.is_for_people:
            desk.out.text(f"{plain(str(file))}: {sized(size)}")
        else:
            desk.out.document({"v": 1, "path": str(file), "bytes": size})
