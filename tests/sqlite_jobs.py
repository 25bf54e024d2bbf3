"""What the child processes of the SQLite outages do: each is told where, and reports through a pipe."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401  # for to_thread, as another user may not read the library
import gc
import os
import resource
import sqlite3
import sys
import threading
import time
from collections.abc import Coroutine
from contextlib import suppress
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from flowstore import SQLiteBackend, StorageError, StorageFull, TaskResult
from flowstore.testing.faults import Recorder, crowd
from flowstore.testing.insides import storage_of

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


def be(user: int, *groups: int) -> None:
    """Be another user, if this one may do everything; his first group has his number."""
    if os.geteuid() == 0:
        os.setgroups(groups)
        os.setgid(user)
        os.setuid(user)


def be_nobody() -> None:
    """Be a user without rights of his own, if this one may do everything."""
    be(NOBODY)


def open_and_store(path: Path, *user_and_pipe: Any) -> None:
    """As nobody, or that user; send the kind and the text of the error, None if there is none."""
    *user, pipe = user_and_pipe
    be(*user or [NOBODY])

    async def run() -> None:
        async with SQLiteBackend(path) as backend:
            await backend.store("new", TaskResult.success("new"))

    send_trouble(run(), pipe)


def send_trouble(job: Coroutine[Any, Any, None], pipe: Connection) -> None:
    try:
        asyncio.run(job)
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


def store_and_back_up(path: Path, target: Path, pipe: Connection) -> None:
    """As nobody; send the kind and the text of the error, None if there is none."""
    be_nobody()

    async def run() -> None:
        async with SQLiteBackend(path) as backend:
            await backend.store("t", TaskResult.success("t"))
            await backend.backup(target)

    send_trouble(run(), pipe)


def make_for_group(path: Path, user: int, group: int, pipe: Connection) -> None:
    """As ``user``, with "t" in it; then give it to the group."""
    be(user, group)

    async def run() -> None:
        async with SQLiteBackend(path, mode=0o660) as backend:
            await backend.store("t", TaskResult.success("t"))

    asyncio.run(run())
    os.chown(path, -1, group)
    pipe.send("made")


def share(path: Path, user: int, peer: int, group: int, pipe: Connection) -> None:
    """Send "waiting", and, when told to go, store 20 and send what arrives of those of the peer, and how.

    The mode is not what the file has: it is another user's to change, or the same.
    """
    be(user, group)

    async def run() -> None:
        mode = 0o660 if os.stat(path).st_uid == user else 0o600
        async with SQLiteBackend(path, mode=mode, recheck_interval=1_000) as backend:
            waits = asyncio.ensure_future(backend.wait_for_many([f"{n} of {peer}" for n in range(20)], 30))
            await asyncio.sleep(0)
            await backend.wait_for("t", 30)
            pipe.send("waiting")
            await asyncio.to_thread(pipe.recv)
            for n in range(20):
                await backend.store(f"{n} of {user}", TaskResult.success(f"{n} of {user}", n))
            found = [result.unwrap() for result in (await waits).values()]
            pipe.send(["by polling" if storage_of(backend)._detector else "by bell", *found])
            # Not to close before the peer has heard: if its queue was full, this one still has to ring.
            await asyncio.to_thread(pipe.recv)

    asyncio.run(run())


def ring_a_closed_bell(path: Path, user: int, pipe: Connection) -> None:
    """As ``user``: store where a bell hangs that is not his; send what came of it, and what is to be rung."""
    be(user)

    async def run() -> None:
        async with SQLiteBackend(path) as backend, SQLiteBackend(path) as waiter:
            wait = asyncio.ensure_future(waiter.wait_for("t", 30))
            await asyncio.sleep(0)
            await waiter.exists("t")
            [bell] = os.listdir(f"{path}-bells")
            os.chmod(f"{path}-bells/{bell}", 0o000)
            is_stored = await backend.store("t", TaskResult.success("t"))
            await backend.get("t")
            pipe.send([is_stored, sorted(storage_of(backend)._changes._bell._overrun)])
            wait.cancel()

    asyncio.run(run())


async def empty_disk(path: Path) -> None:
    """Fill the disk, try to remove what is there, then do so with some room; print what came of each."""
    async with SQLiteBackend(path) as backend:
        stored: list[str] = []
        with suppress(StorageFull):
            for n in count():
                await backend.store(f"t{n}", TaskResult.success(f"t{n}", "x" * 20_000))
                stored.append(f"t{n}")
        refused = 0
        for removal in (backend.delete(stored[0]), backend.delete_many(stored), backend.clear()):
            try:
                await removal
            except StorageFull:
                refused += 1
        print(len(stored), refused, len(await backend.get_many(stored)))
        os.unlink(path.with_name("ballast"))
        await backend.vacuum()
        removed = 0
        for start in range(0, len(stored), 100):
            removed += await backend.delete_many(stored[start : start + 100])
        await backend.vacuum()
        print(removed, os.stat(path).st_size + os.stat(f"{path}-wal").st_size)


def store_without_descriptors(path: Path, pipe: Connection) -> None:
    """Open, use up what this process may open, and store 20, each when told to; send how many were left."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))

    async def run() -> None:
        async with SQLiteBackend(path) as backend:
            taken = []
            with suppress(OSError):
                while True:
                    taken.append(os.dup(0))
            for n in range(20):
                pipe.recv()
                await backend.store(f"t{n}", TaskResult.success(f"t{n}"))
            for descriptor in taken:
                os.close(descriptor)
        pipe.send(len(taken) > 100)

    asyncio.run(run())


async def store_one(path: Path) -> None:
    """Print the kind of error, and whether it names the file."""
    try:
        async with SQLiteBackend(path) as backend:
            await backend.store("t", TaskResult.success("t"))
    except StorageError as error:
        print(type(error).__name__, "naming" if str(path) in str(error) else "without", path)
    else:
        print(None)


async def look_only(path: Path) -> None:
    """Print how many records there are, or the error."""
    try:
        async with SQLiteBackend(path, read_only=True) as backend:
            print((await backend.count_by_status()).total)
    except StorageError as error:
        print(f"{type(error).__name__}: {error}")


async def look_at_mounts(folder: Path) -> None:
    """Of a file, seen at ``ro`` where nothing may be written: while it is open at ``rw``, and later."""
    async with SQLiteBackend(folder / "rw" / "x.db") as backend:
        await backend.store("t", TaskResult.success("t"))
        await look_only(folder / "ro" / "x.db")
    await look_only(folder / "ro" / "x.db")


async def back_up_to_disk(target: Path) -> None:
    """A file beside the small disk, on which there is no room for it; print what comes of it."""
    async with SQLiteBackend(target.parent.with_name("x.db")) as backend:
        for n in range(100):
            await backend.store(f"t{n}", TaskResult.success(f"t{n}", "x" * 20_000))
        try:
            await backend.backup(target)
        except StorageFull as error:
            print("StorageFull", str(target) in str(error), os.listdir(target.parent))
        await backend.delete_many(f"t{n}" for n in range(90))
        await backend.vacuum()
        print(await backend.backup(target) > 0, os.listdir(target.parent))


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
        programs = {
            program.__name__: program
            for program in (fill_disk, empty_disk, back_up_to_disk, store_one, look_at_mounts)
        }
        asyncio.run(programs[job](Path(where)))
