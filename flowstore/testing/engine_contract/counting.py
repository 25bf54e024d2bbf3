"""The contract of count and facets: what listings have, in numbers."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import replace
from typing import Any

from flowstore.engine import EVERYTHING, STATUSES, Counted, Engine, Entry, Query, Write, every
from flowstore.testing.engine_contract.base import EngineContractBase, expiring, store, stored
from flowstore.testing.engine_contract.listing import HOSTILE, at
from flowstore.testing.samples import NOW, sample_write

PENDING = ("pending",)


async def counts(engine: Engine, *groups: tuple[str, ...]) -> list[dict[str, int]]:
    """Without the statuses that have no record, which may be left out."""
    queries = [every() if group == EVERYTHING else every(group) for group in groups]
    return [{status: n for status, n in found.items() if n} for found, _ in await engine.count(queries)]


async def counted(engine: Engine, query: Query) -> Counted:
    """Without the statuses that have no record, which may be left out."""
    [found] = await engine.count([query])
    return found._replace(counts={status: n for status, n in found.counts.items() if n})


class CountingContract(EngineContractBase):
    async def test_count_by_status(self, engine: Engine) -> None:
        """All records, whatever their facets."""
        assert await counts(engine, EVERYTHING) == [{}]
        await store(engine, "a", "b", "c")
        await stored(engine, sample_write("b", "running", facets=("x",)), sample_write("d", "success"))
        assert await counts(engine, EVERYTHING) == [{"pending": 2, "running": 1, "success": 1}]

    async def test_count_by_group(self, engine: Engine) -> None:
        """Each group by itself, in order, one that is asked for twice as well; also fixed facets."""
        for n in range(12):
            status = "failed" if n % 4 == 0 else "pending"
            facets = ("xyz"[n % 3], "~e")
            await stored(engine, sample_write(f"t{n}", status, facets=facets, fixed=(f"f{n % 2}",)))
        assert await counts(engine, ("x",), ("x", "y"), EVERYTHING, ("f1",), ("~e",), ("no",), ("x",)) == [
            {"failed": 1, "pending": 3},
            {"failed": 2, "pending": 6},
            {"failed": 3, "pending": 9},
            {"pending": 6},
            {"failed": 3, "pending": 9},
            {},
            {"failed": 1, "pending": 3},
        ]

    async def test_counts_follow_writes_and_removals(self, engine: Engine) -> None:
        """A record is counted where it is listed now, and nowhere else."""
        await stored(engine, sample_write("t", facets=("x", "y")))
        await stored(engine, sample_write("t", "running", facets=("y",)))
        assert await counts(engine, EVERYTHING, ("x",), ("y",)) == [{"running": 1}, {}, {"running": 1}]
        await engine.remove(["t"], NOW)
        assert await counts(engine, EVERYTHING, ("x",), ("y",)) == [{}, {}, {}]

    async def test_count_after_a_purge(self, engine: Engine) -> None:
        """Expired records may be counted until they are removed, and not longer."""
        await stored(engine, expiring("a", NOW + 1, facets=("x",)), sample_write("b", facets=("x",)))
        await engine.purge(10, NOW + 1)
        assert await counts(engine, EVERYTHING, ("x",)) == [{"pending": 1}, {"pending": 1}]
        await engine.purge(10, NOW + 1, everything=True)
        assert await counts(engine, EVERYTHING, ("x",)) == [{}, {}]

    async def test_count_of_more_than_a_page(self, engine: Engine) -> None:
        """Exactly, whatever the steps in which they are counted."""
        for first in range(0, 2_000, 500):
            await stored(engine, *(sample_write(f"t{first + n}", facets=("x",)) for n in range(500)))
        assert await counts(engine, ("x",), EVERYTHING) == [{"pending": 2_000}, {"pending": 2_000}]

    async def test_count_by_facets_of_any_text(self, engine: Engine) -> None:
        """No character has a meaning."""
        for n, facet in enumerate(HOSTILE):
            await stored(engine, sample_write(f"t{n}", facets=(facet,)))
        assert await counts(engine, *((facet,) for facet in HOSTILE)) == [{"pending": 1}] * len(HOSTILE)


class CountingRangesContract(EngineContractBase):
    async def test_count_within_bounds(self, engine: Engine) -> None:
        """Of all records, of a facet, and of facets that list by the other time; both bounds are included."""
        for n in range(20):
            await stored(engine, ended(n))
        within = (-at(12), -at(5))
        assert (await counted(engine, replace(every(), within=within))).counts == {"failed": 4, "success": 4}
        assert (await counted(engine, replace(every(("x",)), within=within))).counts == {"failed": 4}
        assert (await counted(engine, replace(every(("~",)), within=within))).total == 8
        nothing = replace(every(), within=(-at(5), -at(12)))
        assert (await counted(engine, nothing)).total == 0

    async def test_count_of_some_statuses(self, engine: Engine) -> None:
        """No others are counted; of none there is nothing."""
        await store(engine, "a", "b")
        await stored(engine, sample_write("c", "running", facets=("x",)))
        for groups in ((), (("x",),)):
            for statuses in (PENDING, ("running", "failed"), ()):
                query = Query(statuses, 10, groups)
                listed = Counter(entry.status for entry in await engine.scan(query, NOW)) if statuses else {}
                assert (await counted(engine, query)).counts == listed

    async def test_the_limit_is_what_is_looked_at(self, engine: Engine) -> None:
        """Whether it is of the other groups or not: a rare match costs no more than the limit."""
        for n in range(20):
            await stored(engine, sample_write(f"t{n:02}", facets=("x", "yz"[n % 2]), submitted_at=at(n)))
        query = Query(STATUSES, 10, (("x",), ("y",)))
        found = await counted(engine, query)
        assert found.counts == {"pending": 5}
        assert found.next is not None
        assert found.next.id == "t10"
        assert (await counted(engine, replace(query, limit=20))).next is None
        assert await counted(engine, replace(query, limit=21)) == ({"pending": 10}, None)

    async def test_the_newest_are_counted_first(self, engine: Engine) -> None:
        """In all statuses and facets together, whatever the query says of the order."""
        for n in range(30):
            status = ("pending", "running", "failed")[n % 3]
            await stored(engine, sample_write(f"t{n:02}", status, facets=("xy"[n % 2],), submitted_at=at(n)))
        for groups, newest_first in itertools.product(((), (("x", "y"),)), (True, False)):
            found = await counted(engine, Query(STATUSES, 7, groups, newest_first=newest_first))
            assert found.counts == {"pending": 2, "running": 2, "failed": 3}
            assert found.next is not None
            assert found.next.id == "t23"

    async def test_a_count_goes_on_where_it_stopped(self, engine: Engine) -> None:
        """In any steps each record is counted once, ties and all; without a limit it is one step."""
        for n in range(40):
            submitted_at = None if n % 7 == 0 else at(n // 8)
            status = "running" if n % 3 else "pending"
            await stored(engine, sample_write(f"t{n:02}", status, facets=("x",), submitted_at=submitted_at))
        for limit in (1, 3, 39, 40, 41):
            found, steps = Counter[str](), 0
            query = Query(STATUSES, limit, (("x",),))
            while True:
                step = await counted(engine, query)
                found.update(step.counts)
                steps += 1
                if step.next is None:
                    break
                assert step.total == limit
                query = replace(query, after=step.next)
            assert (found, steps) == ({"running": 26, "pending": 14}, -(-40 // limit))
        assert await counted(engine, every(("x",))) == ({"running": 26, "pending": 14}, None)

    async def test_counts_are_those_of_listings(self, engine: Engine) -> None:
        """With any groups, bounds and limits, by submission and by finish, with fixed facets or without."""
        choose = random.Random(7)
        entries = [ended(n, choose) for n in range(120)]
        await stored(engine, *entries)
        first: list[Any] = [(), (("x",),), (("x", "y"),), (("~",),), (("~e",),), (("f", "g"),)]
        others: list[Any] = [(), (("y",),), (("z", "w"),), (("~e",),), (("f",), ("x", "y"))]
        for _ in range(150):
            groups = choose.choice(first)
            groups += choose.choice(others) if groups else ()
            low, high = sorted(choose.sample(range(130), 2))
            query = Query(
                choose.choice([STATUSES, ("failed",), ("success", "failed")]),
                choose.choice([1, 5, 17, 80, 200]),
                groups,
                within=choose.choice([None, (-at(high), -at(low))]),
                has_fixed=choose.choice([None, None, True, False]),
            )
            assert await counted(engine, query) == await brute(engine, query), query


def ended(n: int, choose: random.Random | None = None) -> Write:
    """A finished record, submitted at ``n`` and, unless it is one of many, finished then as well."""
    status, finish = ("failed", "success")[n % 2], n
    fixed: tuple[str, ...] = ()
    facets: tuple[str, ...] = ("~", "x") if status == "failed" else ("~", "y")
    if choose is not None:
        finish = choose.randrange(120)
        fixed = choose.choice([(), ("f",), ("g",)])
        facets = ("~", *(choose.choice(kind) for kind in ("xy", "zw", ["~e", "~d"]) if choose.random() < 0.7))
    return sample_write(
        f"t{n:03}", status, fixed=fixed, facets=facets, submitted_at=at(n), finished_at=at(finish)
    )


async def brute(engine: Engine, query: Query) -> Counted:
    """By listing what is walked, and looking at each record."""
    walked = replace(query, groups=query.groups[:1], has_fixed=None, limit=1_000, newest_first=True)
    entries: list[Entry] = await engine.scan(walked, NOW)
    found = Counter(entry.status for entry in entries[: query.limit] if query.admits(entry))
    is_cut = len(entries) > query.limit
    last = entries[query.limit - 1].position_in(query.first[0]) if is_cut else None
    return Counted(dict(found), last)


class FacetsContract(EngineContractBase):
    async def test_facets_by_prefix(self, engine: Engine) -> None:
        """Of the records in any status, each once."""
        await stored(
            engine,
            sample_write("a", facets=("name:a", "label:x")),
            sample_write("b", "failed", facets=("name:b", "label:x")),
            sample_write("c", facets=("name:a",)),
        )
        assert sorted(await engine.facets("name:")) == ["name:a", "name:b"]
        assert sorted(await engine.facets("label:x")) == ["label:x"]
        assert await engine.facets("nothing") == []
        assert sorted(await engine.facets("")) == ["label:x", "name:a", "name:b"]

    async def test_fixed_facets_are_not_among_them(self, engine: Engine) -> None:
        """Only the others are."""
        await stored(engine, sample_write("a", fixed=("p:1", "p:2"), facets=("p:3",)))
        assert await engine.facets("p:") == ["p:3"]

    async def test_facets_go_with_the_last_record_that_has_them(self, engine: Engine) -> None:
        """By a write, a removal, or a purge."""
        await stored(
            engine,
            *(sample_write(task_id, facets=("n:1", "n:2", "n:3")) for task_id in "ab"),
            expiring("c", NOW + 1, facets=("n:4",)),
        )
        await stored(engine, sample_write("a", "running", facets=("n:1", "n:2")))
        await stored(engine, sample_write("b", "running", facets=("n:1",)))
        await engine.purge(10, NOW + 1)
        assert sorted(await engine.facets("n:")) == ["n:1", "n:2"]
        await engine.remove(["a"], NOW)
        assert await engine.facets("n:") == ["n:1"]

    async def test_prefixes_are_any_text(self, engine: Engine) -> None:
        """No character of a prefix has a meaning."""
        await stored(engine, sample_write("t", facets=HOSTILE))
        for prefix in HOSTILE:
            expected = sorted(facet for facet in HOSTILE if facet.startswith(prefix))
            assert sorted(await engine.facets(prefix)) == expected, prefix

    async def test_facets_in_steps(self, engine: Engine) -> None:
        """By code point, each once and none left out, from any place in or before the prefix on."""
        names = sorted(["n:a", "n:aa", "n:b", "n:\0", "n:\uffff", "n:\U00010000", "n:z", "m:x", "o:x"])
        for n, name in enumerate(names):
            await stored(engine, sample_write(f"t{n}", facets=(name, "n:"), fixed=(f"n:c{n}",)))
        wanted = ["n:", *(name for name in names if name.startswith("n:"))]
        assert await engine.facets("n:") == wanted
        for limit in (1, 2, 3, len(wanted), 99):
            found: list[str] = []
            while step := await engine.facets("n:", limit, found[-1] if found else None):
                assert len(step) == min(limit, len(wanted) - len(found))
                found += step
            assert found == wanted
        behind = wanted[wanted.index("n:b") :]
        for after, rest in (("", wanted), ("m:x", wanted), ("n:aaa", behind), ("o", [])):
            assert await engine.facets("n:", after=after) == rest
        await engine.remove(["t0", "t3"], NOW)
        assert (
            await engine.facets("n:", 3, "n:")
            == [name for n, name in enumerate(names) if n not in (0, 3) and name.startswith("n:")][:3]
        )
