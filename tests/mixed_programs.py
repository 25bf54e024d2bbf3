"""A program of test_old_program.py, run on the flowstore that PYTHONPATH leads to, whichever that is.

It uses only what every flowstore has, and takes orders: each line of its standard input is a JSON list of a
number, the name of an order, and arguments. A line of its standard output answers each with the same number,
and "ok" or "error". Orders run at the same time; a wait first says that it is registered.
"""

from __future__ import annotations

import asyncio
import enum
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import BaseModel

import flowstore
from flowstore import BaseResultBackend, Progress, TaskResult


class Colour(enum.Enum):
    RED = "r"
    BLUE = 2


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass(frozen=True)
class Point:
    x: int
    y: Any


class Order(BaseModel, extra="allow"):
    number: int
    lines: list[str] = []


@dataclass
class Grown:
    x: int
    y: int = 0


TYPES: dict[str, Any] = {"Colour": Colour, "Access": Access, "Point": Point, "Order": Order, "Grown": Grown}

VALUES: dict[str, Any] = {
    "none": None,
    "plain": [True, -7, 0.5, "caf\u00e9 \N{SNAKE}\0", {"a": {"b": []}}],
    "numbers": (2**80, float("inf"), -0.0, Decimal("1.50"), UUID(int=7), b"\x00\xff", "\udc80"),
    "containers": [(1, ()), {1, 2}, frozenset("x"), {(1, 2): {"$a": None}, None: 1}],
    "times": [
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        *(date(2026, 1, 1), time(1, 2, tzinfo=timezone(timedelta(hours=1), "X")), timedelta(-1, 2, 3)),
    ],
    "enum": [Colour.BLUE, Access.READ | Access.WRITE],
    "dataclass": Point(3, Point(4, (5,))),
    "model": Order.model_validate({"number": 5, "lines": ["a"], "more": {"$x": 1}}),
}
"""What every flowstore stores."""

LARGE: Any = [{"row": n, "name": "x" * 20} for n in range(500)]


def new_values() -> dict[str, Any]:
    """What only a newer one than that of the archive reads: new tags, and a second version of a type."""
    return {"path": PurePosixPath("/x"), "version": Grown(1, 2), "taught": {"deep": [1, 2j]}}


def backend_at(url: str) -> BaseResultBackend:
    """With the types of this program. Today's knows more of them, and of one a second version."""
    stored_type = getattr(flowstore, "StoredType", None)
    types = dict(TYPES)
    if stored_type is not None:
        types["Grown"] = stored_type(Grown, version=2)
        types["complex"] = stored_type(complex, dump=lambda z: [z.real, z.imag], load=lambda z: complex(*z))
    return flowstore.connect(url, types=types)


def error_with_causes() -> Exception:
    error = ValueError("bad row", 7)
    error.__cause__ = KeyError("id")
    error.__cause__.__cause__ = group()
    return error


def group() -> ExceptionGroup[Exception]:
    return ExceptionGroup("several", [OSError("one"), TypeError("two")])


class Program:
    """``name``: the beginning of all ids that it stores."""

    def __init__(self, backend: BaseResultBackend, name: str) -> None:
        self.backend = backend
        self.name = name

    async def fill(self) -> None:
        """Results of all kinds, data, checkpoints and progress."""
        name, backend = self.name, self.backend
        for kind, value in VALUES.items():
            result = TaskResult.success(f"{name} {kind}", value, args=(value,), kwargs={"k": value})
            assert await backend.store(result.task_id, result)
        root = TaskResult.running(f"{name} root", task_name="import", worker_id=f"{name} worker")
        await backend.store_many([root, TaskResult.pending(f"{name} step", parent_id=root.task_id)])
        assert await backend.set_progress(root.task_id, 3, 9)
        for kind, error in {"failed": error_with_causes(), "group": group()}.items():
            await backend.store(f"{name} {kind}", TaskResult.failed(f"{name} {kind}", error, labels={name}))
        for kind, value in VALUES.items():
            await backend.data.set(root.task_id, kind, value)
            await backend.checkpoints.save(root.task_id, value)
        await backend.workers.register(f"{name} worker", host="h", pid=7, labels=["gpu"])

    async def check(self, name: str) -> None:
        """What the program of that name has stored by ``fill`` is all there."""
        backend = self.backend
        for kind, value in VALUES.items():
            read = await self.read(f"{name} {kind}")
            for found in (read.result, *read.args, read.kwargs["k"]):
                assert is_same(found, value), (kind, found)
        root = await self.read(f"{name} root")
        assert root.progress == Progress(done=3, total=9), root
        assert [child.task_id async for child in backend.families.children(root.task_id)] == [f"{name} step"]
        assert (root.task_name, root.worker_id) == ("import", f"{name} worker"), root
        data = await backend.data.all(root.task_id)
        saved = [one.value for one in await backend.checkpoints.all(root.task_id)]
        for found in ([data[kind] for kind in VALUES], saved):
            assert all(map(is_same, found, VALUES.values())), found
        error = (await self.read(f"{name} failed")).error
        assert error is not None
        assert [one.type for one in error.chain()] == ["ValueError", "KeyError", "ExceptionGroup"], error
        assert error.args == ("bad row", 7), error
        page = await backend.page(label=name)
        assert {one.task_id for one in page.items} == {f"{name} failed", f"{name} group"}, page
        worker = await backend.workers.get(f"{name} worker")
        assert worker is not None
        assert (worker.host, worker.pid, worker.labels) == ("h", 7, frozenset({"gpu"})), worker

    async def fill_new(self) -> None:
        """What an older program cannot read: as results, arguments of a running task, data."""
        for kind, value in new_values().items():
            task_id = f"new {kind}"
            await self.backend.store(task_id, TaskResult.success(task_id, value, labels={"new"}))
            running = TaskResult.running(f"{task_id} running", args=(value,), worker_id="new worker")
            await self.backend.store(running.task_id, running)
            await self.backend.data.set(task_id, "k", value)

    async def check_new(self, status: str) -> None:
        """``status``: that of the tasks which are not finished."""
        for kind, value in new_values().items():
            read = await self.read(f"new {kind}")
            unfinished = await self.read(f"new {kind} running")
            data = await self.backend.data.get(f"new {kind}", "k")
            for found in (read.result, *unfinished.args, data):
                assert is_same(found, value), found
            assert unfinished.status == status, unfinished

    async def fill_compressed(self, url: str) -> None:
        """Large values, plain ones, as a program stores them that compresses."""
        options: dict[str, Any] = {"compress_over": 100}
        async with flowstore.connect(url, **options) as backend:
            await backend.store("c done", TaskResult.success("c done", LARGE))
            await backend.store("c running", TaskResult.running("c running", args=(LARGE,), worker_id="c"))
            await backend.data.set("c done", "k", LARGE)
            await backend.store("c small", TaskResult.success("c small", 1))

    async def check_compressed(self, status: str) -> None:
        """``status``: that of the task which is not finished."""
        done, running = await self.read("c done"), await self.read("c running")
        assert (done.result, running.args) == (LARGE, (LARGE,)), (done, running)
        assert await self.backend.data.get("c done", "k") == LARGE
        assert running.status == status, running

    async def read(self, task_id: str) -> TaskResult:
        found = await self.backend.get(task_id)
        assert found is not None, task_id
        return found

    async def get(self, task_id: str) -> str:
        return repr((await self.read(task_id)).result)

    async def data(self, task_id: str) -> str:
        return repr(await self.backend.data.get(task_id, "k"))

    async def pages(self, limit: int, label: str | None) -> list[dict[str, str]]:
        """Of all pages: the ids that were read; and those that were not, each with the reason."""
        page = await self.backend.page(limit=limit, label=label)
        pages = [page]
        while page.next_cursor is not None:
            page = await self.backend.page(limit=limit, label=label, cursor=page.next_cursor)
            pages.append(page)
        return [
            {one.task_id: one.status.value for page in pages for one in page.items},
            {one.task_id: one.reason for page in pages for one in page.unreadable},
        ]

    async def wait(self, task_id: str) -> str:
        return repr((await self.backend.wait_for(task_id, 60)).unwrap())

    async def settle(self) -> None:
        """Return once the waits of this program have read the storage."""
        marker = f"{self.name} marker"
        await self.backend.store(marker, TaskResult.success(marker))
        await self.backend.wait_for(marker, 60)

    async def finish(self, count: int) -> None:
        """The tasks of this program for which others wait."""
        for n in range(count):
            await self.backend.store(f"{self.name} w{n}", TaskResult.success(f"{self.name} w{n}", (n,)))

    async def race(self, count: int) -> list[int]:
        """The numbers of the tasks whose result is the one of this program."""
        results = [TaskResult.success(f"race {n}", self.name) for n in range(count)]
        stored = await asyncio.gather(*(self.backend.store(one.task_id, one) for one in results))
        return [n for n, won in enumerate(stored) if won]

    async def requeue(self, worker_id: str) -> list[str]:
        return sorted(await self.backend.workers.requeue(worker_id))

    async def progress(self, task_id: str, done: int) -> bool:
        return await self.backend.set_progress(task_id, done)

    async def delete(self, task_id: str) -> bool:
        return await self.backend.delete(task_id)


def is_same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other and len(repr(one)) == len(repr(other))


async def obey(program: Program, line: str) -> None:
    number, order, *arguments = json.loads(line)
    call: Callable[..., Awaitable[Any]] = getattr(program, order)
    running = asyncio.ensure_future(call(*arguments))
    if order == "wait":
        await asyncio.sleep(0)  # its first step registers
        print(json.dumps([number, "registered", None]), flush=True)
    try:
        answer = ["ok", await running]
    except Exception as error:
        answer = ["error", [[kind.__name__ for kind in type(error).__mro__], str(error)]]
    print(json.dumps([number, *answer]), flush=True)


async def main(url: str, name: str) -> None:
    async with backend_at(url) as backend, asyncio.TaskGroup() as orders:
        program = Program(backend, name)
        print(json.dumps([0, "ok", flowstore.__file__]), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            orders.create_task(obey(program, line))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
