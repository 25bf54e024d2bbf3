"""Values under a key, of a task or of the namespace: what data, checkpoints, workers and apps share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from flowstore._core.core import Core
from flowstore._core.creating import create
from flowstore._values.checks import is_whole_item, item_check
from flowstore._values.codec import DecodeError
from flowstore._values.reading import DAMAGED
from flowstore._values.refusals import Unsupported
from flowstore._values.typed import Typed
from flowstore.engine import NAMESPACE, Asked, Item, Outcome, Put, Section, Verdict
from flowstore.errors import CorruptRecord, UnknownTask, UnreadableRecord
from flowstore.models import TaskResult
from flowstore.times import from_micros


class Keeping:
    """One section of values: the engine's ``put`` and ``items``, with their errors raised."""

    def __init__(self, core: Core, section: Section) -> None:
        self._core = core
        self._section = section

    async def put(
        self,
        owner: str,
        key: str | None,
        value: bytes | None,
        *,
        if_version: int | None = None,
        keep: int | None = None,
        or_store: TaskResult | None = None,
    ) -> Outcome:
        """Put one value; the arguments are the fields of ``Put``. Raises UnknownTask or CorruptRecord.

        ``or_store``: the record to store first, if there is none of the owner.
        """
        while True:
            outcome = await self._put(owner, key, value, if_version, keep)
            if outcome.verdict is not Verdict.OWNERLESS:
                break
            if or_store is None:
                raise UnknownTask(owner)
            if if_version:  # what is not there has no version
                return Outcome(Verdict.STANDING, key=outcome.key)
            await create(self._core, or_store)  # it may be removed again, before the next attempt
        if outcome.verdict is Verdict.UNREADABLE:
            raise self.unreadable(CorruptRecord, owner, outcome.key, f"{outcome.reason}; nothing was written")
        return outcome

    async def _put(
        self, owner: str, key: str | None, value: bytes | None, if_version: int | None, keep: int | None
    ) -> Outcome:
        async with self._core.life:
            await self._core.engine.room()
            check = 0 if value is None else item_check(self._section, owner, key, 0, value)
            put = Put(self._section, owner, key, value, check, if_version, keep)
            [outcome] = await self._core.engine.put([put], self._core.clock())
        return outcome

    async def kept(
        self, owner: str, *, keys: Sequence[str] | None = None, last: int | None = None
    ) -> list[Item]:
        async with self._core.life:
            asked = Asked(self._section, owner, keys, last)
            [found] = await self._core.engine.items([asked], self._core.clock())
        return found

    def encode(self, value: object, name: str = "value") -> bytes:
        """The bytes to store for a value. Raises NotSerializable with a path that begins with ``name``."""
        records = self._core.records
        return records.packed(records.codec.encode_fields({name: value}))

    def decode(
        self, owner: str, item: Item, name: str = "value", typed: Typed[Any] | None = None
    ) -> tuple[Any, datetime]:
        """The value encoded under ``name``, and when it was stored. Raises UnreadableRecord."""
        value, at = self._decoded(owner, item, name)
        if typed is None:
            return value, at
        if owner == NAMESPACE:
            return typed.checked(value, item.key, "value", self._section), at
        return typed.checked(value, owner, f"{self._section} {item.key!r}"), at

    def _decoded(self, owner: str, item: Item, name: str) -> tuple[Any, datetime]:
        try:
            if not is_whole_item(self._section, item):
                raise DecodeError(DAMAGED)
            records = self._core.records
            fields = records.codec.decode_fields(records.unpacked(item.value), {name})
            return fields[name], from_micros(item.at)
        except Unsupported as error:
            raise self.unreadable(UnreadableRecord, owner, item.key, str(error)) from error
        except KeyError as error:
            raise self.unreadable(CorruptRecord, owner, item.key, f"it has no {name}") from error
        except (DecodeError, OverflowError) as error:
            raise self.unreadable(CorruptRecord, owner, item.key, str(error)) from error

    def unreadable(self, kind: type[UnreadableRecord], owner: str, key: str, reason: str) -> UnreadableRecord:
        """An error about the value at ``key`` that names its owner."""
        if owner == NAMESPACE:
            name = self._core.namespace if self._section is Section.APP else key
            return kind(name, reason, self._section)
        return kind(owner, f"{self._section} {key!r}: {reason}")
