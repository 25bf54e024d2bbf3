"""Records as rows of a table; those of tasks with the columns of ``to_frame``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
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


class Rows:
    """The rows of some entries, in order, and which of them cannot be read. ``row`` makes one of each."""

    def __init__(
        self, core: Core, row: Callable[[TaskResult[Any]], Row], progress: Progress | None = None
    ) -> None:
        self._reading: Reading[Entry, TaskResult] = Reading(core.records.decode, 1_000)
        self._row = row
        self._progress = progress

    @property
    def unreadable(self) -> list[Unreadable]:
        return self._reading.unreadable

    async def of(self, found: AsyncIterator[Sequence[Entry]]) -> AsyncGenerator[list[Row], None]:
        done = 0
        async for entries in found:
            yield [self._row(result) for result in self._reading.decoded(entries)]
            done += len(entries)
            if self._progress is not None:
                self._progress(done)


def error_of(result: TaskResult[Any]) -> str | None:
    """The error in a line."""
    return None if result.error is None else f"{result.error.type}: {result.error.message}"


def task_row(task: TaskResult[Any]) -> Row:
    row = {name: getattr(task, name) for name in COLUMNS}
    return row | {"error": error_of(task), "labels": sorted(task.labels), "meta": dict(task.meta)}
