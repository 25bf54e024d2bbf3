"""From a stored record to its next state: over exactly the version that was read, or not at all.

The values are passed on as bytes. So their types need not be known here, ``redact`` has nothing to see, and
somebody who writes at the same time loses nothing: the write does not apply, and the record is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from flowstore._core.core import Core
from flowstore._core.repeating import Sent
from flowstore._core.writing import applied
from flowstore._trips.patience import patiently
from flowstore._values.records import DEFAULT_TTL
from flowstore.engine import Entry, Write
from flowstore.models import TaskResult
from flowstore.text import check_text
from flowstore.times import from_micros

Step = Callable[[TaskResult, datetime], TaskResult | None]
"""Maps a task, without its values, and the current time to its next state; None: it stays as it is."""

Event = Mapping[str, Any]
"""What is noted in the history in place of a transition: "name", perhaps "detail" and "at" (microseconds)."""


def stepped(core: Core, entry: Entry, step: Step, now: int, event: Event | None = None) -> Write | None:
    """The write of the task's next state. Raises UnreadableRecord.

    ``entry`` without its body: the values stay as they are, and do not travel. Another attempt has the
    arguments only, so for that it must have been read.
    """
    core.records.check_whole(entry)
    standing = core.records.decode(entry._replace(body=None))
    task = step(standing, from_micros(now))
    return None if task is None else next_write(core, entry, standing, task, now, event)


def next_write(
    core: Core, entry: Entry, standing: TaskResult, task: TaskResult, now: int, event: Event | None = None
) -> Write:
    """What makes ``task`` of the ``standing`` one, as which ``entry`` was read: see ``stepped``."""
    is_as_before = (task.status, task.retries) == (standing.status, standing.retries)
    ttl = None if is_as_before and standing.expires_at is None else DEFAULT_TTL  # it keeps its expiry
    if entry.body is None:
        write = core.records.write_beside(task, now, entry, ttl)
    else:
        body = entry.body if task.retries == standing.retries else core.records.arguments_of(entry.body)
        write = core.records.write(task, now, ttl, if_version=entry.version, body=body)
    return write if event is None else core.records.noting(write, task.worker_id, event)


async def step_one(
    core: Core,
    task_id: str,
    step: Step,
    event: Event | None = None,
    *,
    with_body: bool = False,
    patience: float = 0.0,
    is_outcome: bool = False,
) -> bool | None:
    """Whether the task was changed; None if there is none. ``step`` is called anew for each version read.

    ``with_body``: see ``stepped``. ``patience``: for how many seconds to ride out an outage. ``is_outcome``:
    see ``Sent``.
    """
    check_text("task_id", task_id)
    sent = Sent(is_outcome=is_outcome)

    async def attempt() -> bool | None:
        while True:
            [entry] = await core.engine.read([task_id], with_body=with_body)
            now = core.clock()
            if sent.includes(entry):
                return True
            if entry is None or entry.is_expired(now):
                return None
            write = stepped(core, entry, step, now, event)
            if write is None:
                return False
            outcome = await sent.send(core, write, now)
            if applied(core, write, outcome, is_news=write.entry.stage != entry.stage):
                return True

    async with core.life:
        await core.engine.room()
        if not patience:
            return await attempt()
        return await patiently(attempt, patience, core.op_timeout)
