"""The contract of removing runs, whatever interrupts it, with all that belongs to them; and of sizes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flowstore import NOT_LOADED, BaseResultBackend, Run, RunInProgress, RunNotOpen, TaskStatus, UnknownRun
from flowstore.testing.contract.base import Contract
from flowstore.testing.insides import core_of_runs, remove_entries
from flowstore.testing.runs_contract.base import stored


async def fill(backend: BaseResultBackend, run_id: str, records: int = 5) -> None:
    await backend.runs.start(run_id)
    await backend.runs.append_many(run_id, {f"k{n}": {"n": n} for n in range(records)})
    await backend.runs.evaluate_many(run_id, {f"k{n}": n for n in range(3)})
    await backend.runs.evaluate(run_id, "k0", 1, eval_id="judge", config=1)
    await backend.runs.datasets.save(run_id, range(10))
    await backend.runs.datasets.share(run_id, "prompt")
    await backend.runs.checkpoint(run_id, "state")
    await backend.runs.complete(run_id, "done")


class RunRemovalContract(Contract):
    async def test_all_that_belongs_to_it_goes(self, backend: BaseResultBackend) -> None:
        """And nothing else."""
        await fill(backend, "r")
        await fill(backend, "r2", 1_200)
        assert await backend.runs.delete("r2")
        assert await backend.runs.get("r2") is None
        assert [record async for record in backend.runs.records("r2")] == []
        assert await backend.runs.all_evaluations("r2") == []
        assert (await backend.runs.progress("r")).done == 5
        assert [row async for row in backend.runs.datasets.load("r")] == [*range(10)]
        assert len(await backend.runs.all_evaluations("r")) == 2
        assert await backend.runs.delete("r")
        assert not await backend.runs.delete("r")
        assert await stored(backend) == 0

    async def test_one_that_is_going_on_stays(self, backend: BaseResultBackend) -> None:
        await backend.runs.start("r")
        await backend.runs.append("r", 1)
        with pytest.raises(RunInProgress, match="'r' is going on"):
            await backend.runs.delete("r")
        assert (await backend.runs.progress("r")).done == 1
        assert await backend.runs.delete("r", force=True)
        assert await stored(backend) == 0

    async def test_begun_anew_it_has_nothing_of_before(self, backend: BaseResultBackend) -> None:
        await fill(backend, "r")
        await backend.runs.delete("r")
        run = await backend.runs.start("r")
        assert (run.attempt, run.status) == (0, TaskStatus.RUNNING)
        assert await backend.runs.latest_checkpoint("r") is None
        assert (await backend.runs.progress("r")).done == 0

    async def test_while_others_add_to_it(self, backend: BaseResultBackend) -> None:
        """They are refused, or what they add goes as well; nothing is left that belongs to no run."""

        async def add(number: int) -> None:
            for adding in (
                backend.runs.evaluate("r", f"k{number}", number),
                backend.runs.evaluate("r", "k", 1, eval_id=f"e{number}"),
                backend.runs.datasets.save("r", range(number), f"d{number}"),
                backend.runs.datasets.share("r", number),
                backend.runs.append("r", number),
            ):
                try:
                    await adding
                except (UnknownRun, RunNotOpen):
                    continue

        await fill(backend, "r")
        await asyncio.gather(*(add(n) for n in range(20)), backend.runs.delete("r"), backend.runs.delete("r"))
        assert await backend.runs.get("r") is None
        assert await stored(backend) == 0

    @pytest.mark.parametrize("is_removed", [True, False])
    async def test_ended_and_out_of_date_at_once(self, backend: BaseResultBackend, is_removed: bool) -> None:
        """Who ends a run learns how it ended, though it is removed or resumed before it is read."""
        core = core_of_runs(backend)
        write = core.engine.write

        async def overtaken(*given: Any, **named: Any) -> Any:
            core.engine.write = write  # type: ignore[method-assign]
            outcomes = await write(*given, **named)
            await (backend.runs.delete("r") if is_removed else backend.runs.start("r", resume=True))
            return outcomes

        ends: list[tuple[Callable[[], Awaitable[Run]], TaskStatus]] = [
            (lambda: backend.runs.complete("r"), TaskStatus.SUCCESS),
            (lambda: backend.runs.fail("r", ValueError("x")), TaskStatus.FAILED),
            (lambda: backend.runs.cancel("r", "why"), TaskStatus.CANCELLED),
        ]
        for end, status in ends:
            begun = await backend.runs.start("r", config=1, resume=True)
            core.engine.write = overtaken  # type: ignore[method-assign]
            ended = await end()
            assert (ended.status, ended.attempt, ended.config) == (status, begun.attempt, NOT_LOADED)
            assert ended.finished_at is not None

    @pytest.mark.parametrize("steps", range(30))
    async def test_overtaken_by_another_deletion(self, backend: BaseResultBackend, steps: int) -> None:
        """Which ends, and a run of that id begins: the late one leaves all of it alone."""
        await fill(backend, "r")
        core = core_of_runs(backend)
        left = steps

        async def overtake() -> None:
            nonlocal left
            left -= 1
            if left != -1:
                return
            await backend.runs.delete("r")
            await fill(backend, "r")

        def behind(call: Any) -> Any:
            async def called(*given: Any, **named: Any) -> Any:
                answer = await call(*given, **named)
                await overtake()
                return answer

            return called

        verbs = {verb: getattr(core.engine, verb) for verb in ("read", "write", "scan", "count", "remove")}
        for verb, call in verbs.items():
            setattr(core.engine, verb, behind(call))
        try:
            await backend.runs.delete("r")
        finally:
            for verb, call in verbs.items():
                setattr(core.engine, verb, call)
        if left >= 0:
            assert await stored(backend) == 0
            return
        if await backend.runs.get("r") is None:  # it was about to begin, and has removed the new one
            assert await stored(backend) == 0
            return
        assert (await backend.runs.progress("r")).done == 5
        assert [row async for row in backend.runs.datasets.load("r")] == [*range(10)]
        [default, judge] = await backend.runs.all_evaluations("r")
        assert (default.values, judge.values) == (3, 1)
        latest = await backend.runs.latest_checkpoint("r")
        assert latest is not None
        digest = await backend.runs.datasets.share("r", "prompt")
        assert await backend.runs.datasets.shared(digest) == "prompt"
        assert await backend.runs.delete("r")
        assert await stored(backend) == 0

    @pytest.mark.parametrize("steps", range(1, 12))
    async def test_interrupted_and_repeated(self, backend: BaseResultBackend, steps: int) -> None:
        """After any number of removals: nobody can go on with the run, and another call ends it."""
        await fill(backend, "r")
        core = core_of_runs(backend)
        inner, left = core.engine.remove, steps

        async def remove(*given: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return await inner(*given, **named)

        core.engine.remove = remove  # type: ignore[method-assign]
        try:
            await backend.runs.delete("r")
            is_done = True
        except KeyboardInterrupt:
            is_done = False
        core.engine.remove = inner  # type: ignore[method-assign]
        if not is_done:
            with pytest.raises(RunNotOpen, match="it is being removed"):
                await backend.runs.start("r", resume=True)
            with pytest.raises((RunNotOpen, UnknownRun)):
                await backend.runs.evaluate("r", "k", 1, eval_id="new")
            with contextlib.suppress(UnknownRun, RunNotOpen):  # else it goes as well
                await backend.runs.evaluate("r", "k", 1, eval_id="judge", config=1)
            left_over = await backend.runs.all_evaluations("r")
            assert {each.eval_id for each in left_over} <= {"default", "judge"}
            assert await backend.runs.delete("r")
        assert await stored(backend) == 0

    async def test_what_is_left_of_a_lost_run(self, backend: BaseResultBackend) -> None:
        """Its own record is gone, as by damage: what belongs to it can be removed all the same."""
        await fill(backend, "r")
        await remove_entries(core_of_runs(backend), ["r"])
        assert await backend.runs.get("r") is None
        assert await backend.runs.delete("r")
        assert await stored(backend) == 0
        assert not await backend.runs.delete("r")

    async def test_pinned(self, backend: BaseResultBackend) -> None:
        """It is told, and is as it was otherwise."""
        before = await backend.runs.start("r", config=1, total=3)
        assert await backend.runs.pin("r")
        assert not await backend.runs.pin("r")
        pinned = await backend.runs.get("r")
        assert pinned == before.model_copy(update={"is_pinned": True})
        assert await backend.runs.unpin("r")
        assert await backend.runs.get("r") == before

    async def test_sizes(self, backend: BaseResultBackend) -> None:
        """The bytes of the payloads, exactly, of one run, a group, or all; shared ones count once."""
        for run_id, group in (("a", "g"), ("b", "g"), ("c", "h")):
            await backend.runs.start(run_id, group=group)
            await backend.runs.append_many(run_id, {"1": "x" * 100, "2": "y" * 1_000})
            await backend.runs.evaluate(run_id, "1", "z" * 10)
            await backend.runs.datasets.share(run_id, "s" * 500)
            await backend.runs.checkpoint(run_id, "c" * 50)
        one = await backend.runs.size("a")
        wrapped = len('{"result":""}') - len("{}")
        assert one.records == 1_100 + 2 * wrapped
        assert one.payloads == 500 + wrapped
        assert one.checkpoints == 50 + len('{"value":""}')
        assert one.config == 0
        assert one.total == one.records + one.payloads + one.checkpoints + one.evaluations
        both = await backend.runs.size(group="g")
        assert both.records == 2 * one.records
        assert both.payloads == one.payloads
        assert (await backend.runs.size()).records == 3 * one.records
        with pytest.raises(ValueError, match="group: cannot be combined"):
            await backend.runs.size("a", group="g")
