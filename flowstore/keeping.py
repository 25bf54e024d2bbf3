"""Values kept under a key, of a task or of the namespace: what data, checkpoints, workers and apps share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from flowstore.belongings import OWNERLESS, Asked, Kept, Put, PutOutcome, Section
from flowstore.codec import DecodeError
from flowstore.core import Core
from flowstore.engine import UNREADABLE
from flowstore.errors import CorruptRecord, UnknownTask
from flowstore.times import from_micros

NAMESPACE: Final = ""
"""The owner of what belongs to no task."""


class Keeping(Core):
    """The verbs ``put`` and ``kept`` of the engine, one value at a time, with what they raise."""

    async def _put(self, put: Put) -> PutOutcome:
        """Raises UnknownTask and CorruptRecord."""
        async with self._life:
            await self._engine.room()
            [outcome] = await self._engine.put([put], self._clock())
        if outcome.version == OWNERLESS:
            raise UnknownTask(put.owner)
        if outcome.version == UNREADABLE:
            raise self._corrupt(put.section, put.owner, outcome.key, f"{outcome.reason}; nothing was written")
        return outcome

    async def _kept(
        self, section: Section, owner: str, *, keys: Sequence[str] | None = None, last: int | None = None
    ) -> list[Kept]:
        async with self._life:
            return await self._engine.kept(Asked(section, owner, keys, last), self._clock())

    def _encode(self, value: object, name: str = "value") -> bytes:
        """Raises NotSerializable with a path that begins with ``name``."""
        return self._records.codec.encode_fields({name: value})

    def _decode(self, section: Section, owner: str, kept: Kept, name: str = "value") -> tuple[Any, datetime]:
        """What was encoded under ``name``, and when it was stored. Raises CorruptRecord."""
        try:
            return self._records.codec.decode_fields(kept.value)[name], from_micros(kept.at)
        except KeyError as error:
            raise self._corrupt(section, owner, kept.key, f"it has no {name}") from error
        except (DecodeError, OverflowError) as error:
            raise self._corrupt(section, owner, kept.key, str(error)) from error

    def _corrupt(self, section: Section, owner: str, key: str, reason: str) -> CorruptRecord:
        if owner == NAMESPACE:
            return CorruptRecord(self.namespace if section is Section.APP else key, reason, section)
        return CorruptRecord(owner, f"{section} {key!r}: {reason}")
