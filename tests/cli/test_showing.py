"""``flowstore show``, ``get`` and ``set``."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from itertools import product

import pytest

import flowstore
from flowstore import TaskResult
from tests.cli.support import NOW, damage, golden, invoke

AT = NOW


def put(url: str, *tasks: TaskResult) -> None:
    async def store() -> None:
        async with flowstore.connect(url) as backend:
            for task in tasks:
                await backend.store(task.task_id, task)

    asyncio.run(store())


def a_group() -> Exception:
    """Two errors, one of them raised from a third, with tracebacks of this file."""
    try:
        try:
            raise OSError("disk \x1b[31m full")
        except OSError as cause:
            raise ValueError("page 3 is empty") from cause
    except ValueError as error:
        return ExceptionGroup("two pages", [error, KeyError("title")])


@pytest.mark.usefixtures("at_noon")
def test_the_whole(own_shop: str) -> None:
    """Times, progress, labels, family, data, and a request to end."""

    async def work() -> None:
        async with flowstore.connect(own_shop, clock=lambda: round(NOW.timestamp() * 1_000_000)) as backend:
            await backend.set_progress("nightly", 1_200, 4_800, "page\n3")
            await backend.cancel("nightly", "too slow")
            await backend.data.set("nightly", "state", {"pages": list(range(60))})

    asyncio.run(work())
    golden("show-whole/table", invoke("show", "nightly", "--time", "utc", url=own_shop))


def test_an_error_with_all_that_belongs_to_it(own_shop: str) -> None:
    """The errors of a group and their causes; what a terminal would obey is written out."""
    task = TaskResult.running(TaskResult.pending("grouped", task_name="render", at=AT), at=AT)
    put(own_shop, TaskResult.failed(task, a_group(), at=AT + timedelta(seconds=3)))
    out = invoke("show", "grouped", "--part", "error", url=own_shop).out
    for part in (
        "in a_group\n",
        "1 of 2:\nValueError: page 3 is empty\n",
        "2 of 2:\nKeyError: 'title'",
        "OSError: disk \\x1b[31m full",
    ):
        assert part in out
    assert out.startswith("ExceptionGroup: two pages (2 sub-exceptions)\n")
    assert out.count("KeyError") == 1
    assert "\x1b" not in out
    assert out in invoke("show", "grouped", url=own_shop).out


def test_a_task_without_an_error(shop: str) -> None:
    assert invoke("show", "task-0", "--part", "error", url=shop) == (
        0,
        "",
        "task-0 has no error: it is success\n",
    )


PARTS = ("result", "error", "args", "tries", "tree", "history", "data", "raw")


def test_parts_on_both_stores(store: str) -> None:
    """Each part is printed in each format."""
    for part, output in product(PARTS, ("table", "json", "jsonl", "csv")):
        ran = invoke("show", "task-1", "--part", part, "-o", output, url=store)
        assert ran.code == 0
        assert ran.out
        assert ran.err == ""
        if output == "json" or (output == "jsonl" and part not in ("tree", "history", "tries")):
            json.loads(ran.out)


def test_large_values_are_cut_for_people(own_shop: str) -> None:
    """How much of them is left out is said; programs get all of them, unless they ask for less."""
    value = ["x" * 100] * 2_000
    task = TaskResult.running(TaskResult.pending("large", args=(1,), at=AT), at=AT)
    put(own_shop, TaskResult.success(task, value, at=AT))
    out = invoke("show", "large", url=own_shop).out
    assert 60_000 < len(out) < 90_000
    assert "result  (the beginning of 201.2 KiB: --max-value shows more)" in out
    assert "args  (left out: --max-value shows more)" in out
    assert invoke("show", "large", "--max-value", "1MiB", url=own_shop).out.count("x" * 100) == 2_000
    assert json.loads(invoke("show", "large", "-o", "json", url=own_shop).out)["result"] == value
    assert json.loads(invoke("show", "large", "--part", "result", url=own_shop).out) == value
    cut = invoke("show", "large", "--part", "result", "--max-value", "1k", url=own_shop)
    assert len(cut.out) < 2_000
    assert cut.err == "the beginning of 201.2 KiB: --max-value shows more\n"
    assert invoke("show", "large", "--max-value", "much", url=own_shop).code == 2


@pytest.mark.usefixtures("at_noon")
@pytest.mark.parametrize("output", ["table", "json"])
def test_an_unreadable_record(own_shop: str, output: str) -> None:
    """What is known beside it is shown: history, and the names of data."""
    damage(own_shop, "nightly")
    ran = invoke("show", "nightly", "-o", output, "--time", "utc", url=own_shop)
    golden(f"show-unreadable/{output}", ran)
    assert ran.code == 1


def test_unreadable_ones_do_not_hide_others(own_shop: str) -> None:
    damage(own_shop, "task-1")
    ran = invoke("show", "task-0", "task-1", "task-2", "-o", "json", url=own_shop)
    assert ran.code == 1
    assert [task["task_id"] for task in json.loads(ran.out)] == ["task-0", "task-2"]
    assert "task-1" in ran.err


HEXADECIMAL = ("a91f0c3e5b7d4e6f8a9b0c1d2e3f4a5b", "a91f0c3e77777777777777777777777a")


def test_beginnings_of_ids(own_shop: str) -> None:
    """The only one that begins so, or is exactly so; of several, all that begin so are named."""
    put(own_shop, *(TaskResult.pending(task_id, at=AT) for task_id in (*HEXADECIMAL, "a91f0c3e", "b b:c")))
    assert invoke("show", "a91f0c3e5", "-o", "ids", url=own_shop).out == HEXADECIMAL[0] + "\n"
    assert invoke("show", "a91f0c3e", "-o", "ids", url=own_shop).out == "a91f0c3e\n"
    assert invoke("show", "b b:", "-o", "ids", url=own_shop).out == "b b:c\n"
    ran = invoke("show", "a91f", url=own_shop)
    assert (ran.code, ran.out) == (2, "")
    assert "'a91f' is ambiguous: " in ran.err
    for task_id in HEXADECIMAL:
        assert task_id in ran.err
    for unknown in ("a91", "a91f*", 'a"91', "no such"):
        ran = invoke("show", unknown, url=own_shop)
        assert (ran.code, ran.out) == (3, ""), unknown
        assert f"there is no task {unknown!r}" in ran.err


@pytest.mark.parametrize(
    "task_id", ["two words", "name:x", "-dash", "ü\n\x1b[2J", "a/b?c#%", "status:failed"]
)
def test_strange_ids(own_shop: str, task_id: str) -> None:
    """They are found, and nothing of them reaches a terminal as it is."""
    put(own_shop, TaskResult.pending(task_id, at=AT))
    for arguments in (
        ("show", task_id),
        ("history", task_id),
        ("tree", task_id),
        ("wait", task_id, "--timeout", "0"),
    ):
        ran = invoke(*arguments, url=own_shop)
        assert ran.code == (124 if arguments[0] == "wait" else 0), ran.err
        assert "\x1b" not in ran.out + ran.err
    line = invoke("ls", "--limit", "1", "-o", "jsonl", url=own_shop).out
    assert json.loads(invoke("show", "-", "-o", "json", url=own_shop, stdin=line).out)["task_id"] == task_id


def test_ids_from_stdin(store: str) -> None:
    ran = invoke("show", "-", "-o", "ids", url=store, stdin="task-1\n\n  task-2  \ntask-1\n")
    assert ran.out == "task-1\ntask-2\n"
    ran = invoke("show", "-", url=store, stdin='{"id": 3}\n')
    assert ran.code == 2
    assert "line 1 of stdin: expected an id, or JSON with a task_id" in ran.err
    assert invoke("show", url=store).code == 2


def test_watching_on_a_pipe(store: str) -> None:
    """A line for each state, and an end when the task is finished."""
    ran = invoke("show", "task-0", "-w", url=store)
    assert ran.code == 0
    assert [json.loads(line)["status"] for line in ran.out.splitlines()] == ["success"]
    assert invoke("show", "task-0", "task-1", "-w", url=store).code == 2


def test_data(own_shop: str) -> None:
    """Set as JSON, as text and from stdin; got whole and by its key."""
    assert invoke("set", "nightly", "state", '{"page": 4}', url=own_shop).code == 0
    assert invoke("set", "nightly", "note", "--text", "3", url=own_shop).code == 0
    assert invoke("set", "nightly", "list", "-", url=own_shop, stdin="[1, 2]").code == 0
    assert invoke("set", "nightly", "less", "-5", url=own_shop).code == 0
    data = json.loads(invoke("get", "nightly", url=own_shop).out)
    assert data == {"page": 3, "state": {"page": 4}, "note": "3", "list": [1, 2], "less": -5}
    assert invoke("get", "nightly", "note", url=own_shop).out == '"3"\n'
    assert invoke("get", "nightly", "note", "--text", url=own_shop).out == "3\n"


def test_mistakes_about_data(shop: str) -> None:
    ran = invoke("set", "nightly", "state", "{page}", url=shop)
    assert (ran.code, ran.out) == (2, "")
    assert "value: expected JSON, got '{page}'" in ran.err
    assert "hint: --text stores it as text" in ran.err
    ran = invoke("get", "nightly", "pgae", url=shop)
    assert (ran.code, ran.out) == (3, "")
    assert "nightly: has no data 'pgae'; there is: page" in ran.err
    assert invoke("get", "nobody", url=shop).code == 3
    assert invoke("set", "nobody", "key", "1", url=shop).code == 3
