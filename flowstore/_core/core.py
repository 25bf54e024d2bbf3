"""The core that every verb and every feature of one backend is built on: handed in, never inherited."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

from flowstore._core.options import (
    BackendOptions,
    check_known,
    kept_facets,
    kept_transitions,
    op_timeout,
    purge_interval,
    recheck_interval,
)
from flowstore._core.purging import BACKGROUND_STEP, Purger
from flowstore._trips.families import with_families
from flowstore._trips.lifecycle import Lifecycle
from flowstore._trips.reporting import Reports
from flowstore._values.arguments import check_bool, check_callable, check_int, check_ttl
from flowstore._values.codec import Codec
from flowstore._values.records import Records
from flowstore._waiting.waiters import Waiters
from flowstore.engine import Engine, Entry
from flowstore.text import check_text

Item = TypeVar("Item")

STEP: Final = 500
"""How many records one call of the engine carries."""


class Core:
    """The engine of a backend, its records, its waiters, its clock and its life.

    Every call of the engine must be inside ``async with core.life``, or ``close`` may close it underneath.
    """

    def __init__(self, engine: Engine, options: BackendOptions, records: type[Records] = Records) -> None:
        check_known(options)
        self.namespace = check_text("namespace", options.get("namespace", "default"))
        self.engine = with_families(engine)
        self.clock = check_callable("clock", options.get("clock", _wall_clock))
        redact = options.get("redact")
        limit = check_int("max_result_bytes", options.get("max_result_bytes", 64 * 2**20), 2)
        raw = check_bool("raw", options.get("raw", False))
        codec = Codec(options.get("types", ()), max_bytes=limit, raw=raw)
        self.records = records(
            codec,
            ttl=check_ttl("ttl", options.get("ttl")),
            failure_ttl=check_ttl("failure_ttl", options.get("failure_ttl", options.get("ttl"))),
            unfinished_ttl=check_ttl("unfinished_ttl", options.get("unfinished_ttl")),
            history=kept_transitions(options),
            redact=None if redact is None else check_callable("redact", redact),
            facets=kept_facets(options),
        )
        self.op_timeout = op_timeout(options)
        # Each re-check watches the ids again. Their pauses vary by a quarter, and one may fail.
        watched_for = round(3 * recheck_interval(options) * 1_000_000)
        # Lambdas, so that the engine may still be wrapped after the backend was made.
        self.waiters = Waiters(
            lambda ids: self.engine.watch(ids, self.clock() + watched_for),
            lambda ids: self.engine.read(ids),
            self.records.decode,
            self.clock,
            recheck_interval(options),
        )
        self.reports = Reports()
        self.purger = Purger(
            lambda: self.engine.purge(BACKGROUND_STEP, self.clock()), purge_interval(options), self.namespace
        )
        self.life = Lifecycle(self._open, self._end_waits, lambda: self.engine.close())

    async def _open(self) -> None:
        await self.engine.open(self.waiters)
        self.purger.start()

    async def _end_waits(self) -> None:
        await self.waiters.close()
        await self.purger.close()

    def check_listed(self, facet: str) -> None:
        """Raise ValueError if this backend keeps no index of that."""
        if facet not in self.records.facets:
            kept = sorted(self.records.facets)
            raise ValueError(f"{facet}: not indexed by this backend, whose facets are {kept}")

    def live(self, entries: Iterable[Entry | None]) -> list[Entry]:
        now = self.clock()
        return [entry for entry in entries if entry is not None and not entry.is_expired(now)]


def _wall_clock() -> int:
    return time.time_ns() // 1_000


def steps(items: list[Item]) -> Iterator[list[Item]]:
    return (items[start : start + STEP] for start in range(0, len(items), STEP))
