"""The error of an attempt as its transition keeps it: enough to tell attempts apart, in at most 1 KiB.

The record itself has the whole error, until the next attempt takes its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pydantic_core import to_json

from flowstore.task_error import TaskError
from flowstore.text import cut

MAX_BYTES: Final = 1_024
_MESSAGE_CHARS: Final = (400, 200, 70)
"""As many as fit: a character takes 1 to 6 bytes of JSON, so two texts of 70 always do."""


def brief(error: TaskError) -> dict[str, Any]:
    """The fields of a TaskError: type, message, and as many of the last frames as there is room for.

    ``is_cut``: one of these is not whole, or there are notes, causes or members of a group.
    """
    for chars in _MESSAGE_CHARS:
        kept: dict[str, Any] = {"type": cut(error.type, chars), "message": cut(error.message, chars)}
        room = MAX_BYTES - len(to_json({**kept, "traceback": "", "is_cut": True}))
        if room >= 0:
            break
    if frames := "".join(reversed([*_last_frames(error.traceback or "", room)])):
        kept["traceback"] = frames
    is_cut = error.is_cut or bool(error.notes or error.exceptions or error.cause)
    if is_cut or (kept["type"], kept["message"], frames) != (
        error.type,
        error.message,
        error.traceback or "",
    ):
        kept["is_cut"] = True
    return kept


def _last_frames(traceback: str, room: int) -> Iterator[str]:
    """Lines from the end, the last one first."""
    for line in reversed(traceback.splitlines(keepends=True)):
        room -= len(to_json(line)) - 2  # without its quotes
        if room < 0:
            return
        yield line
