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
from flowstore.engine import Mark, Noted
from flowstore.models import TaskResult, TaskStatus
from flowstore.text import cut

OF_NAME: Final = "="
"""How the series of a task name begins."""
OTHERS: Final = "~"
"""The series of names beyond the first MOST_NAMES."""
OTHER_NAMES: Final = "(other)"
"""The name of all tasks whose names are beyond the first thousand of a namespace."""
MOST_NAMES: Final = 1_000

SUBMITTED, REQUEUED, RETRYING, WAITED = "n", "q", "r", "w"
ENDED: Final = {"success": "s", "failed": "f", "cancelled": "c"}
"""By status, as plain text: an enum member computes its hash in Python, each time that it is looked up."""

MOST_BUCKET: Final = 120
"""Whatever takes longer than 12 days is in this one."""
_PER_OCTAVE: Final = 4
_SHORTEST: Final = 1_000
_MOST_REMEMBERED: Final = 2_000
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
    return OF_NAME + (name or "")


class _Marks:
    """The marks of one name, made when they are first needed; those of durations by the numbers of these."""

    __slots__ = ("by_duration", "first", "others", "series")

    def __init__(self, name: str | None) -> None:
        self.series = series_of(name)
        self.first = Mark(self.series, SUBMITTED, is_first=True)
        self.others: dict[str, Mark] = {}
        self.by_duration: dict[str, list[Mark | None]] = {
            letter: [None] * (MOST_BUCKET + 1) for letter in (*ENDED.values(), WAITED)
        }

    def of(self, bucket: str) -> Mark:
        mark = self.others.get(bucket)
        if mark is None:
            mark = self.others[bucket] = Mark(self.series, bucket)
        return mark

    def made(self, letter: str, number: int) -> Mark:
        mark = self.by_duration[letter][number] = Mark(self.series, f"{letter}{number}")
        return mark


class Tallying:
    """Makes the marks of writes. What counts alike is one object, which engines make use of."""

    def __init__(self) -> None:
        self._names: dict[str | None, _Marks] = {}

    def marks(
        self,
        name: str | None,
        status: str,
        retries: int,
        submitted: int | None,
        started: int | None,
        finished: int | None,
    ) -> tuple[Mark, ...]:
        """Of a task in this state. Times are in microseconds."""
        marks = self._names.get(name)
        if marks is None:
            if len(self._names) >= _MOST_REMEMBERED:
                self._names.clear()
            marks = self._names[name] = _Marks(name)
        letter = ENDED.get(status)
        if letter is None:
            return self._of_unfinished(marks, status, retries)
        if started is None or finished is None:
            return (marks.first, marks.of(letter))
        # Each write of a finished task comes here, so this is written out.
        micros = finished - started
        number = 0 if micros < _SHORTEST else bucket_of(micros)
        ran = marks.by_duration[letter][number] or marks.made(letter, number)
        if retries or submitted is None:
            # After a retry it would be the time since the task was submitted, earlier attempts included.
            return (marks.first, ran)
        micros = started - submitted
        number = 0 if micros < _SHORTEST else bucket_of(micros)
        return (marks.first, ran, marks.by_duration[WAITED][number] or marks.made(WAITED, number))

    def _of_unfinished(self, marks: _Marks, status: str, retries: int) -> tuple[Mark, ...]:
        if status == "retrying":
            return (marks.first, marks.of(RETRYING))
        if retries and status == "pending":
            return (marks.first, marks.of(REQUEUED))
        return (marks.first,)


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
