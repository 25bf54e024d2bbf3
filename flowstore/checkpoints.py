"""Checkpoints of tasks: values in the order in which they were saved, gone with the task."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from flowstore import arguments
from flowstore.belongings import Kept, Put, Section
from flowstore.fields import Timestamp, check_text
from flowstore.keeping import Keeping


class Checkpoint(BaseModel, frozen=True, extra="forbid"):
    """What a task saved, to go on from there. ``seq`` counts the checkpoints of the task from 1."""

    seq: int
    at: Timestamp
    value: Any


class CheckpointMethods(Keeping):
    """What a task of ``BaseResultBackend`` saves along its way, for whoever tries it again."""

    async def save_checkpoint(self, task_id: str, value: Any, *, keep: int | None = None) -> int:
        """Add ``value`` behind all others; its seq. Any number may be saved at the same time.

        ``keep``: no more than so many stay, the last ones; None: all. UnknownTask when the task is not
        stored. NotSerializable names the path of a value that would not come back as it went in.
        """
        check_text("task_id", task_id)
        if keep is not None:
            arguments.check_int("keep", keep, 1, 2**53)
        outcome = await self._put(Put(Section.CHECKPOINT, task_id, None, self._encode(value), keep=keep))
        return int(outcome.key)

    async def latest_checkpoint(self, task_id: str) -> Checkpoint | None:
        """The one saved last; None when there is none or no such task. The others are not read."""
        found = await self._kept(Section.CHECKPOINT, check_text("task_id", task_id), last=1)
        return self._checkpoint(task_id, found[0]) if found else None

    async def checkpoints(self, task_id: str) -> list[Checkpoint]:
        """All that are kept, in the order in which they were saved; empty for an unknown id."""
        found = await self._kept(Section.CHECKPOINT, check_text("task_id", task_id))
        return [self._checkpoint(task_id, kept) for kept in found]

    def _checkpoint(self, task_id: str, kept: Kept) -> Checkpoint:
        value, at = self._decode(Section.CHECKPOINT, task_id, kept)
        return Checkpoint(seq=int(kept.key), at=at, value=value)
