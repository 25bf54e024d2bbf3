"""The contract of drop_namespace."""

from __future__ import annotations

from contextlib import AsyncExitStack

from flowstore.engine import NAMESPACE, Engine, Logged, Section, every
from flowstore.testing.engine_contract.base import (
    EngineContractBase,
    MakeEngine,
    items_of,
    listed,
    put_one,
    store,
    stored,
    timeline,
)
from flowstore.testing.samples import NOW, KeptHints, sample_write


async def drop(engine: Engine, limit: int = 100) -> int:
    """All of the namespace; returns the number of steps."""
    while not (await engine.purge(100, NOW, everything=True)).is_done:
        pass
    steps = 1
    while not await engine.drop_namespace(limit, NOW):
        steps += 1
        assert steps < 100, "it comes to no end"
    return steps


class DroppingContract(EngineContractBase):
    async def test_items_of_the_namespace_are_dropped(self, engine: Engine) -> None:
        """All of them, whatever the limit; new ones begin with version 1 again."""
        for n in range(5):
            await put_one(engine, NAMESPACE, f"w{n}", section=Section.WORKER)
        await put_one(engine, NAMESPACE, "info", section=Section.APP)
        await store(engine, "t")
        await drop(engine, 2)
        for section in (Section.WORKER, Section.APP):
            assert await items_of(engine, NAMESPACE, section) == []
        assert (await put_one(engine, NAMESPACE, "w0", section=Section.WORKER))[2] == 1
        assert await drop(engine) == 1
        assert await drop(engine) == 1

    async def test_a_dropped_namespace_is_as_good_as_new(self, engine: Engine, other: Engine) -> None:
        """For those who have it open, too: records are stored, listed and counted."""
        await stored(engine, sample_write("t", facets=("x",), logged=Logged(b"v", 1)))
        await put_one(engine, "t", "k")
        await drop(engine)
        await stored(other, sample_write("u", facets=("x",), logged=Logged(b"v", 1)))
        await stored(engine, sample_write("t", "running"))
        for each in (engine, other):
            assert await listed(each) == ["t", "u"]
            assert await listed(each, ["x"]) == ["u"]
            [counted] = await each.count([every()])
            assert {status: n for status, n in counted.counts.items() if n} == {"pending": 1, "running": 1}
            assert await items_of(each, "t") == []
            assert [item.owner for item in await timeline(each)] == ["u"]

    async def test_what_was_stored_since_stays(self, engine: Engine, other: Engine) -> None:
        """Between the purge and the drop: the record, what belongs to it, its listings and counts."""
        await put_one(engine, NAMESPACE, "w", section=Section.WORKER)
        await stored(other, sample_write("t", facets=("x",), logged=Logged(b"v", 1)))
        await put_one(other, "t", "k")
        assert await engine.drop_namespace(100, NOW)
        assert await items_of(engine, NAMESPACE, Section.WORKER) == []
        for each in (engine, other):
            assert await listed(each, ["x"]) == ["t"]
            assert (await each.count([every()]))[0].counts["pending"] == 1
            assert len(await items_of(each, "t")) == len(await timeline(each)) == 1

    async def test_a_dropped_namespace_is_not_listed(self, make_engine: MakeEngine) -> None:
        """By the others, to whom nothing happens; until it is written to, or opened again."""
        if not self.is_shared:
            return
        async with AsyncExitStack() as stack:
            engines = {name: make_engine(name) for name in ("a", "b", "c")}
            for engine in engines.values():
                await engine.open(KeptHints(is_waiting=False))
                stack.push_async_callback(engine.close)
                await store(engine, "t")
                await put_one(engine, NAMESPACE, "w", section=Section.WORKER)
            await drop(engines["a"])
            await drop(engines["c"])
            assert sorted(await engines["b"].namespaces()) == ["b"]
            assert sorted(await engines["a"].namespaces()) == ["a", "b"]
            assert await listed(engines["b"]) == ["t"]
            assert len(await items_of(engines["b"], NAMESPACE, Section.WORKER)) == 1
            await store(engines["a"], "t")
            assert sorted(await engines["b"].namespaces()) == ["a", "b"]
            await put_one(engines["c"], NAMESPACE, "w", section=Section.WORKER)
            assert sorted(await engines["b"].namespaces()) == ["a", "b", "c"]
            await drop(engines["c"])
            again = make_engine("c")
            await again.open(KeptHints(is_waiting=False))
            await again.close()
            assert sorted(await engines["b"].namespaces()) == ["a", "b", "c"]
