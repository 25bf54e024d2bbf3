"""flowstore.sync in processes of their own: Ctrl-C, forks, exits without close."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from asyncio import to_thread
from collections.abc import Callable
from dataclasses import dataclass

import pytest

import flowstore.sync
from flowstore import TaskResult, TaskStatus, WrongProcess
from flowstore.testing.contract.forking import in_child
from tests.conftest import STORAGES


@dataclass
class Point:
    x: int


SHARED = STORAGES[1:]
"""Those that several processes share."""
A_MOMENT = 5.0
"""Seconds that a process takes at most to end, on a busy machine, where 15 would be a re-check."""


def started(program: str, url: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", program, url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def interrupted(program: str, url: str) -> tuple[str, str, int]:
    """What a program printed that was interrupted when it waited, and how it ended."""
    process = started(program, url)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n", process.communicate()
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - begun < A_MOMENT
    return out, err, process.returncode


CAUGHT = """
import sys, threading
import flowstore.sync
from flowstore import TaskResult

def say():
    while not store.waiting:
        pass
    print("waiting", flush=True)

with flowstore.sync.connect(sys.argv[1]) as store:
    threading.Thread(target=say).start()
    try:
        WAIT
    except KeyboardInterrupt:
        print("interrupted", store.waiting)
    print(store.store("t", TaskResult.success("t", 1)), store.wait_for("t", 10).unwrap())
"""
WAITS = {
    "wait_for": 'store.wait_for("never")',
    "wait_for_many": 'store.wait_for_many(["never", "ever"])',
    "as_completed": 'next(store.as_completed(["never", "ever"]))',
    "watch": 'next(store.watch("never"))',
}


@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c_ends_a_wait(wait: str, url: str) -> None:
    """At once, with nobody left who waits; whoever catches it goes on with the store."""
    out, err, code = interrupted(CAUGHT.replace("WAIT", WAITS[wait]), url)
    assert (out, err, code) == ("interrupted 0\nTrue 1\n", "", 0)


def test_ctrl_c_ends_a_program(url: str) -> None:
    """One that does not catch it dies of it, as it would without flowstore, and the block is cancelled."""
    program = CAUGHT.replace("try:", "with store.track('block'):").partition("    except")[0]
    program = program.replace("WAIT", WAITS["wait_for"])
    out, err, code = interrupted(program, url)
    assert (out, code) == ("", -signal.SIGINT)
    assert err.endswith("KeyboardInterrupt\n")
    if url != "memory://":
        with flowstore.sync.connect(url) as store:
            assert store.wait_for("block", 0).status is TaskStatus.CANCELLED


IN_A_POOL = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
import flowstore.sync

with ThreadPoolExecutor() as pool, flowstore.sync.connect(sys.argv[1]) as store:
    waits = [pool.submit(store.wait_for, f"never {n}") for n in range(4)]
    while store.waiting < 4:
        pass
    print("waiting", flush=True)
    waits[0].result()
"""


def test_ctrl_c_ends_waits_in_a_pool(url: str) -> None:
    """The store that is closed before the pool ends the waits of its threads."""
    out, err, code = interrupted(IN_A_POOL, url)
    assert (out, code) == ("", -signal.SIGINT)
    assert err.endswith("KeyboardInterrupt\n")


LEFT_OPEN = """
import sys, threading
from contextlib import suppress
import flowstore.sync
from flowstore import BackendClosed, TaskResult

store = flowstore.sync.connect(sys.argv[1])
store.store("main", TaskResult.success("main", 1))
walk, watch = store.iter_ids(), store.watch("never")
next(walk)

def work():
    threading.main_thread().join()
    store.store("thread", TaskResult.success("thread", 2))
    print(store.get("main").unwrap(), store.get("thread").unwrap())

def wait():
    with suppress(BackendClosed):
        next(watch)

threading.Thread(target=work).start()
threading.Thread(target=wait, daemon=True).start()
while not store.waiting:
    pass
"""


def test_exit_without_close(url: str) -> None:
    """It ends at once and says nothing. Threads that Python waits for use the store to their end."""
    process = started(LEFT_OPEN, url)
    out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == ("1 2\n", "", 0)
    if url != "memory://":
        with flowstore.sync.connect(url) as store:
            assert store.get_many(["main", "thread"]).keys() == {"main", "thread"}


@pytest.mark.parametrize("url", SHARED, indirect=True)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
class TestForks:
    async def test_fork(self, url: str) -> None:
        """A child has a backend and a loop of its own; the parent's go on; each sees what was stored."""
        store = flowstore.sync.connect(url, namespace="mine")
        await to_thread(store.store, "parent", TaskResult.success("parent", 1))

        def child() -> list[object]:
            found = store.wait_for("parent", 10).unwrap()
            with store.track("child") as task:
                task.result = 2
            store.close()
            return [found, store.namespace]

        for _ in range(2):
            assert await in_child(child) == [1, "mine"]
        assert (await to_thread(store.wait_for, "child", 10)).unwrap() == 2
        await to_thread(store.close)

        def later() -> str:
            try:
                store.get("parent")
            except flowstore.BackendClosed:
                return "closed"
            return "open"

        assert await in_child(later) == "closed"

    async def test_what_was_told_before_a_fork(self, url: str) -> None:
        """Types that were registered, and that no wait may begin any more, hold in the child, too."""
        store = flowstore.sync.connect(url)
        store.register_types([Point])
        await to_thread(store.store, "t", TaskResult.success("t", Point(1)))
        store.end_waits()

        def child() -> list[object]:
            try:
                store.wait_for("never")
            except flowstore.WaitsEnded:
                return [store.wait_for("t", 0).unwrap().x]
            return []

        assert await in_child(child) == [1]
        await to_thread(store.close)

    async def test_begun_before_a_fork(self, url: str) -> None:
        """Iterations and blocks of the parent are refused in the child, and go on in the parent."""
        store = flowstore.sync.connect(url)
        await to_thread(store.store_many, [TaskResult.success(f"t{n}") for n in range(9)])
        walk, block = store.iter_ids(batch_size=2), store.track("block")
        shown = [await to_thread(next, walk)]
        await to_thread(block.__enter__)

        def child() -> list[str]:
            found = []
            calls: list[Callable[[], object]] = [
                lambda: [*walk],
                lambda: block.progress(1),
                lambda: block.__exit__(None, None, None),
            ]
            for call in calls:
                try:
                    call()
                except WrongProcess:
                    found.append("refused")
            return found

        assert await in_child(child) == ["refused"] * 3
        shown += await to_thread(list, walk)
        assert len(shown) == 9
        await to_thread(block.__exit__, None, None, None)
        assert (await to_thread(store.wait_for, "block", 0)).is_success
        await to_thread(store.close)
