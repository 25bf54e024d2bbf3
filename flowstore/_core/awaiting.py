"""Waiting for results: of one task, of several under one deadline, or of each as it finishes.

Of several, one that is gone or cannot be read is told like a result, so that it does not hide the others.
What concerns all of them, such as BackendClosed, is raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from functools import partial
from typing import Any

from flowstore._core.core import Core, steps
from flowstore._core.storing import get
from flowstore._core.viewing import View
from flowstore._values.arguments import Seconds, check_bool, check_ids, check_timeout
from flowstore._waiting.durations import CALLS
from flowstore._waiting.waitlist import Waiting
from flowstore.engine import FINAL, Entry
from flowstore.errors import ResultGone, UnreadableRecord, WaitTimeout
from flowstore.models import Settled, TaskResult
from flowstore.text import check_text


async def wait_for(core: Core, task_id: str, timeout: Seconds | None, view: View) -> TaskResult:
    check_text("task_id", task_id)
    seconds = check_timeout(timeout)
    if seconds is not None and seconds <= 0:  # nothing to register for: one read decides
        return await _look(core, task_id, seconds, view)
    async with core.life:
        wait = core.waiters.register(task_id, seconds, next(CALLS))
    try:
        return view.of(await wait)
    finally:
        core.waiters.release(task_id, wait)
        del wait  # breaks the cycle: the error's traceback holds this frame, and the frame holds the error


async def _look(core: Core, task_id: str, seconds: float, view: View) -> TaskResult:
    result = await get(core, task_id, view)
    if result is None or not result.is_finished:
        raise WaitTimeout(task_id, seconds)
    return result


async def wait_for_many(
    core: Core, task_ids: Iterable[str], timeout: Seconds | None, raise_first: bool, view: View
) -> dict[str, Settled]:
    ids = check_ids(task_ids)
    told: dict[str, Settled] = {}
    try:
        async for settled in as_completed(core, ids, timeout, raise_first, view):
            told[settled.task_id] = settled
    except WaitTimeout as late:
        late.settled = told
        raise
    return {task_id: told[task_id] for task_id in ids}


def as_completed(
    core: Core, task_ids: Iterable[str], timeout: Seconds | None, raise_first: bool, view: View
) -> AsyncGenerator[Settled, None]:
    ids, seconds = check_ids(task_ids), check_timeout(timeout)
    check_bool("raise_first", raise_first)
    if seconds is not None and seconds <= 0:
        return _look_once(core, ids, seconds, raise_first, view)
    return _as_completed(core, ids, seconds, raise_first, view)


async def _as_completed(
    core: Core, ids: list[str], seconds: float | None, raise_first: bool, view: View
) -> AsyncGenerator[Settled, None]:
    done: asyncio.Queue[Waiting] = asyncio.Queue()
    life = core.life
    async with life:
        deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
        call = next(CALLS)
        waits = {task_id: core.waiters.register(task_id, None, call) for task_id in ids}
    try:
        for wait in waits.values():
            wait.add_done_callback(done.put_nowait)
        for told in range(len(waits)):
            life.check_place()  # each step may be taken by another task, and in another loop
            if not done.empty():  # a timeout for each of thousands would cost as much as their reads
                wait = done.get_nowait()
            else:
                try:
                    async with asyncio.timeout_at(deadline):
                        wait = await done.get()
                except TimeoutError:
                    late = [task_id for task_id, wait in waits.items() if not wait.done()]
                    if len(late) == len(waits) - told:
                        for task_id in late:
                            core.waiters.time_out(task_id, waits[task_id], seconds or 0.0)
                        raise WaitTimeout(late[0], seconds or 0.0) from core.waiters.trouble_of(late[0])
                    wait = await done.get()  # it has ended in time, and is about to be in the queue
            yield _settled(partial(_result, wait, view), raise_first)
    finally:
        for task_id, wait in waits.items():
            core.waiters.release(task_id, wait)


def _result(wait: Waiting, view: View) -> TaskResult:
    return view.of(wait.result())


def _settled(read: Callable[[], Any], raise_first: bool) -> Any:
    """What became of one task. Raises what concerns all of them."""
    try:
        return read()
    except (ResultGone, UnreadableRecord) as error:
        if raise_first:
            raise
        return error.with_traceback(None)


async def _look_once(
    core: Core, ids: list[str], seconds: float, raise_first: bool, view: View
) -> AsyncGenerator[Settled, None]:
    found: dict[str, Entry] = {}
    async with core.life:
        for step in steps(ids):
            entries = core.live(await view.read(core, step))
            found.update((entry.id, entry) for entry in entries)
    late: str | None = None
    for task_id in ids:
        entry = found.pop(task_id, None)
        if entry is not None and (not entry.status or entry.status in FINAL):
            yield _settled(partial(view.decoded, core, entry), raise_first)
        elif late is None:
            late = task_id
    if late is not None:
        raise WaitTimeout(late, seconds)
