"""What all parts of a backend share: its engine, its records, its waiters, its clock and its life."""

from __future__ import annotations

import time
import warnings
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Final, Self, TypeVar, Unpack

from flowstore import arguments
from flowstore.codec import Codec
from flowstore.engine import FAMILY, UNREADABLE, Commit, Engine, Outcome, Query, Row
from flowstore.errors import CorruptRecord, FamilyConflict
from flowstore.fields import check_text
from flowstore.lifecycle import Lifecycle
from flowstore.options import BackendOptions, check_known, op_timeout, recheck_interval
from flowstore.records import Records
from flowstore.reporting import Reports
from flowstore.waiting import Waiters

Item = TypeVar("Item")

STEP: Final = 500
"""How many records one call of an engine carries."""


class Core:
    """The start of every backend. What it can do is added by the classes that ``BaseResultBackend`` joins."""

    def __init__(self, engine: Engine, *, namespace: str, **options: Unpack[BackendOptions]) -> None:
        check_known(options)
        self.namespace = check_text("namespace", namespace)
        self._engine = engine
        self._clock = arguments.check_callable("clock", options.get("clock", _wall_clock))
        redact = options.get("redact")
        limit = arguments.check_int("max_result_bytes", options.get("max_result_bytes", 64 * 2**20), 2)
        self._records = Records(
            Codec(options.get("types", ()), max_bytes=limit),
            ttl=arguments.check_ttl("ttl", options.get("ttl")),
            failure_ttl=arguments.check_ttl("failure_ttl", options.get("failure_ttl", options.get("ttl"))),
            history=_check_history(options),
            redact=None if redact is None else arguments.check_callable("redact", redact),
        )
        self._op_timeout = op_timeout(options)
        recheck = recheck_interval(options)
        reads = (lambda ids: engine.watch(ids)), (lambda ids: engine.fetch(ids))
        self._waiters = Waiters(*reads, self._records.decode, self._clock, recheck)
        self._reports = Reports()
        self._life = Lifecycle(lambda: engine.open(self._waiters), self._waiters.close, engine.close)

    async def open(self) -> None:
        """Connect. Needed only to fail early: the first call opens by itself."""
        await self._life.open()

    async def close(self) -> None:
        """Wake all waiters with BackendClosed, let calls in flight end, release everything. Idempotent."""
        await self._life.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __del__(self) -> None:
        life = getattr(self, "_life", None)
        if life is not None and life.is_open:
            warnings.warn(f"{self!r} was never closed", ResourceWarning, source=self, stacklevel=2)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(namespace={self.namespace!r})"

    @property
    def waiting(self) -> int:
        """The number of ids that somebody waits for here."""
        return len(self._waiters)

    async def _rows(self, query: Query) -> AsyncIterator[list[Row]]:
        """All rows of ``query``, in steps of its limit, none of them empty."""
        while True:
            async with self._life:
                rows = await self._engine.scan(query, self._clock()) if query.statuses else []
            if rows:
                yield rows
            if len(rows) < query.limit:
                return
            query = replace(query, after=rows[-1].position)


def _wall_clock() -> int:
    return time.time_ns() // 1_000


def steps(items: list[Item]) -> Iterator[list[Item]]:
    return (items[start : start + STEP] for start in range(0, len(items), STEP))


def applied(commit: Commit, outcome: Outcome) -> bool:
    """Raises what the storage refused for another reason than the rules of ``store``."""
    if outcome.version == FAMILY:
        raise FamilyConflict(commit.id, str(commit.parent), outcome.reason or None)
    if outcome.version == UNREADABLE:
        raise CorruptRecord(commit.id, f"{outcome.reason}; nothing was written")
    return outcome.is_applied


def _check_history(options: BackendOptions) -> int | None:
    """How many transitions to keep of each task; None: all of them."""
    limit = options.get("history_limit")
    if limit is not None:
        arguments.check_int("history_limit", limit, 1)
    return limit if arguments.check_bool("history", options.get("history", True)) else 0
