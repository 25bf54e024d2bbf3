"""Data of tasks: values under keys, each with a version of its own, removed with the task."""

from __future__ import annotations

from typing import Annotated, Any, Generic

from pydantic import BaseModel

from flowstore._core.core import Core
from flowstore._core.creating import check_or_store
from flowstore._core.keeping import Keeping
from flowstore._values.arguments import check_int
from flowstore._values.typed import Typed, TypeForm, typed_of
from flowstore.engine import NAMESPACE, Item, Section
from flowstore.errors import UnknownTask, UnresolvedValue, VersionConflict
from flowstore.fields import Timestamp
from flowstore.jsonable import AsJson
from flowstore.models import T, TaskResult
from flowstore.stand_ins import Unresolved
from flowstore.text import check_text


class DataEntry(BaseModel, Generic[T], frozen=True, extra="forbid"):
    """A value of a task's data. ``version`` counts the writes of its key from 1; ``at`` is the last one."""

    key: str
    value: Annotated[T, AsJson]
    version: int
    at: Timestamp


class _Values:
    """The values of one owner after another, whose keys are checked here."""

    def __init__(self, core: Core) -> None:
        self._keeping = Keeping(core, Section.DATA)

    async def set(
        self, owner: str, key: str, value: Any, if_version: int | None, or_store: TaskResult | None = None
    ) -> int:
        check_text("key", key)
        if if_version is not None:
            check_int("if_version", if_version, 0, 2**53)
        encoded = self._keeping.encode(value)
        outcome = await self._keeping.put(owner, key, encoded, if_version=if_version, or_store=or_store)
        if if_version is not None and not outcome.is_applied:
            raise VersionConflict(owner, if_version, outcome.version, key)
        return outcome.version

    async def get(self, owner: str, key: str, default: Any, as_: TypeForm[T]) -> T | Any:
        entry = await self.entry(owner, key, as_)
        if entry is not None and isinstance(entry.value, Unresolved):
            raise self._keeping.unreadable(UnresolvedValue, owner, key, entry.value.reason)
        return default if entry is None else entry.value

    async def entry(self, owner: str, key: str, as_: TypeForm[T]) -> DataEntry[T] | None:
        check_text("key", key)
        typed = typed_of(as_, "as_")
        found = await self._keeping.kept(owner, keys=[key])
        return self._entry(owner, found[0], typed) if found else None

    async def all(self, owner: str, as_: TypeForm[T]) -> dict[str, T]:
        typed = typed_of(as_, "as_")
        found = await self._keeping.kept(owner)
        return {item.key: self._entry(owner, item, typed).value for item in found}

    async def delete(self, owner: str, key: str) -> bool:
        check_text("key", key)
        try:
            return (await self._keeping.put(owner, key, None)).is_applied
        except UnknownTask:
            return False

    def _entry(self, owner: str, item: Item, typed: Typed[T] | None) -> DataEntry[T]:
        value, at = self._keeping.decode(owner, item, typed=typed)
        return DataEntry(key=item.key, value=value, version=item.version, at=at)


class Data:
    """Values of a task besides its result, under keys: ``backend.data``.

    A key is any str of 1 to 512 UTF-8 bytes. Values are encoded like results: what comes back equals what
    went in. They are removed when the record is deleted, cleared or expires; a new record with the same id
    begins with none.
    """

    def __init__(self, core: Core) -> None:
        self._values = _Values(core)

    async def set(
        self,
        task_id: str,
        key: str,
        value: Any,
        *,
        if_version: int | None = None,
        or_store: TaskResult | None = None,
    ) -> int:
        """Set the value, which may be None; returns its new version.

        ``if_version`` writes only over that version (0: only if there is no such key) and otherwise raises
        VersionConflict; ``entry`` returns the current version. Raises UnknownTask if the task is not stored,
        unless ``or_store`` is given: then that record is stored first, if there is still none. Raises
        NotSerializable with the path of a value that would not come back as it went in.
        """
        check_text("task_id", task_id)
        return await self._values.set(task_id, key, value, if_version, check_or_store(or_store, task_id))

    async def get(self, task_id: str, key: str, default: Any = None, *, as_: TypeForm[T] = None) -> T | Any:
        """The value; ``default`` if there is no such key or no such task. Always a fresh object.

        ``as_``: the type that it is expected to have, as in ``backend.get``. Raises UnexpectedValue if it has
        not, UnresolvedValue if it is of a type that is not registered.
        """
        return await self._values.get(check_text("task_id", task_id), key, default, as_)

    async def entry(self, task_id: str, key: str, *, as_: TypeForm[T] = None) -> DataEntry[T] | None:
        """The value with its version, for ``if_version``; None if there is no such key or no such task."""
        return await self._values.entry(check_text("task_id", task_id), key, as_)

    async def all(self, task_id: str, *, as_: TypeForm[T] = None) -> dict[str, T]:
        """All values by key, in the order of the keys; empty if there are none or no such task."""
        return await self._values.all(check_text("task_id", task_id), as_)

    async def delete(self, task_id: str, key: str) -> bool:
        """Remove the value; False if there was no such key or no such task. Its version starts again at 1."""
        return await self._values.delete(check_text("task_id", task_id), key)


class AppData:
    """Values of the namespace itself, under keys: ``backend.app.data``. Otherwise like ``backend.data``.

    They belong to no task, and stay until they are deleted; ``clear`` leaves them.
    """

    def __init__(self, core: Core) -> None:
        self._values = _Values(core)

    async def set(self, key: str, value: Any, *, if_version: int | None = None) -> int:
        """Set the value, which may be None; returns its new version. ``if_version``: as in ``data.set``."""
        return await self._values.set(NAMESPACE, key, value, if_version)

    async def get(self, key: str, default: Any = None, *, as_: TypeForm[T] = None) -> T | Any:
        """The value, a fresh object; ``default`` if there is no such key. ``as_``: as in ``data.get``."""
        return await self._values.get(NAMESPACE, key, default, as_)

    async def entry(self, key: str, *, as_: TypeForm[T] = None) -> DataEntry[T] | None:
        """The value with its version, for ``if_version``; None if there is no such key."""
        return await self._values.entry(NAMESPACE, key, as_)

    async def all(self, *, as_: TypeForm[T] = None) -> dict[str, T]:
        """All values by key, in the order of the keys."""
        return await self._values.all(NAMESPACE, as_)

    async def delete(self, key: str) -> bool:
        """Remove the value; False if there was no such key. Its version starts again at 1."""
        return await self._values.delete(NAMESPACE, key)
