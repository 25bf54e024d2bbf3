"""The contract of count and facets: what listings have, in numbers."""

from __future__ import annotations

from flowstore.engine import EVERYTHING, Engine
from flowstore.testing.engine_contract.base import EngineContractBase, expiring, store, stored
from flowstore.testing.engine_contract.listing import HOSTILE
from flowstore.testing.samples import NOW, sample_write


async def counts(engine: Engine, *groups: tuple[str, ...]) -> list[dict[str, int]]:
    """Without the statuses that have no record, which may be left out."""
    return [{status: n for status, n in found.items() if n} for found in await engine.count(groups)]


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
