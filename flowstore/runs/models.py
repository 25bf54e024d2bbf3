"""What users see of runs, their records and their evaluations."""

from __future__ import annotations

from typing import Annotated, Any, Generic

from flowstore.fields import Record, Timestamp
from flowstore.jsonable import AsJson
from flowstore.models import T, TaskResult, TaskStatus
from flowstore.runs.ids import key_of
from flowstore.tables import Tabular
from flowstore.task_error import TaskError

MARK = "flowstore:run"
"""The label that lists all runs, whatever their groups."""
TOTAL = "total"
PINNED = "pinned"
REMOVING = "removing"
"""Names in the ``meta`` of a run's record: how many records are expected, whether it is to be kept whatever
the policy, and of a run that is being removed the attempt that was its last."""


class Run(Tabular, Record):
    """A run. ``attempt`` counts from 0, and is one more each time that the run was resumed.

    ``config`` and ``result`` are the values that ``start`` and ``complete`` were given, NOT_LOADED in a
    listing without values. ``total``: how many records are expected; None: not known. ``created_at``: the
    first start; ``started_at``: that of this attempt. ``error``: of a run that has failed. ``is_pinned``:
    retention leaves it alone. ``reason``: why it was cancelled; None: no reason was given.
    """

    run_id: str
    group: str
    status: TaskStatus
    attempt: int
    config: Annotated[Any, AsJson] = None
    result: Annotated[Any, AsJson] = None
    error: TaskError | None = None
    labels: frozenset[str] = frozenset()
    total: int | None = None
    is_pinned: bool = False
    created_at: Timestamp
    started_at: Timestamp
    finished_at: Timestamp | None = None
    reason: str | None = None

    @property
    def is_finished(self) -> bool:
        return self.finished_at is not None


class RunRecord(Tabular, Record, Generic[T]):
    """A record of a run. ``at``: when it was appended; ``version`` counts the writes of its key from 1."""

    key: str
    value: Annotated[T, AsJson]
    status: TaskStatus
    error: TaskError | None
    at: Timestamp
    version: int


class UnreadableItem(Tabular, Record):
    """A run, or a record of one, that cannot be read, and why."""

    key: str
    reason: str


class RunPage(Tabular, Record):
    """One page of runs, the newest first. ``next_cursor`` is None at the end, and only there."""

    items: list[Run]
    next_cursor: str | None
    unreadable: list[UnreadableItem]


class RecordPage(Tabular, Record, Generic[T]):
    """One page of records, in order. ``next_cursor`` is None at the end, and only there."""

    items: list[RunRecord[T]]
    next_cursor: str | None
    unreadable: list[UnreadableItem]


class RunProgress(Record):
    """How far a run is, counted from its records. ``total``: what ``start`` was told; None: not known."""

    done: int
    total: int | None
    counts: dict[TaskStatus, int]


class Evaluation(Record):
    """An evaluation of a run: all values that were given with this ``eval_id`` and this ``config``."""

    eval_id: str
    config: Annotated[Any, AsJson]
    values: int
    created_at: Timestamp


class EvaluatedValue(Tabular, Record, Generic[T]):
    """What an evaluation says of the record with this key. ``at``: when it was given last."""

    key: str
    value: Annotated[T, AsJson]
    at: Timestamp


def run_of_result(result: TaskResult) -> Run:
    """The run that a record of it says."""
    request = result.cancel_request
    config = result.args if not result.is_loaded else result.args[0] if result.args else None
    assert result.submitted_at is not None
    assert result.started_at is not None
    return Run(
        run_id=result.task_id,
        group=result.task_name or "",
        status=result.status,
        attempt=_attempt_of(result),
        config=config,
        result=result.result,
        error=result.error,
        labels=result.labels - {MARK},
        total=total_of(result),
        is_pinned=bool(result.meta.get(PINNED)),
        created_at=result.submitted_at,
        started_at=result.started_at,
        finished_at=result.finished_at,
        reason=None if request is None else request.reason,
    )


def _attempt_of(result: TaskResult) -> int:
    attempt = result.meta.get(REMOVING, result.retries)
    return attempt if isinstance(attempt, int) else result.retries


def record_of(result: TaskResult) -> RunRecord[Any]:
    """Not validated: what was stored was validated then."""
    return RunRecord.model_construct(
        key=key_of(result.task_id),
        value=result.result,
        status=result.status,
        error=result.error,
        at=result.submitted_at,
        version=result.version,
    )


def total_of(result: TaskResult) -> int | None:
    total = result.meta.get(TOTAL)
    return total if isinstance(total, int) else None
