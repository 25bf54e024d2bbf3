"""Removing: single records, families, whole namespaces, and whatever has expired."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Iterable
from typing import Final

from flowstore._core.core import STEP, Core, steps
from flowstore._core.filters import Selection
from flowstore._core.listing import Listing, listing_of, selected, walk
from flowstore._core.viewing import View
from flowstore._values.arguments import check_bool, check_ids, check_int
from flowstore._values.facets import Where
from flowstore.engine import Entry, Standing
from flowstore.models import Statuses, TaskResult
from flowstore.observing import RecordsPurged
from flowstore.text import check_text

PURGE_STEP: Final = 1_000
_CHILDREN: Final = 100


async def delete(core: Core, task_id: str, descendants: bool) -> bool:
    check_text("task_id", task_id)
    if check_bool("descendants", descendants):
        core.check_writable()
        await _delete_descendants(core, task_id)
    return await delete_many(core, [task_id]) == 1


async def _delete_descendants(core: Core, task_id: str) -> None:
    async with core.life:
        [task] = await core.engine.read([task_id], with_body=False)
    # The listing by root also has the tasks that the walk cannot reach, as their parents are deleted.
    if task is None or not task.fixed:
        family = listing_of(None, Where(root=task_id), STEP, newest_first=True, load_result=False)
        async for entries in walk(core, family):
            await delete_many(core, (entry.id for entry in entries if entry.id != task_id))
    # Children before parents: what an interrupted call leaves can still be found from the task.
    found = [entry.id async for step in descend(core, task_id, load_result=False) for entry in step]
    await delete_many(core, reversed(found))


async def descend(core: Core, task_id: str, load_result: bool) -> AsyncGenerator[list[Entry], None]:
    """The children of a task, then their children, and so on: each once, breadth first.

    ``found`` ends the walk whatever is stored, even a circle.
    """
    found, parents = {task_id}, deque([task_id])
    while parents:
        children = listing_of(None, Where(parent=parents.popleft()), _CHILDREN, False, load_result)
        async for entries in walk(core, children):
            new = [entry for entry in entries if entry.id not in found]  # one that moved may repeat
            found.update(entry.id for entry in new)
            parents.extend(entry.id for entry in new)
            yield new


async def delete_many(core: Core, task_ids: Iterable[str]) -> int:
    ids = check_ids(task_ids)
    deleted = 0
    async with core.life:
        for step in steps(ids):
            await core.engine.room()  # not to overtake a store of the same id that waits for room
            deleted += sum(await core.engine.remove(step, core.clock()))
    return deleted


async def take(core: Core, task_id: str, view: View) -> TaskResult | None:
    ids = [check_text("task_id", task_id)]
    core.check_writable()
    async with core.life:
        # What was read is removed, or nothing: a record that is stored in between is read in its turn.
        while True:
            found = core.live(await view.read(core, ids))
            if not found:
                return None
            [entry] = found
            result = view.decoded(core, entry)  # before it is removed, in case it cannot be read
            if not result.is_finished:
                return None
            await core.engine.room()
            standing = [Standing(entry.version, entry.check)]
            if (await core.engine.remove(ids, core.clock(), standing))[0]:
                return result


async def clear(core: Core, statuses: Statuses, selection: Selection) -> int:
    wanted = selected(core, statuses, selection, STEP, newest_first=False, load_result=False)
    core.check_writable()
    if wanted != selected(core, None, {}, STEP, newest_first=False, load_result=False):
        return await _clear_selected(core, wanted)
    cleared = 0
    async with core.life:
        while True:
            step = await core.engine.purge(PURGE_STEP, core.clock(), everything=True)
            cleared += step.live
            if step.is_done:
                return cleared


async def drop_namespace(core: Core) -> int:
    cleared = await clear(core, None, {})
    is_done = False
    while not is_done:
        async with core.life:
            is_done = await core.engine.drop_namespace(PURGE_STEP, core.clock())
    return cleared


async def _clear_selected(core: Core, wanted: Listing) -> int:
    """The oldest first, so that an interrupted call leaves the newest."""
    cleared = 0
    async for entries in walk(core, wanted):
        cleared += await delete_many(core, [entry.id for entry in entries])
    return cleared


async def purge_expired(core: Core, limit: int) -> int:
    check_int("limit", limit, 0)
    purged = 0
    async with core.life:
        while purged < limit:
            step = await core.engine.purge(min(PURGE_STEP, limit - purged), core.clock())
            purged += step.expired
            if step.is_done:
                break
    if purged:
        core.observers.tell(RecordsPurged(core.namespace, purged))
    return purged


async def vacuum(core: Core, full: bool) -> int:
    check_bool("full", full)
    freed = 0
    while True:
        async with core.life:
            step = await core.engine.vacuum(full=full)
        freed += step
        if full or not step:
            return freed
