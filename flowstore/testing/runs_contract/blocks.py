"""The contract of ``runs.run``: a block of code that is an attempt at a run, and ends it however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from flowstore import BaseResultBackend, RunExists, RunNotOpen, StorageUnavailable, TaskStatus
from flowstore.testing.contract.base import Contract
from flowstore.testing.insides import core_of_runs, faulty_runs


class RunBlocksContract(Contract):
    async def test_a_block_completes_its_run(self, backend: BaseResultBackend) -> None:
        async with backend.runs.run("r", group="g", config=1, total=2) as run:
            assert (run.run.status, run.attempt, run.checkpoint) == (TaskStatus.RUNNING, 0, None)
            assert await run.append("a", key="1")
            assert await run.append_many({"2": "b"}) == [True]
            run.result = {"n": 2}
        done = await backend.runs.get("r")
        assert done is not None
        assert (done.status, done.result, done.config) == (TaskStatus.SUCCESS, {"n": 2}, 1)
        async with backend.runs.run("without a result"):
            pass
        other = await backend.runs.get("without a result")
        assert other is not None
        assert (other.status, other.result) == (TaskStatus.SUCCESS, None)

    async def test_an_error_fails_it(self, backend: BaseResultBackend) -> None:
        """And propagates."""
        with pytest.raises(ZeroDivisionError):
            async with backend.runs.run("r"):
                _ = 1 / 0
        failed = await backend.runs.get("r")
        assert failed is not None
        assert failed.error is not None
        assert (failed.status, failed.error.type) == (TaskStatus.FAILED, "ZeroDivisionError")

    async def test_cancellation_cancels_it(self, backend: BaseResultBackend) -> None:
        begun = asyncio.Event()

        async def work() -> None:
            async with backend.runs.run("r"):
                begun.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        cancelled = await backend.runs.get("r")
        assert cancelled is not None
        assert cancelled.status is TaskStatus.CANCELLED

    async def test_a_result_that_cannot_be_stored(self, backend: BaseResultBackend) -> None:
        """The run is over all the same: it has failed with that."""
        with pytest.raises(TypeError, match="result"):
            async with backend.runs.run("r") as run:
                run.result = object()
        failed = await backend.runs.get("r")
        assert failed is not None
        assert failed.error is not None
        assert (failed.status, failed.error.type) == (TaskStatus.FAILED, "flowstore.errors.NotSerializable")

    async def test_what_exists_is_not_run_again(self, backend: BaseResultBackend) -> None:
        async with backend.runs.run("r"):
            pass
        with pytest.raises(RunExists):
            async with backend.runs.run("r"):
                pytest.fail("the block was entered")

    async def test_checkpoints_every_few_records(self, backend: BaseResultBackend) -> None:
        """Of what the block says, the last three of them; and the next attempt resumes from the latest."""
        done: list[int] = []

        async def crash() -> None:
            async with backend.runs.run("r", checkpoint_every=4, keep=3) as run:
                run.checkpoint_with(lambda: {"done": [*done]})
                for number in range(18):
                    done.append(number)
                    await run.append(number, key=str(number))
                raise KeyError("crash")

        with pytest.raises(KeyError):
            await crash()
        found = await backend.runs.checkpoints("r")
        assert [len(each.value["done"]) for each in found] == [8, 12, 16]
        assert [each.seq for each in found] == [2, 3, 4]
        async with backend.runs.run("r", resume=True) as run:
            assert run.checkpoint == found[-1]
            assert await run.missing(map(str, range(20))) == ["18", "19"]
            assert await run.save_checkpoint("more") == 5
        latest = await backend.runs.latest_checkpoint("r")
        assert latest is not None
        assert latest.value == "more"

    async def test_any_number_of_checkpoints_in_a_moment(self, backend: BaseResultBackend) -> None:
        await backend.runs.start("r")
        seqs = await asyncio.gather(*(backend.runs.checkpoint("r", n) for n in range(50)))
        assert sorted(seqs) == [*range(1, 51)]

    async def test_a_block_that_does_not_get_in(self, backend: BaseResultBackend) -> None:
        """Its attempt had begun, and has failed with that: nobody would end it otherwise."""
        await backend.runs.start("r")
        await backend.runs.checkpoint("r", 1)
        faults = faulty_runs(backend)
        faults.fail("items", error=StorageUnavailable("injected"))
        with pytest.raises(StorageUnavailable):
            async with backend.runs.run("r", resume=True):
                pytest.fail("the block was entered")
        failed = await backend.runs.get("r")
        assert failed is not None
        assert (failed.status, failed.attempt) == (TaskStatus.FAILED, 1)
        assert failed.error is not None
        assert failed.error.message == "injected"

    @pytest.mark.parametrize("result", [None, "done"])
    async def test_an_end_whose_answer_is_lost(self, backend: BaseResultBackend, result: Any) -> None:
        """It was stored all the same, and is known again, though somebody has pinned the run since."""
        core = core_of_runs(backend)
        write = core.engine.write

        async def lost(*given: Any, **named: Any) -> Any:
            core.engine.write = write  # type: ignore[method-assign]
            await write(*given, **named)
            await backend.runs.pin("r")
            raise StorageUnavailable("injected")

        async with backend.runs.run("r", patience=30) as run:
            run.result = result
            core.engine.write = lost  # type: ignore[method-assign]
        ended = await backend.runs.get("r")
        assert ended is not None
        assert (ended.status, ended.result, ended.is_pinned) == (TaskStatus.SUCCESS, result, True)

    async def test_another_attempt_takes_over(self, backend: BaseResultBackend) -> None:
        """The block of before is refused, and does not end the run of its successor."""

        async def taken_over() -> None:
            async with backend.runs.run("r") as run:
                await backend.runs.start("r", resume=True)
                await run.append(1)

        with pytest.raises(RunNotOpen):
            await taken_over()
        standing = await backend.runs.get("r")
        assert standing is not None
        assert (standing.status, standing.attempt) == (TaskStatus.RUNNING, 1)

    async def test_a_closed_generator_cancels_its_run(self, backend: BaseResultBackend) -> None:
        async def steps() -> AsyncGenerator[int, None]:
            async with backend.runs.run("r"):
                yield 1

        generator = steps()
        assert await anext(generator) == 1
        await generator.aclose()
        assert (await backend.runs.wait_for("r", 30)).status is TaskStatus.CANCELLED

    async def test_misused_blocks(self, backend: BaseResultBackend) -> None:
        with pytest.raises(ValueError, match="checkpoint_every: expected"):
            backend.runs.run("r", checkpoint_every=0)
        with pytest.raises(ValueError, match="keep: expected"):
            backend.runs.run("r", keep=0)
        run = backend.runs.run("r")
        with pytest.raises(RuntimeError, match="has not begun"):
            _ = run.attempt
        with pytest.raises(ValueError, match="checkpoint_every"):
            run.checkpoint_with(dict)
        async with run:
            with pytest.raises(RuntimeError, match="entered twice"):
                await run.__aenter__()
