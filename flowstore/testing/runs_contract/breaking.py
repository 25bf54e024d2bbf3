"""The contract of calls about runs that break off: cancelled at any await, or with their whole process."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Coroutine
from typing import Any, Final

import pytest

from flowstore import BaseResultBackend, RunNotOpen
from flowstore.testing.contract.base import Contract
from flowstore.testing.faults import ProcessDied, cancel_at_each_await
from flowstore.testing.insides import faulty_runs
from flowstore.testing.runs_contract.base import stored

Call = Callable[[BaseResultBackend], Coroutine[Any, Any, object]]

CALLS: Final[dict[str, Call]] = {
    "start": lambda backend: backend.runs.start("r", config=1, resume=True),
    "append": lambda backend: backend.runs.append("r", 1, key="k"),
    "append without a key": lambda backend: backend.runs.append("r", 1),
    "append_many": lambda backend: backend.runs.append_many("r", {f"k{n}": n for n in range(510)}),
    "evaluate": lambda backend: backend.runs.evaluate_many("r", {"k": 1, "l": 2}, config=1),
    "save": lambda backend: backend.runs.datasets.save("r", range(510)),
    "replace": lambda backend: backend.runs.datasets.save("r", range(510), "old"),
    "remove a dataset": lambda backend: backend.runs.datasets.delete("r", "old"),
    "share": lambda backend: backend.runs.datasets.share("r", "prompt"),
    "complete": lambda backend: backend.runs.complete("r"),
    "complete with a result": lambda backend: backend.runs.complete("r", "done"),
    "delete": lambda backend: backend.runs.delete("r", force=True),
}


async def prepare(backend: BaseResultBackend) -> None:
    await backend.runs.start("r", config=1, resume=True)
    await backend.runs.append("r", 0, key="k")
    await backend.runs.datasets.save("r", ["old"], "old")
    await backend.runs.evaluate("r", "k", 1)


async def check(backend: BaseResultBackend) -> None:
    """All that is there is whole, everything works, and a deletion leaves nothing."""
    runs = backend.runs
    try:
        await runs.start("r", config=1, resume=True)
    except RunNotOpen:  # it is being removed
        assert await runs.delete("r")
        await runs.start("r", config=1)
    records = [record async for record in runs.records("r")]
    assert (await runs.progress("r")).done == len(records)
    for dataset in await runs.datasets.all("r"):
        assert len([row async for row in runs.datasets.load("r", dataset.name)]) == dataset.rows
    for evaluation in await runs.all_evaluations("r"):
        found = runs.evaluations("r", evaluation.eval_id, evaluation.config)
        assert len([value async for value in found]) == evaluation.values
    for name in ("append", "evaluate", "replace"):
        await CALLS[name](backend)
    await runs.delete("r", force=True)
    assert await stored(backend) == 0


class RunBreakingContract(Contract):
    @pytest.mark.parametrize("name", CALLS)
    async def test_cancelled_at_each_await(self, backend: BaseResultBackend, name: str) -> None:
        """Then nothing is left that belongs to nobody, and the next call works."""
        await prepare(backend)

        async def call() -> None:
            await CALLS[name](backend)

        async def check_and_prepare() -> None:
            await check(backend)
            await prepare(backend)

        await cancel_at_each_await(call, check_and_prepare)

    @pytest.mark.parametrize("name", CALLS)
    async def test_died_before_each_step(self, backend: BaseResultBackend, name: str) -> None:
        """As if the process were killed there: what is left is whole, and goes with its run."""
        faults = faulty_runs(backend)
        for steps in itertools.count():
            await prepare(backend)
            faults.die(steps)
            try:
                await CALLS[name](backend)
                is_dead = False
            except ProcessDied:
                is_dead = True
            faults.heal()
            await check(backend)
            if not is_dead:
                break
        assert steps

    @pytest.mark.parametrize("is_new", [True, False])
    async def test_blocks_cancelled_at_each_await(self, backend: BaseResultBackend, is_new: bool) -> None:
        """A run that a block began, or was about to begin, does not go on without it."""

        async def block() -> None:
            async with backend.runs.run("r", resume=True, checkpoint_every=1) as run:
                run.checkpoint_with(lambda: 1)
                await run.append(1)
                run.result = "done"

        async def check_ended() -> None:
            run = await backend.runs.get("r")
            assert run is None or run.is_finished
            if is_new:
                await backend.runs.delete("r")

        if not is_new:
            await backend.runs.start("r")
            await backend.runs.complete("r")
        await cancel_at_each_await(block, check_ended)
