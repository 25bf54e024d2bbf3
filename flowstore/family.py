"""Families: the tasks that a task has started, those that these have started, and so on."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

from flowstore.engine import Row, Where
from flowstore.fields import check_text
from flowstore.listing import ListingMethods, query_of
from flowstore.models import TaskResult

_BATCH: Final = 100


class FamilyMethods(ListingMethods):
    """What ``BaseResultBackend`` tells of parents and children."""

    def children(self, task_id: str, *, load_result: bool = True) -> AsyncIterator[TaskResult[Any]]:
        """The tasks that have ``task_id`` as their ``parent_id``, oldest submitted first.

        That is the reverse of the order of ``page``, so those without a submission time come first. A
        child that keeps its submission time during the walk comes exactly once. Children stay when
        their parent goes: there may be some of a task that is not stored.
        """
        parent_id = check_text("task_id", task_id)
        return self.iter_by_status(newest_first=False, load_result=load_result, parent_id=parent_id)

    async def descendants(self, task_id: str, *, load_result: bool = True) -> AsyncIterator[TaskResult[Any]]:
        """The children, then their children, and so on: breadth first, of each parent as in ``children``.

        Each task once, at one trip or more for each. The walk ends at a task that is not stored any
        more; what is behind it ``page(root_id=...)`` still shows.
        """
        async for row in self._descendants(check_text("task_id", task_id), load_result):
            yield self._records.decode(row)

    async def _descendants(self, task_id: str, load_result: bool) -> AsyncIterator[Row]:
        found, parents = {task_id}, deque([task_id])
        while parents:
            query = query_of(None, Where(parent=parents.popleft()), _BATCH, False, load_result)
            async for rows in self._rows(query):
                for row in rows:
                    if row.id not in found:  # a family that is rearranged during the walk may show it again
                        found.add(row.id)
                        parents.append(row.id)
                        yield row
