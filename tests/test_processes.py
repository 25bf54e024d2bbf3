"""Several real processes on one storage: one winner, and no wait missed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest

import flowstore
from flowstore import ChangesMissed, ResultDeleted, TaskChange, TaskResult
from flowstore.testing.insides import core_of
from flowstore.testing.support import waiting
from tests.conftest import KINDS

WORKER = Path(__file__).with_name("process_workers.py")


@pytest.fixture(params=["sqlite", *KINDS])
def url(request: pytest.FixtureRequest, tmp_path: Path, empty_database: Callable[[str], str]) -> str:
    """A storage that several processes can share."""
    return f"sqlite:///{tmp_path}/shared.db" if request.param == "sqlite" else empty_database(request.param)


@contextmanager
def workers(*jobs: list[str]) -> Iterator[list[subprocess.Popen[str]]]:
    """Child processes that are ready and wait for a line."""
    started = [
        subprocess.Popen(
            [sys.executable, str(WORKER), *job], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for job in jobs
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


async def test_200_writers_in_4_processes_have_one_winner(url: str) -> None:
    """And what stands is what the winner wrote."""
    async with flowstore.connect(url) as backend:
        with workers(*(["race", url, str(50 * n), "50"] for n in range(4))) as processes:
            for process in processes:
                go(process)
            outputs = [await asyncio.to_thread(process.communicate) for process in processes]
        winners = [int(number) for output, _ in outputs for number in output.split()]
        assert len(winners) == 1
        assert (await backend.wait_for("t", 5)).unwrap() == winners[0]


async def test_100_takers_in_4_processes_have_one_winner(url: str) -> None:
    """And nothing is left."""
    async with flowstore.connect(url) as backend:
        await backend.store("t", TaskResult.success("t", 7))
        with workers(*(["take", url, str(25 * n), "25"] for n in range(4))) as processes:
            for process in processes:
                go(process)
            outputs = [await asyncio.to_thread(process.communicate) for process in processes]
        assert len([number for output, _ in outputs for number in output.split()]) == 1
        assert not await backend.exists("t")


async def test_1000_waits_for_another_process(url: str) -> None:
    """All return, a deletion over there wakes its waiter here, and nothing is left behind."""
    backend = flowstore.connect(url)
    await backend.store("doomed", TaskResult.pending("doomed"))
    waits = [asyncio.ensure_future(backend.wait_for(f"t{n}", 60)) for n in range(1_000)]
    doomed = await waiting(backend, "doomed", 60)
    with workers(["finish", url, "1000"]) as [process]:
        go(process)
        results = await asyncio.gather(*waits)
        with pytest.raises(ResultDeleted):
            await doomed
    assert [result.result for result in results] == list(range(1_000))
    assert backend.waiting == 0
    assert not core_of(backend).waiters._recheck.is_started
    await backend.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_changes_of_two_other_processes(url: str) -> None:
    """Those who listen here are given each of 1,200 changes once, and with the name of the task."""

    async def listen(changes: AsyncGenerator[TaskChange | ChangesMissed, None]) -> Counter[tuple[str, int]]:
        found: Counter[tuple[str, int]] = Counter()
        async with aclosing(changes):
            async for change in changes:
                assert isinstance(change, TaskChange)
                assert change.name == "n"
                found[change.task_id, change.seq] += 1
                if len(found) == 1_200:
                    break
        return found

    async with flowstore.connect(url) as backend:
        listening = [asyncio.ensure_future(listen(backend.watch_changes("name:n"))) for _ in range(3)]
        with workers(["live", url, "a", "200"], ["live", url, "b", "200"]) as processes:
            for process in processes:
                go(process)
            async with asyncio.timeout(60):
                every = await asyncio.gather(*listening)
        expected = Counter((f"{prefix}{n}", seq) for prefix in "ab" for n in range(200) for seq in (1, 2, 3))
        assert every == [expected] * 3
        assert backend.waiting == 0
