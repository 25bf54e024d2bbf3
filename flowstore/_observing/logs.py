"""The log: the observer that every backend has.

All loggers are children of "flowstore", which is silent until the program configures logging. A message has
the fields of its event as ``extra``, each with the prefix ``flowstore_``, so that none collides with an
attribute of LogRecord.

A warning is for what nobody else is told. What is raised to a caller, or heals by itself, is information.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final, NamedTuple

from flowstore.errors import AccessDenied, SchemaTooNew, StorageError
from flowstore.observing import (
    CallGivenUp,
    Event,
    OutcomeLate,
    OutcomeLost,
    PurgeFailed,
    RecheckFound,
    RecordsPurged,
    RecordUnreadable,
    StorageBack,
    StorageLost,
    TaskStored,
    WorkerLost,
)

_ROOT: Final = logging.getLogger("flowstore")
_ROOT.addHandler(logging.NullHandler())  # or Python would print warnings that nobody has asked for

_MOST_KNOWN: Final = 1_000


class _Message(NamedTuple):
    """``values``: what the places in ``text`` stand for, with the namespace before them."""

    logger: logging.Logger
    level: int
    text: str
    values: Callable[[Any], tuple[object, ...]]


def _message(name: str, level: int, text: str, values: Callable[[Any], tuple[object, ...]]) -> _Message:
    return _Message(logging.getLogger(f"flowstore.{name}"), level, f"namespace %r: {text}", values)


_MESSAGES: Final[dict[type[Event], _Message]] = {
    CallGivenUp: _message("storage", logging.INFO, "a call was given up: %s", lambda event: (event.error,)),
    StorageLost: _message(
        "storage", logging.WARNING, "the storage was lost, waits go on: %s", lambda event: (event.error,)
    ),
    StorageBack: _message(
        "storage", logging.WARNING, "the storage is back after %.3f s", lambda event: (event.seconds,)
    ),
    OutcomeLost: _message(
        *("tasks", logging.ERROR, "the outcome of task %r was not stored: %s"),
        lambda event: (event.task_id, event.error),
    ),
    OutcomeLate: _message(
        *("tasks", logging.WARNING, "the outcome of task %r in attempt %d came too late, and was discarded"),
        lambda event: (event.task_id, event.retries),
    ),
    TaskStored: _message(
        *(
            "tasks",
            logging.INFO,
            "task %r was not stored as %s of attempt %d, a newer or finished record stands",
        ),
        lambda event: (event.task_id, event.status.value, event.retries),
    ),
    RecordUnreadable: _message("tasks", logging.WARNING, "%s", lambda event: (event.error,)),
    RecheckFound: _message(
        *("waits", logging.INFO, "a re-check has ended the wait for task %r, no hint of the change came"),
        lambda event: (event.task_id,),
    ),
    RecordsPurged: _message(
        "purging", logging.DEBUG, "%d expired records were removed", lambda event: (event.count,)
    ),
    PurgeFailed: _message(
        *("purging", logging.WARNING, "expired records could not be removed, which will be tried again: %s"),
        lambda event: (event.error if isinstance(event.error, StorageError) else repr(event.error),),
    ),
    WorkerLost: _message(
        *("workers", logging.WARNING, "worker %r was lost, with %d tasks"),
        lambda event: (event.worker_id, len(event.task_ids)),
    ),
}

LOGGED: Final = frozenset(_MESSAGES)
"""What the log has a message for. What happens in every call is not among it."""


class Log:
    """Logs each event that it has a message for."""

    def __init__(self) -> None:
        self._known: set[tuple[str, str]] = set()

    def on_event(self, event: Event, /) -> None:
        message = _MESSAGES.get(type(event))
        if message is None or (isinstance(event, TaskStored) and event.is_applied):
            return
        level = logging.DEBUG if self._is_known(event) else message.level
        if message.logger.isEnabledFor(level):
            values = (event.namespace, *message.values(event))
            message.logger.log(level, message.text, *values, exc_info=_defect(event), extra=_extra(event))

    def _is_known(self, event: Event) -> bool:
        """Whether somebody who reads the log knows of it, or cannot do anything about it."""
        if isinstance(event, PurgeFailed):
            # Where this program may only read, those who may write do it.
            return event.is_repeated or isinstance(event.error, AccessDenied | SchemaTooNew)
        if not isinstance(event, RecordUnreadable):
            return False
        record = event.namespace, event.task_id  # each listing that comes upon it would warn anew
        is_known = record in self._known
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known.add(record)
        return is_known


def _defect(event: Event) -> Exception | None:
    """The error whose traceback is worth having: not one of the storage."""
    error = event.error if isinstance(event, PurgeFailed | OutcomeLost) else None
    return None if isinstance(error, StorageError) else error


def _extra(event: Event) -> dict[str, object]:
    names = [field.name for field in fields(event) if field.name != "outcome"]  # it holds the user's values
    values = {f"flowstore_{name}": getattr(event, name) for name in names}
    return {"flowstore_event": type(event).__name__, **values}


LOG: Final = Log()
