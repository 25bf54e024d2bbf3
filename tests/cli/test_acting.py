"""``flowstore requeue``, ``cancel``, ``fail``, ``rm``, ``expire`` and ``label``."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

import flowstore
from flowstore import NOT_LOADED, PINNED, TaskResult
from tests.cli.support import Ran, golden, invoke

pytestmark = pytest.mark.usefixtures("at_noon")


def status(url: str, task_id: str) -> str:
    return str(task(url, task_id)["status"])


def task(url: str, task_id: str) -> Any:
    [found] = json.loads(invoke("ls", f"id:{task_id}", "-o", "json", url=url).out)
    return found


def operation(ran: Ran) -> Any:
    [found] = [json.loads(line) for line in ran.out.splitlines()]
    return found


def test_a_dry_run_changes_nothing(shop: str) -> None:
    golden("acting/dry-run", invoke("requeue", "status:failed,running", "--dry-run", url=shop))
    assert status(shop, "task-1") == "failed"


def test_a_dry_run_for_programs(shop: str) -> None:
    """All that the preview has; for ids it is a list, as there may be several."""
    whole = json.loads(invoke("requeue", "status:failed,running", "--dry-run", "-o", "json", url=shop).out)
    assert (whole["v"], whole["count"], whole["is_exact"], whole["is_host_told"]) == (1, 4, True, False)
    assert whole["effects"] == {"requeued": 2, "left alone: running": 2}
    assert {sample["task_id"] for sample in whole["samples"]} == {"nightly", "task-1", "task-3", "task-4"}
    [of_ids] = json.loads(invoke("requeue", "task-1", "task-3", "--dry-run", "-o", "json", url=shop).out)
    assert of_ids["effects"] == {"requeued": 2}
    assert NOT_LOADED not in of_ids.values()


@pytest.mark.parametrize(
    ("words", "stands"),
    [
        (["requeue", "status:failed"], {"task-1": "pending", "task-3": "pending", "task-0": "success"}),
        (["cancel", "status:pending"], {"task-5": "cancelled", "task-4": "running"}),
        (["cancel", "task-4"], {"task-4": "running"}),  # it is asked to end
        (["fail", "task-5", "--error", "lost"], {"task-5": "failed"}),
        (["fail", "task-4", "--error", "lost", "--include-running"], {"task-4": "failed"}),
        (["requeue", "name:nightly", "--include-running"], {"nightly": "pending"}),
        (["label", "status:success", "--add", "seen", "--remove", "us"], {"task-0": "success"}),
        (["expire", "status:success", "--in", "7d"], {"task-0": "success"}),
    ],
    ids=" ".join,
)
def test_what_is_done(own_store: str, words: list[str], stands: dict[str, str]) -> None:
    ran = invoke(*words, "-y", "--by", "ada", "--reason", "a test", "-o", "jsonl", url=own_store)
    assert ran.code == 0
    done = operation(ran)
    assert (done["by"], done["action"]["reason"], done["state"]) == ("ada", "a test", "done")
    assert {task_id: status(own_store, task_id) for task_id in stands} == stands
    [kept] = json.loads(invoke("operations", "-o", "json", url=own_store).out)
    assert kept == done


def test_labels_and_expiry_of_the_changed(own_store: str) -> None:
    invoke("label", "task-0", "--add", "seen", "--add", "two words", "--remove", "us", "-y", url=own_store)
    assert task(own_store, "task-0")["labels"] == ["seen", "two words"]
    assert invoke("expire", "task-0", "--in", "7d", "-y", url=own_store).code == 0
    assert timedelta(days=7) - asyncio.run(_expiry(own_store)) < timedelta(minutes=1)
    assert invoke("expire", "task-0", "--at", "2100-01-01", "-y", url=own_store).code == 0
    assert asyncio.run(_expiry(own_store)) > timedelta(days=20_000)
    assert invoke("expire", "task-0", "--never", "-y", url=own_store).out.startswith("1 given a new expiry")


async def _expiry(url: str) -> timedelta:
    async with flowstore.connect(url, purge_interval=None) as backend:
        [one] = await backend.actions.all(limit=1)
        assert one.action.ttl is not None
        return one.action.ttl


def test_removed(own_store: str) -> None:
    assert invoke("rm", "task-0", "-y", url=own_store).out == "1 removed · operation 1\n"
    assert invoke("rm", "task-0", "-y", url=own_store).code == 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("query", ["requeue", "status:failed", "-y"]),
        ("ids", ["requeue", "task-1", "task-4", "-y"]),
        ("left-alone", ["requeue", "task-4", "-y"]),
        ("asked-nobody", ["requeue", "status:failed"]),
        ("nothing-to-do", ["requeue", "status:pending"]),
        ("nothing-matched", ["rm", "label:none", "-y"]),
        ("effects", ["cancel", "status:pending,running", "-y"]),
        ("limit", ["cancel", "status:pending,running", "--limit", "1", "-y"]),
    ],
)
def test_what_people_read(own_shop: str, name: str, words: list[str]) -> None:
    golden(f"acting/{name}", invoke(*words, url=own_shop))


def test_ids_from_another_command(own_store: str) -> None:
    """Those that are no task are counted; one that comes twice is one."""
    listed = invoke("ls", "status:failed", "-o", "ids", url=own_store).out
    lines = invoke("ls", "status:pending", "-o", "jsonl", url=own_store).out
    ran = invoke("cancel", "-", "-y", url=own_store, stdin=f"{listed}\n{lines}gone\ntask-4\ntask-4\n")
    assert ran.code == 0
    assert ran.out == "1 cancelled, 1 asked to end, 2 left alone (finished 2) · operation 1\n"
    assert "ids that no task has: 1\n" in ran.err
    assert status(own_store, "task-5") == "cancelled"


def test_many_ids_from_another_command(own_shop: str) -> None:
    """They are one list of operations for a program, and one sentence for people."""
    asyncio.run(_fill(own_shop, 250))
    ids = "".join(f"more-{n}\n" for n in range(250))
    shown = invoke("cancel", "-", "--dry-run", url=own_shop, stdin=ids)
    assert shown.out.startswith("would cancel 250 tasks (the first 10: without a name 10)\n")
    ran = invoke("cancel", "-", "-y", "-o", "json", "--limit", "240", url=own_shop, stdin=ids)
    operations = json.loads(ran.out)
    assert (len(operations), sum(each["done"] for each in operations)) == (3, 240)
    ran = invoke("requeue", "-", "-y", url=own_shop, stdin=ids)
    assert ran.out == "240 requeued, 10 left alone (pending already 10) · operations 4, 5, 6\n"


async def _fill(url: str, count: int) -> None:
    async with flowstore.connect(url) as backend:
        await backend.store_many(TaskResult.pending(f"more-{n}") for n in range(count))


def test_what_cannot_be_read_is_left_and_named(own_shop: str) -> None:
    """The others are changed; the exit code says that not all are."""
    with closing(sqlite3.connect(own_shop.removeprefix("sqlite:///"))) as file, file:
        file.execute("UPDATE task SET head = '[' WHERE id = 'task-3'")
    shown = invoke("requeue", "status:failed", "--dry-run", url=own_shop).out
    assert "1 left alone (cannot be read 1)\n" in shown
    ran = invoke("requeue", "status:failed", "-y", url=own_shop)
    assert (ran.code, ran.out) == (5, "1 requeued, 1 could not be changed · operation 1\n")
    assert "task-3: " in ran.err


def test_nobody_answers_where_ids_are_read(own_shop: str) -> None:
    ran = invoke("requeue", "-", url=own_shop, stdin="task-1\n")
    assert (ran.code, ran.out) == (2, "")
    assert "-y does it without asking" in ran.err


@pytest.mark.parametrize("output", ["json", "jsonl", "csv", "ids"])
def test_nothing_matched_for_programs(own_shop: str, output: str) -> None:
    ran = invoke("rm", "label:none", "-y", "-o", output, url=own_shop)
    assert (ran.code, ran.out) == (0, "null\n" if output == "json" else "")
    assert ran.err == "nothing matched\n"
    ran = invoke("rm", "-", "-y", "-o", output, url=own_shop, stdin="none\n")
    assert (ran.code, ran.out) == (0, "[]\n" if output == "json" else "")
    assert invoke("rm", "label:none", "-y", "--exists", "-q", url=own_shop) == (1, "", "")


@pytest.mark.parametrize("output", ["csv", "ids"])
def test_done_for_programs(own_shop: str, output: str) -> None:
    ran = invoke("cancel", "task-5", "-y", "-o", output, "--fields", "id,done", url=own_shop)
    assert ran.out == {"csv": "id,done\n1,1\n", "ids": "1\n"}[output]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["requeue"], 2, "which tasks?"),
        (["requeue", ""], 2, "for all of them say status:pending,running"),
        (["requeue", "sort:finished", "-y"], 2, "for all of them say status:pending,running"),
        (["requeue", "--all"], 2, "--all"),
        (["requeue", "task-1", "status:failed"], 2, "a query, or ids, or - for ids from stdin"),
        (["requeue", "-", "task-1", "-y"], 2, "a query, or ids, or - for ids from stdin"),
        (["requeue", "stauts:failed"], 3, "did you mean status:"),
        (["requeue", "status:fialed"], 2, "status"),
        (["requeue", "mail:42"], 3, "there is no task 'mail:42'"),
        (["requeue", "--id", "status:x", "-y"], 3, "there is no task 'status:x'"),
        (["requeue", "task"], 2, "ambiguous"),
        (["requeue", "task-1", "--limit", "0", "-y"], 2, "limit"),
        (["fail", "task-1"], 2, "error"),
        (["fail", "task-1", "--error", "", "-y"], 2, "error"),
        (["expire", "task-1"], 2, "expected one of --in 7d, --at 2026-12-31 and --never"),
        (["expire", "task-1", "--in", "1d", "--never"], 2, "expected one of"),
        (["expire", "task-1", "--in", "soon"], 2, "--in: expected a duration"),
        (["expire", "task-1", "--at", "2020-01-01"], 2, "--at: expected a time to come"),
        (["expire", "task-1", "--at", "2999-01-01"], 2, "--at: expected at most 100 years"),
        (["expire", "task-1", "--in", "0s"], 2, "--in: expected a time to come"),
        (["label", "task-1"], 2, "expected --add NAME or --remove NAME"),
        (["label", "task-1", "--add", "x", "--remove", "x", "-y"], 2, "'x' is to be added as well"),
    ],
    ids=str,
)
def test_refused(shop: str, words: list[str], code: int, said: str) -> None:
    ran = invoke(*words, url=shop)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_ids_that_are_hard_to_say(own_store: str) -> None:
    """A term of a query, an option, a line break, quotes: each is found, and shown so that one can see it."""
    ids = ["status:failed", "mail:42", "two words", 'quo"ted\\', "line\nbreak", "\x1b[31mred"]
    asyncio.run(_put(own_store, ids))
    ran = invoke("requeue", "status:failed", "--dry-run", "-o", "ids", url=own_store)
    assert ran.out.split() == ["task-3", "task-1"]
    for task_id in ids:
        ran = invoke("cancel", "--id", task_id, "--dry-run", url=own_store)
        assert (ran.code, "\x1b" in ran.out, "line\nbreak" in ran.out) == (0, False, False)
    arguments = [word for task_id in ids for word in ("--id", task_id)]
    assert invoke("cancel", *arguments, "-y", url=own_store).out == "6 cancelled · operation 1\n"
    assert "\x1b" not in invoke("operations", url=own_store).out


async def _put(url: str, ids: list[str]) -> None:
    async with flowstore.connect(url) as backend:
        await backend.store_many(
            TaskResult.pending(task_id, task_name="\x1b[31mname", labels={PINNED}) for task_id in ids
        )
