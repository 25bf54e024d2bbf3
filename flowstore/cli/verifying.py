"""``flowstore verify``: one store against itself, or against another one."""

from __future__ import annotations

from flowstore import Finding
from flowstore._faces.showing import plain
from flowstore.cli._asking import confirm, progress
from flowstore.cli._desk import Desk, at_desk, check_exists, opened
from flowstore.cli._exits import Exit
from flowstore.cli._output import Column, Kind
from flowstore.cli._settings import Common, url_of


async def verify(
    other: str | None = None,
    /,
    *,
    repair: bool = False,
    yes: bool = False,
    common: Common | None = None,
) -> int:
    """Check a store, or compare two. Exits with 1 if something is wrong.

    Parameters
    ----------
    other
        Another store, to be compared with: a URL, a path, or @FILE. None: all of this one is checked.
    repair
        Mend what can be mended: indexes and counts. A damaged record stays as it is.
    yes
        Do not ask.
    """
    async with at_desk(common) as desk:
        if other is not None:
            return await _compare(desk, url_of(other))
        if repair:
            confirm("repair indexes and counts", yes=yes)
        with progress(desk.out, "verify") as bar:
            found = await desk.backend.integrity.verify(repair=repair, progress=bar)
        desk.out.items(_FINDINGS, found.findings)
        summary = f"{found.records:,} records and {found.items:,} items read: "
        summary += "nothing is wrong" if not found.found else f"{found.found:,} findings"
        if found.repaired:
            summary += f", {found.repaired:,} of them repaired"
        desk.out.note(summary)
        return Exit.OK if found.is_sound else Exit.NO


async def _compare(desk: Desk, url: str) -> int:
    check_exists(url)
    async with opened(url, namespace=desk.settings.namespace) as other:
        with progress(desk.out, "read the first") as bar:
            first = await desk.backend.archive.digest(progress=bar)
        with progress(desk.out, "read the second") as bar:
            second = await other.archive.digest(progress=bar)
        counts = [await each.count_by_status() for each in (desk.backend, other)]
    same = first == second
    out = desk.out
    if not out.is_for_people:
        out.document(
            {"v": 1, "is_same": same, "digests": [first, second], "counts": [{**each} for each in counts]}
        )
        return Exit.OK if same else Exit.NO
    if same:
        out.text(f"the same {counts[0].total:,} tasks, sha256 {first}")
        return Exit.OK
    out.text("they differ:")
    for status, count in counts[0].items():
        if count != counts[1][status]:
            out.text(f"  {status:10} {count:>9,}  {counts[1][status]:>9,}")
    if counts[0] == counts[1]:
        out.text("  there are as many tasks in each status, but not the same")
    return Exit.NO


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
