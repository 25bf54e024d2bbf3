"""The write modes: what becomes of a value when something stands under its id already.

Decided here, for every storage. A create-only write, or one over exactly the version that was looked at, is
one atomic operation of the storage; if somebody else was faster, it writes nothing, and all is decided again
on what stands now. So there is no moment between a look and a write.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flowstore.errors import DamagedEntry, EntryConflict, EntryExists, ForeignEntry
from flowstore.typed.behaviors import WriteBehavior
from flowstore.typed.storage import EntryStorage, New, Stored, Trouble
from flowstore.typed.turns import Attempts

IsSame = Callable[[Stored], bool]
"""Whether an entry, read with its data, has the value that is to be written, and its model."""

CREATES_FIRST: Final = frozenset(
    {WriteBehavior.RAISE_IF_EXISTS, WriteBehavior.SKIP_IF_EXISTS, WriteBehavior.RAISE_IF_DIFFERENT}
)
"""These never replace anything. So the attempt to create is all there is to do, where there is nothing."""
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
    if behavior is WriteBehavior.OVERWRITE:
        standing = await storage.overwrite(new)
        return standing is None or bool(usable(standing))
    async with storage.turns.turn(new.id, storage.op_timeout):
        return await _write_over(storage, new, behavior, is_same)


async def _write_over(storage: EntryStorage, new: New, behavior: WriteBehavior, is_same: IsSame) -> bool:
    attempts, compares = Attempts(storage.op_timeout), behavior in _COMPARES
    while True:
        standing = await look(storage, new.id, with_data=compares)
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
        if not await attempts.another():
            now = await look(storage, new.id, with_data=False)
            raise EntryConflict(new.id, _version(standing), _version(now))


async def compare_and_set(storage: EntryStorage, new: New, version: int) -> bool:
    """Write over that version only, 0: only if there is no entry. Raises EntryConflict."""
    attempts, has_time = Attempts(storage.op_timeout), True
    while True:
        if version == 0 and await create(storage, new):
            return True
        # Whole, as what is damaged is never replaced
        standing = await look(storage, new.id, with_data=True)
        found = _version(standing)
        if found != version or not has_time:
            raise EntryConflict(new.id, version, found)
        if standing is not None and await storage.replace(new, standing):
            return True
        has_time = await attempts.another()


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
