"""The write modes: what becomes of a value when something stands under its id already.

Decided here, for every storage. A create-only write, or one over exactly the version that was looked at, is
one atomic operation of the storage; if somebody else was faster, it writes nothing, and all is decided again
on what stands now. So there is no moment between a look and a write.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

from flowstore.errors import DamagedEntry, EntryConflict, EntryExists, ForeignEntry
from flowstore.typed.behaviors import WriteBehavior
from flowstore.typed.storage import EntryStorage, New, Stored, Trouble

IsSame = Callable[[Stored], bool]
"""Whether an entry, read with its data, has the value that is to be written, and its model."""

CREATES_FIRST: Final = frozenset(
    {WriteBehavior.RAISE_IF_EXISTS, WriteBehavior.SKIP_IF_EXISTS, WriteBehavior.RAISE_IF_DIFFERENT}
)
"""These never replace anything. So the attempt to create is all there is to do, where there is nothing."""
_FIRST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.05
_COMPARES: Final = frozenset({WriteBehavior.RAISE_IF_DIFFERENT, WriteBehavior.OVERWRITE_IF_DIFFERENT})


async def write(storage: EntryStorage, new: New, behavior: WriteBehavior, is_same: IsSame) -> bool:
    """What ``set`` returns."""
    if behavior in CREATES_FIRST and await create(storage, new):
        return True
    return await write_over(storage, new, behavior, is_same)


async def create(storage: EntryStorage, new: New) -> bool:
    [is_new] = await storage.create([new])
    return is_new


async def write_over(storage: EntryStorage, new: New, behavior: WriteBehavior, is_same: IsSame) -> bool:
    """The same, beginning with a look at what stands."""
    async with storage.turns.turn(new.id, storage.op_timeout):
        return await _write_over(storage, new, behavior, is_same)


async def _write_over(storage: EntryStorage, new: New, behavior: WriteBehavior, is_same: IsSame) -> bool:
    until, pause = time.monotonic() + storage.op_timeout, 0.0
    compares = behavior in _COMPARES
    # What is to be replaced is read whole, too: what is damaged is never replaced.
    with_data = compares or behavior is WriteBehavior.OVERWRITE
    while True:
        standing = await look(storage, new.id, with_data=with_data)
        if standing is None:
            if await create(storage, new):
                return True
        elif compares and is_same(standing):
            return behavior is WriteBehavior.RAISE_IF_DIFFERENT
        elif behavior is WriteBehavior.SKIP_IF_EXISTS:
            return False
        elif behavior in CREATES_FIRST:
            raise EntryExists(
                new.id, standing.kind.name, standing.kind.namespace, standing.version, is_different=compares
            )
        elif await storage.replace(new, standing):
            return True
        pause = await _lost(pause)
        if time.monotonic() >= until:  # others were faster, again and again
            now = await look(storage, new.id, with_data=False)
            raise EntryConflict(new.id, _version(standing), _version(now))


async def _lost(pause: float) -> float:
    """Wait a moment, of another length for each process, before the next attempt; the next pause."""
    await asyncio.sleep(random.uniform(0, pause))
    return min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)


async def compare_and_set(storage: EntryStorage, new: New, version: int) -> bool:
    """Write over that version only, 0: only if there is no entry. Raises EntryConflict."""
    until, pause = time.monotonic() + storage.op_timeout, 0.0
    while True:
        if version == 0 and await create(storage, new):
            return True
        standing = await look(storage, new.id, with_data=True)
        found = _version(standing)
        if found != version or time.monotonic() >= until:
            raise EntryConflict(new.id, version, found)
        if standing is not None and await storage.replace(new, standing):
            return True
        pause = await _lost(pause)


def _version(standing: Stored | None) -> int:
    return 0 if standing is None else standing.version


async def look(storage: EntryStorage, id: str, *, with_data: bool) -> Stored | None:
    """What stands under the id. Raises ForeignEntry or DamagedEntry for what cannot be used."""
    [standing] = await storage.read([id], with_data=with_data)
    return None if standing is None else usable(standing)


def usable(stored: Stored) -> Stored:
    if stored.trouble is Trouble.FOREIGN:
        raise ForeignEntry(stored.id, stored.reason)
    if stored.trouble is not None:
        raise DamagedEntry(stored.id, stored.kind.name, stored.reason)
    return stored


async def stands(storage: EntryStorage, id: str) -> bool:
    """Whether there is an entry, be it damaged."""
    [standing] = await storage.read([id], with_data=False)
    return standing is not None and standing.trouble is not Trouble.FOREIGN
