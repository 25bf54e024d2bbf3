"""The contract of observers of tracked blocks: where each begins and ends, in the context of its code."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextvars import ContextVar, Token

import pytest

from flowstore import BaseResultBackend, LateWrite, StorageUnavailable, TaskResult, TaskStatus
from flowstore.observing import BlockBegun, BlockEnded, Event, OutcomeLost
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.leaving import unavailable
from flowstore.testing.contract.observing import Notes
from flowstore.testing.insides import replaced_verb

AROUND: ContextVar[str] = ContextVar("around", default="nothing")


class Around:
    """An observer that keeps the task around in a context variable, as a trace or a log does."""

    def __init__(self) -> None:
        self.tokens: dict[int, Token[str]] = {}
        self.lost_in: list[str] = []
        self.strangers: list[str] = []

    def on_event(self, event: Event) -> None:
        match event:
            case BlockBegun(task_id=task_id, block=block):
                self.tokens[block] = AROUND.set(task_id)
            case BlockEnded(task_id=task_id, block=block):
                try:
                    AROUND.reset(self.tokens.pop(block))
                except ValueError:
                    self.strangers.append(task_id)
            case OutcomeLost():
                self.lost_in.append(AROUND.get())


class ObservingBlocksContract(Contract):
    async def test_blocks(self, make_backend: MakeBackend) -> None:
        """Each begins with what is known of its task, and ends with its outcome."""
        notes, error = Notes(), ValueError("no")
        async with make_backend(observers=[notes]) as backend:
            await backend.store("t", TaskResult.pending("t", task_name="sum", meta={"key": 1}))
            async with backend.track("t", worker_id="w", retry_on=ValueError), backend.track("child"):
                pass
            with pytest.raises(ValueError, match="no"):
                async with backend.track("u", retries=3, retry_on=ValueError):
                    raise error
        begun, ended = notes.of(BlockBegun), notes.of(BlockEnded)
        assert [(e.task_id, e.name, e.retries, e.worker_id, e.parent_id, e.meta) for e in begun] == [
            ("t", "sum", 0, "w", None, {"key": 1}),
            ("child", None, 0, None, "t", {}),
            ("u", None, 3, None, None, {}),
        ]
        assert [(e.task_id, e.status, e.is_stored, e.error) for e in ended] == [
            ("child", TaskStatus.SUCCESS, True, None),
            ("t", TaskStatus.SUCCESS, True, None),
            ("u", TaskStatus.RETRYING, True, error),
        ]
        numbers = {event.task_id: event.block for event in begun}
        assert len({*numbers.values()}) == 3
        assert all(numbers[event.task_id] == event.block for event in ended)

    async def test_their_context(self, make_backend: MakeBackend) -> None:
        """What an observer sets there is around the code of the block and its tasks, and nothing else."""
        around = Around()

        async def work(name: str) -> str:
            async with backend.track(name):
                await asyncio.sleep(0)
                async with backend.track(f"{name}.child"):
                    inner = await asyncio.create_task(here())
                return f"{inner} {AROUND.get()}"

        async def here() -> str:
            return AROUND.get()

        async with make_backend(observers=[around]) as backend:
            found = await asyncio.gather(work("a"), work("b"))
        assert [*found] == ["a.child a", "b.child b"]
        assert AROUND.get() == "nothing"
        assert not around.tokens
        assert not around.strangers

    async def test_blocks_that_cannot_be_stored(self, make_backend: MakeBackend) -> None:
        """They end as all others, when that is known; the loss is told inside of them."""
        around, notes = Around(), Notes()
        async with make_backend(observers=[around, notes]) as backend:
            block = backend.track("t", patience=0)
            await block.__aenter__()
            with (
                replaced_verb(backend, "write", unavailable, in_storage=True),
                pytest.raises(StorageUnavailable),
            ):
                await block.__aexit__(None, None, None)
        [ended] = notes.of(BlockEnded)
        assert (ended.status, ended.is_stored, ended.error) == (TaskStatus.SUCCESS, False, None)
        assert around.lost_in == ["t"]
        assert AROUND.get() == "nothing"

    async def test_blocks_that_do_not_begin(self, make_backend: MakeBackend) -> None:
        """They are not told of."""
        notes = Notes()
        async with make_backend(observers=[notes]) as backend:
            await backend.store("t", TaskResult.success("t"))
            with pytest.raises(LateWrite):
                async with backend.track("t", strict=True):
                    pass
        assert (notes.of(BlockBegun), notes.of(BlockEnded)) == ([], [])

    async def test_closed_generators(
        self, make_backend: MakeBackend, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A block that is closed in the midst ends at once; what it comes to is not known yet."""
        around, notes = Around(), Notes()

        async def steps(backend: BaseResultBackend) -> AsyncGenerator[str, None]:
            async with backend.track("t"):
                yield AROUND.get()

        async with make_backend(observers=[around, notes]) as backend:
            walk = steps(backend)
            assert await anext(walk) == "t"
            await asyncio.create_task(_closed(walk))
            assert (await backend.wait_for("t", 30)).status is TaskStatus.CANCELLED
        [ended] = notes.of(BlockEnded)
        assert (ended.status, ended.is_stored, type(ended.error)) == (None, False, GeneratorExit)
        assert around.strangers == ["t"]
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def _closed(walk: AsyncGenerator[str, None]) -> None:
    await walk.aclose()
