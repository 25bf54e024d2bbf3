"""Removing a run with all that belongs to it: in bounded steps, and again after whatever interrupted it.

The run is marked first: it gets an attempt that no run has, and the storage refuses from then on whatever
somebody wants to add to it. Its own record goes last. Until then a call that is repeated finds it and carries
on, and no other run can begin under its id, whose records would be taken for those of this one.
"""

from __future__ import annotations

from collections.abc import Callable

from flowstore._core.core import steps
from flowstore._core.storing import get
from flowstore.errors import RunNotOpen, UnknownRun
from flowstore.models import TaskResult
from flowstore.runs.belongings import Belongings
from flowstore.runs.ids import check_run, datasets_of, evaluations_of
from flowstore.runs.life import WITHOUT_VALUES, cancelled, check_finished, end, mark_removing
from flowstore.runs.payloads import release


async def remove_run(
    belongings: Belongings,
    run_id: str,
    *,
    force: bool = False,
    check: Callable[[TaskResult], None] = check_finished,
) -> bool:
    """False if there is no such run. ``force``: also one that is going on, which is cancelled then.

    ``check`` raises for a run, as it stands, that is to stay after all.
    """
    core = belongings.core
    run = await get(core, check_run(run_id), WITHOUT_VALUES)
    if run is None:
        return False
    if force and not run.is_finished:
        await _cancel(belongings, run_id)
    if not await mark_removing(core, run_id, check):
        return False  # somebody else has removed it
    await _sweep(belongings, run_id)
    return bool(await _remove(belongings, [run_id]))


async def _cancel(belongings: Belongings, run_id: str) -> None:
    try:
        await end(belongings.core, run_id, cancelled("it is being deleted"), None)
    except (RunNotOpen, UnknownRun):  # ended by somebody else
        return


async def _sweep(belongings: Belongings, run_id: str) -> None:
    await remove_children(belongings, run_id)
    async for evaluations in belongings.walk(evaluations_of(run_id)):
        for entry in evaluations:
            await remove_children(belongings, entry.id)
            await _remove(belongings, [entry.id])  # it takes no more values
            await remove_children(belongings, entry.id)
    await remove_children(belongings, datasets_of(run_id))
    await release(belongings, run_id)


async def remove_children(belongings: Belongings, parent: str) -> None:
    async for entries in belongings.walk(parent):
        await _remove(belongings, [entry.id for entry in entries])


async def _remove(belongings: Belongings, ids: list[str]) -> int:
    core, removed = belongings.core, 0
    async with core.life:
        for step in steps(ids):
            await core.engine.room()
            removed += sum(await core.engine.remove(step, core.clock()))
    return removed
