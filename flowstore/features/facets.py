"""What there is to filter by: names, labels and workers, with the number of tasks of each."""

from __future__ import annotations

from typing import Final

from flowstore._core.core import Core
from flowstore._values.arguments import check_int
from flowstore._values.facets import LABEL, RUN, STEP, WORKER
from flowstore.engine import STATUSES, Query
from flowstore.fields import Record
from flowstore.models import TaskStatus
from flowstore.text import check_text

MAX_VALUES: Final = 1_000
"""How many values one call returns at most: each is counted."""


class FacetValue(Record):
    """A name, label or worker, and how many tasks have it in each status.

    ``is_exact`` False: there are more, and ``counts`` are those of the newest.
    """

    value: str
    counts: dict[TaskStatus, int]
    is_exact: bool = True

    @property
    def total(self) -> int:
        return sum(self.counts.values())


class Facets:
    """The values that the filters of listings can have: ``backend.facets``. For suggestions and side bars.

    All methods take the same. They return the first ``limit`` values that begin with ``prefix``, by code
    point; ``after``: of those behind that one, so that the last value of a call leads to the next call. Of
    each at most ``at_most`` tasks are counted, the newest. A value whose tasks have all expired may be among
    them until the next purge step. The cost grows neither with the number of values nor with that of tasks.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    async def names(
        self, prefix: str = "", *, limit: int = 20, after: str | None = None, at_most: int = 1_000
    ) -> list[FacetValue]:
        """The names of tasks, with a parent or without."""
        return await self._values("name", (RUN, STEP), prefix, limit, after, at_most)

    async def labels(
        self, prefix: str = "", *, limit: int = 20, after: str | None = None, at_most: int = 1_000
    ) -> list[FacetValue]:
        """The labels of tasks."""
        return await self._values("label", (LABEL,), prefix, limit, after, at_most)

    async def workers(
        self, prefix: str = "", *, limit: int = 20, after: str | None = None, at_most: int = 1_000
    ) -> list[FacetValue]:
        """The workers that have run tasks, registered or not: the ``worker_id`` of results."""
        return await self._values("worker_id", (WORKER,), prefix, limit, after, at_most)

    async def _values(
        self, field: str, kinds: tuple[str, ...], prefix: str, limit: int, after: str | None, at_most: int
    ) -> list[FacetValue]:
        """Each value may have a facet of each of the ``kinds``."""
        self._core.check_listed(field)
        if prefix != "":
            check_text("prefix", prefix)
        check_int("limit", limit, 1, MAX_VALUES)
        if after is not None:
            check_text("after", after)
        check_int("at_most", at_most, 1)
        async with self._core.life:
            values = await self._found(kinds, prefix, limit, after)
            groups = [tuple([kind + value for kind in kinds]) for value in values]
            queries = [Query(STATUSES, at_most, (group,), with_body=False) for group in groups]
            counted = await self._core.engine.count(queries)
        return [
            FacetValue(value=value, counts=_whole(each.counts), is_exact=each.next is None)
            for value, each in zip(values, counted, strict=True)
        ]

    async def _found(self, kinds: tuple[str, ...], prefix: str, limit: int, after: str | None) -> list[str]:
        found: set[str] = set()
        for kind in kinds:
            behind = None if after is None else kind + after
            facets = await self._core.engine.facets(kind + prefix, limit, behind)
            found.update(facet[len(kind) :] for facet in facets)
        return sorted(found)[:limit]


def _whole(counts: dict[str, int]) -> dict[TaskStatus, int]:
    return {status: counts.get(status, 0) for status in TaskStatus}
