"""Waiting for results: of one task, of several under one deadline, or of each as it finishes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping

from flowstore._core.core import Core
from flowstore._core.storing import get_many
from flowstore._values.arguments import Seconds, check_ids, check_timeout
from flowstore._waiting.waitlist import Waiting
from flowstore.errors import WaitTimeout
from flowstore.models import TaskResult
from flowstore.text import check_text


async def wait_for(core: Core, task_id: str, timeout: Seconds | None) -> TaskResult:
    check_text("task_id", task_id)
    seconds = check_timeout(timeout)
    if seconds is not None and seconds <= 0:  # nothing to register for: one read decides
        return (await _look_once(core, [task_id], seconds))[task_id]
    async with core.life:
        wait = core.waiters.register(task_id, seconds)
    try:
        return await wait
    finally:
        core.waiters.release(task_id, wait)
        del wait  # breaks the cycle: the error's traceback holds this frame, and the frame holds the error


async def wait_for_many(
    core: Core, task_ids: Iterable[str], timeout: Seconds | None
) -> dict[str, TaskResult]:
    ids = check_ids(task_ids)
    seconds = check_timeout(timeout)
    if seconds is not None and seconds <= 0:
        return await _look_once(core, ids, seconds)
    async with core.life:
        waits = {task_id: core.waiters.register(task_id) for task_id in ids}
    try:
        if waits:
            await asyncio.wait(waits.values(), timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        return _finished(core, waits, seconds)
    finally:
        _release(core, waits)


def as_completed(
    core: Core, task_ids: Iterable[str], timeout: Seconds | None
) -> AsyncGenerator[TaskResult, None]:
    return _as_completed(core, check_ids(task_ids), check_timeout(timeout))


async def _as_completed(
    core: Core, ids: list[str], seconds: float | None
) -> AsyncGenerator[TaskResult, None]:
    if seconds is not None and seconds <= 0:
        for result in (await _look_once(core, ids, seconds)).values():
            yield result
        return
    done: asyncio.Queue[Waiting] = asyncio.Queue()
    life = core.life
    async with life:
        deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
        waits = {task_id: core.waiters.register(task_id) for task_id in ids}
    try:
        for wait in waits.values():
            wait.add_done_callback(done.put_nowait)
        for _ in range(len(waits)):
            life.check_place()  # each step may be taken by another task, and in another loop
            try:
                async with asyncio.timeout_at(deadline):
                    wait = await done.get()
            except TimeoutError:
                _finished(core, waits, seconds)
                raise
            yield wait.result()
    finally:
        _release(core, waits)


async def _look_once(core: Core, ids: list[str], seconds: float) -> dict[str, TaskResult]:
    found = await get_many(core, ids)
    late = next((task_id for task_id in ids if task_id not in found or not found[task_id].is_finished), None)
    if late is not None:
        raise WaitTimeout(late, seconds)
    return found


def _finished(core: Core, waits: Mapping[str, Waiting], seconds: float | None) -> dict[str, TaskResult]:
    for wait in waits.values():  # the error of a wait comes before the timeout of another one
        if wait.done():
            wait.result()
    late = next((task_id for task_id, wait in waits.items() if not wait.done()), None)
    if late is not None:
        raise WaitTimeout(late, seconds or 0.0) from core.waiters.trouble
    return {task_id: wait.result() for task_id, wait in waits.items()}


def _release(core: Core, waits: Mapping[str, Waiting]) -> None:
    for task_id, wait in waits.items():
        core.waiters.release(task_id, wait)
