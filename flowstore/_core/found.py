"""Changes as they are shown: made from transitions of the history, and from the records themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from flowstore._core.core import Core, steps
from flowstore._values.reading import STAGES_PER_ATTEMPT, transition, unvalidated
from flowstore._waiting.changes import Found, Key, TaskChange
from flowstore.engine import STATUSES, Entry, Item
from flowstore.errors import CorruptRecord, UnreadableRecord
from flowstore.models import TaskResult, TaskStatus, Transition
from flowstore.times import from_micros

LONGEST_TURN: Final = 64
"""After how many records others have their turn."""


async def heads(core: Core, ids: list[str]) -> dict[str, Entry]:
    """The live records among them, without their values."""
    found = []
    for step in steps(ids):
        async with core.life:
            found += core.live(await core.engine.read(step, with_body=False))
    return {entry.id: entry for entry in found}


async def of_items(core: Core, items: Sequence[Item], entries: Mapping[str, Entry]) -> list[Found]:
    """What is in the history, with the records that it belongs to. Without the record there is no history."""
    tasks: dict[str, TaskResult | None] = {}
    found = []
    for at, item in enumerate(items):
        if (entry := entries.get(item.owner)) is not None:
            if entry.id not in tasks:
                tasks[entry.id] = _task(core, entry)
            with suppress(CorruptRecord):
                found.append(_of_transition(key_of(item), transition(item), tasks[entry.id]))
        if at % LONGEST_TURN == LONGEST_TURN - 1:
            await asyncio.sleep(0)
    return found


def _of_transition(key: Key, step: Transition, task: TaskResult | None) -> Found:
    changed = {
        name: getattr(step, "at" if name == "updated_at" else "seq" if name == "version" else name)
        for name in ("status", "retries", "worker_id", "error", "updated_at", "version")
    }
    then = None if task is None or task.version == step.seq else unvalidated({**task.__dict__, **changed})
    change = TaskChange(
        task_id=step.task_id,
        status=step.status,
        name=None if task is None else task.task_name,
        at=step.at,
        retries=step.retries,
        worker_id=step.worker_id,
        seq=step.seq,
        task=task,
    )
    return Found(key, change, then or task)


def of_entry(core: Core, key: Key, entry: Entry) -> Found | None:
    """None for what is no record."""
    task = _task(core, entry)
    if task is None and entry.status not in STATUSES:
        return None
    change = TaskChange(
        task_id=entry.id,
        status=TaskStatus(entry.status),
        name=None if task is None else task.task_name,
        at=from_micros(entry.updated_at),
        retries=entry.stage // STAGES_PER_ATTEMPT,
        worker_id=None if task is None else task.worker_id,
        seq=entry.version,
        task=task,
    )
    return Found(key, change, task)


def _task(core: Core, entry: Entry) -> TaskResult | None:
    try:
        return core.records.decode(entry)
    except UnreadableRecord:
        return None


def key_of(item: Item) -> Key:
    return Key(item.owner, int(item.key), item.at)
