"""Removing: records one by one, families, whole namespaces, and what has expired."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from flowstore import arguments
from flowstore.core import STEP, steps
from flowstore.engine import Where
from flowstore.family import FamilyMethods
from flowstore.fields import check_text
from flowstore.listing import query_of

_PURGE_STEP: Final = 1_000


class RemovingMethods(FamilyMethods):
    """What ``BaseResultBackend`` removes, always with all that belongs to the records."""

    async def delete(self, task_id: str, *, descendants: bool = False) -> bool:
        """Remove the record and all that belongs to it; False when there was none. Wakes its waiters.

        Its children stay, and keep their ``parent_id`` and ``root_id``. With ``descendants`` they go too,
        in bounded steps: of a root all that ``page(root_id=...)`` shows, then of any task its
        ``descendants``, the last generation first. The record itself goes last, so that a call that was
        interrupted can be made again. A descendant that is stored meanwhile may stay.
        """
        check_text("task_id", task_id)
        if arguments.check_bool("descendants", descendants):
            await self._delete_descendants(task_id)
        return await self.delete_many([task_id]) == 1

    async def _delete_descendants(self, task_id: str) -> None:
        async with self._life:
            [row] = await self._engine.fetch([task_id], with_body=False)
        if row is None or row.parent is None:
            family = query_of(None, Where(root=task_id), STEP, newest_first=True, load_result=False)
            async for rows in self._rows(family):
                await self.delete_many(row.id for row in rows if row.id != task_id)
        found = [row.id async for row in self._descendants(task_id, load_result=False)]
        await self.delete_many(reversed(found))

    async def delete_many(self, task_ids: Iterable[str]) -> int:
        """``delete`` each; the number of records that there were."""
        ids = arguments.check_ids(task_ids)
        deleted = 0
        async with self._life:
            for step in steps(ids):
                await self._engine.room()  # behind a store of the same id that waits for room
                deleted += sum(await self._engine.remove(step, self._clock()))
        return deleted

    async def clear(self) -> int:
        """Remove every record of this namespace, in bounded steps; the number of records that there were.

        What belongs to the namespace itself stays: its workers, and what its app said.
        """
        cleared = 0
        async with self._life:
            while True:
                step = await self._engine.purge(_PURGE_STEP, self._clock(), everything=True)
                cleared += step.live
                if step.is_done:
                    return cleared

    async def purge_expired(self, limit: int = _PURGE_STEP) -> int:
        """Free the room of at most ``limit`` expired records; how many. Stores do a little of it each."""
        arguments.check_int("limit", limit, 0)
        purged = 0
        async with self._life:
            while purged < limit:
                step = await self._engine.purge(min(_PURGE_STEP, limit - purged), self._clock())
                purged += step.expired
                if step.is_done:
                    break
        return purged
