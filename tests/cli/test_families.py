"""``flowstore tree`` and ``runs``."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from datetime import timedelta

import pytest

import flowstore
from flowstore import TaskResult
from tests.cli.support import NOW, damage, golden, invoke


def put(url: str, *tasks: TaskResult) -> None:
    async def store() -> None:
        async with flowstore.connect(url) as backend:
            await backend.store_many(tasks)

    asyncio.run(store())


def a_child(number: int, status: str, parent: str = "many") -> TaskResult:
    at = NOW + timedelta(seconds=number)
    task = TaskResult.pending(f"child-{number:03}", task_name="mail.send", parent_id=parent, at=at)
    if status == "success":
        return TaskResult.success(task, number, at=at)
    return TaskResult.failed(task, ValueError("no"), at=at) if status == "failed" else task


@pytest.mark.usefixtures("at_noon")
@pytest.mark.parametrize("options", [(), ("--mermaid",)])
def test_a_large_family_is_folded(own_shop: str, options: tuple[str, ...]) -> None:
    """What is left of more than 200 children: those that failed or wait, and then the first ones."""
    children = [a_child(number, "failed" if number == 300 else "success") for number in range(301)]
    put(own_shop, TaskResult.pending("many", task_name="fan out", at=NOW), *children)
    ran = invoke("tree", "many", *options, url=own_shop)
    assert ran.code == 0
    assert "+ 101 success" in ran.out
    assert "child-199" not in ran.out
    assert ran.out.lower().count("failed") >= 1
    lines = [line for line in ran.out.splitlines() if "mail.send" in line]
    assert len(lines) == 200


def test_programs_get_all_members(own_shop: str) -> None:
    """Up to the limit, and how many are left out is told."""
    put(own_shop, TaskResult.pending("many", at=NOW), *(a_child(number, "success") for number in range(250)))
    assert len(invoke("tree", "many", "-o", "ids", url=own_shop).out.split()) == 251
    ran = invoke("tree", "many", "-o", "jsonl", "--limit", "10", url=own_shop)
    assert len(ran.out.splitlines()) == 10  # the root is one of them, however old it is
    assert ran.err == "10 shown, and 241 success left out: --limit shows more\n"


@pytest.mark.usefixtures("at_noon")
def test_a_flowchart(store: str) -> None:
    golden("tree/mermaid", invoke("tree", "task-2", "--mermaid", url=store))


def test_names_in_a_flowchart(own_shop: str) -> None:
    """None of them can end its quotes, or become markup."""
    name = 'a"]; click t0 "javascript:x" #quot; <script>\n'
    put(own_shop, TaskResult.pending("odd", task_name=name, at=NOW))
    _, line, _ = invoke("tree", "odd", "--mermaid", url=own_shop).out.splitlines()
    assert line == (
        '  t0["a#quot;]; click t0 #quot;javascript:x#quot; #35;quot; #lt;script#gt;\\n<br>pending"]:::pending'
    )


def test_from_any_member(store: str) -> None:
    """The tree is that of the whole family, and the task that was asked for is marked."""
    ran = invoke("tree", "task-1", url=store)
    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines()] == ["TASK", "nightly", "├─", "├─", "└─"]
    assert next(line for line in ran.out.splitlines() if " < " in line).split()[4] == "task-1"
    assert invoke("tree", "nightly", "-o", "ids", url=store).out.split() == [
        "nightly",
        "task-0",
        "task-1",
        "task-2",
    ]


def test_a_member_that_cannot_be_read(own_shop: str) -> None:
    damage(own_shop, "task-1")
    ran = invoke("tree", "nightly", "-o", "ids", url=own_shop)
    assert ran.out.split() == ["nightly", "task-0", "task-2"]
    assert ran.err.startswith("flowstore: task-1 cannot be read: ")
    ran = invoke("tree", "task-1", url=own_shop)
    assert ran.code == 1
    assert "task-1" in ran.err


def test_no_such_task(store: str) -> None:
    for command in ("tree", "history", "diff"):
        ran = invoke(command, "nobody", url=store)
        assert (ran.code, ran.out) == (3, "")
        assert "there is no task 'nobody'" in ran.err


def test_runs(store: str) -> None:
    """Roots with what there is in their families."""
    lines = [json.loads(line) for line in invoke("runs", "-o", "jsonl", url=store).out.splitlines()]
    assert [line["task_id"] for line in lines] == ["task-5", "task-4", "task-3", "nightly"]
    assert lines[-1]["counts"] == {
        "pending": 0,
        "running": 1,
        "retrying": 0,
        "success": 2,
        "failed": 1,
        "cancelled": 0,
    }
    rows = [*csv.DictReader(io.StringIO(invoke("runs", "name:nightly", "-o", "csv", url=store).out))]
    assert [row["counts"] for row in rows] == ["1 running  2 success  1 failed"]


def test_runs_in_pages(store: str) -> None:
    ran = invoke("runs", "--limit", "3", "-o", "ids", url=store)
    assert ran.out.split() == ["task-5", "task-4", "task-3"]
    rest = invoke("runs", "--limit", "3", "-o", "ids", "--cursor", ran.err.split()[-1], url=store)
    assert rest == (0, "nightly\n", "")


def test_runs_of_an_empty_store(tmp_path: object) -> None:
    url = f"sqlite:///{tmp_path}/empty.db"
    put(url)
    assert invoke("runs", "-o", "json", url=url) == (0, "[]\n", "")
    assert invoke("runs", url=url).code == 0
