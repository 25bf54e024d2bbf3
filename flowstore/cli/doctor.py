"""``flowstore doctor``: what is wrong with a store, and what to do about it."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path
from typing import Final

from flowstore import Facts, FlowstoreError
from flowstore._faces.places import file_of
from flowstore._faces.showing import lasting, plain, sized
from flowstore.cli._desk import check_exists, opened
from flowstore.cli._exits import CommandError, Exit
from flowstore.cli._output import Out
from flowstore.cli._settings import Common, Settings, masked, settings_of

_SECONDS: Final = 5
_WIDTH: Final = 79
_SLOW: Final = 0.05


async def doctor(*, common: Common | None = None) -> int:
    """Look for what is wrong with a store, and say what to do. Exits with 1 if something is."""
    settings = settings_of(common or Common())
    out = Out(settings)
    place = masked(settings.url)
    try:
        facts = await _facts(settings)
    except (FlowstoreError, CommandError, OSError) as error:
        text = error.message if isinstance(error, CommandError) else str(error)
        _tell(out, place, None, [("unreachable", text, _advice(settings))])
        out.flush()
        return Exit.UNREACHABLE
    problems = [(each.code, each.problem, each.advice) for each in facts.warnings]
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
    async with opened(settings.url, namespace=settings.namespace, op_timeout=_SECONDS) as backend:
        return await backend.facts()


def _advice(settings: Settings) -> str:
    """What was tried, and what may be in its way."""
    path = file_of(settings.url)
    if path is None:
        return (
            f"tried for up to {_SECONDS} s: is the server up, does it listen on that address, and does its "
            "firewall let this machine in? try: redis-cli ping"
        )
    whole = path.absolute()
    if not whole.parent.is_dir():
        return f"tried {whole}: there is no folder {whole.parent}"
    if not whole.exists():
        return f"tried {whole}: a relative path is taken from the working directory, {Path.cwd()}"
    rights = ", ".join(
        f"{'may' if os.access(whole, right) else 'may not'} {what}"
        for right, what in ((os.R_OK, "read"), (os.W_OK, "write"))
    )
    return f"tried {whole}: this user {rights} it; is it a file of flowstore?"


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
            out.text(_wrapped(f"{name:12} {plain(value)}", " " * 13))
    for _, problem, advice in problems:
        out.text("")
        out.text(_wrapped(f"✕ {plain(problem)}", "  "), style="bold red")
        out.text(_wrapped(f"  {plain(advice)}", "  "))
    if not problems:
        out.text("")
        out.text("✓ nothing is wrong", style="green")


def _wrapped(text: str, indent: str) -> str:
    """Paths and URLs stay whole."""
    return textwrap.fill(
        text,
        _WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )


def _said(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


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
        ("policies", ", ".join(f"{name} {_said(value)}" for name, value in facts.policies.items())),
        ("tasks", counts or "none"),
        (
            "oldest",
            "" if oldest is None else f"{oldest.task_id} is pending since {oldest.submitted_at:%F %T} UTC",
        ),
        ("workers", "" if not facts.workers else f"{facts.workers:,}, {facts.silent_workers:,} silent"),
    ]
