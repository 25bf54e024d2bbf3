"""The contract of event loops that follow one another."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import warnings
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

from flowstore import (
    BackendClosed,
    BaseResultBackend,
    Progress,
    TaskResult,
    TaskStatus,
    WrongLoop,
)
from flowstore.engine import let_go
from flowstore.testing.calls import CALLS, CALLS_OF_RUNS
from flowstore.testing.contract.base import NO_RECHECK, Contract, MakeBackend
from flowstore.testing.support import loop_like

T = TypeVar("T")

ON_ITS_WAY: Final = "ignore:unclosed (transport|<socket|resource)|loop is closed:ResourceWarning"
"""A connection that was being made when its loop was closed: asyncio had not handed it out yet."""
_OPENED: Final = Path("/proc/self/fd")


class Loops:
    """New event loops like the current one, one after another, each for one coroutine."""

    def __init__(self) -> None:
        self._like = asyncio.get_running_loop()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """As ``asyncio.run`` does: whatever is left is cancelled before the loop is closed."""
        with asyncio.Runner(loop_factory=self.new) as runner:
            return runner.run(work)

    def run_and_close(self, work: Coroutine[Any, Any, T]) -> T:
        """And nothing is cancelled: tasks that are left die with their loop."""
        loop = self.new()
        try:
            return loop.run_until_complete(work)
        finally:
            close(loop)

    def new(self) -> asyncio.AbstractEventLoop:
        return loop_like(self._like)


def close(loop: asyncio.AbstractEventLoop) -> None:
    """Close it at once, with all that is under way. uvloop warns of each connection, and closes it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed resource <", ResourceWarning)
        loop.close()


def opened() -> tuple[int, int]:
    """How many threads this process has, and how many files and sockets where one can tell.

    A file counts once: SQLite closes no descriptor of one on which the process still has a lock, but uses it
    for the next connection.
    """
    gc.collect()
    names = set()
    for descriptor in os.listdir(_OPENED) if _OPENED.is_dir() else ():
        with suppress(OSError):  # that of this very listing is gone
            names.add(os.readlink(_OPENED / descriptor))
    return threading.active_count(), len(names)


def assert_opened(before: tuple[int, int]) -> None:
    """Threads that were told to end may be on their way."""
    deadline = time.monotonic() + 20
    while opened() != before and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert opened() == before


async def leave_in_flight(backend: BaseResultBackend, steps: int) -> list[asyncio.Task[Any]]:
    """Calls of each kind, some turns of the loop after they began; some are on their way, others queued."""
    await backend.store("t", TaskResult.running("t"))
    left: list[asyncio.Task[Any]] = [
        asyncio.ensure_future(backend.wait_for("never")),
        asyncio.ensure_future(anext(backend.watch("never"))),
    ]
    await backend.wait_for_many(["t0"], 30)
    for n in range(50):
        left.append(asyncio.ensure_future(backend.store(f"late{n}", TaskResult.success(f"late{n}"))))
        left.append(asyncio.ensure_future(backend.get(f"late{n}")))
        left.append(asyncio.ensure_future(backend.set_progress("t", n)))
        left.append(asyncio.ensure_future(backend.store(f"c{n}", TaskResult.pending(f"c{n}", parent_id="t"))))
    for _ in range(steps):
        await asyncio.sleep(0)
    return left


class LoopsContract(Contract):
    async def test_one_loop_after_another(self, make_backend: MakeBackend) -> None:
        """Every call works in the next loop once the last one is closed, and nothing has to be opened."""
        backend, loops = make_backend(recheck_interval=NO_RECHECK), Loops()
        names = [f"t{n}" for n in range(10)]

        async def fill() -> None:
            for n, name in enumerate(names):
                parent = names[n - 1] if n else None
                await backend.store(name, TaskResult.success(name, n, parent_id=parent))
            await asyncio.gather(*(backend.get(name) for name in names * 20))

        def live() -> None:
            loops.run(fill())
            for name, call in [*CALLS.items(), *CALLS_OF_RUNS.items()]:
                if name not in ("clear", "drop_namespace", "delete with descendants"):
                    loops.run(in_time(call(backend)))
            assert loops.run(backend.wait_for("t0", 30)).unwrap() == 0
            loops.run(backend.close())

        await asyncio.to_thread(live)

    async def test_waits_and_watches_work_in_the_next_loop(self, make_backend: MakeBackend) -> None:
        """They are woken there, whatever waited for the same in the one before."""
        backend, loops = make_backend(recheck_interval=NO_RECHECK), Loops()

        async def wait(n: int) -> list[TaskResult]:
            states = backend.watch(f"t{n}")
            await backend.store(f"t{n}", TaskResult.running(f"t{n}"))
            seen = [await anext(states)]
            never = asyncio.ensure_future(backend.wait_for("never"))
            waits = [asyncio.ensure_future(backend.wait_for(f"t{n}", 30)) for _ in range(3)]
            seen.append(await backend.wait_for("t", 30) if n else TaskResult.pending("t"))
            await backend.set_progress(f"t{n}", 1)
            seen.append(await anext(states))
            await backend.store(f"t{n}", TaskResult.success(f"t{n}", n))
            seen += await asyncio.gather(*waits)
            await backend.store("t", TaskResult.success("t"))
            assert not never.done()
            await states.aclose()
            return seen

        def live() -> None:
            for n in range(4):
                running, _, reported, *finished = (loops.run, loops.run_and_close)[n % 2](in_time(wait(n)))
                assert (running.status, reported.progress) == (TaskStatus.RUNNING, Progress(done=1))
                assert [result.unwrap() for result in finished] == [n] * 3
            loops.run(backend.close())

        await asyncio.to_thread(live)

    @pytest.mark.filterwarnings(ON_ITS_WAY)
    async def test_a_loop_that_is_closed_under_its_calls(self, make_backend: MakeBackend) -> None:
        """Without a word to anybody: the next one opens and works, and nothing of the old one is left."""
        loops = Loops()

        def live() -> None:
            before = opened()
            backend = make_backend(recheck_interval=NO_RECHECK)
            loops.run(_works(backend))
            once = opened()
            for steps in range(6):
                for task in loops.run_and_close(in_time(leave_in_flight(backend, steps))):
                    let_go(task)
                del task
                loops.run(in_time(_works(backend)))
                assert backend.waiting == 0
            assert_opened(once)
            loops.run(backend.close())
            del backend
            assert_opened(before)

        await asyncio.to_thread(live)

    @pytest.mark.filterwarnings(ON_ITS_WAY)
    async def test_a_loop_that_is_closed_while_it_opens(self, make_backend: MakeBackend) -> None:
        """Nothing is open, so that nothing hinders the next one to open."""
        loops = Loops()

        def live() -> None:
            before = opened()
            for steps in range(8):
                backend = make_backend()
                loop = loops.new()
                opening = loop.create_task(backend.open())
                for _ in range(steps):
                    loop.run_until_complete(asyncio.sleep(0))
                close(loop)
                let_go(opening)
                loops.run(in_time(_works(backend)))
                loops.run(backend.close())
            del backend, opening, loop
            assert_opened(before)

        await asyncio.to_thread(live)

    async def test_it_is_closed_in_the_next_loop(self, make_backend: MakeBackend) -> None:
        """That releases all that is left of the last one; it stays closed in all loops."""
        loops = Loops()

        def live() -> None:
            before = opened()
            for run in (loops.run, loops.run_and_close):
                backend = make_backend()
                run(backend.store("t", TaskResult.success("t")))
                loops.run(backend.close())
                for call in (backend.get("t"), backend.open(), backend.wait_for("t", 0)):
                    with pytest.raises(BackendClosed):
                        loops.run(call)
                loops.run(backend.close())
            del backend
            assert_opened(before)

        await asyncio.to_thread(live)

    async def test_an_iteration_ends_with_its_loop(self, make_backend: MakeBackend) -> None:
        """Where it was begun and not closed, it raises in the next one, and hangs in no case."""
        backend, loops = make_backend(), Loops()

        async def begin() -> list[Any]:
            await backend.store_many(TaskResult.success(name) for name in "ab")
            await backend.store("t", TaskResult.running("t"))
            begun = [backend.as_completed(["a", "b"], 30), backend.watch("t")]
            for iterator in begun:
                await anext(iterator)
            return begun

        def live() -> None:
            for iterator in loops.run_and_close(begin()):
                loops.run(backend.open())
                with pytest.raises(WrongLoop):
                    loops.run(in_time(anext(iterator)))
            loops.run(backend.close())

        await asyncio.to_thread(live)


async def _works(backend: BaseResultBackend) -> None:
    await backend.store("t0", TaskResult.success("t0", 0))
    wait = asyncio.ensure_future(backend.wait_for("new", 30))
    await asyncio.gather(*(backend.get("t0") for _ in range(20)))
    await asyncio.gather(*(backend.set_progress("t", n) for n in range(20)))
    assert await backend.store("new", TaskResult.success("new", 1), overwrite=True)
    assert (await wait).unwrap() == 1
    await backend.delete("new")


async def in_time(call: Coroutine[Any, Any, T]) -> T:
    async with asyncio.timeout(60):
        return await call
