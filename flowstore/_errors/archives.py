"""What export and import raise; ``flowstore.errors`` has them with all others."""

from __future__ import annotations

from flowstore._errors.root import FlowstoreError

_PUBLIC = "flowstore.errors"


class InvalidArchive(FlowstoreError, ValueError):
    """A file of exported records is not what was written. ``line``: where, from 1; None: as a whole."""

    __module__ = _PUBLIC

    def __init__(self, path: str, line: int | None, reason: str) -> None:
        super().__init__(path, line, reason)
        self.path = path
        self.line = line
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}{'' if self.line is None else f', line {self.line}'}: {self.reason}"


class RestoreConflict(FlowstoreError, RuntimeError):
    """Another record has the id of one that is to be restored. Nothing of either was changed."""

    __module__ = _PUBLIC

    def __init__(self, task_id: str, reason: str) -> None:
        super().__init__(task_id, reason)
        self.task_id = task_id
        self.reason = reason

    def __str__(self) -> str:
        return f"record {self.task_id!r} was not restored: {self.reason}"
