"""Workflows: a task without a parent is a run, its name the type of the workflow, its family the steps."""

from __future__ import annotations

from typing import Any, Final

from flowstore import arguments
from flowstore.data import DataMethods
from flowstore.engine import Where
from flowstore.fields import check_text
from flowstore.listing import ListingMethods, Statuses, query_of
from flowstore.models import Page, Workflow

_TASKS: Final = 50


class WorkflowMethods(ListingMethods, DataMethods):
    """What ``BaseResultBackend`` tells of workflows. Nothing makes one but tasks that name their parents."""

    async def workflow_types(self) -> list[str]:
        """The task names of all tasks that have no parent, sorted, each once.

        One whose runs have all expired may be among them until the next purge step.
        """
        async with self._life:
            return sorted(await self._engine.names())

    async def workflow_runs(
        self,
        type: str,
        statuses: Statuses = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
        newest_first: bool = True,
        load_result: bool = True,
    ) -> Page[Any]:
        """One page of the tasks named ``type`` that have no parent; arguments and order as of ``page``.

        Tasks of that name that have a parent cost nothing. The cursor belongs to this listing alone.
        """
        arguments.check_int("limit", limit, 1, arguments.MAX_PAGE)
        where = Where(name=check_text("type", type), is_root=True)
        return await self._page(query_of(statuses, where, limit + 1, newest_first, load_result), cursor)

    async def workflow(self, root_id: str) -> Workflow | None:
        """A run with all that is known of it; None where no task of this id is stored that has no parent.

        These are several reads: of a run that goes on, the later ones may know more than the first.
        """
        async with self._life:
            [row] = await self._engine.fetch([check_text("root_id", root_id)])
        if row is None or row.parent is not None or row.is_expired(self._clock()):
            return None
        family = query_of(None, Where(root=root_id), _TASKS + 1, newest_first=True, load_result=False)
        return Workflow(
            root=self._records.decode(row),
            counts=await self.count_by_status(root_id=root_id),
            data=await self.all_data(root_id),
            tasks=await self._page(family, None),
        )
