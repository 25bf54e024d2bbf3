"""What is asked of all shards is answered as by one engine with the same records."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import count, islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstore._trips import sharded_counts
from flowstore.backends.memory.engine import MemoryEngine
from flowstore.engine import (
    NO_LIMIT,
    STATUSES,
    Counted,
    Engine,
    Entry,
    Item,
    Listed,
    Logged,
    Position,
    Query,
    Span,
    Write,
    sort_key,
)
from flowstore.testing.faults import EngineFaults
from flowstore.testing.samples import NOW, SECOND, KeptHints, sample_write
from flowstore.testing.support import EFFORT
from tests.support.sharded import place_among, sharded

TIMES = [None, *(NOW + n * SECOND for n in range(4))]
"""Few, so that ids decide."""

examples = settings(max_examples=25 * EFFORT)
times = st.sampled_from(TIMES)
statuses = st.sampled_from(STATUSES)


@st.composite
def writes(draw: st.DrawFn) -> list[Write]:
    """Of records in all statuses, by several facets and times, of which some expire, or are replaced."""
    return [
        sample_write(
            f"t{draw(st.integers(0, 40))}",
            draw(statuses),
            ceiling=9,
            logged=Logged(b"{}", n),
            submitted_at=draw(times),
            finished_at=draw(times),
            updated_at=NOW + draw(st.integers(0, 3)),
            expires_at=draw(st.sampled_from([None, None, NOW + 5, NOW + 50])),
            fixed=draw(st.sampled_from([(), ("f",)])),
            facets=draw(st.sampled_from([("~", "x"), ("~", "y"), ("~", "x", "z"), ("~", "y", "z")])),
        )
        for n in range(draw(st.integers(0, 50)))
    ]


bounds = st.sampled_from([sort_key(at) + add for at in TIMES[1:] for add in (-1, 0, 1)])
positions = st.builds(Position, st.sampled_from([*map(sort_key, TIMES)]), st.sampled_from(["t", "t3", "t9"]))

queries = st.builds(
    Query,
    statuses=st.one_of(st.just(STATUSES), st.lists(statuses, min_size=1, max_size=3, unique=True).map(tuple)),
    limit=st.one_of(st.integers(1, 12), st.just(200)),
    groups=st.sampled_from([(), (("x",),), (("x", "y"),), (("~",),), (("x",), ("z",)), (("z",), ("f", "x"))]),
    after=st.none() | positions,
    within=st.none() | st.tuples(bounds, bounds).map(lambda pair: (min(pair), max(pair))),
    newest_first=st.booleans(),
    with_body=st.booleans(),
    has_fixed=st.sampled_from([None, None, True, False]),
)


async def filled(written: list[Write], *engines: Engine) -> None:
    for engine in engines:
        await engine.open(KeptHints())
        for write in written:
            await engine.write([write], NOW)


def shards(count: int = 5) -> Engine:
    return sharded(*(MemoryEngine() for _ in range(count)))


@examples
@given(written=writes(), asked=st.lists(queries, min_size=1, max_size=6), later=st.sampled_from([0, 10]))
def test_listings_and_counts(written: list[Write], asked: list[Query], later: int) -> None:
    """In any order, bounds and limits, ties and all; walked from page to page as well."""

    async def compare() -> None:
        one, many = MemoryEngine(), shards()
        await filled(written, one, many)
        now = NOW + later
        for query in asked:
            assert await many.scan(query, now) == await one.scan(query, now)
            assert await walked(many, query, now) == await walked(one, query, now)
        counted = [replace(query, limit=limit) for query in asked for limit in (query.limit, NO_LIMIT)]
        assert list(map(whole, await many.count(counted))) == list(map(whole, await one.count(counted)))

    asyncio.run(compare())


async def walked(engine: Engine, query: Query, now: int) -> list[str]:
    ids = []
    while page := await engine.scan(query, now):
        ids += [entry.id for entry in page]
        query = replace(query, after=page[-1].position_in(query.first[0]))
    return ids


def whole(counted: Counted) -> Counted:
    return counted._replace(counts={status: number for status, number in counted.counts.items() if number})


@examples
@given(
    written=writes(),
    limit=st.integers(1, 30),
    ends=st.tuples(st.integers(NOW - 1, NOW + 4), st.integers(NOW - 1, NOW + 4)),
    newest_first=st.booleans(),
)
def test_the_timeline(written: list[Write], limit: int, ends: tuple[int, int], newest_first: bool) -> None:
    """In steps of any size, in both directions, with many of one time."""

    async def compare() -> None:
        one, many = MemoryEngine(), shards()
        await filled(written, one, many)
        span = Span(limit, *ends, newest_first=newest_first)
        assert await steps(many, span) == await steps(one, span)

    asyncio.run(compare())


async def steps(engine: Engine, span: Span) -> list[list[Item]]:
    found: list[list[Item]] = []
    while step := await engine.timeline(span, NOW):
        found.append(step)
        span = replace(span, after=step[-1])
    return found


@examples
@given(written=writes(), asked=st.lists(queries, min_size=1, max_size=4))
def test_counts_that_are_cut(written: list[Write], asked: list[Query]) -> None:
    """As far as they can be added up they are, and only the rest is looked at one by one."""

    async def compare() -> None:
        one, many = MemoryEngine(), shards()
        await filled(written, one, many)
        assert list(map(whole, await many.count(asked))) == list(map(whole, await one.count(asked)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharded_counts, "WALKED", 2)
        asyncio.run(compare())


class Ghosts(MemoryEngine):
    """Its listings have entries of records that are gone, before, between and behind the others."""

    async def places(self, query: Query, now: int) -> list[Listed]:
        real = await super().places(replace(query, limit=1_000), now)
        sorts = [sort_key(at) + add for at in TIMES for add in (-1, 0)]
        gone = [Listed(Position(sort, f"t{n}gone"), "failed") for sort in sorts for n in range(3)]
        listed = sorted({*real, *(one for one in gone if place_is_in(query, one.position))})
        return (listed if query.newest_first else listed[::-1])[: query.limit]

    async def at_places(self, query: Query, places: Sequence[Listed], now: int) -> list[Entry | None]:
        entries = await self.read([place.position.id for place in places])
        return [
            entry if entry and query.holds(entry, place.position, now) else None
            for entry, place in zip(entries, places, strict=True)
        ]


def place_is_in(query: Query, place: Position) -> bool:
    is_within = query.within is None or query.within[0] <= place.sort <= query.within[1]
    if query.after is None:
        return is_within
    return is_within and (place > query.after if query.newest_first else place < query.after)


@examples
@given(written=writes(), asked=st.lists(queries, min_size=1, max_size=4), later=st.sampled_from([0, 10]))
def test_what_is_gone_when_it_is_read(written: list[Write], asked: list[Query], later: int) -> None:
    """Others take its place in the page, which is as full as it can be."""

    async def compare() -> None:
        one, many = MemoryEngine(), sharded(*(Ghosts() for _ in range(3)))
        await filled(written, one, many)
        for query in asked:
            query = replace(query, with_body=True)
            assert await many.scan(query, NOW + later) == await one.scan(query, NOW + later)
            assert await walked(many, query, NOW + later) == await walked(one, query, NOW + later)

    asyncio.run(compare())


async def counted_calls(shards: int, spread: Sequence[str]) -> tuple[Engine, list[EngineFaults]]:
    engines = [EngineFaults(MemoryEngine()) for _ in range(shards)]
    many = sharded(*engines)
    await filled(
        [sample_write(task_id, facets=("x",), submitted_at=NOW + n) for n, task_id in enumerate(spread)], many
    )
    for engine in engines:
        engine.calls.clear()
    return many, engines


async def test_the_calls_of_a_page() -> None:
    """One for the places in each shard, and then one for the records in each that has some of them."""
    many, engines = await counted_calls(16, [f"t{n}" for n in range(2_000)])
    page = await many.scan(Query(STATUSES, 50), NOW)
    owners = {place_among(16, entry.id) for entry in page}
    assert len(page) == 50
    for number, engine in enumerate(engines):
        assert dict(engine.calls) == {"places": 1} | ({"at_places": 1} if number in owners else {})


async def test_the_calls_of_a_page_that_is_all_in_one_shard() -> None:
    """The others have nothing, which takes one more trip to that one, however long the page is."""
    in_first = [task_id for n in range(9_000) if not place_among(16, task_id := f"t{n}")]
    many, engines = await counted_calls(16, in_first)
    assert len(await many.scan(Query(STATUSES, 400), NOW)) == 400
    assert dict(engines[0].calls) == {"places": 2, "at_places": 1}
    assert all(dict(engine.calls) == {"places": 1} for engine in engines[1:])


async def test_the_calls_of_a_count() -> None:
    """One in each shard if nothing has to be cut, whatever is tested on the way."""
    many, engines = await counted_calls(16, [f"t{n}" for n in range(500)])
    queries = [
        Query(STATUSES, limit, groups) for limit in (600, NO_LIMIT) for groups in ((), (("x",), ("y",)))
    ]
    assert [found.total for found in await many.count(queries)] == [500, 0, 500, 0]
    assert [dict(engine.calls) for engine in engines] == [{"count": 1}] * 16


@pytest.mark.parametrize("filled_shards", [1, 16])
async def test_the_calls_of_a_count_that_is_cut(filled_shards: int) -> None:
    """A few in each shard, be they evenly filled or all in one of them."""
    ids = map("t{}".format, count())
    spread = [*islice((task_id for task_id in ids if place_among(16, task_id) < filled_shards), 4_000)]
    many, engines = await counted_calls(16, spread)
    [found] = await many.count([Query(STATUSES, 3_500)])
    assert found.total == 3_500
    assert max(engine.calls.total() for engine in engines) <= 10


async def test_lone_calls_go_to_one_shard() -> None:
    """A write, a read and whatever else is about one id."""
    many, engines = await counted_calls(16, [])
    for n in range(20):
        await many.write([sample_write(f"t{n}")], NOW)
        await many.read([f"t{n}"])
        await many.watch([f"t{n}"], NOW)
        await many.remove([f"t{n}"], NOW)
        engine = engines[place_among(16, f"t{n}")]
        assert dict(engine.calls) == {"write": 1, "read": 1, "watch": 1, "remove": 1}
        engine.calls.clear()
        assert not any(engine.calls for engine in engines)
