"""What the manager of typed results needs of a place to keep them in: a backend, or a tree of files.

A storage keeps bytes under ids in their one spelling (ids.py), and decides nothing: that is done once, for
all storages, in deciding.py, by reading and then writing over what was read, or not at all. Times are int
microseconds since the epoch. Ids are listed in the order of their code points.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from flowstore._values.records import DEFAULT_TTL, DefaultTtl, Ttl
from flowstore.errors import EntryConflict
from flowstore.typed.turns import Attempts, Turns


class Kind(NamedTuple):
    """What a model is registered as."""

    namespace: str
    name: str


class Trouble(StrEnum):
    """Why something that has an id cannot be used as an entry."""

    DAMAGED = "damaged"
    FOREIGN = "foreign"


class New(NamedTuple):
    """An entry to write. ``data``: the encoded value. ``ttl``: seconds, a timedelta, or None for ever."""

    id: str
    kind: Kind
    data: bytes
    ttl: Ttl | DefaultTtl = DEFAULT_TTL


class Stored(NamedTuple):
    """An entry as it is stored, and not expired.

    ``version`` counts the writes of the id from 1; an id that was removed, or has expired, begins with 1
    again. ``created_at`` is the time of version 1. ``size``: of the encoded value, in bytes. ``data`` is None
    where it was not asked for.

    With a ``trouble`` it is none that can be used, ``reason`` says why, and of the rest only ``id`` is sure.
    """

    id: str
    kind: Kind
    version: int
    created_at: int
    updated_at: int
    expires_at: int | None
    size: int
    data: bytes | None = None
    trouble: Trouble | None = None
    reason: str = ""


UNKNOWN = Kind("", "")


def unusable(id: str, trouble: Trouble, reason: str, kind: Kind = UNKNOWN, version: int = 0) -> Stored:
    return Stored(id, kind, version, 0, 0, None, 0, None, trouble, reason)


class After(NamedTuple):
    """The place of an entry among those of ``recent``."""

    updated_at: int
    id: str


class Recent(NamedTuple):
    """Which entries to list by the time of their last write, the newest first; ties by id, ascending.

    ``kinds``: those that are wanted; None: all. ``since``: the first moment, ``until``: the one behind the
    last. ``after``: only what follows that place.
    """

    limit: int
    kinds: Sequence[Kind] | None = None
    since: int | None = None
    until: int | None = None
    after: After | None = None


class EntryStorage(ABC):
    """One place for entries. It opens at the first call, as backends do, and any call may raise StorageError.

    Each write is atomic: what a reader finds is the entry before it or the one after it.
    """

    turns: Turns
    """Of those in this process who write over what stands."""
    max_bytes: int
    """The limit of the encoded value."""
    op_timeout: float
    """The seconds after which a call gives up."""

    @abstractmethod
    async def open(self) -> None:
        """Open, in order to fail early."""

    @abstractmethod
    async def close(self) -> None:
        """Release what this storage has made itself. Idempotent; its waits end with BackendClosed."""

    def redacted(self, id: str, kind: Kind, value: Any) -> Any:
        """The value to store in place of this one."""
        return value

    @abstractmethod
    async def create(self, entries: Sequence[New]) -> list[bool]:
        """Write each entry if there is nothing under its id; whether there was nothing. In their order.

        What stands is left alone, be it damaged or foreign. All may come in one trip.
        """

    @abstractmethod
    async def replace(self, entry: New, standing: Stored) -> bool:
        """Write the entry if what stands still has the version of ``standing``, which was read before.

        False, and nothing is written, if it has not. ``created_at`` stays. ``standing`` has no trouble.
        """

    async def overwrite(self, entry: New) -> Stored | None:
        """Write the entry whatever entry stands, if one does; ``created_at`` of that stays.

        None: it is done. Otherwise what has the id is in trouble, is returned, and stays. The default reads
        and then writes over what was read, again if others were faster; raises EntryConflict if they are so
        for all of ``op_timeout``.
        """
        async with self.turns.turn(entry.id, self.op_timeout):
            attempts = Attempts(self.op_timeout)
            while True:
                [standing] = await self.read([entry.id])
                if standing is None:
                    [is_done] = await self.create([entry])
                elif standing.trouble is not None:
                    return standing
                else:
                    is_done = await self.replace(entry, standing)
                if is_done:
                    return None
                if not await attempts.another():
                    version = 0 if standing is None else standing.version
                    raise EntryConflict(entry.id, version, version + 1)

    @abstractmethod
    async def read(self, ids: Sequence[str], *, with_data: bool = True) -> list[Stored | None]:
        """What is stored under each id, None where that is nothing."""

    @abstractmethod
    async def remove(self, id: str) -> bool:
        """Remove the entry, also a damaged one; False if there is none. Raises ForeignEntry."""

    @abstractmethod
    async def scan(self, prefix: str, after: str | None, limit: int) -> list[Stored]:
        """At most ``limit`` entries whose ids begin with ``prefix`` and follow ``after``, without data.

        Fewer only at the end. ``prefix`` is "" or what ``ids.below`` returns. Damaged ones are among them.
        """

    async def steps(
        self, prefix: str, after: str | None, size: int, most: int
    ) -> AsyncGenerator[list[Stored], None]:
        """All that ``scan`` would find, in steps of ``size`` at first and ``most`` at last, none empty.

        One that is there all the while comes exactly once. The default scans again for each step.
        """
        while found := await self.scan(prefix, after, size):
            yield found
            if len(found) < size:
                return
            after, size = found[-1].id, min(2 * size, most)

    @abstractmethod
    async def recent(self, wanted: Recent) -> list[Stored]:
        """A range of the entries by time, without data.

        Fewer than ``limit`` only at its end. Damaged ones may be among them, or may be left out.
        """

    @abstractmethod
    async def kinds(self) -> list[Kind]:
        """The kinds that there are entries of, in any order, and perhaps some that there were."""

    @abstractmethod
    async def clear(self) -> int:
        """Remove all entries, also damaged ones, and nothing else; how many. In bounded steps."""

    @abstractmethod
    async def appeared(self, id: str, timeout: float | None) -> None:
        """Return as soon as something is stored under the id, by any process.

        It may return in vain: the caller reads, and asks again. ``timeout`` is in seconds and more than 0;
        None: for ever. Raises WaitTimeout.
        """

    @abstractmethod
    def changes(self, prefix: str) -> AsyncGenerator[str, None]:
        """The id of each entry that is written from this call on and begins with ``prefix``.

        Each at least once after its last write, by any process, and as soon as that is done. It never ends.
        """
