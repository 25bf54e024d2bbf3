"""Workflows: a task without a parent is a run, its name is the type of workflow, its family are the steps."""

from __future__ import annotations

from typing import Final

from flowstore._core.core import Core
from flowstore._core.counting import count
from flowstore._core.listing import listing_of, page
from flowstore._values.facets import RUN, Where
from flowstore.features.data import Data
from flowstore.models import Page, Statuses, Workflow
from flowstore.text import check_text

_TASKS: Final = 50


class Workflows:
    """Runs by their type: ``backend.workflows``. They come from tasks that name their parents."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._data = Data(core)

    async def types(self) -> list[str]:
        """The distinct task names of all tasks without a parent, sorted.

        A name whose runs have all expired may be among them until the next purge step.
        """
        self._core.check_listed("name")
        async with self._core.life:
            return [facet[len(RUN) :] for facet in await self._core.engine.facets(RUN)]

    async def runs(
        self,
        type: str,
        statuses: Statuses = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
        newest_first: bool = True,
        load_result: bool = True,
    ) -> Page:
        """One page of the tasks named ``type`` without a parent; arguments and order as in ``page``.

        Tasks of that name with a parent cost nothing. The cursor is valid for this listing only.
        """
        where = Where(name=check_text("type", type), is_root=True)
        self._core.check_listed("name")
        wanted = listing_of(statuses, where, 0, newest_first, load_result)
        return await page(self._core, wanted, limit, cursor)

    async def get(self, root_id: str) -> Workflow | None:
        """A run and a summary of its family; None if there is no such task, or it has a parent.

        It takes several reads. While the run goes on, the later ones may be newer than the first.
        """
        async with self._core.life:
            [root] = await self._core.engine.read([check_text("root_id", root_id)])
        if root is None or root.fixed or root.is_expired(self._core.clock()):
            return None
        family = listing_of(None, Where(root=root_id), 0, newest_first=True, load_result=False)
        return Workflow(
            root=self._core.records.decode(root),
            counts=await count(self._core, None, {"root_id": root_id}),
            data=await self._data.all(root_id),
            tasks=await page(self._core, family, _TASKS, None),
        )
