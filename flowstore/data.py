"""Data of tasks: values under a key, each with a version of its own, gone with the task."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from flowstore import arguments
from flowstore.belongings import Kept, Put, Section
from flowstore.errors import UnknownTask, VersionConflict
from flowstore.fields import Timestamp, check_text
from flowstore.keeping import Keeping


class Datum(BaseModel, frozen=True, extra="forbid"):
    """A value of a task's data. ``version`` counts the writes of its key from 1, ``at`` is the last."""

    key: str
    value: Any
    version: int
    at: Timestamp


class DataMethods(Keeping):
    """What ``BaseResultBackend`` keeps for a task besides its result, under keys.

    A key is any str of 1 to 512 UTF-8 bytes. Values are as those of results: what comes back equals what
    went in. All is gone when the record is deleted, cleared or expired, and a record stored anew under
    the same id begins with none.
    """

    async def set_data(self, task_id: str, key: str, value: Any, *, if_version: int | None = None) -> int:
        """Keep ``value``, None included, in the place of what is there; the version that it has now.

        ``if_version`` writes only over that version (0: only where there is no such key) and raises
        VersionConflict otherwise; ``get_datum`` tells the version. UnknownTask when the task is not
        stored. NotSerializable names the path of a value that would not come back as it went in.
        """
        check_text("task_id", task_id)
        check_text("key", key)
        if if_version is not None:
            arguments.check_int("if_version", if_version, 0, 2**53)
        outcome = await self._put(Put(Section.DATA, task_id, key, self._encode(value), if_version))
        if if_version is not None and not outcome.is_applied:
            raise VersionConflict(task_id, if_version, outcome.version, key)
        return outcome.version

    async def get_data(self, task_id: str, key: str, default: Any = None) -> Any:
        """The value; ``default`` when there is no such key or no such task. Always a fresh object."""
        datum = await self.get_datum(task_id, key)
        return default if datum is None else datum.value

    async def get_datum(self, task_id: str, key: str) -> Datum | None:
        """The value with its version, for ``if_version``; None when there is no such key or no such task."""
        check_text("task_id", task_id)
        check_text("key", key)
        found = await self._kept(Section.DATA, task_id, keys=[key])
        return self._datum(task_id, found[0]) if found else None

    async def all_data(self, task_id: str) -> dict[str, Any]:
        """All values by key, in the order of keys; empty when there are none or no such task."""
        check_text("task_id", task_id)
        found = await self._kept(Section.DATA, task_id)
        return {kept.key: self._datum(task_id, kept).value for kept in found}

    async def delete_data(self, task_id: str, key: str) -> bool:
        """Remove the value; False when there was no such key or no such task. Its version begins anew."""
        check_text("task_id", task_id)
        check_text("key", key)
        try:
            return (await self._put(Put(Section.DATA, task_id, key, None))).is_applied
        except UnknownTask:
            return False

    def _datum(self, task_id: str, kept: Kept) -> Datum:
        value, at = self._decode(Section.DATA, task_id, kept)
        return Datum(key=kept.key, value=value, version=kept.version, at=at)
