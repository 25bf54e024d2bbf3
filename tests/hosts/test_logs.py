"""The task on every line: with the logging of Python, and with structlog."""

from __future__ import annotations

import asyncio
import io
import logging
import logging.handlers
import queue
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import structlog

import flowstore
import flowstore.sync
from flowstore.integrations.logs import CurrentTask, TaskContext, TaskFilter, add_task, current_task
from flowstore.observing import BlockEnded
from flowstore.testing.contract.observing import Notes

LOGGER = logging.getLogger("of.the.program")


class Lines:
    """What a handler with the filter has written."""

    def __init__(self) -> None:
        self._text = io.StringIO()
        self.handler = logging.StreamHandler(self._text)
        self.handler.addFilter(TaskFilter())
        self.handler.setFormatter(logging.Formatter("%(task_id)s %(task_name)s %(message)s"))

    def __call__(self) -> list[str]:
        return self._text.getvalue().splitlines()


@pytest.fixture
def lines() -> Iterator[Lines]:
    kept, root = Lines(), logging.getLogger()
    root.addHandler(kept.handler)
    LOGGER.setLevel(logging.INFO)
    yield kept
    root.removeHandler(kept.handler)
    LOGGER.setLevel(logging.NOTSET)


async def test_lines_inside_of_blocks(lines: Lines, url: str) -> None:
    """Of any logger: of the block itself, its children, its tasks and its threads, and of flowstore."""
    async with flowstore.connect(url, observers=[TaskContext()]) as backend:
        LOGGER.info("before")
        async with backend.track("t1", name="report"):
            LOGGER.info("inside")
            async with backend.track("t2"):
                await asyncio.create_task(log("in a task"))
            await asyncio.to_thread(LOGGER.info, "in a thread")
            await backend.store("t1", flowstore.TaskResult.cancelled("t1"), overwrite=True)
        LOGGER.info("after")
    told = [line for line in lines() if "came too late" in line]
    assert [line for line in lines() if line not in told] == [
        "- - before",
        "t1 report inside",
        "t2 - in a task",
        "t1 report in a thread",
        "- - after",
    ]
    assert [line.split()[:2] for line in told] == [["t1", "report"]]


async def log(message: str) -> None:
    LOGGER.info(message)


async def test_blocks_side_by_side(lines: Lines) -> None:
    """Each has its own."""

    async def work(name: str) -> None:
        async with backend.track(name):
            await asyncio.sleep(0)
            LOGGER.info(name)

    async with flowstore.connect("memory://", observers=[TaskContext()]) as backend:
        await asyncio.gather(*(work(f"t{n}") for n in range(20)))
    assert sorted(lines()) == sorted(f"t{n} - t{n}" for n in range(20))


def test_threads(lines: Lines, url: str) -> None:
    """flowstore.sync: the lines of the thread that runs the block, of no other."""

    def work(name: str) -> None:
        with store.track(name, name="thread"):
            LOGGER.info("inside")

    with flowstore.sync.connect(url, observers=[TaskContext()]) as store:
        with store.track("all"):
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(work, ["a", "b"]))
            LOGGER.info("outside of these")
        LOGGER.info("after")
    assert sorted(lines()) == ["- - after", "a thread inside", "all - outside of these", "b thread inside"]


async def test_handlers_of_other_threads(lines: Lines) -> None:
    """The filter at a QueueHandler: the thread that writes knows no tasks."""
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = logging.handlers.QueueHandler(records)
    handler.addFilter(TaskFilter())
    LOGGER.addHandler(handler)
    try:
        async with flowstore.connect("memory://", observers=[TaskContext()]) as backend, backend.track("t"):
            LOGGER.info("inside")
    finally:
        LOGGER.removeHandler(handler)
    record: Any = records.get_nowait()
    assert (record.task_id, record.task_name, record.getMessage()) == ("t", "-", "inside")


@pytest.mark.parametrize(("outside", "expected"), [("", ""), (None, None)])
def test_what_stands_outside(outside: str | None, expected: str | None) -> None:
    record: Any = LOGGER.makeRecord("n", logging.INFO, "f", 1, "m", (), None)
    assert TaskFilter(outside).filter(record) is True
    assert (record.task_id, record.task_name) == (expected, expected)


async def test_what_the_program_says_is_left_alone(lines: Lines) -> None:
    async with (
        flowstore.connect("memory://", observers=[TaskContext()]) as backend,
        backend.track("t", name="report"),
    ):
        LOGGER.info("inside", extra={"task_id": "own"})
        assert add_task(None, "info", {"task_name": "own"}) == {"task_id": "t", "task_name": "own"}
    assert lines() == ["own report inside"]


async def test_structlog(url: str) -> None:
    """As a processor of the program's chain, with its own loggers."""
    written: list[dict[str, Any]] = []

    def keep(logger: Any, method: str, event_dict: Any) -> Any:
        written.append(dict(event_dict))
        raise structlog.DropEvent

    log = structlog.wrap_logger(structlog.PrintLogger(), processors=[add_task, keep])
    async with flowstore.connect(url, observers=[TaskContext()]) as backend:
        log.info("before", key=1)
        async with backend.track("t1", name="report"), backend.track("t2"):
            await log.ainfo("inside", key=2)
        log.info("after")
    assert written == [
        {"event": "before", "key": 1},
        {"event": "inside", "key": 2, "task_id": "t2"},
        {"event": "after"},
    ]


async def test_blocks_that_cross(caplog: pytest.LogCaptureFixture) -> None:
    """Blocks of generators end in any order; what is over is not current any more."""
    notes = Notes()

    async def steps(name: str) -> AsyncGenerator[None, None]:
        async with backend.track(name):
            yield

    async def here() -> CurrentTask | None:
        return current_task()

    async with flowstore.connect("memory://", observers=[TaskContext(), notes]) as backend:
        first, second = steps("a"), steps("b")
        await anext(first)
        await anext(second)
        await anext(first, None)
        assert await here() == CurrentTask("b", None, 0)
        await asyncio.create_task(end(second))
        assert await here() is None
        await notes.next(BlockEnded, 2)
    assert not caplog.records


async def end(walk: AsyncGenerator[None, None]) -> None:
    await anext(walk, None)
