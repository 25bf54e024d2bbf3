"""What the child processes of the SQLite outages do: each is told where, and reports through a pipe."""

from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
import sys
import threading
import time
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

from flowstore import SQLiteBackend, StorageError, StorageFull, TaskResult
from flowstore.testing.faults import Recorder, crowd

NOBODY = 65534


def write_until_killed(path: Path, life: int, pipe: Connection) -> None:
    """Store pending, then success, of ever new tasks, five at a time; send each id and status once stored."""

    async def live(backend: SQLiteBackend, task_id: str) -> None:
        for result in (TaskResult.pending(task_id), TaskResult.success(task_id, task_id * 100)):
            assert await backend.store(task_id, result)
            pipe.send((task_id, result.status.value))

    async def run() -> None:
        async with SQLiteBackend(path) as backend:
            for n in count():
                await asyncio.gather(*(live(backend, f"{life}-{n}-{m}") for m in range(5)))

    asyncio.run(run())


def join_crowd(path: Path, prefix: str, seed: int, pipe: Connection) -> None:
    """Three clients of a crowd, which may be killed at any moment; send what they ask and are told."""

    async def run() -> None:
        async with SQLiteBackend(path) as backend:
            await crowd([Recorder(backend, pipe.send) for _ in range(3)], seed, 120, prefix=prefix)

    asyncio.run(run())


def write_for(path: Path, writer: int, pipe: Connection) -> None:
    """Told for how many seconds: store new tasks, four at a time; send how many, and the longest wait."""

    async def write(backend: SQLiteBackend, lane: int, deadline: float) -> tuple[int, float]:
        longest = 0.0
        for n in count():
            began = time.monotonic()
            if began > deadline:
                return n, longest
            assert await backend.store(task_id := f"{writer}-{lane}-{n}", TaskResult.success(task_id, n))
            longest = max(longest, time.monotonic() - began)
        raise AssertionError("unreachable")

    async def run() -> None:
        async with SQLiteBackend(path) as backend:
            pipe.send("ready")
            deadline = time.monotonic() + pipe.recv()
            done = await asyncio.gather(*(write(backend, lane, deadline) for lane in range(4)))
            pipe.send((sum(n for n, _ in done), max(longest for _, longest in done)))

    asyncio.run(run())


def be_nobody() -> None:
    """Be a user without rights of his own, if this one may do everything."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def open_and_store(path: Path, pipe: Connection) -> None:
    """As nobody; send the kind and the text of the error, None if there is none."""
    be_nobody()

    async def run() -> None:
        async with SQLiteBackend(path) as backend:
            await backend.store("new", TaskResult.success("new"))

    try:
        asyncio.run(run())
    except StorageError as error:
        pipe.send((type(error).__name__, str(error)))
    else:
        pipe.send(None)


def read_wait_and_write(path: Path, pipe: Connection) -> None:
    """As nobody: send what is read of "t", "waiting" and the end of "later"; then what each write raises."""
    be_nobody()

    async def run() -> None:
        async with SQLiteBackend(path) as backend:
            found = await backend.get("t")
            pipe.send((found and found.result, [item.task_id for item in (await backend.page()).items]))
            wait = asyncio.ensure_future(backend.wait_for("later", 30))
            await asyncio.sleep(0)
            await backend.wait_for("t", 30)
            pipe.send("waiting")
            pipe.send((await wait).result)
            writes = (
                backend.store("new", TaskResult.success("new")),
                backend.delete("t"),
                backend.set_progress("t", 1),
                backend.data.set("t", "k", 1),
                backend.clear(),
            )
            pipe.send([type(one).__name__ for one in await asyncio.gather(*writes, return_exceptions=True)])

    try:
        asyncio.run(run())
    except StorageError as error:
        pipe.send(repr(error))


def store_and_close(path: Path, task_id: str) -> None:
    """Open, store, close."""

    async def run() -> None:
        async with SQLiteBackend(path) as backend:
            await backend.store(task_id, TaskResult.success(task_id))

    asyncio.run(run())


async def fill_disk(path: Path) -> None:
    """Store until the disk is full; print what was stored, found again, and stored when there is room."""
    async with SQLiteBackend(path) as backend:
        stored = 0
        try:
            for stored in count():
                await backend.store(f"t{stored}", TaskResult.success(f"t{stored}", "x" * 20_000))
        except StorageFull:
            pass
        waited = await backend.wait_for("t0", 0)
        found = (await backend.count_by_status())[waited.status]
        half = await backend.get(f"t{stored}")
        another = None
        try:
            await SQLiteBackend(path.with_name("another.db")).open()
        except StorageFull as error:
            another = type(error).__name__
        path.with_name("ballast").unlink()
        await backend.store("after", TaskResult.success("after"))
        print(stored, found, half, another, await backend.exists("after"))


def lose_loop(path: Path, *, is_open: bool) -> None:
    """A loop dies while a store, or the opening before it, waits for a lock; go on in a new one."""
    store_and_close(path, "before")
    holder = sqlite3.connect(path, isolation_level=None)
    forgotten = SQLiteBackend(path)
    loop = asyncio.new_event_loop()
    if is_open:
        loop.run_until_complete(forgotten.open())
    holder.execute("BEGIN IMMEDIATE")
    call = loop.create_task(forgotten.store("late", TaskResult.success("late")))
    loop.run_until_complete(asyncio.wait([call], timeout=0.2))
    assert not call.done()
    loop.close()
    holder.execute("COMMIT")
    holder.close()
    store_and_close(path, "new")
    del forgotten, call, loop
    deadline = time.monotonic() + 20
    while len(threads := threading.enumerate()) > 1:  # the last call may still be on its way to the lock
        assert time.monotonic() < deadline, threads
        gc.collect()
        threads[-1].join(0.05)
    print("stored")


if __name__ == "__main__":
    _, job, where = sys.argv
    if job.startswith("lose_loop"):
        lose_loop(Path(where), is_open=job == "lose_loop_storing")
    else:
        asyncio.run(fill_disk(Path(where)))
