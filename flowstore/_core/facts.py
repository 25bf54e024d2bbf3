"""What an operator wants to know of a store, in a few trips and bounded work."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, cast

from flowstore._core.advice import StorageWarning, warnings_of
from flowstore._core.core import Core
from flowstore._core.listing import Listing, step
from flowstore._core.viewing import ping
from flowstore._values.arguments import Seconds, check_age
from flowstore.engine import (
    NAMESPACE,
    UNSORTED,
    Asked,
    Counted,
    Entry,
    Fact,
    Section,
    every,
    sort_key,
)
from flowstore.errors import CorruptRecord
from flowstore.fields import Record, Timestamp
from flowstore.models import TaskStatus
from flowstore.tables import Tabular
from flowstore.times import OF_NO_TASK, from_micros

_OF_TASKS: Final = (-UNSORTED, sort_key(OF_NO_TASK) - 1)
"""All that have a time of submission."""


class OldestTask(Record):
    """A task that has been in its status since it was submitted, for all that the listing knows."""

    task_id: str
    submitted_at: Timestamp
    started_at: Timestamp | None


class Facts(Tabular, Record):
    """A store as an operator sees it. What is not known, or may not be asked, is None.

    ``backend``: the kind of storage. ``server`` and ``driver`` are names. ``format``: the number of the
    stored format, ``program_format``: the newest that this program knows. ``is_writable``: whether this
    program may store. ``latency``: the seconds of a round trip. ``clock_skew``: by how many seconds at least
    the server's clock is ahead of this process's, or behind it (negative). ``size``: bytes of this namespace,
    on SQLite of the file with its WAL, on Redis estimated from a few records; ``sizes``: others, by name.
    ``counts``: records per status. ``oldest_pending`` and ``oldest_running``: those submitted first.
    ``workers``: how many are registered, and ``silent_workers``: how many of them are silent. ``options``:
    those in effect, ttls in seconds. ``policies``: of the server or the file. ``warnings``: what is wrong.
    """

    backend: str
    namespace: str
    at: Timestamp
    flowstore_version: str | None
    python_version: str
    server: str | None
    server_version: str | None
    driver: str | None
    driver_version: str | None
    format: int | None
    program_format: int | None
    is_writable: bool | None
    latency: float
    clock_skew: float | None
    size: int | None
    sizes: Mapping[str, int]
    counts: Mapping[TaskStatus, int]
    oldest_pending: OldestTask | None
    oldest_running: OldestTask | None
    workers: int | None
    silent_workers: int | None
    options: Mapping[str, Fact | tuple[str, ...]]
    policies: Mapping[str, Fact]
    warnings: tuple[StorageWarning, ...]


async def facts(core: Core, silent_after: Seconds) -> Facts:
    silence = check_age("silent_after", silent_after)
    async with core.life:
        if not _version.cache_info().currsize:
            await asyncio.to_thread(_version)  # it reads a file
        latency = await ping(core)  # alone: others on their way would be in it
        began = core.clock()
        stored = await core.engine.facts()
        now = core.clock()
        counts, pending, running, workers = await _all(core, now)
    skew = _skew(stored.server_time, began, now)
    silent = None if workers is None else sum(seen < now - silence for seen in workers)
    return Facts(
        backend=stored.kind,
        namespace=core.namespace,
        at=from_micros(now),
        flowstore_version=_version(),
        python_version=platform.python_version(),
        server=stored.server,
        server_version=stored.server_version,
        driver=stored.driver,
        driver_version=stored.driver_version,
        format=stored.format,
        program_format=stored.own_format,
        is_writable=stored.is_writable,
        latency=latency,
        clock_skew=skew,
        size=stored.size,
        sizes=stored.sizes,
        counts={status: counts.get(status, 0) for status in TaskStatus},
        oldest_pending=pending,
        oldest_running=running,
        workers=None if workers is None else len(workers),
        silent_workers=silent,
        options=core.options_in_effect,
        policies=stored.policies,
        warnings=tuple(each for each in warnings_of(stored, skew) if not _is_meant(core, each)),
    )


def _is_meant(core: Core, warning: StorageWarning) -> bool:
    """Whether this backend was made for what it warns of."""
    return core.is_read_only and warning.code in ("read-only", "redis-replica")


_Found = tuple[Mapping[str, int], OldestTask | None, OldestTask | None, list[int] | None]


async def _all(core: Core, now: int) -> _Found:
    """Counts, the oldest pending and running tasks, and when each worker was last seen."""
    found = await asyncio.gather(
        core.engine.count([every()]),
        _oldest(core, TaskStatus.PENDING),
        _oldest(core, TaskStatus.RUNNING),
        _last_seen(core, now),
        return_exceptions=True,  # none may go on while an error of another one is raised
    )
    if errors := [one for one in found if isinstance(one, BaseException)]:
        raise errors[0]
    [counted], *others = cast("tuple[list[Counted], Any, Any, Any]", found)
    return counted.counts, *others


async def _oldest(core: Core, status: TaskStatus) -> OldestTask | None:
    """By time of submission; those that have none are passed over."""
    listing = Listing((status,), 1, newest_first=False, with_body=False, within=_OF_TASKS)
    entries = await step(core, listing)
    return _task(entries[0]) if entries else None


def _task(entry: Entry) -> OldestTask | None:
    """None for one whose times nobody can have meant."""
    started_at = entry.started_at
    if entry.submitted_at is None:
        return None
    try:
        return OldestTask(
            task_id=entry.id,
            submitted_at=from_micros(entry.submitted_at),
            started_at=None if started_at is None else from_micros(started_at),
        )
    except OverflowError:
        return None


async def _last_seen(core: Core, now: int) -> list[int] | None:
    """Of each worker; None where they cannot be read."""
    try:
        [workers] = await core.engine.items([Asked(Section.WORKER, NAMESPACE)], now)
    except CorruptRecord:
        return None
    return [worker.at for worker in workers]


def _skew(server_time: int | None, began: int, ended: int) -> float | None:
    """Seconds. Whatever the trip took is taken out: 0 for any time between its beginning and its end."""
    if server_time is None:
        return None
    return (max(0, server_time - ended) - max(0, began - server_time)) / 1_000_000


@cache
def _version() -> str | None:
    """None where the program runs from a folder of its source."""
    try:
        return version("flowstore")
    except PackageNotFoundError:
        return None
