"""``flowstore doctor``: what is wrong with a store, and what to do about it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Final

from flowstore import Facts, FlowstoreError
from flowstore._faces.showing import lasting, plain, sized
from flowstore.cli._desk import check_exists, file_of, opened
from flowstore.cli._exits import CommandError, Exit
from flowstore.cli._output import Out
from flowstore.cli._settings import Common, Settings, settings_of

_USER: Final = re.compile(r"//[^/@]*@")
_OVER_NETWORK: Final = {
    "nfs",
    "nfs4",
    "cifs",
    "smbfs",
    "smb3",
    "9p",
    "fuse.sshfs",
    "afs",
    "ceph",
    "glusterfs",
}
_SLOW: Final = 0.05


async def doctor(*, common: Common | None = None) -> int:
    """Look for what is wrong with a store, and say what to do. Exits with 1 if something is."""
    settings = settings_of(common or Common())
    out = Out(settings)
    place = _USER.sub("//***@", settings.url)
    try:
        facts = await _facts(settings)
    except (FlowstoreError, CommandError, OSError) as error:
        text = error.message if isinstance(error, CommandError) else str(error)
        _tell(out, place, None, [("unreachable", text, _advice(settings))])
        out.flush()
        return Exit.UNREACHABLE
    problems = [(each.code, each.problem, each.advice) for each in facts.warnings]
    problems += _of_file(settings.url)
    if facts.latency > _SLOW:
        problems.append(
            (
                "slow",
                f"a round trip takes {lasting(facts.latency)}",
                "run workers near the store; concurrent calls share round trips",
            )
        )
    if facts.silent_workers:
        problems.append(
            (
                "silent workers",
                f"{facts.silent_workers} of {facts.workers} workers send no heartbeats",
                "flowstore workers --stale 1m, and requeue what they ran",
            )
        )
    _tell(out, place, facts, problems)
    out.flush()
    return Exit.NO if problems else Exit.OK


async def _facts(settings: Settings) -> Facts:
    check_exists(settings.url)
    async with opened(settings.url, namespace=settings.namespace, op_timeout=5) as backend:
        return await backend.facts()


def _advice(settings: Settings) -> str:
    if file_of(settings.url) is not None:
        return "look at the path: it is relative to the working directory, " + str(Path.cwd())
    return "is the server up, and does its firewall let this machine in? try: redis-cli ping"


def _of_file(url: str) -> list[tuple[str, str, str]]:
    path = file_of(url)
    if path is None:
        return []
    problems = []
    if (kind := _file_system(path)) in _OVER_NETWORK:
        problems.append(
            (
                "network share",
                f"{path} lies on {kind}, whose locks do not hold between machines",
                "move it to a local disk; for several machines use Redis or Valkey",
            )
        )
    if not os.access(path, os.W_OK):
        problems.append(
            ("read only", f"{path} cannot be written by this user", "chmod, or look with another user")
        )
    return problems


def _file_system(path: Path) -> str | None:
    """Of the mount that the file is on; None where the system does not say."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return None
    whole, best, kind = str(path.resolve()), "", None
    for line in mounts.read_text("utf-8", "replace").splitlines():
        _, where, found, *_ = line.split(" ")
        if (whole + "/").startswith(where.rstrip("/") + "/") and len(where) >= len(best):
            best, kind = where, found
    return kind


def _tell(out: Out, place: str, facts: Facts | None, problems: list[tuple[str, str, str]]) -> None:
    if not out.is_for_people:
        out.document(
            {
                "v": 1,
                "url": place,
                "facts": None if facts is None else facts.model_dump(mode="json"),
                "problems": [
                    dict(zip(("code", "problem", "advice"), each, strict=True)) for each in problems
                ],
            }
        )
        return
    for name, value in [("store", place), *(_lines(facts) if facts else [])]:
        if value:
            out.text(f"{name:12} {plain(value)}")
    for _, problem, advice in problems:
        out.text("")
        out.text(f"✕ {plain(problem)}", style="bold red")
        out.text(f"  {plain(advice)}")
    if not problems:
        out.text("")
        out.text("✓ nothing is wrong", style="green")


def _lines(facts: Facts) -> list[tuple[str, str]]:
    counts = ", ".join(f"{count:,} {status}" for status, count in facts.counts.items() if count)
    oldest = facts.oldest_pending
    return [
        ("namespace", facts.namespace),
        ("backend", f"{facts.backend}, {facts.server or ''} {facts.server_version or ''}".strip(" ,")),
        ("driver", f"{facts.driver or ''} {facts.driver_version or ''}".strip()),
        ("flowstore", f"{facts.flowstore_version or 'unknown'}, Python {sys.version.split()[0]}"),
        ("format", f"{facts.format}, this program writes {facts.program_format}"),
        ("writable", {True: "yes", False: "no", None: ""}[facts.is_writable]),
        ("latency", lasting(facts.latency)),
        ("clock", "" if facts.clock_skew is None else f"{facts.clock_skew:+.3f}s beside the server's"),
        ("size", sized(facts.size)),
        ("tasks", counts or "none"),
        ("oldest", "" if oldest is None else f"{oldest.task_id} is pending since {oldest.submitted_at}"),
        ("workers", "" if facts.workers is None else f"{facts.workers:,}, {facts.silent_workers:,} silent"),
    ]
