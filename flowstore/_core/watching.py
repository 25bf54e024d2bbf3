"""Watching: the states of one task as they change, and the ids of all tasks that enter a status."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from flowstore._core.core import STEP, Core
from flowstore._core.transitions import END_OF_TIME, walk_transitions
from flowstore._values.arguments import check_statuses
from flowstore._values.reading import entered
from flowstore._waiting import tails
from flowstore._waiting.durations import watch_begun
from flowstore._waiting.subscribers import Watcher
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
    end = watch_begun(core.observers, "task")
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
        end()


def watch_status(core: Core, statuses: Statuses) -> AsyncGenerator[str, None]:
    wanted = check_statuses(statuses)
    # What is passed over must be in the history, of which this program may keep only a part.
    most = tails.MOST_IDS if core.kept_transitions is None else None
    return _entering(core, tails.Tail(wanted, core.clock, round(core.op_timeout * 1_000_000), most))


async def _entering(core: Core, tail: tails.Tail) -> AsyncGenerator[str, None]:
    life = core.life
    async with life:
        if not tail.statuses:
            return
        core.waiters.follow(tail)
    end = watch_begun(core.observers, "status")
    try:
        while True:
            life.check_place()
            await tail.news()
            if tail.is_behind:
                for task_id in tail.take():  # they are older than what was passed over
                    yield task_id
            if tail.has_gap:
                async with aclosing(_gap(core, tail)) as gap:
                    async for ids in gap:
                        for task_id in ids:
                            yield task_id
            for task_id in tail.take():
                yield task_id
    finally:
        core.waiters.unfollow(tail)
        end()


async def _gap(core: Core, tail: tails.Tail) -> AsyncGenerator[list[str], None]:
    """What is missing, in the order of the history, which is read a step at a time."""
    try:
        async with aclosing(walk_transitions(core, Span(STEP, tail.compare(), END_OF_TIME))) as walk:
            async for items in walk:
                for item in items:
                    tail.found((item.owner, entered(item)), item.at)
                yield tail.take_found()
                if tail.passed(items[-1].at):
                    break
    except StorageUnavailable:
        tail.has_gap = True  # retried with the next change, or at the latest after the recheck interval
    else:
        tail.compared()
