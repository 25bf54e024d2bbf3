"""The observers of one backend: who they are, and that none of them can break a call."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from contextvars import ContextVar
from typing import Final

from flowstore._observing.logs import LOG
from flowstore.fields import Scalar, check_meta
from flowstore.models import TaskResult
from flowstore.observing import Event, Observer, Submitting

IN_BACKGROUND: Final[ContextVar[bool]] = ContextVar("flowstore_in_background", default=False)
"""Whether what runs is for the backend itself, and no caller waits for it."""

_LOGGER: Final = logging.getLogger("flowstore.observers")


class Observers:
    """The log, which hears everything, and ``observers``, told in this order.

    ``is_active``: whether there are any besides the log. What is only worth telling to them, as it happens in
    every call, is not even made otherwise. ``is_adding``: whether any has something to keep with tasks.
    """

    __slots__ = ("_failed", "_observers", "is_active", "is_adding", "namespace")

    def __init__(self, namespace: str, observers: Iterable[Observer] = ()) -> None:
        self.namespace = namespace
        self._observers: tuple[Observer, ...] = (LOG, *observers)
        self.is_active = len(self._observers) > 1
        self.is_adding = any(isinstance(observer, Submitting) for observer in self._observers)
        self._failed: set[tuple[int, str]] = set()

    def tell(self, event: Event) -> None:
        for place, observer in enumerate(self._observers):
            try:
                observer.on_event(event)
            except Exception as error:
                self._complain(place, type(event).__name__, error)

    def added(self, task: TaskResult) -> dict[str, Scalar]:
        """What they want to keep with a task that is submitted; the first who names an entry has it."""
        found: dict[str, Scalar] = {}
        for place, observer in enumerate(self._observers):
            if isinstance(observer, Submitting):
                try:
                    found = {**check_meta(observer.on_submit(task)), **found}
                except Exception as error:
                    self._complain(place, "submission", error)
        return found

    def _complain(self, place: int, kind: str, error: Exception) -> None:
        """Log it, once for each observer and kind of event: it would fail alike at each call."""
        if (place, kind) in self._failed:
            return
        self._failed.add((place, kind))
        with suppress(Exception):  # of a handler or filter of the program, which may be what failed before
            _LOGGER.error(
                "observer %r failed at a %s, which will not be logged again",
                self._observers[place],
                kind,
                exc_info=error,
                extra={"flowstore_event": kind, "flowstore_namespace": self.namespace},
            )


NOBODY: Final = Observers("default")
