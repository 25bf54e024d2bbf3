"""Results in Redis or Valkey, shared by any number of machines."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Collection, Sequence
from typing import Final, TypeVar

from redis.exceptions import RedisError

from flowstore.backends.redis import format as stored
from flowstore.backends.redis.audit import Auditing
from flowstore.backends.redis.calls import Calls
from flowstore.backends.redis.client import storage_error
from flowstore.backends.redis.commits import outcome_of, packed
from flowstore.backends.redis.counting import counted
from flowstore.backends.redis.expiries import change, expiry_of, guard, renewal
from flowstore.backends.redis.facts import facts
from flowstore.backends.redis.format import PER_CALL, entry_of, history_of
from flowstore.backends.redis.items import item_of, put_arguments, put_outcome, ranges
from flowstore.backends.redis.link import Ear, Link
from flowstore.backends.redis.listing import Listing
from flowstore.backends.redis.namespaces import Namespace, pattern_of
from flowstore.backends.redis.orphans import with_the_loop
from flowstore.backends.redis.replication import Replicas
from flowstore.backends.redis.statistics import days_over, groups, series, tallies, totals
from flowstore.engine import (
    ANY_STAGE,
    FINAL,
    GROUP_KEPT,
    SWEPT_PER_WRITE,
    Asked,
    Audited,
    Cell,
    Counted,
    Engine,
    Entry,
    Expiry,
    Group,
    Hints,
    Item,
    Listed,
    Outcome,
    Purged,
    Put,
    Query,
    Report,
    Section,
    Span,
    Standing,
    StorageFacts,
    Tallied,
    Write,
)
from flowstore.errors import CorruptRecord

T = TypeVar("T")

_REMOVED_PER_CALL: Final = 1_000
_MENDED_PER_CALL: Final = 250
_FACETS_PER_CALL: Final = 1_000


class RedisEngine(Engine):
    """One namespace of a database, under one hash tag. A verb is one script call, or a few for long lists."""

    counts_writes = True

    def __init__(
        self,
        link: Link,
        namespace: Namespace,
        timeout: float,
        recheck_interval: float,
        *,
        read_only: bool = False,
        replicas: Replicas | None = None,
    ) -> None:
        self._namespace = namespace
        self._is_read_only = read_only
        self._prefix = namespace.prefix
        # Registrations expire, so that a process that died leaves none behind. They outlast the recheck that
        # renews them, even if one is missed.
        self._registered_ms = round(max(60.0, 3 * recheck_interval) * 1_000)
        self._link = link
        self.place = link.place
        self._inbox: str
        self._ear: Ear | None = None
        self._ending: AsyncGenerator[None, None]
        self.calls = Calls(link, self._prefix, timeout, replicas)

    async def open(self, hints: Hints) -> None:
        self._link.open()
        self._inbox = f"{self._prefix}inbox:{secrets.token_hex(8)}"
        self._ear = self._link.ear(self._inbox, hints)
        calls = self.calls
        self._ending = with_the_loop(calls.close)
        await anext(self._ending)
        try:
            calls.refusal = await self._namespace.enter(calls, read_only=self._is_read_only)
        except BaseException:
            if calls is self.calls:  # else this open died with its loop, and another one may be under way
                await self._ending.aclose()
            raise

    async def _found(self, calls: Calls) -> None:
        calls.refusal = await self._namespace.open(calls, read_only=self._is_read_only)

    async def close(self) -> None:
        assert self._ear is not None
        await self._ear.close()
        await self._ending.aclose()

    def abandon(self) -> None:
        with self._link.abandoned():
            self.calls = self.calls.abandoned()
            if self._ear is not None:
                self._ear.abandon()  # only now, as it gives its connection back

    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        if not self._namespace.is_founded:
            await self._found(self.calls)
        outcomes: list[Outcome] = []
        for count, arguments in packed(writes, now):
            replies = await self.calls.write("commit", now, SWEPT_PER_WRITE * count, *arguments)
            outcomes += map(outcome_of, replies)
        return outcomes

    async def read(
        self, ids: Sequence[str], *, with_body: bool = True, max_body: int | None = None
    ) -> list[Entry | None]:
        entries: list[Entry | None] = []
        for step in _steps(ids):
            values = await self.calls.records(step, with_body=with_body, max_body=max_body)
            entries += [
                entry_of(one, value, with_body=with_body) for one, value in zip(step, values, strict=True)
            ]
        return entries

    async def watch(self, ids: Sequence[str], until: int) -> list[Entry | None]:
        if self.calls.refusal is not None:  # nobody may be registered there: the re-check has to do
            return await self.read(ids)
        # Subscribed first, registered second: a message to an inbox that nobody reads is lost.
        assert self._ear is not None
        try:
            await self._ear.ready()
        except RedisError as error:
            raise storage_error(error, self._prefix) from error
        entries: list[Entry | None] = []
        for step in _steps(ids):
            values = await self.calls.read("watch", self._inbox, self._registered_ms, *step)
            entries += [_watched(one, value) for one, value in zip(step, values, strict=True)]
        return entries

    async def scan(self, query: Query, now: int) -> list[Entry]:
        return await Listing(self.calls, query, now).entries()

    async def places(self, query: Query, now: int) -> list[Listed]:
        if query.is_filtered:
            return await super().places(query, now)
        return await Listing(self.calls, query, now).places()

    async def at_places(self, query: Query, places: Sequence[Listed], now: int) -> list[Entry | None]:
        if query.is_filtered:
            return await super().at_places(query, places, now)
        return await Listing(self.calls, query, now).at_places(places)

    async def count(self, queries: Sequence[Query]) -> list[Counted]:
        return await counted(self.calls, queries)

    async def facets(self, prefix: str, limit: int | None = None, after: str | None = None) -> list[str]:
        found: list[str] = []
        start = prefix.encode()
        low, high = b"[" + start, b"(" + start + b"\xff" if start else b"+"
        if after is not None and after >= prefix:
            low = b"(" + after.encode()
        while low != b"(" and (limit is None or len(found) < limit):
            most = _FACETS_PER_CALL if limit is None else min(_FACETS_PER_CALL, limit - len(found))
            last, facets = await self.calls.read("facets", low, high, most)
            found += [facet.decode(errors="replace") for facet in facets]
            low = b"(" + last
        return found

    async def remove(
        self, ids: Sequence[str], now: int, standing: Sequence[Standing] | None = None
    ) -> list[bool]:
        removed: list[bool] = []
        guards = [b""] * len(ids) if standing is None else list(map(guard, standing))
        for step in _steps(list(zip(ids, guards, strict=True))):
            flat = [part for pair in step for part in pair]
            removed += map(bool, await self.calls.write("remove", now, *flat))
        return removed

    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        most, kind = min(limit, _REMOVED_PER_CALL), "1" if everything else ""
        reply = await self.calls.write("purge", now, most, kind, now - GROUP_KEPT, *days_over(now))
        live, expired, is_done, has_ghosts = reply
        if is_done and has_ghosts:
            is_done = await self.calls.write("mend", now, _MENDED_PER_CALL, f"{pattern_of(self._prefix)}i:*")
        return Purged(live, expired, bool(is_done))

    async def confirm(self) -> None:
        await self.calls.confirm()

    async def report(self, reports: Sequence[Report], now: int) -> list[bool]:
        applied: list[bool] = []
        for step in _steps(reports):
            flat = [
                part
                for report in step
                for part in (
                    report.id,
                    *(report.stages or (0, ANY_STAGE)),
                    report.progress,
                    *renewal(report, now),
                )
            ]
            applied += map(bool, await self.calls.write("report", now, *flat))
        return applied

    async def expire(self, expiries: Sequence[Expiry], now: int) -> list[bool]:
        changed: list[bool] = []
        for step in _steps(expiries):
            flat = [part for expiry in step for part in (expiry.id, *change(expiry, now))]
            changed += map(bool, await self.calls.write("expire", now, *flat))
        return changed

    async def put(self, puts: Sequence[Put], now: int) -> list[Outcome]:
        if not self._namespace.is_founded:
            await self._found(self.calls)
        outcomes: list[Outcome] = []
        for step in _steps(puts):
            flat = [part for put in step for part in put_arguments(put)]
            outcomes += map(put_outcome, await self.calls.write("put", now, stored.stored(now), *flat))
        return outcomes

    async def items(self, asked: Sequence[Asked], now: int) -> list[list[Item]]:
        found: list[list[Item]] = [[] for _ in asked]
        places = [place for place, one in enumerate(asked) if one.section is not Section.HISTORY]
        for step in _steps(places):
            flat = [part for place in step for part in _asked(asked[place])]
            replies = await self.calls.read("items", stored.after(now), *flat)
            for place, reply in zip(step, replies, strict=True):
                found[place] = _items(asked[place], reply)
        for step in _steps([place for place, one in enumerate(asked) if one.section is Section.HISTORY]):
            histories = await self.calls.read("heads", "history", *(asked[place].owner for place in step))
            for place, history in zip(step, histories, strict=True):
                expires = expiry_of(history) if history else None
                if history and (expires is None or expires > now):
                    found[place] = _chosen(history_of(asked[place].owner, history), asked[place])
        return found

    async def timeline(self, span: Span, now: int) -> list[Item]:
        items: list[Item] = []
        low, high = stored.span_bounds(span)
        way = "" if span.newest_first else "1"
        while len(items) < span.limit:
            most = min(PER_CALL, span.limit - len(items))
            [entries] = await self.calls.read("ranges", most, way, low, high, "t")
            items += await self._transitions(entries)
            if len(entries) < most:
                break
            low, high = (low, b"(" + entries[-1]) if span.newest_first else (b"(" + entries[-1], high)
        return items

    async def _transitions(self, entries: Sequence[bytes]) -> list[Item]:
        """The items of entries of the timeline. Those of records that are gone are dropped."""
        places = [stored.logged_at(entry) for entry in entries]
        owners: dict[str, list[int]] = {}
        for place in places:
            if place is not None:
                owners.setdefault(place[0], []).append(int(place[1]))
        if not owners:
            return []
        found = await self.calls.read("moves", *ranges(owners))
        known = {
            (item.owner, item.key, item.at): item
            for owner, history in zip(owners, found, strict=True)
            for item in history_of(owner, history)
        }
        gone = {owner for owner, history in zip(owners, found, strict=True) if not history}
        ghosts: list[str | bytes] = []
        for entry, place in zip(entries, places, strict=True):
            if place is not None and place[0] in gone:
                ghosts += ("t", entry, place[0])
        if ghosts and self.calls.refusal is None:
            await self.calls.read("forget", "1", *ghosts)
        return [known[place] for place in places if place in known]

    async def audit(self, prefix: str, after: object, limit: int, *, repair: Collection[str] = ()) -> Audited:
        if repair:
            self.calls.check_writable()
        return await Auditing(self.calls, self._prefix, prefix, limit, repair).step(after)

    async def series(self, prefix: str) -> list[str]:
        return await series(self.calls, prefix)

    async def tallies(self, asked: Sequence[Tallied]) -> list[list[Cell]]:
        return await tallies(self.calls, asked)

    async def totals(self, series: Sequence[str], now: int) -> list[dict[str, int]]:
        return await totals(self.calls, series, now)

    async def groups(self, ids: Sequence[str] | None = None) -> list[Group]:
        return await groups(self.calls, ids)

    async def facts(self) -> StorageFacts:
        return await facts(self.calls)

    async def namespaces(self) -> list[str]:
        return await self._namespace.all_of_them(self.calls)

    async def drop_namespace(self, limit: int, now: int) -> bool:
        done = await self.calls.write("drop", now)
        if done == 1:
            await self._namespace.leave(self.calls)
        return bool(done != 2)


def _watched(task_id: str, value: bytes | None) -> Entry | None:
    entry = entry_of(task_id, value)
    is_whole = entry is None or entry.status in FINAL or not entry.status
    return entry if is_whole or entry is None else entry._replace(body=None)


def _asked(one: Asked) -> tuple[str | int, ...]:
    """The arguments of items.lua for one owner."""
    last = "" if one.last is None else one.last
    if one.keys is None:
        return one.section, one.owner, last, ""
    return one.section, one.owner, "", len(one.keys), *one.keys


def _items(one: Asked, reply: Sequence[bytes]) -> list[Item]:
    pairs = zip(reply[::2], reply[1::2], strict=True)
    try:
        return _chosen([item_of(one.section, one.owner, key, value) for key, value in pairs], one)
    except ValueError as error:
        raise CorruptRecord(one.owner, str(error)) from error


def _chosen(items: list[Item], one: Asked) -> list[Item]:
    if one.keys is not None:
        items = [item for item in items if item.key in set(one.keys)]
    items = sorted({item.key: item for item in items}.values(), key=lambda item: item.key)
    return items if one.last is None else items[max(0, len(items) - one.last) :]


def _steps(items: Sequence[T]) -> list[Sequence[T]]:
    return [items[start : start + PER_CALL] for start in range(0, len(items), PER_CALL)]
