"""A program of before and two of today on one storage at once, as while a deployment goes on.

The old one is the library as tests/formats/flowstore-b88fd35.zip has it. See tests/formats/README.md.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.conftest import KINDS
from tests.formats.make import FOLDER

SCRIPT = Path(__file__).with_name("mixed_programs.py")
ARCHIVE = FOLDER / "flowstore-b88fd35.zip"
TODAY = Path(__file__).parents[1]
WAITS = 25


@pytest.fixture(params=["sqlite", *KINDS])
def url(request: pytest.FixtureRequest, tmp_path: Path, empty_database: Callable[[str], str]) -> str:
    """A storage that several processes can share."""
    return f"sqlite:///{tmp_path}/shared.db" if request.param == "sqlite" else empty_database(request.param)


class Told(Exception):
    """An order raised. ``kinds``: the names of the error's classes, the most special first."""

    def __init__(self, kinds: list[str], message: str) -> None:
        super().__init__(f"{kinds[0]}: {message}")
        self.kinds = kinds
        self.message = message


class Program:
    """A process of mixed_programs.py, which takes orders."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._answers: dict[int, asyncio.Future[Any]] = {0: asyncio.get_running_loop().create_future()}
        self._registered: dict[int, asyncio.Future[Any]] = {}
        self._number = 0
        self._reading = asyncio.ensure_future(self._read())

    @classmethod
    async def run(cls, library: Path, url: str, name: str) -> Program:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(SCRIPT), url, name),
            stdin=PIPE,
            stdout=PIPE,
            env={**os.environ, "PYTHONPATH": str(library)},
        )
        program = cls(process)
        found = await program._answers[0]
        assert found.startswith(f"{library}{os.sep}"), found  # not the one that is installed
        return program

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            number, kind, answer = json.loads(line)
            if kind == "registered":
                self._registered[number].set_result(None)
            elif kind == "ok":
                self._answers[number].set_result(answer)
            else:
                self._answers[number].set_exception(Told(*answer))
        for future in (*self._answers.values(), *self._registered.values()):
            if not future.done():
                future.cancel("the program has ended")

    def order(self, order: str, *arguments: Any) -> asyncio.Future[Any]:
        assert self._process.stdin is not None
        self._number += 1
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(f"{json.dumps([self._number, order, *arguments])}\n".encode())
        return answer

    async def wait(self, task_id: str) -> asyncio.Future[Any]:
        """The answer of a wait, once it is registered."""
        answer = self.order("wait", task_id)
        registered = self._registered[self._number] = asyncio.get_running_loop().create_future()
        await registered
        return answer

    async def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._reading
        assert await self._process.wait() == 0


class Programs:
    """``old`` and ``new``; and ``third``, another one of today."""

    def __init__(self, programs: Sequence[Program]) -> None:
        self.old, self.new, self.third = self.all = programs


@pytest_asyncio.fixture
async def programs(url: str) -> AsyncIterator[Programs]:
    libraries = [(ARCHIVE, "old"), (TODAY, "new"), (TODAY, "third")]
    started = await asyncio.gather(*(Program.run(library, url, name) for library, name in libraries))
    yield Programs(started)
    for program in started:
        await program.end()


async def refused(answer: asyncio.Future[Any], task_id: str) -> str:
    """The message of the error, which is about this record only, and names it."""
    with pytest.raises(Told) as caught:
        await answer
    assert "UnreadableRecord" in caught.value.kinds
    assert repr(task_id) in caught.value.message
    return caught.value.message


async def test_each_reads_what_all_wrote_at_once(programs: Programs) -> None:
    """Results with values of all kinds of before, errors, families, data, checkpoints, progress, workers."""
    await asyncio.gather(*(program.order("fill") for program in programs.all))
    await asyncio.gather(
        *(program.order("check", name) for program in programs.all for name in ("old", "new", "third"))
    )
    listed = [await program.order("pages", limit, None) for program in programs.all for limit in (7, 100)]
    assert all(pages == listed[0] for pages in listed)
    items, unreadable = listed[0]
    assert len(items) == 3 * (8 + 4)
    assert unreadable == {}


async def test_each_wakes_the_waits_of_the_others(programs: Programs) -> None:
    """Whoever finishes a task, and whoever waits for it."""
    waits = [
        (await waiter.wait(f"{name} w{n}"), n)
        for waiter in programs.all
        for name in ("old", "new", "third")
        for n in range(WAITS)
    ]
    await asyncio.gather(*(program.order("finish", WAITS) for program in programs.all))
    for answer, n in waits:
        assert await answer == f"({n},)"


async def test_one_of_them_wins_each_race(programs: Programs) -> None:
    """A result that stands is not written over, whichever library comes second."""
    won = await asyncio.gather(*(program.order("race", 60) for program in programs.all))
    assert sorted(n for numbers in won for n in numbers) == list(range(60))


async def test_each_requeues_the_tasks_of_the_others(programs: Programs) -> None:
    """Once: a lost worker's task is another attempt afterwards, for all of them."""
    await asyncio.gather(*(program.order("fill") for program in programs.all))
    for program, name in [(programs.old, "new"), (programs.new, "old")]:
        assert await program.order("requeue", f"{name} worker") == [f"{name} root"]
        pages = [await each.order("pages", 100, None) for each in programs.all]
        assert all(items[f"{name} root"] == "pending" for items, _ in pages)


async def test_what_the_old_one_cannot_read(programs: Programs) -> None:
    """It says so of each such record, and goes on; the new one finds it untouched afterwards."""
    old, new = programs.old, programs.new
    await asyncio.gather(old.order("fill"), new.order("fill"), new.order("fill_new"))
    kinds = ["path", "taught", "version"]
    for kind in kinds:
        await refused(old.order("get", f"new {kind}"), f"new {kind}")
        await refused(old.order("data", f"new {kind}"), f"new {kind}")
        await refused(await old.wait(f"new {kind}"), f"new {kind}")
    items, unreadable = await old.order("pages", 5, None)
    assert sorted(unreadable) == sorted(f"new {kind}{tail}" for kind in kinds for tail in ("", " running"))
    assert items.keys() == (await new.order("pages", 100, None))[0].keys() - unreadable.keys()
    await asyncio.gather(old.order("check", "new"), old.order("check", "old"))
    await new.order("check_new", "running")


async def test_the_old_one_moves_what_it_cannot_read(programs: Programs) -> None:
    """It reports progress, and rescues the tasks of a lost worker; their arguments stay as they are."""
    old, new = programs.old, programs.new
    await new.order("fill_new")
    ids = [f"new {kind} running" for kind in ("path", "taught", "version")]
    for task_id in ids:
        assert await old.order("progress", task_id, 1)
    await new.order("check_new", "running")
    assert await old.order("requeue", "new worker") == ids
    await new.order("check_new", "pending")


async def test_the_old_one_deletes_what_it_cannot_read(programs: Programs) -> None:
    """And it is gone for all, who are told of it."""
    await programs.new.order("fill_new")
    for kind in ("path", "taught", "version"):
        waits = [await program.wait(f"new {kind} running") for program in programs.all]
        await asyncio.gather(*(program.order("settle") for program in programs.all))
        assert await programs.old.order("delete", f"new {kind} running")
        for wait in waits:
            with pytest.raises(Told, match="ResultDeleted"):
                await wait


async def test_the_old_one_meets_what_is_compressed(url: str, programs: Programs) -> None:
    """It says of each such value that it cannot read it, moves and removes it, and reads all others."""
    old, new = programs.old, programs.new
    await new.order("fill_compressed", url)
    await refused(old.order("get", "c done"), "c done")
    await refused(old.order("data", "c done"), "c done")
    await refused(await old.wait("c done"), "c done")
    items, unreadable = await old.order("pages", 5, None)
    assert (items, sorted(unreadable)) == ({"c small": "success"}, ["c done", "c running"])
    assert await old.order("progress", "c running", 1)
    assert await old.order("requeue", "c") == ["c running"]
    for program in (new, programs.third):
        await program.order("check_compressed", "pending")
    assert await old.order("delete", "c done")
    assert sorted((await new.order("pages", 5, None))[0]) == ["c running", "c small"]
