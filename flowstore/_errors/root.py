"""The root of all errors, and those that show what went wrong in a task, elsewhere.

They are below ``TaskError``, which rebuilds exceptions; ``flowstore.errors`` has them with all others.
"""

from __future__ import annotations

_PUBLIC = "flowstore.errors"
"""Where they are imported from, and what tracebacks call them by."""


class FlowstoreError(Exception):
    """The root of all errors of this package. ``args`` are the typed arguments, so that errors pickle."""

    __module__ = _PUBLIC


class RemoteError(FlowstoreError, RuntimeError):
    """Stands for an exception of a task whose class was not named, or could not be made again.

    ``type`` is the full name of that class, ``message`` what the exception said.
    """

    __module__ = _PUBLIC

    def __init__(self, type: str, message: str) -> None:
        super().__init__(type, message)
        self.type = type
        self.message = message

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


class RemoteTraceback(FlowstoreError):
    """The cause of what ``unwrap()`` raises, so that a traceback shows where the task failed. Never raised.

    ``text`` is what Python would have printed there: causes, frames, notes, and the exceptions of groups.
    """

    __module__ = _PUBLIC

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'
