"""The core that every verb and every feature of one backend is built on: handed in, never inherited."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

from flowstore._core.options import (
    BackendOptions,
    check_known,
    kept_transitions,
    op_timeout,
    recheck_interval,
)
from flowstore._trips.lifecycle import Lifecycle
from flowstore._trips.reporting import Reports
from flowstore._values.arguments import check_callable, check_int, check_ttl
from flowstore._values.codec import Codec
from flowstore._values.records import Records
from flowstore._waiting.waiters import Waiters
from flowstore.engine import FAMILY, UNREADABLE, Commit, Engine, Outcome, Row
from flowstore.errors import CorruptRecord, FamilyConflict
from flowstore.text import check_text

Item = TypeVar("Item")

STEP: Final = 500
"""How many records one call of the engine carries."""


class Core:
    """The engine of a backend, its records, its waiters, its clock and its life.

    Every call of the engine must be inside ``async with core.life``, or ``close`` may close it underneath.
    """

    def __init__(self, engine: Engine, options: BackendOptions) -> None:
        check_known(options)
        self.namespace = check_text("namespace", options.get("namespace", "default"))
        self.engine = engine
        self.clock = check_callable("clock", options.get("clock", _wall_clock))
        redact = options.get("redact")
        limit = check_int("max_result_bytes", options.get("max_result_bytes", 64 * 2**20), 2)
        self.records = Records(
            Codec(options.get("types", ()), max_bytes=limit),
            ttl=check_ttl("ttl", options.get("ttl")),
            failure_ttl=check_ttl("failure_ttl", options.get("failure_ttl", options.get("ttl"))),
            history=kept_transitions(options),
            redact=None if redact is None else check_callable("redact", redact),
        )
        self.op_timeout = op_timeout(options)
        # Lambdas, so that the engine may still be wrapped after the backend was made.
        self.waiters = Waiters(
            lambda ids: self.engine.watch(ids),
            lambda ids: self.engine.fetch(ids),
            self.records.decode,
            self.clock,
            recheck_interval(options),
        )
        self.reports = Reports()
        self.life = Lifecycle(
            lambda: self.engine.open(self.waiters), self.waiters.close, lambda: self.engine.close()
        )

    def live(self, rows: Iterable[Row | None]) -> list[Row]:
        now = self.clock()
        return [row for row in rows if row is not None and not row.is_expired(now)]


def _wall_clock() -> int:
    return time.time_ns() // 1_000


def steps(items: list[Item]) -> Iterator[list[Item]]:
    return (items[start : start + STEP] for start in range(0, len(items), STEP))


def applied(commit: Commit, outcome: Outcome) -> bool:
    """Whether the commit was applied. Raises if the reason it was not lies outside the rules of ``store``."""
    if outcome.version == FAMILY:
        raise FamilyConflict(commit.id, str(commit.parent), outcome.reason or None)
    if outcome.version == UNREADABLE:
        raise CorruptRecord(commit.id, f"{outcome.reason}; nothing was written")
    return outcome.is_applied
