"""Blocks that leave their task unfinished: to be tried again, or given back for another attempt.

That is decided over what stands, and not by the rules of ``store`` alone: the next attempt is above all
states of this one, so a block that gives its task back would undo the outcome that somebody else has stored,
and a request to cancel it.
"""

from __future__ import annotations

from flowstore._core.core import Core
from flowstore._core.repeating import Sent
from flowstore._core.writing import applied, to_store
from flowstore._trips.patience import patiently
from flowstore.models import TaskResult, TaskStatus
from flowstore.times import from_micros


async def leave(core: Core, running: TaskResult, left: TaskResult, patience: float) -> TaskResult | None:
    """Store ``left``, the state after the block that was ``running``. What was stored, None: it was late.

    If the task is to be cancelled, it is.
    """
    sent = Sent()
    following: TaskResult | None = None

    async def attempt() -> TaskResult | None:
        nonlocal following
        while True:
            if sent:
                await core.engine.confirm()
            [entry] = await core.engine.read([running.task_id], with_body=False)
            now = core.clock()
            entry = None if entry is None or entry.is_expired(now) else entry
            if sent.includes(entry):
                return following
            standing = None if entry is None else core.records.decode(entry._replace(body=None))
            following = left if standing is None else _after(standing, running, left, now)
            if following is None:
                return None
            following = to_store(core, following, is_new=False)
            version = 0 if entry is None else entry.version
            write = core.records.write(following, now, if_version=version)
            outcome = await sent.send(core, write, now)
            if applied(core, write, outcome):
                return following

    async with core.life:
        await core.engine.room()
        return await patiently(attempt, patience, core.op_timeout)


def _after(standing: TaskResult, running: TaskResult, left: TaskResult, now: int) -> TaskResult | None:
    """What may follow; None: nothing."""
    is_own = standing.retries == running.retries
    if standing.is_finished or standing.retries > running.retries:
        return None
    if is_own and standing.cancel_request is not None:
        return TaskResult.cancelled(running, at=from_micros(now), cancel_request=standing.cancel_request)
    if left.status is TaskStatus.PENDING:  # given back: only by who has it
        has_it = is_own and standing.status is TaskStatus.RUNNING and standing.worker_id == running.worker_id
        return left if has_it else None
    return left
