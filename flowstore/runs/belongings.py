"""What belongs to a run, as entries of the engine: records, values of evaluations, datasets, payloads.

Each is one write, which names the record that it needs: an open run, or an evaluation that stands. The
storage decides that together with the write. So nothing is ever added to a run that is finished or gone, and
its counters are the sizes of its listings, which the same write changes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from flowstore._core.core import Core, steps
from flowstore._core.listing import Listing, walk
from flowstore._core.writing import applied
from flowstore._values.facets import Where
from flowstore._values.reading import stages_of_attempt, unvalidated
from flowstore.engine import ANY_STAGE, Entry, Outcome, Owner, Standing, Verdict, Write, every
from flowstore.errors import NotSerializable
from flowstore.models import MAX_RETRIES, TaskResult, TaskStatus
from flowstore.runs.ids import as_said, group_of
from flowstore.task_error import TaskError
from flowstore.times import from_micros

BATCH: Final = 500
_EVERY: Final = tuple(TaskStatus)
_TEMPLATE: Final = TaskResult(task_id="-", status=TaskStatus.SUCCESS).__dict__


class Belongings:
    """Writes and reads what belongs to runs. One for each core."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self._last = 0
        self._records = core.records.bare()

    def now(self) -> int:
        """Later than ever before here: what this process appends one after another is listed so."""
        self._last = max(self.core.clock(), self._last + 1)
        return self._last

    def written(
        self,
        entry_id: str,
        parent: str | None,
        value: Any,
        *,
        owner: Owner | None,
        status: TaskStatus = TaskStatus.SUCCESS,
        error: TaskError | None = None,
        is_first: bool = False,
        if_version: int | None = None,
        facets: tuple[str, ...] = (),
        body: bytes | None = None,
    ) -> Write:
        """``is_first``: only where nothing stands; else over what stands. ``body``: the value, encoded."""
        now = self.now()
        at = from_micros(now)
        own = {"task_id": entry_id, "status": status, "result": value, "error": error, "submitted_at": at}
        result = unvalidated({**_TEMPLATE, **own, "parent_id": parent, "root_id": parent})
        if body is None:
            result = self._records.redacted(result)
        try:
            write = self._records.write(
                result,
                now,
                None,
                overwrite=not is_first and if_version is None,
                if_version=0 if is_first else if_version,
                body=body,
                more_facets=facets,
            )
        except NotSerializable as error:
            raise as_said(error, "value", "result") from None
        return write._replace(owner=owner)

    async def write(self, writes: Sequence[Write]) -> list[Outcome]:
        """Carry out each. Raises CorruptRecord for what can be neither read nor replaced."""
        outcomes: list[Outcome] = []
        async with self.core.life:
            for step in steps(list(writes)):
                await self.core.engine.room()
                outcomes += await self.core.engine.write(step, self.core.clock())
        for write, outcome in zip(writes, outcomes, strict=True):
            if outcome.verdict is Verdict.UNREADABLE:
                applied(self.core, write, outcome)
        return outcomes

    async def read(self, ids: Sequence[str], *, with_body: bool = True) -> list[Entry | None]:
        found: list[Entry | None] = []
        async with self.core.life:
            for step in steps(list(ids)):
                found += await self.core.engine.read(step, with_body=with_body)
        now = self.core.clock()
        return [None if entry is None or entry.is_expired(now) else entry for entry in found]

    async def remove(self, ids: Sequence[str], standing: Sequence[Standing]) -> int:
        """Remove those that still stand as they were read; how many."""
        removed = 0
        async with self.core.life:
            for step in steps(list(zip(ids, standing, strict=True))):
                await self.core.engine.room()
                some, as_read = zip(*step, strict=True)
                removed += sum(await self.core.engine.remove(some, self.core.clock(), as_read))
        return removed

    async def result(self, entry_id: str) -> TaskResult | None:
        [entry] = await self.read([entry_id])
        return None if entry is None else self.core.records.decode(entry)

    async def count(self, parent: str) -> dict[TaskStatus, int]:
        async with self.core.life:
            [counted] = await self.core.engine.count([every(group_of(parent))])
        return {status: counted.counts.get(status, 0) for status in TaskStatus}

    def walk(self, parent: str, *, with_body: bool = False) -> AsyncIterator[list[Entry]]:
        """The children of ``parent``, the oldest first."""
        return walk(self.core, children_of(parent, with_body=with_body))


def children_of(
    parent: str,
    statuses: tuple[TaskStatus, ...] = _EVERY,
    *,
    limit: int = BATCH,
    newest_first: bool = False,
    with_body: bool = True,
) -> Listing:
    return Listing(statuses, limit, Where(parent=parent), newest_first=newest_first, with_body=with_body)


def open_run(run_id: str, attempt: int | None) -> Owner:
    """A run that is going on, in that attempt; None: in any."""
    lowest, highest = (0, ANY_STAGE) if attempt is None else stages_of_attempt(attempt)
    return Owner(run_id, lowest, highest, is_open=True)


def standing_run(run_id: str) -> Owner:
    """A run in any state, but for one that is being removed."""
    return Owner(run_id, 0, stages_of_attempt(MAX_RETRIES)[0] - 1)
