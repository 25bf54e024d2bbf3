"""What the terms of a query are tested on: the small fields of a record, however that was read.

Of an entry they are made without decoding it, in a few microseconds. So a walk can look at each record that
it meets, and decode those that it wants.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from flowstore._values.facets import family_of, fingerprint_in, named_by
from flowstore._values.reading import STAGES_PER_ATTEMPT
from flowstore._values.records import Records
from flowstore.engine import FINAL, Entry
from flowstore.models import TaskResult
from flowstore.times import OF_NO_TASK, to_micros


class Row(NamedTuple):
    """Times are in microseconds. ``finished`` is None unless the task is finished.

    ``error``: the fingerprint of its error.
    """

    id: str
    status: str
    tries: int
    name: str | None
    worker: str | None
    labels: Collection[str]
    parent: str | None
    root: str | None
    submitted: int | None
    started: int | None
    finished: int | None
    updated: int | None
    error: str | None

    @property
    def is_finished(self) -> bool:
        return self.status in FINAL


def without_values(entry: Entry) -> Entry:
    """As it is read where nobody asks for its values."""
    return entry._replace(body=None, body_size=None)


def row_of(entry: Entry, records: Records) -> Row:
    """Raises ValueError or UnreadableRecord for one that cannot be read."""
    if not entry.status or _has_unlisted(entry):
        task = records.decode(without_values(entry))
        return row_of_task(task)._replace(error=fingerprint_in(entry.facets))
    name, worker, labels = named_by(entry.facets)
    parent, root = family_of(entry.fixed)
    return Row(
        entry.id,
        entry.status,
        entry.stage // STAGES_PER_ATTEMPT + 1,
        name,
        worker,
        labels,
        parent,
        root,
        None if entry.submitted_at == OF_NO_TASK else entry.submitted_at,
        entry.started_at,
        entry.finished_at if entry.status in FINAL else None,
        entry.updated_at,
        fingerprint_in(entry.facets),
    )


def _has_unlisted(entry: Entry) -> bool:
    """Whether fields may be in its head, as its writer does not index them."""
    return type(entry.head) is bytes and b'"unlisted"' in entry.head


def row_of_task(task: TaskResult) -> Row:
    return Row(
        task.task_id,
        task.status.value,
        task.retries + 1,
        task.task_name,
        task.worker_id,
        task.labels,
        task.parent_id,
        task.root_id,
        None if task.submitted_at is None else to_micros(task.submitted_at),
        None if task.started_at is None else to_micros(task.started_at),
        None if task.finished_at is None or not task.is_finished else to_micros(task.finished_at),
        None if task.updated_at is None else to_micros(task.updated_at),
        fingerprint_of(task),
    )


def fingerprint_of(task: TaskResult) -> str | None:
    """That of its error, if it is one of a group: see ``facets_of_error``."""
    is_grouped = task.error is not None and task.status.value in ("failed", "retrying")
    return task.error.fingerprint if task.error is not None and is_grouped else None
