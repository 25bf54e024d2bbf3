"""The observers of one backend: who they are, and that none of them can break a call."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from contextvars import ContextVar
from typing import Final

from flowstore._observing.logs import LOG, LOGGED
from flowstore.fields import Scalar, check_meta
from flowstore.models import TaskResult
from flowstore.observing import Event, Observer, Submitting

IN_BACKGROUND: Final[ContextVar[bool]] = ContextVar("flowstore_in_background", default=False)
"""Whether what runs is for the backend itself, and no caller waits for it."""

_LOGGER: Final = logging.getLogger("flowstore.observers")


class Observers:
    """The log, which hears what it has a message for, and ``observers``, told of everything in this order.

    ``is_active``: whether there are any besides the log. What is only worth telling to them, as it happens in
    every call, is not even made otherwise. ``is_adding``: whether any has something to keep with tasks.
    """

    __slots__ = ("_adding", "_failed", "_observers", "_others", "is_active", "is_adding", "namespace")

    def __init__(self, namespace: str, observers: Iterable[Observer] = ()) -> None:
        self.namespace = namespace
        self._others = tuple(observers)
        self._observers: tuple[Observer, ...] = (LOG, *self._others)
        self.is_active = bool(self._others)
        self._adding = [observer for observer in self._others if isinstance(observer, Submitting)]
        self.is_adding = bool(self._adding)
        self._failed: set[tuple[int, str]] = set()

    def tell(self, event: Event) -> None:
        for observer in self._observers if type(event) in LOGGED else self._others:
            try:
                observer.on_event(event)
            except Exception as error:
                self._complain(observer, type(event).__name__, error)

    def added(self, task: TaskResult) -> dict[str, Scalar]:
        """What they want to keep with a task that is submitted; the first who names an entry has it."""
        found: dict[str, Scalar] = {}
        for observer in self._adding:
            try:
                added = observer.on_submit(task)
                if added != {}:  # mostly it is, and what is no mapping is to be complained of
                    found = {**check_meta(added), **found}
            except Exception as error:
                self._complain(observer, "submission", error)
        return found

    def _complain(self, observer: Observer | Submitting, kind: str, error: Exception) -> None:
        """Log it, once for each observer and kind of event: it would fail alike at each call."""
        if (id(observer), kind) in self._failed:
            return
        self._failed.add((id(observer), kind))
        with suppress(Exception):  # of a handler or filter of the program, which may be what failed before
            _LOGGER.error(
                "observer %r failed at a %s, which will not be logged again",
                observer,
                kind,
                exc_info=error,
                extra={"flowstore_event": kind, "flowstore_namespace": self.namespace},
            )


NOBODY: Final = Observers("default")
