"""``flowstore export``, ``import`` and ``copy``: tasks into files, out of them, and to another store."""

from __future__ import annotations

import asyncio
import html
import shutil
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from flowstore import BaseResultBackend, Imported, TaskQuery, TaskResult
from flowstore._faces.moments import moment
from flowstore._faces.records import run_time
from flowstore._faces.showing import count_of, lasting, plain
from flowstore.cli._asking import Bar, progress
from flowstore.cli._desk import Desk, at_desk, check_exists, opened
from flowstore.cli._exits import CommandError, Exit, usage
from flowstore.cli._output import Out, clock
from flowstore.cli._queries import Words, query_in
from flowstore.cli._settings import Common, settings_of, url_of
from flowstore.cli._whole import error_text

Form = Literal["jsonl", "jsonl.gz", "jsonl.zst", "csv", "parquet", "html"]
OnConflict = Literal["raise", "keep", "replace"]
_COMPRESSION: Final[Mapping[Form, Literal["none", "gzip", "zstd"]]] = {
    "jsonl": "none",
    "jsonl.gz": "gzip",
    "jsonl.zst": "zstd",
}


async def export(
    *query: Words,
    to: Annotated[str, Parameter(allow_leading_hyphen=True)],
    form: Annotated[Form | None, Parameter(name="--format")] = None,
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
        The file; - is stdout. Its name says the format, unless --format does.
    form
        jsonl, jsonl.gz or jsonl.zst, which import reads; csv, parquet, or html, a page for people.
    overwrite
        Replace a file that is there.
    resume
        Go on with an export that was interrupted.
    """
    asked = query_in(query)
    async with at_desk(common, read_only=True) as desk:
        chosen = form or _form_of(to)
        if resume and (to == "-" or not chosen.startswith("jsonl")):
            raise usage("--resume: only a file of jsonl is carried on")
        if to != "-":
            return await _export(desk, chosen, Path(to), asked, overwrite=overwrite, resume=resume)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "export"
            code = await _export(desk, chosen, path, asked)
            sys.stdout.flush()
            with path.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return code


def _form_of(name: str) -> Form:
    known: tuple[Form, ...] = ("jsonl.gz", "jsonl.zst", "csv", "parquet", "html")
    for form in known:
        if name.endswith(f".{form}"):
            return form
    return "jsonl.gz" if name.endswith(".gz") else "jsonl.zst" if name.endswith(".zst") else "jsonl"


async def _ids_of(backend: BaseResultBackend, asked: TaskQuery) -> list[str] | None:
    """The ids of what the query finds; None: all there is, which need not be collected."""
    if not asked.terms:
        return None
    return [task.task_id async for task in backend.iter_search(asked)]


async def _export(
    desk: Desk, form: Form, path: Path, asked: TaskQuery, *, overwrite: bool = False, resume: bool = False
) -> int:
    archive, out = desk.backend.archive, desk.out
    if path.exists() and not overwrite:
        raise CommandError(Exit.REFUSED, f"{path} is there already", "--overwrite replaces it")
    with progress(out, f"export to {path.name}") as bar:
        if form == "html":
            count, unreadable, note = await _page(desk.backend, path, asked, bar), 0, ""
        else:
            ids = await _ids_of(desk.backend, asked)
            if form == "csv" or form == "parquet":
                table = await archive.table(
                    path, task_ids=ids, format=form, overwrite=overwrite, progress=bar
                )
                count, unreadable, note = table.rows, len(table.unreadable), ""
            else:
                done = await archive.export(
                    path,
                    task_ids=ids,
                    compress=_COMPRESSION[form],
                    overwrite=overwrite,
                    resume=resume,
                    progress=bar,
                )
                count, unreadable, note = done.records, done.unreadable_count, f", sha256 {done.digest}"
    out.note(f"{count_of(count, 'task')}{note}")
    if unreadable:
        out.note(f"{unreadable:,} could not be read")
    return Exit.NO if unreadable else Exit.OK


async def _page(backend: BaseResultBackend, path: Path, asked: TaskQuery, bar: Bar) -> int:
    """One page that needs nothing else, for a note about an incident or the artefact of a build."""
    rows: list[str] = []
    now = clock()
    async for task in backend.iter_search(asked):
        rows.append(_row(task, now))
        bar(len(rows))
    title = f"{count_of(len(rows), 'task')} of {_text(backend.namespace)}"
    text = _PAGE.format(title=title, at=now, rows="".join(rows))
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
    dry_run: bool = False,
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
    dry_run
        Read the file, say what is in it and what of that is there already, and store nothing.
    """
    async with at_desk(common, creates=not dry_run, read_only=dry_run) as desk:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(file)
            if file == "-":
                path = Path(folder) / "in"
                with path.open("wb") as target:
                    shutil.copyfileobj(sys.stdin.buffer, target)
            with progress(desk.out, f"import {path.name}") as bar:
                if dry_run:
                    await _compared(desk, path, Path(folder) / "read.db", bar, partial=partial)
                    return Exit.OK
                done = await desk.backend.archive.load(
                    path, on_conflict=conflict, partial=partial, progress=bar
                )
        return _tell(desk.out, done)


async def _compared(desk: Desk, path: Path, aside: Path, bar: Bar, *, partial: bool) -> None:
    """The file is restored into a store of its own, as nothing else knows all that may be wrong with it."""
    present = 0
    async with opened(f"sqlite:///{aside}", creates=True, namespace=desk.settings.namespace) as store:
        done = await store.archive.load(path, partial=partial, progress=bar)
        async for task in store.iter_search(""):
            present += await desk.backend.exists(task.task_id)
    if desk.out.is_for_people:
        text = (
            f"{count_of(done.restored, 'task')} in {path.name}, {present:,} with ids that are there already"
        )
        desk.out.text(plain(text))
    else:
        desk.out.document({"v": 1, "tasks": done.restored, "present": present, "expired": done.expired})


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
    if asked.terms and since is not None:
        raise usage(f"--since: with a query, say it there: since:{since}")
    start = None if since is None else moment("--since", since, datetime.now(UTC))
    namespace = settings.namespace
    async with (
        opened(first, read_only=True, namespace=namespace) as one,
        opened(second, creates=True, namespace=namespace) as other,
    ):
        with progress(out, "copy") as bar:
            if start is not None:
                done = await one.archive.copy_to(other, since=start, on_conflict=conflict, progress=bar)
            else:
                ids = await _ids_of(one, asked)
                done = await one.archive.copy_to(other, task_ids=ids, on_conflict=conflict, progress=bar)
        code = _tell(out, done)
        if verify and not done.is_verified:
            out.note("not all of it is there as it was read: somebody may write to it")
            code = max(code, Exit.NO)
    out.flush()
    return code


def _tell(out: Out, done: Imported) -> int:
    if out.is_for_people:
        parts = [count_of(done.restored, "task")]
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
