"""Checkpoints of tasks: values in the order in which they were saved, removed with the task."""

from __future__ import annotations

from typing import Annotated, Any, Generic

from pydantic import BaseModel

from flowstore._core.core import Core
from flowstore._core.creating import check_or_store
from flowstore._core.keeping import Keeping
from flowstore._values.arguments import check_int
from flowstore._values.typed import Typed, TypeForm, typed_of
from flowstore.engine import Item, Section
from flowstore.fields import Timestamp
from flowstore.jsonable import AsJson
from flowstore.models import T, TaskResult
from flowstore.text import check_text


class Checkpoint(BaseModel, Generic[T], frozen=True, extra="forbid"):
    """A value that a task saved, to resume from. ``seq`` numbers the checkpoints of the task from 1."""

    seq: int
    at: Timestamp
    value: Annotated[T, AsJson]


class Checkpoints:
    """What a task saves along the way, for a later attempt to resume from: ``backend.checkpoints``."""

    def __init__(self, core: Core) -> None:
        self._keeping = Keeping(core, Section.CHECKPOINT)

    async def save(
        self, task_id: str, value: Any, *, keep: int | None = None, or_store: TaskResult | None = None
    ) -> int:
        """Append ``value``; returns its seq. Concurrent saves each get one of their own.

        ``keep``: only so many of the latest are kept; None: all. Raises UnknownTask if the task is not
        stored, unless ``or_store`` is given, as in ``data.set``. Raises NotSerializable with the path of a
        value that would not come back as it went in.
        """
        check_text("task_id", task_id)
        if keep is not None:
            check_int("keep", keep, 1, 2**53)
        or_store = check_or_store(or_store, task_id)
        encoded = self._keeping.encode(value)
        outcome = await self._keeping.put(task_id, None, encoded, keep=keep, or_store=or_store)
        return int(outcome.key)

    async def latest(self, task_id: str, *, as_: TypeForm[T] = None) -> Checkpoint[T] | None:
        """The last one saved; None if there is none or no such task. The others are not read.

        ``as_``: the type that its value is expected to have, as in ``backend.get``.
        """
        check_text("task_id", task_id)
        typed = typed_of(as_, "as_")
        found = await self._keeping.kept(task_id, last=1)
        return self._checkpoint(task_id, found[0], typed) if found else None

    async def all(self, task_id: str, *, as_: TypeForm[T] = None) -> list[Checkpoint[T]]:
        """All checkpoints, in the order in which they were saved; empty for an unknown id."""
        check_text("task_id", task_id)
        typed = typed_of(as_, "as_")
        return [self._checkpoint(task_id, item, typed) for item in await self._keeping.kept(task_id)]

    def _checkpoint(self, task_id: str, item: Item, typed: Typed[T] | None) -> Checkpoint[T]:
        value, at = self._keeping.decode(task_id, item, typed=typed)
        return Checkpoint(seq=int(item.key), at=at, value=value)
