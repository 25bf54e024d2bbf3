"""Values under a key, of a task or of the namespace: what data, checkpoints, workers and apps share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from flowstore._core.core import Core
from flowstore._values.codec import DecodeError, UnknownType
from flowstore.engine import OWNERLESS, UNREADABLE, Asked, Kept, Put, PutOutcome, Section
from flowstore.errors import CorruptRecord, UnknownTask, UnreadableRecord, UnregisteredType
from flowstore.times import from_micros

NAMESPACE: Final = ""
"""The owner of values that belong to no task."""


class Keeping:
    """One section of values: the engine's ``put`` and ``kept``, with their errors raised."""

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
    ) -> PutOutcome:
        """Put one value; the arguments are the fields of ``Put``. Raises UnknownTask or CorruptRecord."""
        async with self._core.life:
            await self._core.engine.room()
            put = Put(self._section, owner, key, value, if_version, keep)
            [outcome] = await self._core.engine.put([put], self._core.clock())
        if outcome.version == OWNERLESS:
            raise UnknownTask(owner)
        if outcome.version == UNREADABLE:
            raise self.unreadable(CorruptRecord, owner, outcome.key, f"{outcome.reason}; nothing was written")
        return outcome

    async def kept(
        self, owner: str, *, keys: Sequence[str] | None = None, last: int | None = None
    ) -> list[Kept]:
        async with self._core.life:
            return await self._core.engine.kept(Asked(self._section, owner, keys, last), self._core.clock())

    def encode(self, value: object, name: str = "value") -> bytes:
        """The bytes of a value. Raises NotSerializable with a path that begins with ``name``."""
        return self._core.records.codec.encode_fields({name: value})

    def decode(self, owner: str, kept: Kept, name: str = "value") -> tuple[Any, datetime]:
        """The value encoded under ``name``, and when it was stored. Raises UnreadableRecord."""
        try:
            return self._core.records.codec.decode_fields(kept.value, {name})[name], from_micros(kept.at)
        except KeyError as error:
            raise self.unreadable(CorruptRecord, owner, kept.key, f"it has no {name}") from error
        except (DecodeError, OverflowError) as error:
            kind = UnregisteredType if isinstance(error, UnknownType) else CorruptRecord
            raise self.unreadable(kind, owner, kept.key, str(error)) from error

    def unreadable(self, kind: type[UnreadableRecord], owner: str, key: str, reason: str) -> UnreadableRecord:
        """An error about the value at ``key`` that names its owner."""
        if owner == NAMESPACE:
            name = self._core.namespace if self._section is Section.APP else key
            return kind(name, reason, self._section)
        return kind(owner, f"{self._section} {key!r}: {reason}")
