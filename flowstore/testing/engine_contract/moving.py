"""The contract of ``abandon``: the event loop is closed before the engine is."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import pytest

from flowstore.engine import ANY_ID, NAMESPACE, Change, Engine, Put, Report, Section, Write, let_go
from flowstore.testing.engine_contract.base import EngineContractBase, MakeEngine, found, read_one, stored
from flowstore.testing.samples import NOW, SECOND, KeptHints, sample_write
from flowstore.testing.support import loop_like

T = TypeVar("T")

ON_ITS_WAY: Final = "ignore:unclosed (transport|<socket|resource)|loop is closed:ResourceWarning"
"""A connection that was being made when its loop was closed: asyncio had not handed it out yet."""


class AbandonContract(EngineContractBase):
    @pytest.mark.filterwarnings(ON_ITS_WAY)
    @pytest.mark.parametrize("steps", range(6))
    async def test_it_is_opened_in_the_next_loop(self, make_engine: MakeEngine, steps: int) -> None:
        """With what was stored, though calls of all kinds died with the last loop, at different moments."""
        engine = make_engine()

        async def die() -> list[asyncio.Task[Any]]:
            await engine.open(KeptHints())
            await stored(engine, sample_write("t", "running"))
            await engine.watch(["t", ANY_ID], NOW + SECOND)
            calls = [call() for call in _calls(engine)]
            tasks = [asyncio.ensure_future(call) for call in calls]
            for _ in range(steps):
                await asyncio.sleep(0)
            return tasks

        async def live() -> None:
            engine.abandon()
            hints = KeptHints()
            await engine.open(hints)
            try:
                assert (await found(engine, "t")).status == "running"
                await engine.watch(["t", "new"], NOW + SECOND)
                hints.clear()
                await stored(engine, sample_write("t", "success"), sample_write("new"))
                for task_id, change in (("t", Change.SUCCESS), ("new", Change.PENDING)):
                    await hints.heard(task_id, change, within=self.patience)
                for call in _calls(engine):
                    await call()
            finally:
                await engine.close()

        await _in_turn(die, live)

    @pytest.mark.filterwarnings(ON_ITS_WAY)
    async def test_an_open_that_died(self, make_engine: MakeEngine) -> None:
        """Wherever in it the loop was closed, the next one can open."""

        async def live(engine: Engine) -> None:
            engine.abandon()
            engine.abandon()
            await engine.open(KeptHints())
            await stored(engine, sample_write("t"))
            assert await read_one(engine, "t") is not None
            await engine.close()

        for steps in range(8):
            engine = make_engine()

            async def die(engine: Engine = engine, steps: int = steps) -> list[asyncio.Task[Any]]:
                opening = asyncio.ensure_future(engine.open(KeptHints()))
                for _ in range(steps):
                    await asyncio.sleep(0)
                return [opening]

            await _in_turn(die, lambda engine=engine: live(engine))  # type: ignore[misc]  # a default


def _calls(engine: Engine) -> list[Callable[[], Coroutine[Any, Any, object]]]:
    writes: list[Write] = [sample_write("u", "running"), sample_write("v")]
    return [
        lambda: engine.write(writes, NOW),
        lambda: engine.read(["t"]),
        lambda: engine.watch(["u"], NOW + SECOND),
        lambda: engine.report([Report("t", b"p", None)], NOW),
        lambda: engine.put([Put(Section.WORKER, NAMESPACE, "w", b"v")], NOW),
        lambda: engine.remove(["v"], NOW),
        lambda: engine.facets(""),
    ]


async def _in_turn(
    die: Callable[[], Coroutine[Any, Any, list[asyncio.Task[Any]]]],
    live: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    """Run ``die`` in a loop that is closed under its tasks, and ``live`` in the next one."""
    like = asyncio.get_running_loop()

    def run() -> None:
        loop = loop_like(like)
        tasks = loop.run_until_complete(die())
        loop.close()
        for task in tasks:
            let_go(task)
        with asyncio.Runner(loop_factory=lambda: loop_like(like)) as runner:
            runner.run(_in_time(live()))
        del tasks, loop
        gc.collect()  # what died is finalised here, and not in the midst of another test

    await asyncio.to_thread(run)


async def _in_time(work: Coroutine[Any, Any, T]) -> T:
    async with asyncio.timeout(60):
        return await work
