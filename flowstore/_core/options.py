"""The options that every backend takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypedDict

from flowstore._values.arguments import Redact, check_bool, check_duration, check_int
from flowstore._values.records import Ttl


class BackendOptions(TypedDict, total=False):
    """The options that every backend takes.

    ``namespace``: which of the stores that share a storage; each has records, workers and an app of its
    own ("default"). ``ttl``: how long records are kept after a store, seconds or timedelta; None (default):
    for ever. ``failure_ttl``: the same for failed ones; by default ``ttl``. ``types``: dataclasses, enums
    and pydantic models that values may hold, or a mapping of stable names to them. ``max_result_bytes``:
    the limit of result, args and kwargs together, encoded (64 MiB). ``recheck_interval``: how often, in
    seconds, awaited ids are read again whatever was heard (15). ``op_timeout``: the longest that a call
    may take in seconds, with its wait for a trip to the storage (10). Both are a week at most.
    ``history``: whether each store leaves a Transition behind (True), ``history_limit``: of each task only
    so many, the newest; None (default): all. ``clock``: microseconds since the epoch. ``redact``: called
    with each result before it is encoded, returns the one to store, of the same task_id, status and
    retries; what it raises, ``store`` raises, and nothing is stored. It does not see what
    ``workers.requeue`` and ``workers.fail_lost`` change.
    """

    namespace: str
    ttl: Ttl
    failure_ttl: Ttl
    types: Iterable[type] | Mapping[str, type]
    max_result_bytes: int
    recheck_interval: float
    op_timeout: float
    history: bool
    history_limit: int | None
    clock: Callable[[], int]
    redact: Redact | None


def check_known(options: Mapping[str, object]) -> None:
    """A misspelled ``redact`` would store what must not be, a misspelled ``ttl`` would keep it for ever."""
    known = list(BackendOptions.__annotations__)
    if unknown := options.keys() - known:
        raise TypeError(f"{min(unknown)}: is no option of this backend; expected one of {', '.join(known)}")


def op_timeout(options: BackendOptions) -> float:
    return check_duration("op_timeout", options.get("op_timeout", 10.0))


def recheck_interval(options: BackendOptions) -> float:
    return check_duration("recheck_interval", options.get("recheck_interval", 15.0))


def kept_transitions(options: BackendOptions) -> int | None:
    """How many to keep of each task; None: all of them."""
    limit = options.get("history_limit")
    if limit is not None:
        check_int("history_limit", limit, 1)
    return limit if check_bool("history", options.get("history", True)) else 0
