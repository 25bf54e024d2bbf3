"""Writes that join families: the root that a writer does not know, and the parent that it leaves open.

A storage knows nothing of families. It keeps the fixed facets of a record, and refuses a write that has
others. So a write says parent and root, as a message does that hands its trace along. Where it does not know
the root, the parent's record is read for it first; where it does not know the parent either, but the record
has one, the storage answers with that, and the write is sent again. Neither happens to a write that carries
on from what was read or is being tracked.

All of that is done within the trip of the write. Before or after it, another call on the same id could come
in between, and writes of one id would no longer take effect in the order of the calls.

The root is looked up once, when it is first stored, and stays. Children mostly come in crowds, so an answer
is used for a second. In that time another process may give the parent a parent of its own; but then its
earlier children have the old root as well, since roots do not move. What this backend does itself is seen at
once: an answer is forgotten before and after each write of the parent, and not kept if one came in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import monotonic
from typing import Final

from flowstore._values.checks import entry_check
from flowstore._values.facets import family_of, fixed_of, is_open, moved_below
from flowstore.engine import Engine, EngineWrapper, Entry, Expiry, Outcome, Purged, Standing, Verdict, Write

_SECONDS: Final = 1.0
_MOST: Final = 10_000
_PER_READ: Final = 500


class Families(EngineWrapper):
    """Completes the writes of children, and sends again those that leave open what parent the record has."""

    def __init__(self, inner: Engine) -> None:
        super().__init__(inner)
        self._roots = _Roots()

    def abandon(self) -> None:
        self._roots = _Roots()  # lookups that died with their loop would never end
        super().abandon()

    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        if len(writes) == 1:
            return await self._write(writes, now)
        outcomes = []
        for step in in_order(writes):
            outcomes += await self._write(step, now)
        return outcomes

    async def remove(
        self, ids: Sequence[str], now: int, standing: Sequence[Standing] | None = None
    ) -> list[bool]:
        self._roots.forget(ids)
        try:
            return await self.inner.remove(ids, now, standing)
        finally:
            self._roots.forget(ids)

    async def expire(self, expiries: Sequence[Expiry], now: int) -> list[bool]:
        ids = [expiry.id for expiry in expiries]
        self._roots.forget(ids)  # an answer is good until the parent expires
        try:
            return await self.inner.expire(expiries, now)
        finally:
            self._roots.forget(ids)

    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        if not everything:
            return await self.inner.purge(limit, now)
        self._roots.forget_all()
        try:
            return await self.inner.purge(limit, now, everything=True)
        finally:
            self._roots.forget_all()

    async def _write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        for write in writes:
            if write.entry.fixed and is_open(write.entry.fixed):
                writes = await self._completed(writes, now)
                break
        self._forget(writes)
        try:
            outcomes = await self.inner.write(writes, now)
            for outcome in outcomes:
                if outcome.verdict is Verdict.FIXED:
                    return await self._again(writes, outcomes, now)
            return outcomes
        finally:
            self._forget(writes)

    def _forget(self, writes: Sequence[Write]) -> None:
        if self._roots:
            self._roots.forget([write.entry.id for write in writes])

    async def _completed(self, writes: Sequence[Write], now: int) -> list[Write]:
        """The same writes, with the roots of the parents that they name."""
        parents = {_parent(write.entry.fixed) for write in writes if is_open(write.entry.fixed)}
        roots = await self._roots_of([parent for parent in parents if parent is not None], now)
        return [_completed(write, roots) if is_open(write.entry.fixed) else write for write in writes]

    async def _roots_of(self, parents: Sequence[str], now: int) -> dict[str, str]:
        roots = self._roots.known(parents, now)
        unknown = [parent for parent in parents if parent not in roots]
        for start in range(0, len(unknown), _PER_READ):
            step = unknown[start : start + _PER_READ]
            with self._roots.looking_up() as touched:
                entries = await self.inner.read(step, with_body=False)
            for parent, entry in zip(step, entries, strict=True):
                is_live = entry is not None and not entry.is_expired(now)
                roots[parent] = (_root(entry) if entry is not None and is_live else None) or parent
                self._roots.learn(parent, roots[parent], entry.expires_at if entry else None, touched)
        return roots

    async def _again(self, writes: Sequence[Write], outcomes: list[Outcome], now: int) -> list[Outcome]:
        """The outcomes, once the writes that were refused have been sent again as members of the family."""
        joined = list(writes)
        while True:
            again = []
            for place, outcome in enumerate(outcomes):
                if outcome.verdict is Verdict.FIXED and outcome.fixed != joined[place].entry.fixed:
                    write = _joined(writes[place], outcome.fixed)
                    if write is not None:
                        joined[place] = write
                        again.append(place)
            if not again:
                return outcomes
            repeated = await self.inner.write([joined[place] for place in again], now)
            for place, outcome in zip(again, repeated, strict=True):
                outcomes[place] = outcome


def with_families(engine: Engine) -> Engine:
    """The engine, around which there is such a wrapper if none is inside already."""
    inner = engine
    while isinstance(inner, EngineWrapper):
        if isinstance(inner, Families):
            return engine
        inner = inner.inner
    return Families(engine)


def in_order(writes: Sequence[Write]) -> Iterator[Sequence[Write]]:
    """The writes in order, divided where one depends on how an earlier one has ended.

    That is a second write of an id, a child whose parent is written before it, a write whose owner is, and
    the write of an owner that those before it need. One that says what must be ``standing`` follows that in
    any call, and nothing else.
    """
    start = 0
    ids: set[str] = set()
    owners: set[str] = set()
    for place, write in enumerate(writes):
        entry, owner = write.entry, write.owner
        is_second = entry.id in ids and write.standing is None
        is_child = is_second or (is_open(entry.fixed) and _parent(entry.fixed) in ids)
        if is_child or entry.id in owners or (owner is not None and owner.id in ids):
            yield writes[start:place]
            start, ids, owners = place, set(), set()
        ids.add(entry.id)
        if owner is not None:
            owners.add(owner.id)
    yield writes[start:]


def _completed(write: Write, roots: Mapping[str, str]) -> Write:
    entry, parent = write.entry, _parent(write.entry.fixed)
    assert parent is not None, "an open place in a family names the parent"
    root = roots[parent]
    if root == entry.id:  # no task is its own root, which happens where parents go round in a circle
        root = parent
    return write._replace(entry=_with_fixed(entry, fixed_of(parent, root), entry.facets))


def _joined(write: Write, fixed: tuple[str, ...]) -> Write | None:
    """The same write in the family of what stands; None if it names another parent."""
    entry = write.entry
    if entry.fixed and _parent(entry.fixed) != _parent(fixed):
        return None
    facets = entry.facets if entry.fixed else moved_below(entry.facets)
    return write._replace(entry=_with_fixed(entry, fixed, facets))


def _with_fixed(entry: Entry, fixed: tuple[str, ...], facets: tuple[str, ...]) -> Entry:
    entry = entry._replace(fixed=fixed, facets=facets)
    # Entries that hold objects, in the memory of this process, have no checksum.
    return entry._replace(check=entry_check(entry)) if isinstance(entry.head, bytes) else entry


def _parent(fixed: tuple[str, ...]) -> str | None:
    """None for facets that a newer program wrote."""
    try:
        return family_of(fixed)[0]
    except ValueError:
        return None


def _root(entry: Entry) -> str | None:
    try:
        return family_of(entry.fixed)[1]
    except ValueError:
        return None  # an unreadable parent must not keep its children from being stored


class _Roots:
    """The roots of parents that were looked up a moment ago; of one that has none, itself."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, float, int | None]] = {}
        self._lookups: list[_Lookup] = []

    def __bool__(self) -> bool:
        return bool(self._known or self._lookups)

    def known(self, parents: Iterable[str], now: int) -> dict[str, str]:
        moment = monotonic()
        roots = {}
        for parent in parents:
            root, until, expires_at = self._known.get(parent, ("", 0.0, None))
            if until > moment and (expires_at is None or expires_at > now):
                roots[parent] = root
        return roots

    def looking_up(self) -> _Lookup:
        return _Lookup(self._lookups)

    def learn(self, parent: str, root: str, expires_at: int | None, lookup: _Lookup) -> None:
        if lookup.is_sound(parent):
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[parent] = root, monotonic() + _SECONDS, expires_at

    def forget(self, ids: Iterable[str]) -> None:
        if self:
            for task_id in ids:
                self._known.pop(task_id, None)
                for lookup in self._lookups:
                    lookup.touched.add(task_id)

    def forget_all(self) -> None:
        self._known.clear()
        for lookup in self._lookups:
            lookup.is_void = True


class _Lookup:
    """A read of parents in flight, and those that were written or removed meanwhile."""

    def __init__(self, lookups: list[_Lookup]) -> None:
        self._lookups = lookups
        self.touched: set[str] = set()
        self.is_void = False

    def __enter__(self) -> _Lookup:
        self._lookups.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._lookups.remove(self)

    def is_sound(self, parent: str) -> bool:
        return not self.is_void and parent not in self.touched
