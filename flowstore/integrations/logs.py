"""The task on every line that is logged inside of a tracked block: for logging, and for structlog.

Blocks tell an observer where they begin and end; what is logged in between has the task, also in the tasks of
asyncio that the block has started and in the threads of ``asyncio.to_thread``. See docs/telemetry.md.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any, Final, NamedTuple

from flowstore.integrations._blocks import Around
from flowstore.observing import BlockBegun, BlockEnded, Event


class CurrentTask(NamedTuple):
    """The task of a tracked block. ``retries``: the number of its attempt, from 0."""

    id: str
    name: str | None
    retries: int


_TASKS: Final[Around[CurrentTask]] = Around("flowstore_logs")


class TaskContext:
    """Give it to the backends whose tasks are to be seen in the log, as ``observers=[TaskContext()]``."""

    def on_event(self, event: Event, /) -> None:
        if isinstance(event, BlockBegun):
            _TASKS.enter(event.block, CurrentTask(event.task_id, event.name, event.retries))
        elif isinstance(event, BlockEnded):
            _TASKS.leave(event.block)


def current_task() -> CurrentTask | None:
    """That of the innermost block around the code that calls; None: there is none, or nobody observes it."""
    return _TASKS.get()


class TaskFilter(logging.Filter):
    """Sets ``task_id`` and ``task_name`` of each record, as for ``%(task_id)s`` in a format.

    It belongs to handlers: a filter of a logger does not see what other loggers pass on. Where records are
    handed to another thread, it belongs to the QueueHandler. ``outside``: what both are where there is no
    block, and the name of a task that has none. What a record has already, by ``extra``, is left alone.
    """

    def __init__(self, outside: str | None = "-") -> None:
        super().__init__()
        self._outside = outside

    def filter(self, record: logging.LogRecord) -> bool:
        task = _TASKS.get()
        task_id, name = (None, None) if task is None else (task.id, task.name)
        for attribute, value in (("task_id", task_id), ("task_name", name)):
            if not hasattr(record, attribute):
                setattr(record, attribute, self._outside if value is None else value)
        return True


def add_task(logger: Any, method: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor of structlog: adds ``task_id`` and ``task_name``, where there is a block that has them.

    It goes before the one that renders. What was bound by the program is left alone.
    """
    task = _TASKS.get()
    if task is not None:
        event_dict.setdefault("task_id", task.id)
        if task.name is not None:
            event_dict.setdefault("task_name", task.name)
    return event_dict
