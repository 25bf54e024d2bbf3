"""Watching: the states of one task as they change, and the ids of all tasks that enter a status."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from flowstore._core.core import STEP, Core
from flowstore._core.transitions import END_OF_TIME, walk_transitions
from flowstore._values.arguments import check_statuses
from flowstore._values.reading import entered
from flowstore._waiting.subscribers import Watcher
from flowstore._waiting.tails import Tail
from flowstore.engine import Span
from flowstore.errors import StorageUnavailable
from flowstore.models import Statuses, TaskResult
from flowstore.text import check_text


def watch(core: Core, task_id: str) -> AsyncGenerator[TaskResult, None]:
    return _states(core, check_text("task_id", task_id))


async def _states(core: Core, task_id: str) -> AsyncGenerator[TaskResult, None]:
    life, watcher = core.life, Watcher()
    async with life:
        core.waiters.show_to(task_id, watcher)
    try:
        while True:
            life.check_place()  # each step may be taken in another loop
            await watcher.news()
            state = watcher.state
            yield state
            if state.is_finished:
                return
    finally:
        core.waiters.unwatch(task_id, watcher)


def watch_status(core: Core, statuses: Statuses) -> AsyncGenerator[str, None]:
    wanted = check_statuses(statuses)
    return _entering(core, Tail(wanted, core.clock, round(core.op_timeout * 1_000_000)))


async def _entering(core: Core, tail: Tail) -> AsyncGenerator[str, None]:
    life = core.life
    async with life:
        if not tail.statuses:
            return
        core.waiters.follow(tail)
    try:
        while True:
            life.check_place()
            await tail.news()
            if tail.has_gap:
                await _fill_gap(core, tail)
            for task_id in tail.take():
                yield task_id
    finally:
        core.waiters.unfollow(tail)


async def _fill_gap(core: Core, tail: Tail) -> None:
    try:
        async for items in walk_transitions(core, Span(STEP, tail.compare(), END_OF_TIME)):
            for item in items:
                tail.found((item.owner, entered(item)), item.at)
    except StorageUnavailable:
        tail.has_gap = True  # retried with the next change, or at the latest after the recheck interval
    else:
        tail.compared()
