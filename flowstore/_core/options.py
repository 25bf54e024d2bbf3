"""The options that every backend takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, TypedDict

from flowstore._values.arguments import Redact, Seconds, check_bool, check_duration, check_int
from flowstore._values.compression import best
from flowstore._values.facets import FIELDS, OPTIONAL
from flowstore._values.records import Ttl
from flowstore._values.types import Types
from flowstore.observing import Observer

OF_RUNS: Final = "\x1fruns"
"""Behind the name of a namespace: that of its runs. Nobody types it, so it is no namespace of tasks."""

FacetName = Literal["name", "worker_id", "label", "finished"]


class BackendOptions(TypedDict, total=False):
    """The options that every backend takes.

    ``namespace``: the name of this store among those that share a storage; each has its own records, workers
    and app ("default"). ``ttl``: how long a record is kept once it is finished, in seconds or as a timedelta;
    None (default): for ever. ``failure_ttl``: the same for failed records; ``ttl`` by default.
    ``unfinished_ttl``: how long one that is not finished is kept after a store or a progress report, each of
    which begins it anew; None (default): for ever. ``types``: the dataclasses, enums, NamedTuples and
    pydantic models that values may hold, and StoredTypes; or a mapping of stable names to them. ``raw``: read
    values as the JSON that is stored, in which ``{"$tuple": [...]}`` is data (False), for tools that show any
    record and know none of its types. ``max_result_bytes``: the limit on result, args and kwargs together,
    encoded (64 MiB); also of what is compressed. ``compress_over``: results, args and kwargs, data and
    checkpoints that take more bytes than this, encoded, are stored compressed where that makes them smaller,
    by zstd if Python or the extra ``flowstore[zstd]`` has it, otherwise by zlib; None (default): none. In
    memory nothing is. ``recheck_interval``: every how many seconds all awaited ids are read again, even
    without a notification (15). ``op_timeout``: how many seconds a call may take at most, including its wait
    for a round trip (10). ``purge_interval``: every how many seconds an open backend removes what has
    expired, give or take a half (60); None: never. The three are numbers or timedeltas, a week at most.
    ``history``: whether each store leaves a Transition behind (True). ``history_limit``: how many of the
    newest transitions of each task to keep; None (default): all. ``clock``: returns microseconds since the
    epoch. ``redact``: called with each result before it is encoded, and returns the one to store, with the
    same task_id, status and retries; if it raises, so does ``store``, and nothing is stored. It is not called
    for what ``workers.requeue`` and ``workers.fail_lost`` change. ``facets``: by which of "name", "worker_id"
    and "label" tasks can be listed and counted; all three by default. Each is an entry in an index for every
    task that has one. Without "worker_id" the tasks of a dead worker cannot be found, without "name" no
    workflows. With "finished" besides, successful tasks too are listed by the time of their finish, as failed
    and cancelled ones always are. All processes on a namespace should have the same. ``stats``: "minute",
    to count by minute and hour what becomes of tasks, in the commit of each store (see ``stats`` of the
    backend), or None, to count nothing. ``error_groups``: whether failed and retrying tasks are grouped by
    their errors (see ``errors`` of the backend). ``observers``: who is told of events, in this order (see
    flowstore.observing); none by default. ``read_only``: whether nothing is written, not even to open the
    store (False): what would write raises AccessDenied, waits go by ``recheck_interval`` alone, and a replica
    will do.
    """

    namespace: str
    ttl: Ttl
    failure_ttl: Ttl
    unfinished_ttl: Ttl
    types: Types
    raw: bool
    max_result_bytes: int
    compress_over: int | None
    recheck_interval: Seconds
    op_timeout: Seconds
    purge_interval: Seconds | None
    history: bool
    history_limit: int | None
    clock: Callable[[], int]
    redact: Redact | None
    facets: Iterable[FacetName]
    stats: Literal["minute"] | None
    error_groups: bool
    observers: Iterable[Observer]
    read_only: bool


def check_known(options: Mapping[str, object]) -> None:
    """Raise TypeError for an unknown option: a misspelled ``redact`` would store what must not be stored."""
    known = list(BackendOptions.__annotations__)
    if unknown := options.keys() - known:
        raise TypeError(f"{min(unknown)}: unknown option; expected one of {', '.join(known)}")


def kept_facets(options: BackendOptions) -> frozenset[str]:
    """By what tasks can be listed."""
    given = options.get("facets", FIELDS)
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"facets: expected names such as ['name', 'label'], got {given!r:.80}")
    facets = [*given]
    if unknown := [facet for facet in facets if facet not in OPTIONAL]:
        shown = min(map(repr, unknown))
        raise ValueError(f"facets: expected some of {', '.join(OPTIONAL)}, got {shown:.80}")
    return frozenset(facets)


def counts(options: BackendOptions) -> bool:
    """Whether writes are counted."""
    stats = options.get("stats", "minute")
    if stats not in ("minute", None):
        raise ValueError(f"stats: expected 'minute' or None, got {stats!r:.80}")
    return stats is not None


def observers(options: BackendOptions) -> list[Observer]:
    given = options.get("observers", ())
    if not isinstance(given, Iterable):
        raise TypeError(f"observers: expected objects with a method on_event, got {given!r:.80}")
    found = [*given]
    for observer in found:
        if not callable(getattr(observer, "on_event", None)) or isinstance(observer, type):
            raise TypeError(f"observers: expected objects with a method on_event, got {observer!r:.80}")
    return found


def op_timeout(options: BackendOptions) -> float:
    return check_duration("op_timeout", options.get("op_timeout", 10.0))


def recheck_interval(options: BackendOptions) -> float:
    return check_duration("recheck_interval", options.get("recheck_interval", 15.0))


def purge_interval(options: BackendOptions) -> float | None:
    """Seconds; None: never."""
    interval = options.get("purge_interval", 60.0)
    return None if interval is None else check_duration("purge_interval", interval)


def is_read_only(options: BackendOptions) -> bool:
    return check_bool("read_only", options.get("read_only", False))


def compress_over(options: BackendOptions) -> int | None:
    """Bytes; None: nothing is compressed."""
    over = options.get("compress_over")
    if over is None:
        return None
    best()  # loads what it takes now, as the event loop should not have to read files for it
    return check_int("compress_over", over, 0)


def kept_transitions(options: BackendOptions) -> int | None:
    """How many transitions to keep of each task; None: all, 0: none."""
    limit = options.get("history_limit")
    if limit is not None:
        check_int("history_limit", limit, 1)
    return limit if check_bool("history", options.get("history", True)) else 0
