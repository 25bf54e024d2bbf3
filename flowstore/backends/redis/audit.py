"""One step of an audit of Redis: keys first, then what is in them, each record compared in one script call.

Keys are found by SCAN, which tells of each that is there all the time, at least once. Records come first,
then whatever lists them or belongs to them. An index may have any number of entries, so it takes steps of its
own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

from flowstore.backends.redis.calls import Calls
from flowstore.backends.redis.namespaces import pattern_of
from flowstore.engine import OWNED, WHOLE_STORE, Audited, AuditedRecord, Flaw, FlawKind, Section

_RECORDS, _OTHERS = "r:", "[ixthek]*"
_KEYS_PER_CALL: Final = 250
_KEYS_PER_SCAN: Final = 1_000
_REASONS: Final = {
    FlawKind.UNLISTED: "it does not list the record",
    FlawKind.DANGLING: "it lists a record that is not there",
    FlawKind.MISPLACED: "it lists the record where it does not belong",
    FlawKind.ORPHANED: "there is no record that it belongs to",
    FlawKind.MISSING: "the older part of the history is not there",
    FlawKind.DAMAGED: "it is of another type",
}


class _Place(NamedTuple):
    """Where a walk has got to: the cursor of SCAN, the indexes it has found, the last entry looked at."""

    pattern: str = _RECORDS
    cursor: int = 0
    indexes: tuple[bytes, ...] = ()
    after: bytes = b""
    is_begun: bool = False


class Auditing:
    """One step, of the ids that begin with ``prefix``."""

    def __init__(self, calls: Calls, keys: str, prefix: str, limit: int, repair: Collection[str]) -> None:
        self._calls = calls
        self._keys = keys
        self._prefix = prefix
        self._limit = limit
        self._may = _packed(repair)
        self._records: list[AuditedRecord] = []
        self._flaws: list[Flaw] = []

    async def step(self, after: object) -> Audited:
        place = after if isinstance(after, _Place) else _Place()
        following = await (self._of_indexes(place) if place.indexes else self._of_keys(place))
        return Audited(tuple(self._records), tuple(self._flaws), following)

    async def _of_keys(self, place: _Place) -> _Place | None:
        is_of_records = place.pattern == _RECORDS
        start = pattern_of(f"{self._keys}{_RECORDS}{self._prefix}") + "*"
        pattern = start if is_of_records else f"{pattern_of(self._keys)}{_OTHERS}"
        scan = ("SCAN", place.cursor, "MATCH", pattern, "COUNT", _KEYS_PER_SCAN)
        cursor, found = await self._calls.command(*scan)
        keys = list(dict.fromkeys(found))
        indexes: tuple[bytes, ...] = ()
        if is_of_records:
            await self._look("records", [key[len(self._keys) + len(_RECORDS) :] for key in keys])
        else:
            indexes = tuple(filter(self._is_index, keys))
            await self._look("beside", [key for key in keys if self._is_beside(key)])
        place = _Place(place.pattern, int(cursor), indexes, b"", True)
        if place.cursor or indexes:
            return place
        return self._behind(place)

    def _behind(self, place: _Place) -> _Place | None:
        """What follows once the keys of a pattern have all been looked at."""
        return _Place(_OTHERS) if place.pattern == _RECORDS else None

    def _is_index(self, key: bytes) -> bool:
        name = key[len(self._keys) :]
        return name in (b"x", b"t") or name[:2] == b"i:"

    def _is_beside(self, key: bytes) -> bool:
        name = key[len(self._keys) :]
        section, _, owner = (b"history:" + name[2:] if name[:2] == b"h:" else name[2:]).partition(b":")
        is_owned = section.decode(errors="replace") in OWNED and name[:2] in (b"h:", b"e:", b"k:")
        return is_owned and bool(owner) and owner.startswith(self._prefix.encode())

    async def _look(self, what: str, found: Sequence[bytes]) -> None:
        for start in range(0, len(found), _KEYS_PER_CALL):
            some = found[start : start + _KEYS_PER_CALL]
            met, flaws = await self._calls.read("audit", self._may, what, *some)
            self._records += [_record(*each) for each in met]
            self._note(flaws)

    async def _of_indexes(self, place: _Place) -> _Place | None:
        *others, key = place.indexes
        low = b"(" + place.after if place.after else b"-"
        bounds = (key, low, b"+", self._limit, self._prefix)
        (count, last), flaws = await self._calls.read("audit", self._may, "entries", *bounds)
        self._note(flaws)
        if count == self._limit:
            return place._replace(after=last)
        place = place._replace(indexes=tuple(others), after=b"")
        return place if others or place.cursor else self._behind(place)

    def _note(self, flaws: Sequence[Sequence[Any]]) -> None:
        for stored_kind, task_id, key, is_mended in flaws:
            kind = FlawKind(stored_kind.decode())
            where = key[len(self._keys) :].decode(errors="replace")
            name = task_id.decode(errors="replace") or WHOLE_STORE
            self._flaws.append(Flaw(kind, name, where, _REASONS[kind], bool(is_mended)))


def _record(task_id: bytes, has: int) -> AuditedRecord:
    """``has``: 1 older transitions, 2 items, 4 transitions in the record."""
    sections = [Section.HISTORY] if has & 5 else []
    if has & 2:
        sections += [Section.DATA, Section.CHECKPOINT]
    return AuditedRecord(task_id.decode(errors="replace"), tuple(sections))


def _packed(ids: Collection[str]) -> bytes:
    """A map of msgpack from each to True, as scripts read it."""
    found = [b"\xdf" + len(ids).to_bytes(4)]
    for each in ids:
        text = each.encode()
        found.append(b"\xdb" + len(text).to_bytes(4) + text + b"\xc3")
    return b"".join(found)
