"""The core that every verb and every feature of one backend is built on: handed in, never inherited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from threading import Lock
from typing import Final, TypeVar

from flowstore._core.crews import Crew
from flowstore._core.options import (
    BackendOptions,
    check_known,
    compress_over,
    counts,
    is_read_only,
    kept_facets,
    kept_transitions,
    observers,
    op_timeout,
    purge_interval,
    recheck_interval,
)
from flowstore._core.purging import BACKGROUND_STEP, Purger
from flowstore._observing.calls import ObservedCalls
from flowstore._observing.observers import Observers
from flowstore._trips.counting import Counting
from flowstore._trips.families import with_families
from flowstore._trips.lifecycle import Lifecycle
from flowstore._trips.read_only import ReadOnly, read_only_refusal
from flowstore._trips.reporting import Reports
from flowstore._values.arguments import check_bool, check_callable, check_int, check_ttl
from flowstore._values.codec import Codec
from flowstore._values.records import Records
from flowstore._values.tallying import Tallying
from flowstore._waiting.feeds import Feed
from flowstore._waiting.waiters import Waiters
from flowstore.engine import Engine, Entry, Fact
from flowstore.errors import StorageUnavailable, UnreadableRecord
from flowstore.observing import BatchEnded, CallGivenUp, RecordUnreadable
from flowstore.text import check_text

Item = TypeVar("Item")

STEP: Final = 500
"""How many records one call of the engine carries."""


class Core:
    """The engine of a backend, its records, its waiters, its clock and its life.

    Every call of the engine must be inside ``async with core.life``, or ``close`` may close it underneath.
    Waiters, reports and life belong to one event loop. When that is closed ``life`` makes them anew.
    """

    def __init__(self, engine: Engine, options: BackendOptions, records: type[Records] = Records) -> None:
        check_known(options)
        self.namespace = check_text("namespace", options.get("namespace", "default"))
        self.observers = Observers(self.namespace, observers(options))
        self.engine = with_families(engine)
        self.is_counting = counts(options) and engine.counts_writes
        if self.is_counting:
            self.engine = Counting(self.engine)
        if self.observers.is_active:
            shared = self.engine.tell_batches(self._tell_batch)
            self.engine = ObservedCalls(self.engine, self.observers, shared)
        self.is_read_only = is_read_only(options)
        if self.is_read_only:
            self.engine = ReadOnly(self.engine)
        self.clock = check_callable("clock", options.get("clock", _wall_clock))
        self.kept_transitions = kept_transitions(options)
        redact = options.get("redact")
        limit = check_int("max_result_bytes", options.get("max_result_bytes", 64 * 2**20), 2)
        raw = check_bool("raw", options.get("raw", False))
        codec = Codec(options.get("types", ()), max_bytes=limit, raw=raw)
        self.records = records(
            codec,
            ttl=check_ttl("ttl", options.get("ttl")),
            failure_ttl=check_ttl("failure_ttl", options.get("failure_ttl", options.get("ttl"))),
            unfinished_ttl=check_ttl("unfinished_ttl", options.get("unfinished_ttl")),
            history=self.kept_transitions,
            redact=None if redact is None else check_callable("redact", redact),
            facets=kept_facets(options),
            compress_over=compress_over(options),
            unreadable=self._tell_unreadable,
            tallying=Tallying() if self.is_counting else None,
            has_groups=check_bool("error_groups", options.get("error_groups", True)),
        )
        self.op_timeout = op_timeout(options)
        self._recheck_interval = recheck_interval(options)
        interval = purge_interval(options)
        self._purge_interval = None if self.is_read_only else interval
        self._beginning = Lock()
        self._is_shutting_down = False
        self._begin()

    def _begin(self) -> None:
        self.crews: dict[str, Crew] = {}
        """The workers that run in this backend, by their ids."""
        # Each re-check watches the ids again. Their pauses vary by a quarter, and one may fail.
        watched_for = round(3 * self._recheck_interval * 1_000_000)
        # Lambdas, so that the engine may still be wrapped after the backend was made.
        waiters = self.waiters = Waiters(
            lambda ids: self.engine.watch(ids, self.clock() + watched_for),
            lambda ids: self.engine.read(ids),
            self.records.decode,
            self.clock,
            self._recheck_interval,
            self.observers,
            lambda task_id: self.engine.part_of(task_id),
        )
        waiters.is_refusing = self._is_shutting_down
        self.feed: Feed | None = None
        """What all who listen to changes stand on; without any, the last one, which may yet have to end."""
        self.reports = Reports()
        purger = Purger(
            lambda: self.engine.purge(BACKGROUND_STEP, self.clock()), self._purge_interval, self.observers
        )

        async def begin() -> None:
            await self.engine.open(waiters)
            purger.start()

        async def end() -> None:
            await waiters.close()
            if self.feed is not None:
                await self.feed.close()
            await purger.close()

        self._life = Lifecycle(begin, end, lambda: self.engine.close(), self._tell_given_up)

    @property
    def life(self) -> Lifecycle:
        """The life in the current loop, or a new one if the loop of the last one is closed.

        It must be asked for anew by each call, and kept for what is begun in it.
        """
        loop = self._life.loop
        if loop is not None and loop.is_closed():
            self._begin_again()
        return self._life

    @property
    def is_open(self) -> bool:
        """Whether something is open that ``close`` has to release, though its loop may be closed."""
        return self._life.is_open

    @property
    def options_in_effect(self) -> dict[str, Fact | tuple[str, ...]]:
        """Those that say what is kept, and how long calls take. ``history_limit`` 0: there is no history."""
        return {
            "ttl": _seconds(self.records.ttl),
            "failure_ttl": _seconds(self.records.failure_ttl),
            "unfinished_ttl": _seconds(self.records.unfinished_ttl),
            "history_limit": self.kept_transitions,
            "facets": tuple(sorted(self.records.facets)),
            "compress_over": self.records.compress_over,
            "max_result_bytes": self.records.codec.max_bytes,
            "raw": self.records.codec.is_raw,
            "recheck_interval": self._recheck_interval,
            "op_timeout": self.op_timeout,
            "purge_interval": self._purge_interval,
            "read_only": self.is_read_only,
        }

    def end_waits(self) -> None:
        """Wake all waits in the next iteration of the loop, and refuse new ones from now on.

        In the next, as a signal handler calls this in the midst of anything.
        """
        life = self.life
        life.check_place()
        if life.is_closed:
            return
        self._is_shutting_down = self.waiters.is_refusing = True
        if life.loop is not None:
            life.loop.call_soon_threadsafe(self.waiters.end)  # also wakes a loop that sleeps

    def _tell_given_up(self, error: StorageUnavailable) -> None:
        self.observers.tell(CallGivenUp(self.namespace, error))

    def _tell_batch(
        self, verb: str, items: int, queued: int, seconds: float, error: BaseException | None
    ) -> None:
        ended = BatchEnded(self.namespace, verb, items, queued, seconds, error, self.engine.place)
        # Not in the trip, which is for others, and which an observer that is interrupted would break.
        asyncio.get_running_loop().call_soon(self.observers.tell, ended)

    def _tell_unreadable(self, error: UnreadableRecord) -> None:
        self.observers.tell(RecordUnreadable(self.namespace, error.task_id, error))

    def _begin_again(self) -> None:
        with self._beginning:  # several threads with loops of their own may find it at the same time
            orphan = self._life
            if orphan.is_orphaned:
                self.waiters.abandon()
                if self.feed is not None:
                    self.feed.abandon()
                self.engine.abandon()
                self._begin()
                self._life.is_closed = orphan.is_closed  # the loop was closed in the midst of it

    def check_writable(self) -> None:
        """Raise AccessDenied where nothing may be written: for what writes only some of the time."""
        if self.is_read_only:
            raise read_only_refusal()

    def check_listed(self, facet: str) -> None:
        """Raise ValueError if this backend keeps no index of that."""
        if facet not in self.records.facets:
            kept = sorted(self.records.facets)
            raise ValueError(f"{facet}: not indexed by this backend, whose facets are {kept}")

    def live(self, entries: Iterable[Entry | None]) -> list[Entry]:
        now = self.clock()
        return [entry for entry in entries if entry is not None and not entry.is_expired(now)]


def _seconds(micros: int | None) -> float | None:
    return None if micros is None else micros / 1_000_000


def _wall_clock() -> int:
    return time.time_ns() // 1_000


def steps(items: list[Item]) -> Iterator[list[Item]]:
    return (items[start : start + STEP] for start in range(0, len(items), STEP))
