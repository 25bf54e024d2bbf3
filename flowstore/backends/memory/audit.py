"""One step of an audit in memory, where only a mistake of the program can set records and indexes at odds.

A walk over a dict that others change meanwhile needs a copy of its keys. It is part of where the walk has got
to, so that nothing is left of a walk that nobody goes on with.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, MutableMapping
from itertools import islice
from typing import Any, Final, NamedTuple, cast

from flowstore.backends.memory.indexes import Index, Listings, belongs
from flowstore.engine import OWNED, Audited, AuditedRecord, Entry, Flaw, FlawKind, Item, Section

TIMELINE: Final = "timeline"
EXPIRIES: Final = "expiries"


class Parts(NamedTuple):
    """Those of an engine that have to agree."""

    entries: Mapping[str, Entry]
    listings: Listings
    histories: MutableMapping[str, dict[str, Item]]
    timeline: Index[tuple[int, str, str]]
    items: MutableMapping[tuple[str, Section], Any]
    expiries: Index[tuple[int, str]]


class _Step:
    """What one step looks at, and finds."""

    def __init__(self, parts: Parts, prefix: str, limit: int, repair: Collection[str]) -> None:
        self.parts = parts
        self.prefix = prefix
        self.limit = limit
        self.records: list[AuditedRecord] = []
        self.flaws: list[Flaw] = []
        self._repair = repair

    def found(
        self, kind: FlawKind, task_id: str, where: str, reason: str, mend: Callable[[], object]
    ) -> None:
        is_repaired = task_id in self._repair
        if is_repaired:
            mend()
        self.flaws.append(Flaw(kind, task_id, where, reason, is_repaired))


def audit(parts: Parts, prefix: str, after: object, limit: int, repair: Collection[str]) -> Audited:
    phase, rest = cast("tuple[int, Any]", after or (0, None))
    step = _Step(parts, prefix, limit, repair)
    rest = _PHASES[phase](step, rest)
    if rest is None:
        phase += 1
    return Audited(tuple(step.records), tuple(step.flaws), (phase, rest) if phase < len(_PHASES) else None)


def _of_records(step: _Step, rest: tuple[list[str], int] | None) -> tuple[list[str], int] | None:
    ids, at = rest or (list(step.parts.entries), 0)
    for task_id in islice(ids, at, at + step.limit):
        entry = step.parts.entries.get(task_id)
        if entry is not None and task_id.startswith(step.prefix):
            _look_at_record(step, entry)
    at += step.limit
    return (ids, at) if at < len(ids) else None


def _look_at_record(step: _Step, entry: Entry) -> None:
    parts, task_id, status = step.parts, entry.id, entry.status
    sections = [section for section in OWNED if (task_id, section) in parts.items]
    history = parts.histories.get(task_id, {})
    step.records.append(AuditedRecord(task_id, (*([Section.HISTORY] if history else []), *sections)))
    for facet, place in parts.listings.missing(entry):
        where = f"listing {status} {facet!r}"
        _unlisted(step, task_id, where, lambda: parts.listings.put(status, facet, place))  # noqa: B023
    for key, item in history.items():
        if (item.at, key, task_id) not in parts.timeline:
            moment = (item.at, key, task_id)
            _unlisted(step, task_id, TIMELINE, lambda: parts.timeline.add(moment))  # noqa: B023
    if entry.expires_at is not None and (due := (entry.expires_at, task_id)) not in parts.expiries:
        _unlisted(step, task_id, EXPIRIES, lambda: parts.expiries.add(due))


def _unlisted(step: _Step, task_id: str, where: str, mend: Callable[[], object]) -> None:
    step.found(FlawKind.UNLISTED, task_id, where, "it does not list the record", mend)


def _of_listings(
    step: _Step, rest: tuple[list[tuple[str, str]], Any] | None
) -> tuple[list[tuple[str, str]], Any] | None:
    """Listing by listing; the last name is the one that the walk is in, and ``after`` its last place."""
    parts = step.parts
    names, after = rest or (parts.listings.names(), None)
    names, left = list(names), step.limit
    while names and left > 0:
        status, facet = names[-1]
        places = list(islice(parts.listings.walk(status, facet, after), left))
        for place in places:
            _look_at_place(step, status, facet, place)
        after = places[-1] if len(places) == left else None
        left -= len(places) + 1
        if after is None:
            names.pop()
    return (names, after) if names else None


def _look_at_place(step: _Step, status: str, facet: str, place: tuple[int, str]) -> None:
    task_id, listings = place[1], step.parts.listings
    if not task_id.startswith(step.prefix):
        return
    entry = step.parts.entries.get(task_id)
    if entry is None or not belongs(entry, status, facet, place):
        where = f"listing {status} {facet!r}"
        _wrongly_listed(step, task_id, entry, where, lambda: listings.take(status, facet, place))


def _wrongly_listed(
    step: _Step, task_id: str, record: object, where: str, mend: Callable[[], object]
) -> None:
    if record is None:
        step.found(FlawKind.DANGLING, task_id, where, "it lists a record that is not there", mend)
    else:
        step.found(FlawKind.MISPLACED, task_id, where, "it lists the record where it does not belong", mend)


def _of_timeline(step: _Step, after: Any) -> Any:
    def look(moment: tuple[int, str, str]) -> None:
        at, key, owner = moment
        item = step.parts.histories.get(owner, {}).get(key)
        record = step.parts.entries.get(owner)
        if record is None or item is None or item.at != at:
            _wrongly_listed(step, owner, record, TIMELINE, lambda: step.parts.timeline.remove(moment))

    return _walk(step, step.parts.timeline, after, 2, look)


def _of_expiries(step: _Step, after: Any) -> Any:
    def look(due: tuple[int, str]) -> None:
        entry = step.parts.entries.get(due[1])
        if entry is None or entry.expires_at != due[0]:
            _wrongly_listed(step, due[1], entry, EXPIRIES, lambda: step.parts.expiries.remove(due))

    return _walk(step, step.parts.expiries, after, 1, look)


def _walk(step: _Step, index: Index[Any], after: Any, id_at: int, look: Callable[[Any], None]) -> Any:
    """Look at some keys of an index; the last of them, None at its end."""
    keys = list(islice(index.between(after, None), step.limit))
    for key in keys:
        if key[id_at].startswith(step.prefix):
            look(key)
    return keys[-1] if len(keys) == step.limit else None


def _of_items(step: _Step, rest: tuple[list[Any], int] | None) -> tuple[list[Any], int] | None:
    parts = step.parts
    keys, at = rest or ([*parts.items, *((owner, Section.HISTORY) for owner in parts.histories)], 0)
    for owner, section in islice(keys, at, at + step.limit):
        if owner and owner.startswith(step.prefix) and owner not in parts.entries:
            _look_at_orphans(step, owner, section)
    at += step.limit
    return (keys, at) if at < len(keys) else None


def _look_at_orphans(step: _Step, owner: str, section: Section) -> None:
    parts = step.parts
    kept: MutableMapping[Any, Any] = parts.histories if section is Section.HISTORY else parts.items
    key = owner if section is Section.HISTORY else (owner, section)
    if kept.get(key):
        reason = "there is no record that they belong to"
        step.found(FlawKind.ORPHANED, owner, str(section), reason, lambda: kept.pop(key))


_PHASES: Final[tuple[Callable[[_Step, Any], Any], ...]] = (
    _of_records,
    _of_listings,
    _of_timeline,
    _of_expiries,
    _of_items,
)
