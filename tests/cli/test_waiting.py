"""``flowstore wait`` and ``tail``."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

import flowstore
from flowstore import TaskResult
from flowstore.cli.waiting import tail, wait
from tests.cli.beside import beside
from tests.cli.support import invoke


def a_task(task_id: str) -> TaskResult:
    return TaskResult.running(TaskResult.pending(task_id, task_name="mail.send"), worker_id="w1")


async def test_waits_for_a_task_that_is_not_there_yet(own_store: str) -> None:
    """It is told when the task ends."""
    async with beside(wait, own_store, "later") as (command, backend):
        await backend.store("later", a_task("later"))
        assert not command.task.done()
        await backend.store("later", TaskResult.success(a_task("later"), 42))
        assert await asyncio.wait_for(command.task, 30) == 0
        assert command.out == "succeeded\n"


async def test_a_task_that_is_deleted_meanwhile(own_store: str) -> None:
    async with beside(wait, own_store, "task-0", "task-4") as (
        command,
        backend,
    ):
        await command.printed("task-0: succeeded")  # so both have been read
        await backend.delete("task-4")
        assert await asyncio.wait_for(command.task, 30) == 3
        assert "task-4" in command.err


def test_how_they_ended(store: str) -> None:
    """The code is that of the worst, and each has a sentence."""
    assert invoke("wait", "task-0", url=store) == (0, "succeeded\n", "")
    ran = invoke("wait", "task-1", url=store)
    assert ran == (1, "failed after 2 tries: TimeoutError: smtp1.example.org timed out\n", "")
    ran = invoke("wait", "task-0", "task-1", "--all", url=store)
    assert ran.code == 1
    assert sorted(ran.out.splitlines()) == [
        "task-0: succeeded",
        "task-1: failed after 2 tries: TimeoutError: smtp1.example.org timed out",
    ]


def test_any(store: str) -> None:
    """The first one decides."""
    assert invoke("wait", "task-0", "nightly", "--any", url=store) == (0, "task-0: succeeded\n", "")
    assert invoke("wait", "task-1", "nightly", "--any", url=store).code == 1
    assert invoke("wait", "task-1", "--any", "--all", url=store).code == 2


def test_too_late(store: str) -> None:
    """What had ended by then is told."""
    ran = invoke("wait", "task-0", "nightly", "task-5", "--timeout", "50ms", url=store)
    assert ran.code == 124
    assert ran.out == "task-0: succeeded\n"
    assert ran.err == "flowstore: 2 not finished after 50ms: nightly, task-5\n"


def test_results(store: str) -> None:
    """As JSON; a failed task has none, which does not look like one."""
    assert invoke("wait", "task-0", "--result", url=store).out == '{"rows": 0, "pages": {"$tuple": [1, 2]}}\n'
    ran = invoke("wait", "task-1", "--result", url=store)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("flowstore: failed after 2 tries: TimeoutError")


def test_ids_from_stdin(store: str) -> None:
    ran = invoke("wait", "-", "-o", "ids", url=store, stdin='task-0\n{"task_id": "task-2"}\ntask-0\n')
    assert ran.code == 0
    assert sorted(ran.out.split()) == ["task-0", "task-2"]
    assert invoke("wait", "-", url=store, stdin="") == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((), "which task?"), (("a", "--timeout", "soon"), "--timeout: expected a duration such as 30s")],
)
def test_mistakes(shop: str, arguments: tuple[str, ...], message: str) -> None:
    ran = invoke("wait", *arguments, url=shop)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


def test_an_id_in_short(own_shop: str) -> None:
    """As a listing shows it; what no id begins with may still come."""
    task_id = "a91f0c3e5b7d4e6f8a9b0c1d2e3f4a5b"
    for each in (task_id, "task-00"):

        async def put(each: str = each) -> None:
            async with flowstore.connect(own_shop) as backend:
                await backend.store(each, TaskResult.success(a_task(each), 1))

        asyncio.run(put())
    assert invoke("wait", task_id[:8], url=own_shop) == (0, "succeeded\n", "")
    assert invoke("wait", "a91f0c3f", "--timeout", "0", url=own_shop).code == 124
    assert invoke("wait", "task-", "--timeout", "0", url=own_shop).code == 124


async def test_changes_as_they_come(own_store: str) -> None:
    """Each is a line, and those that are not asked for are none."""
    words = ("name:mail.send", "status:running,success")
    async with beside(tail, own_store, *words, output="jsonl") as (command, backend):
        await backend.store("before", a_task("before"))
        await command.printed('"before"')
        await backend.store("other", TaskResult.running(TaskResult.pending("other", task_name="report")))
        await backend.store("new", TaskResult.pending("new", task_name="mail.send"))
        task = a_task("new")
        await backend.store("new", task)
        await backend.store("new", TaskResult.success(task, 1))
        await command.printed('"success"')
        lines = [json.loads(line) for line in command.out.splitlines()]
        assert [(line["task_id"], line["status"]) for line in lines] == [
            ("before", "running"),
            ("new", "running"),
            ("new", "success"),
        ]
        assert {line["v"] for line in lines} == {1}


async def test_json_is_whole_when_it_is_interrupted(own_shop: str) -> None:
    async with beside(tail, own_shop, "name:mail.send", output="json") as (command, backend):
        await backend.store("new", a_task("new"))
        await command.printed('"new"')
        command.task.cancel()
        await asyncio.gather(command.task, return_exceptions=True)
        assert [change["task_id"] for change in json.loads(command.out)] == ["new"]


async def test_earlier_changes_come_first_and_once(own_store: str) -> None:
    """Those of the history, in the order of time, and then the new ones."""
    words = ("id:task-1,new",)
    async with beside(tail, own_store, *words, output="jsonl", since="2026-03-01") as (command, backend):
        await command.printed('"failed"')
        await backend.store("new", a_task("new"))
        await command.printed('"new"')
        lines = [json.loads(line) for line in command.out.splitlines()]
        assert [(line["task_id"], line["status"]) for line in lines] == [
            ("task-1", "pending"),
            ("task-1", "running"),
            ("task-1", "retrying"),
            ("task-1", "running"),
            ("task-1", "failed"),
            ("new", "running"),
        ]


def test_a_status_that_has_passed(store: str) -> None:
    """A task that was retried is among the changes to retrying, whatever became of it since."""
    options = ("--since", "2026-03-01T10:26:30Z", "--limit", "2", "-o", "csv")
    ran = invoke("tail", "status:retrying", *options, url=store)
    assert ran.code == 0
    assert [line.split(",")[:2] for line in ran.out.splitlines()] == [
        ["task_id", "status"],
        ["task-1", "retrying"],
        ["task-3", "retrying"],
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--limit", "-1"), "--limit: expected a number from 0 on, got -1"),
        (("--since", "then"), "--since: expected 10m"),
        (("timed out", "--limit", "1"), "expected nothing about values"),
    ],
)
def test_mistakes_about_changes(shop: str, arguments: tuple[str, ...], message: str) -> None:
    ran = invoke("tail", *arguments, url=shop)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


@pytest.mark.parametrize("output", ["table", "jsonl", "json"])
def test_a_closed_pipe_is_quiet(shop: str, output: str) -> None:
    """Whoever has read enough ends it, and hears nothing more."""
    read, write = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-m", "flowstore", "tail", "--since", "2026-02-01", "-o", output],
        env={**os.environ, "FLOWSTORE_URL": shop},
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(write)
        os.close(read)  # before the first line
        _, told = process.communicate(timeout=30)
    assert told == ""
    assert process.returncode == 141


def test_ctrl_c(shop: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "flowstore", "tail", "--since", "2026-02-01", "-o", "ids", "-q"],
        env={**os.environ, "FLOWSTORE_URL": shop},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "nightly\n"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert told == "flowstore: interrupted\n"
    assert process.returncode == 130
