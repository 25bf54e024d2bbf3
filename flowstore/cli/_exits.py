"""How a command ends: the codes, and which error is which of them.

The codes are part of the interface, and docs/cli.md has them: 0 and 1 as of grep and diff, 124 as of timeout.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Exit(IntEnum):
    """The exit codes of all commands.

    NO: a true answer that is "no", such as a task that failed, nothing found by ``--exists``, or stores that
    differ.
    """

    OK = 0
    NO = 1
    USAGE = 2
    UNKNOWN = 3
    UNREACHABLE = 4
    REFUSED = 5
    TIMEOUT = 124
    INTERRUPTED = 130
    CLOSED_PIPE = 141


class CommandError(Exception):
    """What ends a command: a sentence for its user, and as a rule what to do."""

    def __init__(self, code: Exit, message: str, hint: str | None = None) -> None:
        super().__init__(code, message, hint)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


def usage(message: str, hint: str | None = None) -> CommandError:
    """The command makes no sense as it was typed."""
    return CommandError(Exit.USAGE, message, hint)


class Failure(NamedTuple):
    """An error as it is told: on a terminal as ``message`` and ``hint``, as JSON with its kind."""

    code: Exit
    kind: str
    message: str
    hint: str | None = None


def failure_of(error: Exception) -> Failure | None:
    """How ``error`` is told; None: it is a defect of flowstore, and its traceback is wanted."""
    if isinstance(error, CommandError):
        return Failure(error.code, error.code.name.lower(), error.message, error.hint)
    import flowstore.errors as errors

    for kinds, code, hint in (
        ((errors.InvalidQuery,), Exit.USAGE, "the query language: docs/queries.md"),
        ((errors.InvalidCursor, errors.MissingPackage), Exit.USAGE, None),
        ((errors.WaitTimeout,), Exit.TIMEOUT, None),
        ((errors.UnknownTask, errors.UnknownRun, errors.UnknownWorker), Exit.UNKNOWN, None),
        ((errors.UnknownOperation, errors.UnknownDataset, errors.ResultGone), Exit.UNKNOWN, None),
        ((errors.UnreadableRecord, errors.UnreadableRecords), Exit.NO, "flowstore verify finds all of them"),
        ((errors.StorageFull,), Exit.REFUSED, "nothing was written; free some space"),
        ((errors.StorageUnavailable, errors.StorageTimeout), Exit.UNREACHABLE, _REACH),
        ((errors.StorageError,), Exit.UNREACHABLE, None),
        ((errors.FlowstoreError,), Exit.REFUSED, None),
        ((ValueError, TypeError), Exit.USAGE, None),  # an argument that the library has refused
        ((FileExistsError, IsADirectoryError, PermissionError), Exit.REFUSED, None),
        ((FileNotFoundError,), Exit.UNKNOWN, None),
        ((OSError,), Exit.UNREACHABLE, None),
    ):
        if isinstance(error, kinds):
            return Failure(code, type(error).__name__, _sentence(error), hint)
    return None


_REACH = "is the server up, and the URL right? `flowstore doctor` looks closer"


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__
