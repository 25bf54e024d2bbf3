"""Tasks as rows of a table, with the columns of ``to_frame``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, Final

from flowstore._core.core import Core
from flowstore._core.listing import Reading
from flowstore._dumping.exporting import Progress
from flowstore._dumping.tables import Kind, Row
from flowstore.engine import Entry
from flowstore.frames import COUNTS, TIMES, VALUES
from flowstore.models import TaskResult, Unreadable

COLUMNS: Final[dict[str, Kind]] = {
    name: "time" if name in TIMES else "int" if name in COUNTS else "json" if name in VALUES else "text"
    for name in TaskResult.model_fields
}


class TaskRows:
    """The rows of the tasks of some entries, in their order; and which of them cannot be read."""

    def __init__(self, core: Core, progress: Progress | None = None) -> None:
        self._reading: Reading[Entry, TaskResult] = Reading(core.records.decode, 1_000)
        self._progress = progress

    @property
    def unreadable(self) -> list[Unreadable]:
        return self._reading.unreadable

    async def of(self, found: AsyncIterator[Sequence[Entry]]) -> AsyncGenerator[list[Row], None]:
        done = 0
        async for entries in found:
            yield [_row(task) for task in self._reading.decoded(entries)]
            done += len(entries)
            if self._progress is not None:
                self._progress(done)


def _row(task: TaskResult[Any]) -> Row:
    row = {name: getattr(task, name) for name in COLUMNS}
    if task.error is not None:
        row["error"] = f"{task.error.type}: {task.error.message}"
    return row | {"labels": sorted(task.labels), "meta": dict(task.meta)}
