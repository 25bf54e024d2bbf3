"""What the writes of tasks count: the series and buckets of statistics, as docs/formats.md lists them.

Durations are counted in buckets that grow by a fourth root of 2, so that any percentile is known to 9 percent
whether tasks take milliseconds or days, and the counters of many minutes or processes can be added up.
"""

from __future__ import annotations

from math import log2
from typing import Any, Final, NamedTuple

from pydantic_core import from_json, to_json

from flowstore._errors.fingerprints import NORMALISER, normalised
from flowstore._values.facets import ERROR, FINISHED_ERROR
from flowstore.engine import Marks, Noted
from flowstore.models import TaskResult, TaskStatus
from flowstore.text import cut

ALL: Final = ""
"""The series of all tasks."""
OTHERS: Final = "~"
"""The series of names beyond the first MOST_NAMES."""
MOST_NAMES: Final = 1_000

SUBMITTED, REQUEUED, RETRYING, WAITED = "n", "q", "r", "w"
ENDED: Final = {"success": "s", "failed": "f", "cancelled": "c"}
"""By status, as plain text: an enum member computes its hash in Python, each time that it is looked up."""

MOST_BUCKET: Final = 120
"""Whatever takes longer than 12 days is in this one."""
_PER_OCTAVE: Final = 4
_SHORTEST: Final = 1_000
_MOST_REMEMBERED: Final = 10_000
_EXAMPLE_CHARS: Final = 512


def bucket_of(micros: int) -> int:
    """The number of a duration: 0 below a millisecond."""
    if micros < _SHORTEST:
        return 0
    return min(MOST_BUCKET, 1 + int(_PER_OCTAVE * log2(micros / _SHORTEST)))


def highest_in(bucket: int) -> float:
    """The upper bound of a bucket, in seconds."""
    return float(2 ** (bucket / _PER_OCTAVE)) / 1_000


def middle_of(bucket: int) -> float:
    """In seconds; the geometric middle, which nothing in the bucket is farther from than 9 percent."""
    return 0.0005 if bucket == 0 else float(2 ** ((bucket - 0.5) / _PER_OCTAVE)) / 1_000


def series_of(name: str | None) -> str:
    """That of a task name; None: of tasks without one."""
    return f"={name or ''}"


class Tallying:
    """Makes the marks of writes. Those that count alike share one object, which engines make use of."""

    def __init__(self) -> None:
        self._known: dict[tuple[str | None, str, bool, int | None, int | None], Marks] = {}

    def marks(
        self,
        name: str | None,
        status: str,
        retries: int,
        submitted: int | None,
        started: int | None,
        finished: int | None,
    ) -> Marks:
        """Of a task in this state. Times are in microseconds."""
        ran = waited = None
        if finished is not None and started is not None and status in ENDED:
            ran = bucket_of(finished - started)
            # After a retry it would be the time since the task was submitted, earlier attempts included.
            if submitted is not None and not retries:
                waited = bucket_of(started - submitted)
        key = (name, status, retries > 0, ran, waited)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            known = self._known[key] = _marks(*key)
        return known


def _marks(name: str | None, status: str, is_again: bool, ran: int | None, waited: int | None) -> Marks:
    changed: tuple[str, ...] = ()
    if status in ENDED:
        changed = (ENDED[status] + ("" if ran is None else str(ran)),)
        if waited is not None:
            changed += (f"{WAITED}{waited}",)
    elif status == "retrying":
        changed = (RETRYING,)
    elif status == "pending" and is_again:
        changed = (REQUEUED,)
    return Marks((ALL, series_of(name)), (SUBMITTED,), changed)


class Example(NamedTuple):
    """What is kept of the last error of a group. ``message``: as it is, cut."""

    type: str
    message: str
    normalised: str
    task_id: str
    name: str | None
    normaliser: int


def facets_of_error(status: TaskStatus, group: str) -> tuple[str, ...]:
    """What failed and retrying tasks are listed by; the failed ones by their finish as well."""
    facets = (ERROR + group,)
    return (*facets, FINISHED_ERROR + group) if status is TaskStatus.FAILED else facets


def noted(result: TaskResult, group: str) -> Noted:
    """What a result with an error adds to its group."""
    error = result.error
    assert error is not None, "only an error has a group"
    example = {
        "type": cut(error.type, _EXAMPLE_CHARS),
        "message": cut(error.message, _EXAMPLE_CHARS),
        "normalised": normalised(error.message),
        "task_id": result.task_id,
        "name": result.task_name,
        "normaliser": NORMALISER,
    }
    return Noted(group, to_json(example), result.task_name or "")


def example_of(stored: bytes) -> Example:
    """Raises ValueError for what was never written so."""
    fields: Any = from_json(stored)
    try:
        found = Example(*(fields.get(name) for name in Example._fields))
    except AttributeError as error:
        raise ValueError("the example of an error group is not an object") from error
    texts = (found.type, found.message, found.normalised, found.task_id)
    if not all(type(text) is str for text in texts) or not isinstance(found.name, str | None):
        raise ValueError("the example of an error group lacks a text")
    return found
