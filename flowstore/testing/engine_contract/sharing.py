"""The contract of engines beside one another, of namespaces, and of calls that are cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

from flowstore.engine import (
    ANY_ID,
    NAMESPACE,
    Asked,
    Engine,
    Expiry,
    Logged,
    Put,
    Report,
    Section,
    Span,
    Verdict,
    every,
)
from flowstore.testing.engine_contract.base import (
    EngineContractBase,
    MakeEngine,
    items_of,
    listed,
    put_one,
    read_one,
    store,
    stored,
    timeline,
)
from flowstore.testing.faults import cancel_at_each_await
from flowstore.testing.samples import NOW, SECOND, KeptHints, sample_write


class SharingContract(EngineContractBase):
    async def test_one_engine_sees_what_another_has_done(self, engine: Engine, other: Engine) -> None:
        """As soon as the call has returned: records, listings, items, history, removals."""
        await stored(other, sample_write("t", facets=("x",), logged=Logged(b"v", 1)))
        await put_one(other, "t", "k")
        assert await read_one(engine, "t") == await read_one(other, "t") is not None
        assert await listed(engine, ["x"]) == ["t"]
        assert len(await items_of(engine, "t")) == len(await timeline(engine)) == 1
        assert await engine.remove(["t"], NOW) == [True]
        assert await read_one(other, "t") is None

    async def test_one_of_many_writers_wins(self, engine: Engine, other: Engine) -> None:
        """Of a hundred first writes of an id, half of them elsewhere, exactly one is applied."""
        calls = [
            (engine, other)[n % 2].write([sample_write("t", "success", if_version=0)], NOW)
            for n in range(100)
        ]
        verdicts = [outcome.verdict for [outcome] in await asyncio.gather(*calls)]
        assert verdicts.count(Verdict.APPLIED) == 1
        assert verdicts.count(Verdict.STANDING) == 99

    async def test_no_update_is_lost(self, engine: Engine, other: Engine) -> None:
        """Whoever writes over the version that was read, and tries again, counts each time."""

        async def add(on: Engine) -> None:
            for _ in range(5):
                while True:
                    [entry] = await on.read(["t"])
                    assert entry is not None
                    body = b"%d" % (int(entry.body or b"") + 1)
                    write = sample_write("t", body=body, if_version=entry.version)
                    [outcome] = await on.write([write], NOW)
                    if outcome.is_applied:
                        break
                    await asyncio.sleep(0)

        await stored(engine, sample_write("t", body=b"0"))
        await asyncio.gather(*(add(on) for on in (engine, other) * 2))
        entry = await read_one(engine, "t")
        assert entry is not None
        assert (entry.body, entry.version) == (b"20", 21)

    async def test_a_cancelled_call_is_applied_whole_or_not_at_all(self, engine: Engine) -> None:
        """Cancelled at each of its awaits; the next call finds nothing borrowed or locked."""
        await stored(engine, sample_write("t", "running"))
        calls: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
            "write": lambda: engine.write(
                [sample_write("t", "running", facets=("x",), logged=Logged(b"v", 1))], NOW
            ),
            "read": lambda: engine.read(["t"]),
            "watch": lambda: engine.watch(["t", ANY_ID], NOW + SECOND),
            "report": lambda: engine.report([Report("t", b"p", None)], NOW),
            "expire": lambda: engine.expire([Expiry("t", NOW + SECOND, 1234, 1, 1234)], NOW),
            "put": lambda: engine.put([Put(Section.DATA, "t", None, b"v")], NOW),
            "items": lambda: engine.items([Asked(Section.DATA, "t")], NOW),
            "count": lambda: engine.count([every(), every(("x",))]),
            "facets": lambda: engine.facets("x"),
            "timeline": lambda: engine.timeline(Span(5, 0, NOW), NOW),
            "purge": lambda: engine.purge(5, NOW),
            "namespaces": lambda: engine.namespaces(),
            "drop_namespace": lambda: engine.drop_namespace(1, NOW),
            "remove": lambda: engine.remove(["u"], NOW),
        }

        async def is_whole() -> bool:
            history = await items_of(engine, "t", Section.HISTORY)
            entry = await read_one(engine, "t")
            assert entry is not None
            return (
                [int(item.key) for item in history] == list(range(2, entry.version + 1))
                and await listed(engine, ["x"]) == (["t"] if entry.version > 1 else [])
                and await timeline(engine) == history
            )

        async def check() -> None:
            # What was cancelled may still be on its way, and be applied between two of these reads.
            async with asyncio.timeout(self.patience):
                while not await is_whole():  # noqa: ASYNC110  # nothing tells when it arrives
                    await asyncio.sleep(0.001)

        for call in calls.values():
            await cancel_at_each_await(call, check)
        assert (await items_of(engine, "t"))[0].version == 1


class NamespacesContract(EngineContractBase):
    async def test_namespaces_are_apart(self, make_engine: MakeEngine) -> None:
        """What is stored, listed, kept, removed and told in one of them is nothing to the others."""
        names = ["default", "default:", "d", "a b/c*%", "é\0"]
        async with AsyncExitStack() as stack:
            engines = {name: make_engine(name) for name in names}
            hints = {name: KeptHints() for name in names}
            for name, engine in engines.items():
                await engine.open(hints[name])
                stack.push_async_callback(engine.close)
                await engine.watch(["t", ANY_ID], NOW + SECOND)
            for name, engine in engines.items():
                await stored(engine, sample_write("t", head=name.encode(), facets=("x",)))
                await put_one(engine, NAMESPACE, "w", name.encode(), section=Section.WORKER)
            first = engines[names[0]]
            await first.purge(10, NOW, everything=True)
            assert await listed(first) == []
            for name in names[1:]:
                entry = await read_one(engines[name], "t")
                assert entry is not None
                assert entry.head == name.encode()
                assert await listed(engines[name], ["x"]) == ["t"]
                assert [item.value for item in await items_of(engines[name], NAMESPACE, Section.WORKER)] == [
                    name.encode()
                ]
                assert hints[name].stores("t") in (["pending"], [])

    async def test_namespaces_are_listed(self, make_engine: MakeEngine) -> None:
        """Those that a writer has opened, with or without a record in it, in any order."""
        names = ["default", "other", "a/b *", "é"]
        engines = [make_engine(name) for name in names]
        for engine in engines:
            await engine.open(KeptHints())
        try:
            for name, engine in zip(names, engines, strict=True):
                assert sorted(await engine.namespaces()) == (sorted(names) if self.is_shared else [name])
        finally:
            for engine in engines:
                await engine.close()

    async def test_engines_open_and_close(self, make_engine: MakeEngine) -> None:
        """One that is closed takes nothing from the one that comes after it."""
        for n in range(3):
            engine = make_engine()
            await engine.open(KeptHints())
            try:
                await store(engine, f"t{n}")
                assert len(await listed(engine)) == (n + 1 if self.is_shared else 1)
            finally:
                await engine.close()
