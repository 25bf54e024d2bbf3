"""From a stored record to its next state: over exactly the version that was read, or not at all.

The values are passed on as bytes. So their types need not be known here, ``redact`` has nothing to see, and
somebody who writes at the same time loses nothing: the write does not apply, and the record is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from flowstore._core.core import Core
from flowstore._core.writing import applied
from flowstore._values.reading import DAMAGED
from flowstore.engine import Entry, Write
from flowstore.errors import CorruptRecord
from flowstore.models import TaskResult
from flowstore.text import check_text
from flowstore.times import from_micros

Step = Callable[[TaskResult, datetime], TaskResult | None]
"""Maps a task, without its values, and the current time to its next state; None: it stays as it is."""


Event = Mapping[str, Any]
"""What is noted in the history in place of a transition: see ``reading.py``."""


def stepped(core: Core, entry: Entry, step: Step, now: int, event: Event | None = None) -> Write | None:
    """The write of the task's next state. Raises UnreadableRecord.

    ``entry`` without its body: the values stay as they are, and do not travel. Another attempt has the
    arguments only, so for that it must have been read.
    """
    if not core.records.is_whole(entry):  # its values get a new checksum
        raise CorruptRecord(entry.id, DAMAGED)
    standing = core.records.decode(entry._replace(body=None))
    task = step(standing, from_micros(now))
    if task is None:
        return None
    if entry.body is None:
        write = core.records.write_beside(task, now, entry)
    else:
        body = entry.body if task.retries == standing.retries else core.records.arguments_of(entry.body)
        write = core.records.write(task, now, if_version=entry.version, body=body)
    return write if event is None else core.records.noting(write, task.worker_id, event)


async def step_one(
    core: Core, task_id: str, step: Step, event: Event | None = None, *, with_body: bool = False
) -> bool | None:
    """Whether the task was changed; None if there is none. ``step`` is called anew for each version read.

    ``with_body``: see ``stepped``.
    """
    check_text("task_id", task_id)
    async with core.life:
        await core.engine.room()
        while True:
            [entry] = await core.engine.read([task_id], with_body=with_body)
            now = core.clock()
            if entry is None or entry.is_expired(now):
                return None
            write = stepped(core, entry, step, now, event)
            if write is None:
                return False
            [outcome] = await core.engine.write([write], now)
            if applied(core, write, outcome):
                return True
