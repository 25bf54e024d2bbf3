"""``flowstore export``, ``import`` and ``copy``: tasks into files, out of them, and to another store."""

from __future__ import annotations

import asyncio
import html
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from flowstore import BaseResultBackend, Imported, TaskResult
from flowstore._faces.moments import moment
from flowstore._faces.records import run_time
from flowstore._faces.showing import lasting, plain
from flowstore.cli._asking import progress
from flowstore.cli._desk import Desk, at_desk, check_exists, opened
from flowstore.cli._exits import CommandError, Exit, usage
from flowstore.cli._output import Out
from flowstore.cli._queries import Words, query_in
from flowstore.cli._settings import Common, settings_of, url_of
from flowstore.cli.showing import error_text

Kind = Literal["archive", "csv", "parquet", "html"]
OnConflict = Literal["raise", "keep", "replace"]


async def export(
    *query: Words,
    to: Annotated[str, Parameter(allow_leading_hyphen=True)],
    kind: Annotated[Kind | None, Parameter(name="--as")] = None,
    overwrite: bool = False,
    resume: bool = False,
    common: Common | None = None,
) -> int:
    """Write tasks into a file that import reads, or into a table or a page.

    Parameters
    ----------
    query
        Which tasks. None: all.
    to
        The file; - is stdout. Its name says how: .jsonl, .jsonl.gz, .jsonl.zst, .csv, .parquet, .html.
    kind
        archive, csv, parquet or html, whatever the name is.
    overwrite
        Replace a file that is there.
    resume
        Go on with an export that was interrupted.
    """
    asked = query_in(query)
    async with at_desk(common) as desk:
        chosen = kind or _kind_of(to)
        async with _chosen(desk, str(asked) if asked.terms else None) as ids:
            if to == "-":
                with tempfile.TemporaryDirectory() as folder:
                    path = Path(folder) / "out"
                    await _export(desk, chosen, path, ids, overwrite=True, resume=False, is_compressed=False)
                    with path.open("rb") as file:
                        shutil.copyfileobj(file, sys.stdout.buffer)
                    return Exit.OK
            return await _export(desk, chosen, Path(to), ids, overwrite=overwrite, resume=resume)


def _kind_of(name: str) -> Kind:
    for kind in ("csv", "parquet", "html"):
        if name.endswith(f".{kind}"):
            return kind
    return "archive"


@asynccontextmanager
async def _chosen(desk: Desk, query: str | None) -> AsyncIterator[list[str] | None]:
    """The ids of what the query finds; None: all there is, which need not be collected."""
    if query is None:
        yield None
        return
    yield [task.task_id async for task in desk.backend.iter_search(query)]


async def _export(
    desk: Desk,
    kind: Kind,
    path: Path,
    ids: list[str] | None,
    *,
    overwrite: bool,
    resume: bool,
    is_compressed: bool = True,
) -> int:
    archive, out = desk.backend.archive, desk.out
    if path.exists() and not overwrite:
        raise CommandError(Exit.REFUSED, f"{path} is there already", "--overwrite replaces it")
    with progress(out, f"export to {path.name}") as bar:
        if kind == "archive":
            done = await archive.export(
                path,
                task_ids=ids,
                compress=None if is_compressed else "none",
                overwrite=overwrite,
                resume=resume,
                progress=bar,
            )
            count, unreadable = done.records, done.unreadable_count
            note = f", sha256 {done.digest}"
        elif kind == "html":
            count, unreadable = await _page(desk.backend, path, ids), 0
            note = ""
        else:
            table = await archive.table(path, task_ids=ids, format=kind, overwrite=overwrite, progress=bar)
            count, unreadable, note = table.rows, len(table.unreadable), ""
    out.note(f"{count:,} tasks{note}")
    if unreadable:
        out.note(f"{unreadable:,} could not be read")
    return Exit.NO if unreadable else Exit.OK


async def _page(backend: BaseResultBackend, path: Path, ids: list[str] | None) -> int:
    """One page that needs nothing else, for a note about an incident or the artefact of a build."""
    wanted = None if ids is None else {*ids}
    rows: list[str] = []
    now = datetime.now(UTC)
    async for task in backend.iter_by_status(load_result=False):
        if wanted is None or task.task_id in wanted:
            rows += [_row(task, now)]
    text = _PAGE.format(
        title=f"{len(rows):,} tasks of {_text(backend.namespace)}", at=now, rows="".join(rows)
    )
    await asyncio.to_thread(path.write_text, text, "utf-8")
    return len(rows)


def _row(task: TaskResult, now: datetime) -> str:
    error = ""
    if task.error is not None:
        summary = _text(f"{task.error.type}: {task.error.message}"[:300])
        error = f"<details><summary>{summary}</summary><pre>{_text(error_text(task.error))}</pre></details>"
    cells = (
        task.status,
        task.task_name or "",
        task.task_id,
        "" if task.submitted_at is None else task.submitted_at.isoformat(" ", "seconds"),
        str(task.retries + 1),
        lasting(run_time(task, now)),
        task.worker_id or "",
    )
    return "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in cells) + f"<td>{error}</td></tr>\n"


def _text(text: str) -> str:
    return html.escape(plain(text, keep="\n\t"))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>body {{ font: 14px system-ui, sans-serif; color-scheme: light dark }}
td, th {{ text-align: left; vertical-align: top; padding: 3px 12px 3px 0 }} pre {{ white-space: pre-wrap }}
</style>
</head><body><h1>{title}</h1><p>As of {at:%Y-%m-%d %H:%M:%S} UTC</p>
<table><tr><th>Status<th>Name<th>Id<th>Submitted<th>Try<th>Run<th>Worker<th>Error</tr>
{rows}</table></body></html>
"""


async def import_(
    file: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    conflict: OnConflict = "raise",
    partial: bool = False,
    common: Common | None = None,
) -> int:
    """Read tasks from a file that export has written.

    Parameters
    ----------
    file
        The file; - is stdin.
    conflict
        Where another record has the id: raise stops before anything is written, keep leaves it, replace.
    partial
        Of a file that was cut off, take what is whole.
    """
    async with at_desk(common, creates=True) as desk:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(file)
            if file == "-":
                path = Path(folder) / "in"
                with path.open("wb") as target:
                    shutil.copyfileobj(sys.stdin.buffer, target)
            with progress(desk.out, f"import {path.name}") as bar:
                done = await desk.backend.archive.load(
                    path, on_conflict=conflict, partial=partial, progress=bar
                )
        return _tell(desk.out, done)


async def copy(
    source: str,
    target: str,
    /,
    *query: Words,
    since: str | None = None,
    conflict: OnConflict = "raise",
    verify: bool = False,
    common: Common | None = None,
) -> int:
    """Copy tasks from one store into another. It may be repeated, and completes what was interrupted.

    Parameters
    ----------
    source
        The URL of a store, a path, or @FILE which holds the URL.
    target
        The same of the other store.
    query
        Which tasks. None: all.
    since
        Only those that were submitted since then: 1d.
    conflict
        Where another record has the id: raise, keep or replace.
    verify
        Exit with 1 unless they are there as they were read, to the last byte.
    """
    given = common or Common()
    settings = settings_of(given, needs_url=False)
    out = Out(settings)
    first, second = url_of(source), url_of(target)
    if first == second:
        raise usage("source and target are the same store")
    check_exists(first)
    asked = query_in(query)
    namespace = settings.namespace
    async with (
        opened(first, namespace=namespace) as one,
        opened(second, creates=True, namespace=namespace) as other,
    ):
        ids = None
        if asked.terms:
            ids = [task.task_id async for task in one.iter_search(asked)]
        with progress(out, "copy") as bar:
            if ids is not None or since is None:
                if since is not None:
                    raise usage("--since: say it in the query: submitted:<1d")
                done = await one.archive.copy_to(other, task_ids=ids, on_conflict=conflict, progress=bar)
            else:
                start = moment("--since", since, datetime.now(UTC))
                done = await one.archive.copy_to(other, since=start, on_conflict=conflict, progress=bar)
        code = _tell(out, done)
        if verify and not done.is_verified:
            out.note("not all of it is there as it was read: somebody may write to it")
            code = max(code, Exit.NO)
    out.flush()
    return code


def _tell(out: Out, done: Imported) -> int:
    if out.is_for_people:
        parts = [f"{done.restored:,} tasks"]
        for count, what in (
            (done.replaced, "replaced others"),
            (done.unchanged, "were there already"),
            (done.expired, "have expired"),
            (done.conflict_count, "left out, as others have their ids"),
        ):
            if count:
                parts.append(f"{count:,} {what}")
        out.text(", ".join(parts))
    elif out.format != "ids":
        out.document({"v": 1, **done.model_dump(mode="json")})
    return Exit.REFUSED if done.conflict_count else Exit.OK
