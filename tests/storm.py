"""A pool of worker processes in a storm: what the children do, and what brews it.

Tasks are dealt out to slots, each of which one process at a time works off; flowstore is no queue, so a
process looks for the pending and retrying ones of its slot. How an attempt ends is drawn from the number of
the task and of the attempt, so that what is stored in the end can be told from them.

``python -m tests.storm KIND FOLDER TASKS SECONDS SEED`` brews one, with a database in the folder for
KIND "sqlite". It prints what happened, and raises AssertionError if that cannot be explained.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal

import flowstore
from flowstore import BaseResultBackend, StorageError, TaskResult, TaskStatus, Transition, WorkerStopped
from tests.servers import Server, start_server

SLOTS: Final = 4
SILENT_AFTER: Final = 1.5
PATIENCE: Final = 30.0
"""Longer than any outage of the storm: within it no outcome may be lost."""
LONGEST: Final = 90.0
"""Seconds after the storm by which all must be done."""

OPTIONS: Final[dict[str, Any]] = {"op_timeout": 5.0, "recheck_interval": 2.0}


class Flaky(Exception):
    """Worth another try."""


class Fatal(Exception):
    """Not worth one."""


def fate(task_id: str, attempt: int) -> Literal["success", "retrying", "failed"]:
    """How the attempt ends, if nobody kills it."""
    drawn = random.Random(f"{task_id} {attempt}").random()
    if drawn < 0.04:
        return "failed"
    return "retrying" if drawn < 0.3 and attempt < 20 else "success"


async def work(url: str, slot: int, notes: Path) -> None:
    """Work off the tasks of a slot until SIGTERM, then drain. Each outcome is noted once it is stored."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with AsyncExitStack() as stack:
        backend = await opened(url, stack)
        worker = await _ridden_out(lambda: backend.worker(f"w{slot}", every=0.3).__aenter__())
        async with asyncio.TaskGroup() as blocks:
            under_way: set[str] = set()
            while not stop.is_set():
                with suppress(StorageError):
                    for task in await _due(backend, slot):
                        if task.task_id not in under_way and len(under_way) < 8:
                            under_way.add(task.task_id)
                            blocks.create_task(_attempt(worker, task.task_id, under_way, notes))
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), 0.05)
            await worker.drain(0.05)
        await _ridden_out(lambda: worker.__aexit__(None, None, None))


async def _due(backend: BaseResultBackend, slot: int) -> list[TaskResult]:
    found = await backend.page(["pending", "retrying"], name=f"slot {slot}", limit=50, load_result=False)
    return [task for task in found.items if task.due_at is None or task.due_at.timestamp() < time.time()]


async def opened(url: str, stack: AsyncExitStack) -> BaseResultBackend:
    backend = flowstore.connect(url, **OPTIONS)
    await _ridden_out(backend.open)
    return await stack.enter_async_context(backend)


async def _ridden_out(call: Any) -> Any:
    while True:
        try:
            return await call()
        except StorageError:
            await asyncio.sleep(0.1)


async def _attempt(worker: flowstore.RunningWorker, task_id: str, under_way: set[str], notes: Path) -> None:
    tracked = worker.track(
        task_id,
        retry_on=Flaky,
        retry_delay=0.1,
        on_cancel="requeue",
        patience=PATIENCE,
    )
    has_begun = False
    try:
        async with tracked as task:
            has_begun = True
            await asyncio.sleep(random.uniform(0, 1))
            how = fate(task_id, task.retries)
            if how == "retrying":
                raise Flaky(f"attempt {task.retries}")
            if how == "failed":
                raise Fatal(f"attempt {task.retries}")
            task.result = [task_id, task.retries]
    except (Flaky, Fatal):
        pass
    except WorkerStopped:
        return
    except StorageError as error:
        if has_begun:
            _note(notes, task_id, "lost", str(error))
    finally:
        under_way.discard(task_id)
    if has_begun and tracked.outcome is not None and tracked.is_stored:
        _note(notes, task_id, tracked.outcome.status.value, tracked.retries)


def _note(notes: Path, *line: object) -> None:
    """One write of one line, so that no two of them mix, and none is cut by a kill."""
    with notes.open("ab", buffering=0) as file:
        file.write(json.dumps(line).encode() + b"\n")


async def sweep(url: str) -> None:
    """Sweep until SIGTERM, beside whoever else does."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with AsyncExitStack() as stack:
        backend = await opened(url, stack)
        while not stop.is_set():
            with suppress(StorageError):
                await backend.workers.sweep(silent_after=SILENT_AFTER, overdue_after=SILENT_AFTER)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), random.uniform(0.2, 0.4))


class Pool:
    """The children: a process for each slot, and two that sweep."""

    def __init__(self, url: str, notes: Path) -> None:
        self._url = url
        self._notes = notes
        self.workers = [self._work(slot) for slot in range(SLOTS)]
        self._sweepers = [self._child("sweep") for _ in range(2)]

    def _work(self, slot: int) -> subprocess.Popen[bytes]:
        return self._child("work", str(slot), str(self._notes))

    def _child(self, job: str, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "tests.storm", job, self._url, *arguments])

    def kill(self, slot: int) -> None:
        self.workers[slot].kill()
        self._replace(slot)

    def terminate(self, slot: int) -> None:
        """As a deployment does: it drains, and another one takes its place."""
        self.workers[slot].terminate()
        self._replace(slot)

    def _replace(self, slot: int) -> None:
        self.workers[slot].wait(LONGEST)
        self.workers[slot] = self._work(slot)

    def freeze(self, slot: int) -> None:
        """For long enough to be taken for dead; it goes on afterwards, and knows nothing of it."""
        self.workers[slot].send_signal(signal.SIGSTOP)
        time.sleep(2 * SILENT_AFTER)
        self.workers[slot].send_signal(signal.SIGCONT)

    def stop(self) -> None:
        for child in [*self.workers, *self._sweepers]:
            child.terminate()
        for child in [*self.workers, *self._sweepers]:
            try:
                child.wait(LONGEST)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                raise


def brew(pool: Pool, seconds: float, seed: int, server: Server | None, disk: Path | None) -> Counter[str]:
    """The storm itself: one trouble after the other; how many of each."""
    draw, told = random.Random(seed), Counter[str]()
    troubles = ["kill", "terminate", "freeze", *["restart"] * (3 * (server is not None))]
    first = [*troubles, *["disk"] * (disk is not None)]
    draw.shuffle(first)
    end = time.monotonic() + seconds
    while first or time.monotonic() < end:
        trouble, slot = first.pop() if first else draw.choice(troubles), draw.randrange(SLOTS)
        if trouble == "restart":
            assert server is not None
            server.kill()
            time.sleep(draw.uniform(0, 1))
            server.restart()
        elif trouble == "disk":
            assert disk is not None
            fill(disk)
        else:
            getattr(pool, trouble)(slot)
        told[trouble] += 1
        time.sleep(draw.uniform(0.1, 0.6))
    return told


def fill(disk: Path) -> None:
    """Leave no room on it for five seconds."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4_096))
    time.sleep(5)
    ballast.unlink()


async def wait_for_all(url: str, tasks: list[str]) -> dict[str, TaskResult]:
    """Waits from before the storm begins: none of them may hang, or end without a result."""
    async with flowstore.connect(url, **OPTIONS) as backend:
        await backend.store_many(
            TaskResult.pending(task_id, task_name=f"slot {n % SLOTS}") for n, task_id in enumerate(tasks)
        )
        print("ready", flush=True)
        return await backend.wait_for_many(tasks, raise_first=True)


async def explained(url: str, waited: dict[str, Any], notes: list[list[Any]]) -> Counter[str]:
    """Whether every task ended once, in a state that its attempts explain; how many in each."""
    lost = [note for note in notes if note[1] == "lost"]
    assert lost == [], f"outcomes were lost, though patience lasted: {lost}"
    async with flowstore.connect(url) as backend:
        for task_id, status in waited.items():
            final = await backend.get(task_id)
            assert final is not None
            assert final.status.value == status == fate(task_id, final.retries), (task_id, final)
            if final.is_success:
                assert final.result == [task_id, final.retries]
            check_history(task_id, final, await backend.history.of(task_id))
        noted = [note for note in notes if note[1] in ("success", "failed")]
        for task_id, status, attempt in noted:
            final = await backend.get(task_id)
            assert final is not None
            assert (final.status.value, final.retries) == (status, attempt), "what was stored was lost"
        assert not (await backend.count_by_status())[TaskStatus.RUNNING]
    return Counter(waited.values())


def check_history(task_id: str, final: TaskResult, steps: list[Transition]) -> None:
    attempts = [step.retries for step in steps]
    assert attempts == sorted(attempts), f"{task_id} went back: {steps}"
    ends = [step for step in steps if step.status.is_finished]
    assert ends == [steps[-1]], f"{task_id} ended {len(ends)} times: {steps}"
    assert (ends[0].status, ends[0].retries) == (final.status, final.retries)
    for step in steps:
        if step.status is TaskStatus.RETRYING:
            assert fate(task_id, step.retries) == "retrying", step
            assert step.error is not None
            assert step.error.message == f"attempt {step.retries}"


def storm(kind: str, folder: Path, count: int, seconds: float, seed: int) -> None:
    with ExitStack() as stack:
        server = None
        if kind != "sqlite":
            server = start_server(kind, *["--appendonly", "yes", "--appendfsync", "always"])
            stack.callback(server.stop)
        url = f"sqlite:///{folder}/storm.db" if server is None else server.url
        notes = folder / "notes"
        notes.touch()
        waiter = stack.enter_context(_waiter(url, count))
        pool = Pool(url, notes)
        stack.callback(pool.stop)
        told = brew(pool, seconds, seed, server, folder if folder.is_mount() else None)
        out, _ = waiter.communicate(timeout=LONGEST)
        pool.stop()
        waited = json.loads(out)
        assert len(waited) == count
        lines = [json.loads(line) for line in notes.read_text().splitlines()]
        ends = asyncio.run(explained(url, waited, lines))
    print(f"{kind}: {count} tasks in {seconds:g} s of {dict(told)}: {dict(ends)}")


@contextmanager
def _waiter(url: str, count: int) -> Iterator[subprocess.Popen[str]]:
    """A process that has submitted the tasks and waits for all of them."""
    command = [sys.executable, "-m", "tests.storm", "wait", url, str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiter:
        try:
            assert waiter.stdout is not None
            assert waiter.stdout.readline() == "ready\n"
            yield waiter
        finally:
            waiter.kill()


async def wait(url: str, count: int) -> None:
    found = await wait_for_all(url, [f"t{n}" for n in range(count)])
    print(json.dumps({task_id: result.status.value for task_id, result in found.items()}))


if __name__ == "__main__":
    job, place, *numbers = sys.argv[1:]
    if job == "work":
        asyncio.run(work(place, int(numbers[0]), Path(numbers[1])))
    elif job == "sweep":
        asyncio.run(sweep(place))
    elif job == "wait":
        asyncio.run(wait(place, int(numbers[0])))
    else:
        storm(job, Path(place), int(numbers[0]), float(numbers[1]), int(numbers[2]))
