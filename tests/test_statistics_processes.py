"""Statistics and error groups stay exact: when processes are killed, and replies are lost and sent again."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

import flowstore
from flowstore import EVER, BaseResultBackend, RedisBackend, StorageError, TaskError, TaskResult, TaskStatus
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.statistics import by_history, counted, in_order_of_writing
from flowstore.testing.faults import Proxy
from flowstore.testing.insides import storage_of
from tests.test_processes import go, url, workers

__all__ = ["url"]


async def errors_by_history(backend: BaseResultBackend) -> dict[str, int]:
    """How many failures of each type were stored, retries among them."""
    found: Counter[str] = Counter()
    last: dict[str, tuple[TaskStatus, int]] = {}
    for step in await in_order_of_writing(backend):
        if step.error is not None and last.get(step.task_id) != (step.status, step.retries):
            found[step.error.type.rpartition(".")[2]] += 1
        last[step.task_id] = (step.status, step.retries)
    return dict(found)


async def grouped(backend: BaseResultBackend) -> dict[str, int]:
    return {group.type.rpartition(".")[2]: group.total for group in await backend.errors.groups()}


async def ended_after(backend: BaseResultBackend, number: int, since: datetime | None = None) -> None:
    """Return once so many tasks have ended: each id that is told is of a store that was counted before."""
    async with aclosing(backend.watch_status()) as stores:
        async for _ in stores:
            if (await backend.stats.total(since=since)).ended >= number:
                return


async def test_exact_after_kill_9(url: str) -> None:
    """Four processes that write without a pause are killed, one after the other, and replaced."""
    async with flowstore.connect(url) as backend:
        for again in range(3):
            jobs = [["fail-and-finish", url, str(10_000 * again + 250 * n)] for n in range(4)]
            with workers(*jobs) as processes:
                for process in processes:
                    go(process)
                    assert process.stdout is not None
                    await asyncio.to_thread(process.stdout.readline)
                ended = (await backend.stats.total()).ended
                for more, process in enumerate(processes, 1):
                    await ended_after(backend, ended + 100 * more)
                    process.kill()
                    await asyncio.to_thread(process.wait)
            found = counted(await backend.stats.total())
            assert found == await by_history(backend)
            assert found["failed"] > 0
            assert found["retried"] > 0
            assert await grouped(backend) == await errors_by_history(backend)
            rows = await backend.stats.by("name")
            assert sum((Counter(counted(row)) for row in rows), Counter[str]()) == found
            hours = await backend.stats.series()
            assert sum((Counter(counted(hour)) for hour in hours), Counter[str]()) == found


async def test_what_was_counted_since_ever_is_exact_after_kill_9(url: str) -> None:
    """Of processes that purge all the time, on clocks weeks apart, so that each is late for others."""
    clock = ManualClock()
    clock.advance(1_000 * 86_400)
    async with flowstore.connect(url, clock=clock, purge_interval=None) as backend:
        for again in range(2):
            jobs = [["count-for-days", url, str(100_000 * again + 10_000 * n)] for n in range(3)]
            with workers(*jobs) as processes:
                ended = (await backend.stats.total(since=EVER)).ended
                for more, process in enumerate(processes, 1):
                    go(process)
                    await ended_after(backend, ended + 40 * more, EVER)
                for process in processes:
                    process.kill()
                    await asyncio.to_thread(process.wait)
            found = counted(await backend.stats.total(since=EVER))
            assert found == await by_history(backend)
        await backend.purge_expired()
        assert counted(await backend.stats.total(since=EVER)) == found
        assert await backend.stats.by("name") == []


async def test_exact_when_replies_are_lost(redis_url: str) -> None:
    """The driver sends a call again; what it has counted the first time is not counted again."""
    parts = urlsplit(redis_url)
    assert parts.hostname is not None
    assert parts.port is not None
    async with Proxy(parts.hostname, parts.port) as proxy, RedisBackend(redis_url) as straight:
        through = parts._replace(netloc=f"127.0.0.1:{proxy.port}").geturl()
        async with RedisBackend(through, op_timeout=5.0) as backend:
            await backend.store("warm", TaskResult.success("warm", task_name="n"))
            for n in range(30):
                error = TaskError(type="E", message=f"number {n}")

                async def store(n: int = n, error: TaskError = error) -> None:
                    task_id = f"t{n}"
                    try:
                        await backend.store(task_id, TaskResult.running(task_id, task_name="n"), patience=5)
                        made = TaskResult.failed(task_id, error) if n % 2 else TaskResult.success(task_id, n)
                        await backend.store(task_id, made, patience=5)
                    except StorageError:
                        pass  # it may have been carried out or not; the history knows

                storing = asyncio.ensure_future(store())
                await asyncio.sleep(0)
                proxy.cut()
                await storing
        assert counted(await straight.stats.total()) == await by_history(straight)
        assert await grouped(straight) == await errors_by_history(straight)


async def test_each_call_sent_twice(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a driver that has lost every reply; what purges add to the totals is added once as well."""
    clock = ManualClock()
    async with RedisBackend(redis_url, clock=clock) as backend:
        await backend.open()
        calls: Any = storage_of(backend).calls
        run = calls._run

        async def run_twice(*call: Any) -> Any:
            first = await run(*call)
            assert await run(*call) == first
            return first

        monkeypatch.setattr(calls, "_run", run_twice)
        await backend.store("t", TaskResult.pending("t", task_name="a"))
        await backend.store("t", TaskResult.failed("t", OSError("1"), task_name="a"))
        await backend.store_many(
            TaskResult.failed(f"u{n}", OSError(str(n)), task_name="a") for n in range(50)
        )
        assert counted(await backend.stats.total("a")) == {"submitted": 51, "failed": 51}
        assert await grouped(backend) == {"OSError": 51}
        for days in (1, 2, 100):
            clock.advance(days * 86_400)
            await backend.purge_expired()
            assert counted(await backend.stats.total(since=EVER)) == {"submitted": 51, "failed": 51}
