"""``flowstore verify``: one store against itself, or against another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from flowstore import Counts, Finding, TaskStatus
from flowstore._faces.showing import count_of, plain
from flowstore.cli._asking import confirm, progress
from flowstore.cli._desk import Desk, at_desk, opened
from flowstore.cli._exits import Exit, usage
from flowstore.cli._output import Column, Kind, Out
from flowstore.cli._settings import Common, url_of


async def verify(
    other: str | None = None,
    /,
    *,
    fast: bool = False,
    repair: bool = False,
    yes: Annotated[bool, Parameter(alias="-y")] = False,
    common: Common | None = None,
) -> int:
    """Check a store, or compare two. Exits with 1 if something is wrong.

    Parameters
    ----------
    other
        Another store, to be compared with: a URL, a path, or @FILE. None: all of this one is checked.
    fast
        Only compare how many tasks there are in each status, and read none of them.
    repair
        Mend what can be mended: indexes and counts. A damaged record stays as it is.
    yes
        Do not ask.
    """
    if fast and other is None:
        raise usage("--fast: with another store only; all of one store is read, or none of it is checked")
    if repair and other is not None:
        raise usage("--repair: of one store only", "flowstore copy brings another one up to date")
    async with at_desk(common, read_only=not repair) as desk:
        if other is not None:
            return await (_compare_counts if fast else _compare)(desk, url_of(other))
        if repair:
            confirm("repair indexes and counts", yes=yes)
        with progress(desk.out, "verify") as bar:
            found = await desk.backend.integrity.verify(repair=repair, progress=bar)
        desk.out.items(_FINDINGS, found.findings)
        summary = f"{count_of(found.records, 'record')} and {count_of(found.items, 'item')} read: "
        summary += "nothing is wrong" if not found.found else count_of(found.found, "finding")
        if found.repaired:
            summary += f", {found.repaired:,} of them repaired"
        desk.out.note(summary)
        return Exit.OK if found.is_sound else Exit.NO


async def _compare(desk: Desk, url: str) -> int:
    async with opened(url, read_only=True, namespace=desk.settings.namespace) as other:
        with progress(desk.out, "read the first") as bar:
            first = await desk.backend.archive.digest(progress=bar)
        with progress(desk.out, "read the second") as bar:
            second = await other.archive.digest(progress=bar)
        counts = [await each.count_by_status() for each in (desk.backend, other)]
    same = first == second
    if not desk.out.is_for_people:
        _document(desk.out, same, counts, [first, second])
    elif same:
        desk.out.text(f"the same {count_of(counts[0].total, 'task')}, sha256 {first}")
    else:
        _tell_difference(desk.out, counts)
    return Exit.OK if same else Exit.NO


async def _compare_counts(desk: Desk, url: str) -> int:
    async with opened(url, read_only=True, namespace=desk.settings.namespace) as other:
        counts = [await each.count_by_status() for each in (desk.backend, other)]
    same = counts[0] == counts[1]
    if not desk.out.is_for_people:
        _document(desk.out, same, counts, None)
    elif same:
        desk.out.text(f"as many tasks in each status, {counts[0].total:,} in all; none was read")
    else:
        _tell_difference(desk.out, counts)
    return Exit.OK if same else Exit.NO


def _document(out: Out, same: bool, counts: Sequence[Counts], digests: list[str] | None) -> None:
    out.document({"v": 1, "is_same": same, "digests": digests, "counts": [{**each} for each in counts]})


def _tell_difference(out: Out, counts: Sequence[Counts]) -> None:
    out.text("they differ:")
    if counts[0] == counts[1]:
        out.text("  there are as many tasks in each status, but not the same")
        return
    differing = [status for status in counts[0] if counts[0][status] != counts[1][status]]
    out.table(
        (
            Column[TaskStatus]("status", str),
            Column("first", lambda status: f"{counts[0][status]:,}", is_right=True),
            Column("second", lambda status: f"{counts[1][status]:,}", is_right=True),
        ),
        differing,
    )


_FINDINGS: Kind[Finding] = Kind(
    columns=(
        Column("kind", lambda finding: finding.kind),
        Column("task", lambda finding: plain(finding.task_id or "")),
        Column("where", lambda finding: plain(finding.where), may_shrink=True),
        Column("reason", lambda finding: plain(finding.reason), may_shrink=True),
        Column("repaired", lambda finding: "yes" if finding.is_repaired else ""),
    ),
    as_json=lambda finding: {"v": 1, **finding.model_dump(mode="json")},
    id_of=lambda finding: finding.task_id or "",
    csv=("kind", "task_id", "where", "reason", "is_repaired"),
)
