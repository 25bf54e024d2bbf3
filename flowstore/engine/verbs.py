"""The interface of a storage: a few verbs over lists of plain data.

The rules of flowstore live in the layers above and reach a storage as data. An engine stores and compares,
and never interprets; it reads no clock: times come from the caller, as int microseconds since the Unix epoch.

**From an engine to a backend.** ``BaseResultBackend(engine, **options)`` is a backend. ``SharedTrips``
around the engine puts concurrent calls together and gives each a deadline: of the writing verbs (write,
remove, report, expire, put) it makes one call at a time, or one per lane, with all items of an id in one
lane, though not with the owner of a write; ``read``, ``count`` and ``items`` have a lane each; watch, scan,
facets, timeline, purge, vacuum, namespaces, drop_namespace, audit and facts are called as they come. At most
500 items travel in a call. Any call may be cancelled: a write that has begun may then be applied or not, but
never by half, and what it has locked or borrowed is given back. ``open`` comes first and ``close`` last;
both once, with no other verb in flight. A failed ``open`` may be repeated. If the event loop is closed
before the engine is, ``abandon`` takes the place of ``close``, and ``open`` may follow in another.

**Text.** Ids, keys, owners and facets are any text without lone surrogates, of 1 to about 600 UTF-8 bytes,
NUL included, and have no meaning: ``*``, ``/`` and ``%`` are characters. Order is by code point.

**Twice in one call.** Items are carried out in order, each on what the one before has left: the second of two
writes of an id is judged by the first, the second removal finds nothing. A read answers each place.

**Expired records** are as absent for every rule, and never in a listing, although ``read`` and ``watch`` may
return them; the caller looks. They may be counted, and be in the timeline, until they are removed.

**Errors.** A bad item fails its own call, before anything is written. What happened, and which error it is:

| what happened | error (flowstore.errors), the driver's as its cause |
|---|---|
| cannot connect, connection lost, the server is starting or has no leader | StorageUnavailable |
| no answer in time; a lock that was not granted | StorageTimeout |
| no room: disk, quota, memory limit | StorageFull |
| no permission: files, ACL, password, read-only | AccessDenied |
| what is stored cannot be understood, as a whole | CorruptStore |
| one record of it | none: an Entry of status "", Verdict.UNREADABLE |
| one item of it | CorruptRecord from ``items``; the timeline passes over it |
| the store is of a newer format | SchemaTooNew, from every write |
| the file is gone, or another one | StoreReplaced |
| a conflict of transactions (deadlock, serialization) | none: the engine tries again until its time is up |
| anything else | StorageError |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import replace
from typing import Final, cast

from flowstore.engine.audits import Audited, AuditedRecord
from flowstore.engine.facts import StorageFacts
from flowstore.engine.hints import Hints
from flowstore.engine.items import NAMESPACE, OF_NAMESPACE, Asked, Expiry, Item, Put, Report, Span
from flowstore.engine.rows import (
    STATUSES,
    Counted,
    Entry,
    Listed,
    Outcome,
    Position,
    Purged,
    Query,
    Standing,
    Write,
    every,
)
from flowstore.engine.tallies import Cell, Group, Tallied
from flowstore.observing import NOWHERE, Place

_STEP: Final = 1_000

TellBatch = Callable[[str, int, int, float, BaseException | None], None]
"""Takes fields of a BatchEnded: the verb, items, queued, seconds and error."""


class Engine(ABC):
    """The storage of one namespace. Lists in, lists of the same length and order out; atomic per item."""

    @abstractmethod
    async def open(self, hints: Hints) -> None:
        """Connect and prepare the storage. A failed open leaves nothing behind and may be retried."""

    @abstractmethod
    async def close(self) -> None:
        """Release everything this engine has made, and nothing else."""

    def abandon(self) -> None:  # noqa: B027  # most of what an engine has belongs to no loop
        """Let go of all that belongs to the event loop of ``open``, which is closed; what is stored stays.

        It is called from another loop, where ``open`` may follow at once. Nothing of the old one can be
        awaited, and the calls that were in flight there never end: locks that they hold, connections that
        they have borrowed and tasks of this engine (``let_go``) have to be dropped and made anew. It does not
        block, raises nothing, and may come in the midst of ``open`` or ``close``. The default does nothing,
        and is enough for an engine that holds neither connections nor tasks nor locks of asyncio.
        """

    def part_of(self, task_id: str) -> int:
        """Which part of the storage has the id, or ANY_ID, where the parts may be away one by one.

        Waits look at each part by itself, so that one that does not answer delays no others.
        """
        return 0

    async def room(self) -> None:  # noqa: B027  # writes that never queue always have room
        """Return when one more write may be encoded: the backpressure of a storage that falls behind."""

    @abstractmethod
    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        """Carry out each write, then tell its watchers, and remove a few expired records along the way."""

    @abstractmethod
    async def read(
        self, ids: Sequence[str], *, with_body: bool = True, max_body: int | None = None
    ) -> list[Entry | None]:
        """The stored records, including expired ones; None where there is none.

        ``with_body`` False leaves ``Entry.body`` None. ``max_body``: of a body of more bytes than that, the
        first ``max_body`` are read, and ``Entry.body_size`` says how many there are; None: all are whole.
        Nothing that is left out is paid for.
        """

    @abstractmethod
    async def watch(self, ids: Sequence[str], until: int) -> list[Entry | None]:
        """Report changes of ``ids`` from now on, and ``read`` them.

        No change is lost between the registration and the read. The body may be left out (None) while the
        record is not finished; one that is finished and never expires need not be registered, as nobody waits
        for it any more. There is no unwatch: an id may be forgotten with the hint of its removal or of
        a final status, or at ``until``, long before which the caller watches it again if it still cares.
        """

    @abstractmethod
    async def scan(self, query: Query, now: int) -> list[Entry]:
        """The live records of a range, in order; fewer than ``limit`` only at the end of the listing."""

    async def places(self, query: Query, now: int) -> list[Listed]:
        """Where the records are that ``scan`` would return, for who merges listings before it reads.

        Some of them may turn out not to belong there, of which ``at_places`` tells. Fewer than ``limit`` only
        at the end. The default looks at the records without their bodies.
        """
        entries = await self.scan(replace(query, with_body=False, max_body=None), now)
        return [Listed(entry.position_in(query.first[0]), entry.status, entry) for entry in entries]

    async def at_places(self, query: Query, places: Sequence[Listed], now: int) -> list[Entry | None]:
        """The records at some of these places, as ``scan`` would return them; None for those gone since."""
        if not query.with_body:
            return [cast("Entry", place.mark) for place in places]
        ids = [place.position.id for place in places]
        entries = await self.read(ids, max_body=query.max_body) if ids else []
        return [
            entry if entry is not None and query.holds(entry, place.position, now) else None
            for entry, place in zip(entries, places, strict=True)
        ]

    async def count(self, queries: Sequence[Query]) -> list[Counted]:
        """How many records of each query there are, without looking into any.

        It goes through the first group of facets, newest first whatever the query says of the order. It looks
        at ``limit`` records at most, whether they pass the other tests or not; NO_LIMIT: at all of them, and
        then what ``is_everything`` should cost the same however many there are. The default goes through the
        listings.
        """
        return [await self.counted(query) for query in queries]

    async def facets(self, prefix: str, limit: int | None = None, after: str | None = None) -> list[str]:
        """The facets of all records that begin with ``prefix``, by code point; not the fixed ones.

        ``after``: only those behind it. ``limit``: the first so many; None: all. The default goes through the
        listing of all records.
        """
        everything = replace(every(), limit=_STEP)
        found = {facet async for entry in self._listed(everything) for facet in entry.facets}
        listed = sorted(facet for facet in found if facet.startswith(prefix) and facet > (after or ""))
        return listed if limit is None else listed[:limit]

    async def counted(self, query: Query) -> Counted:
        """``count`` by a walk through the listing, whatever it costs."""
        walked = replace(query, groups=query.groups[:1], has_fixed=None, newest_first=True)
        walked = replace(walked, limit=min(query.limit, _STEP), with_body=False, max_body=None)
        counts, last, looked_at = Counter[str](), None, 0
        async for entry in self._listed(walked):
            if looked_at == query.limit:
                return Counted(dict(counts), last)
            counts[entry.status] += query.admits(entry)
            last, looked_at = entry.position_in(query.first[0]), looked_at + 1
        return Counted(dict(counts))

    async def _listed(self, query: Query) -> AsyncIterator[Entry]:
        """All records of the query, without bodies, in steps of ``limit``."""
        while True:
            entries = await self.scan(query, 0)  # at that time nothing had expired yet
            for entry in entries:
                yield entry
            if len(entries) < query.limit:
                return
            query = replace(query, after=entries[-1].position_in(query.first[0]))

    @abstractmethod
    async def remove(
        self, ids: Sequence[str], now: int, standing: Sequence[Standing] | None = None
    ) -> list[bool]:
        """Delete records and their items; True where a live one was deleted.

        ``standing``, one for each id: only a live record of that version and check is deleted, and any other
        is left alone. None: whatever there is.
        """

    @abstractmethod
    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        """Remove at most ``limit`` expired records, or with ``everything`` records of any kind.

        Their items go with them; those of NAMESPACE stay.
        """

    async def vacuum(self, *, full: bool = False) -> int:
        """Give room that nothing uses any more back to the system; how many bytes that were.

        One bounded step, 0 once there is nothing left to do; with ``full`` all at once, without a deadline,
        whoever has to wait. The default is for storages that free what is removed by themselves.
        """
        return 0

    async def confirm(self) -> None:  # noqa: B027  # most storages answer once a write is as safe as it gets
        """Return once what was written before is as safe as the answer to a write says.

        It is called where an answer was lost, before a read that shows whether the write was carried out: a
        storage whose answers wait for replicas must wait here for those of what is read next.
        """

    @abstractmethod
    async def report(self, reports: Sequence[Report], now: int) -> list[bool]:
        """Replace the progress of live, unfinished records, and tell their watchers.

        Nothing else is changed, but for the expiry of a record whose report says so.
        """

    @abstractmethod
    async def expire(self, expiries: Sequence[Expiry], now: int) -> list[bool]:
        """Change when live records expire, finished or not, and tell their watchers: as EXPIRED.

        False, and nothing is changed, where there is no such record of that version and check.
        """

    @abstractmethod
    async def put(self, puts: Sequence[Put], now: int) -> list[Outcome]:
        """Store or remove each item, at ``now``."""

    @abstractmethod
    async def items(self, asked: Sequence[Asked], now: int) -> list[list[Item]]:
        """The items asked for, in the order of their keys; none of a record that is expired or absent."""

    @abstractmethod
    async def timeline(self, span: Span, now: int) -> list[Item]:
        """The history of all records in a span; fewer than ``limit`` only at its end."""

    place: Place = NOWHERE
    """Where it is, for those who observe its calls."""

    def tell_batches(self, tell: TellBatch) -> frozenset[str]:
        """From now on, call ``tell`` after each trip of the verbs that are returned, made for several calls.

        It is for who makes such trips, as SharedTrips does. At most one call, before ``open``."""
        return frozenset()

    counts_writes: bool = False
    """Whether it counts the ``marks`` and ``noted`` of writes. One that does not is given none.

    One that does lets ``purge`` remove what is older than it is kept, but from the ``totals``, and
    ``drop_namespace`` all of it.
    """

    async def series(self, prefix: str) -> list[str]:
        """The series with this beginning that have counters, in any order; some may have none any more."""
        return []

    async def tallies(self, asked: Sequence[Tallied]) -> list[list[Cell]]:
        """The counters asked for, each list in the order of (at, bucket)."""
        return [[] for _ in asked]

    async def totals(self, series: Sequence[str], now: int) -> list[dict[str, int]]:
        """What each of these has counted since ever, by bucket; {} for one of a group.

        Exact at any moment, but what begins more than a day after ``now`` may be left out until then.
        """
        return [{} for _ in series]

    async def groups(self, ids: Sequence[str] | None = None) -> list[Group]:
        """The groups with these ids, as far as there are any, or all of them; in any order."""
        return []

    @abstractmethod
    async def namespaces(self) -> list[str]:
        """The namespaces that a writer has opened in this storage, including this one, in any order.

        Not those that were dropped, until they are written to or opened again.
        """

    async def drop_namespace(self, limit: int, now: int) -> bool:
        """Remove at most ``limit`` items of NAMESPACE, and with the last of them what else tells of it.

        False while some are left. It comes after ``purge`` has removed everything: records that were written
        since stay, and so does their namespace. This engine, and others that have the namespace open, can go
        on: for them it is empty. The default is for storages that keep nothing but records and items.
        """
        found = await self.items([Asked(section, NAMESPACE) for section in OF_NAMESPACE], now)
        puts = [
            Put(section, NAMESPACE, item.key, None)
            for section, items in zip(OF_NAMESPACE, found, strict=True)
            for item in items
        ]
        await self.put(puts[:limit], now)
        return len(puts) <= limit

    async def audit(self, prefix: str, after: object, limit: int, *, repair: Collection[str] = ()) -> Audited:
        """One bounded step over all that is stored of the records whose ids begin with ``prefix``.

        It tells which records it met, in any order and some perhaps twice, and where records, indexes, items
        and counts disagree. ``after``: None at first, then ``Audited.next``, which only means something to
        this engine while it is open. ``limit``: about how many records or entries of indexes to look at.
        ``repair``: the ids whose flaws are to be mended by what their records say, WHOLE_STORE among them for
        what is of no record; records themselves are never changed. A step may be repeated with other ids.

        Each record is compared with its entries at one moment, so that one that is written meanwhile is never
        reported. What is of no record, counts among it, is only looked at with the prefix "". Where part of
        the storage cannot be read, that is a flaw, and the step goes on behind it as far as it can. The
        default walks the listing of all records, and finds nothing.
        """
        query = Query(STATUSES, limit, after=cast("Position | None", after), with_body=False)
        entries = await self.scan(query, 0)
        found = tuple(AuditedRecord(entry.id) for entry in entries if entry.id.startswith(prefix))
        return Audited(found, (), entries[-1].position if len(entries) == limit else None)

    async def facts(self) -> StorageFacts:
        """What the storage says of itself, in a few trips and bounded work, however much is stored.

        What this user may not see is None, and no error. The default knows nothing but the class.
        """
        return StorageFacts(type(self).__name__)
