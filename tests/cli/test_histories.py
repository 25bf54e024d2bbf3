"""``flowstore history`` and ``diff``."""

from __future__ import annotations

import asyncio
import json

import pytest

import flowstore
from flowstore import TaskResult
from tests.cli.support import NOW, invoke


def test_history_on_both_stores(store: str) -> None:
    ran = invoke("history", "task-1", "--time", "utc", url=store)
    assert (ran.code, ran.err) == (0, "")
    assert [line.split()[2] for line in ran.out.splitlines()[1:]] == [
        "PENDING",
        "RUNNING",
        "RETRYING",
        "RUNNING",
        "FAILED",
    ]
    steps = json.loads(invoke("history", "task-1", "-o", "json", url=store).out)
    assert [(step["status"], step["retries"]) for step in steps][-2:] == [("running", 1), ("failed", 1)]


def test_events_of_an_application(own_shop: str) -> None:
    """They stand among the changes, as text."""

    async def note() -> None:
        async with flowstore.connect(own_shop) as backend:
            await backend.history.record("nightly", "page\x1b[2J", {"number": 3, "name": "a\nb"})

    asyncio.run(note())
    ran = invoke("history", "nightly", url=own_shop)
    assert "page\\x1b[2J" in ran.out
    assert "number=3 name=a\\nb" in ran.out
    assert "\x1b" not in ran.out


def three_attempts(url: str) -> None:
    """Two that fail in different places, and one that does not."""

    def read(page: int) -> None:
        raise ValueError(f"page {page} of report is empty")

    def write() -> None:
        raise OSError("no space left on report disk")

    async def work() -> None:
        async with flowstore.connect(url) as backend:
            task = TaskResult.pending("thrice", task_name="report", at=NOW)
            for retries, attempt in enumerate((lambda: read(3), write, None)):
                task = TaskResult.running(task, worker_id=f"w{retries}", retries=retries, at=NOW)
                await backend.store("thrice", task)
                if attempt is None:
                    await backend.store("thrice", TaskResult.success(task, 1, at=NOW))
                    return
                try:
                    attempt()
                except Exception as error:
                    task = TaskResult.retrying(task, error)
                await backend.store("thrice", task)

    asyncio.run(work())


def test_what_differs(own_store: str) -> None:
    """Words of the message, types, workers, and the innermost frame."""
    three_attempts(own_store)
    ran = invoke("diff", "thrice", "1", "2", url=own_store)
    assert ran.code == 1
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert "* worker w0 w1" in lines
    assert "* error ValueError OSError" in lines
    [message] = [line for line in lines if line.startswith("message")]
    assert "[-page 3 of-]" in message
    assert "[+no space left on+]" in message
    found = json.loads(invoke("diff", "thrice", "1", "2", "-o", "json", url=own_store).out)
    assert found["types"] == ["ValueError", "OSError"]
    assert [found["first"]["number"], found["second"]["number"]] == [1, 2]
    last = json.loads(invoke("diff", "thrice", "-o", "json", url=own_store).out)
    assert [last["first"]["number"], last["second"]["number"]] == [2, 3]
    assert last["types"] == ["OSError", None]


def test_the_same(shop: str) -> None:
    """As of diff, no difference in the errors is 0."""
    assert invoke("diff", "task-1", "1", "1", url=shop).code == 0
    assert invoke("diff", "task-1", url=shop).code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("task-1", "3"), 2, "there is no attempt 3; there are: 1, 2"),
        (("task-1", "1", "x"), 2, "x"),
        (("task-0",), 3, "task-0: there was one attempt only"),
    ],
)
def test_mistakes(shop: str, arguments: tuple[str, ...], code: int, message: str) -> None:
    ran = invoke("diff", *arguments, url=shop)
    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err
