"""Data of tasks: values under keys, each with a version of its own, removed with the task."""

from __future__ import annotations

from typing import Annotated, Any, Generic

from pydantic import BaseModel

from flowstore._core.core import Core
from flowstore._core.keeping import Keeping
from flowstore._values.arguments import check_int
from flowstore._values.typed import Typed, TypeForm, typed_of
from flowstore.engine import Item, Section
from flowstore.errors import UnknownTask, UnresolvedValue, VersionConflict
from flowstore.fields import Timestamp
from flowstore.jsonable import AsJson
from flowstore.models import T
from flowstore.stand_ins import Unresolved
from flowstore.text import check_text


class DataEntry(BaseModel, Generic[T], frozen=True, extra="forbid"):
    """A value of a task's data. ``version`` counts the writes of its key from 1; ``at`` is the last one."""

    key: str
    value: Annotated[T, AsJson]
    version: int
    at: Timestamp


class Data:
    """Values of a task besides its result, under keys: ``backend.data``.

    A key is any str of 1 to 512 UTF-8 bytes. Values are encoded like results: what comes back equals what
    went in. They are removed when the record is deleted, cleared or expires; a new record with the same id
    begins with none.
    """

    def __init__(self, core: Core) -> None:
        self._keeping = Keeping(core, Section.DATA)

    async def set(self, task_id: str, key: str, value: Any, *, if_version: int | None = None) -> int:
        """Set the value, which may be None; returns its new version.

        ``if_version`` writes only over that version (0: only if there is no such key) and otherwise raises
        VersionConflict; ``entry`` returns the current version. Raises UnknownTask if the task is not stored,
        NotSerializable with the path of a value that would not come back as it went in.
        """
        check_text("task_id", task_id)
        check_text("key", key)
        if if_version is not None:
            check_int("if_version", if_version, 0, 2**53)
        value = self._keeping.encode(value)
        outcome = await self._keeping.put(task_id, key, value, if_version=if_version)
        if if_version is not None and not outcome.is_applied:
            raise VersionConflict(task_id, if_version, outcome.version, key)
        return outcome.version

    async def get(self, task_id: str, key: str, default: Any = None, *, as_: TypeForm[T] = None) -> T | Any:
        """The value; ``default`` if there is no such key or no such task. Always a fresh object.

        ``as_``: the type that it is expected to have, as in ``backend.get``. Raises UnexpectedValue if it has
        not, UnresolvedValue if it is of a type that is not registered.
        """
        entry = await self.entry(task_id, key, as_=as_)
        if entry is not None and isinstance(entry.value, Unresolved):
            raise UnresolvedValue(task_id, f"{Section.DATA} {key!r}: {entry.value.reason}")
        return default if entry is None else entry.value

    async def entry(self, task_id: str, key: str, *, as_: TypeForm[T] = None) -> DataEntry[T] | None:
        """The value with its version, for ``if_version``; None if there is no such key or no such task."""
        check_text("task_id", task_id)
        check_text("key", key)
        typed = typed_of(as_, "as_")
        found = await self._keeping.kept(task_id, keys=[key])
        return self._entry(task_id, found[0], typed) if found else None

    async def all(self, task_id: str, *, as_: TypeForm[T] = None) -> dict[str, T]:
        """All values by key, in the order of the keys; empty if there are none or no such task."""
        check_text("task_id", task_id)
        typed = typed_of(as_, "as_")
        found = await self._keeping.kept(task_id)
        return {item.key: self._entry(task_id, item, typed).value for item in found}

    async def delete(self, task_id: str, key: str) -> bool:
        """Remove the value; False if there was no such key or no such task. Its version starts again at 1."""
        check_text("task_id", task_id)
        check_text("key", key)
        try:
            return (await self._keeping.put(task_id, key, None)).is_applied
        except UnknownTask:
            return False

    def _entry(self, task_id: str, item: Item, typed: Typed[T] | None) -> DataEntry[T]:
        value, at = self._keeping.decode(task_id, item, typed=typed)
        return DataEntry(key=item.key, value=value, version=item.version, at=at)
