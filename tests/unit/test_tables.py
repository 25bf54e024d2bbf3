"""What notebooks show: tables, with everything escaped."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from flowstore import InMemoryBackend, Page, TaskError, TaskResult, Unreadable, Worker, Workflow
from flowstore.testing.support import START

EVIL = "<script>alert('x')</script>&\"<td>"
TAGS = {"table", "tr", "th", "td", "pre"}


class Reader(HTMLParser):
    """The texts of all cells, as a browser would show them; fails for any tag but those of a table."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        assert attrs == []
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def texts(shown: Any) -> list[str]:
    return Reader(shown._repr_html_()).texts


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "value",
    [EVIL, [EVIL], {EVIL: EVIL}, Rude(), float("nan"), b"\xff", "\ud800", 10**5000],
    ids=range(8),
)
def test_any_value(value: Any) -> None:
    """It is one cell, whatever it is; strings as they are, or as JSON."""
    shown = texts(TaskResult.success("t", value))
    assert shown[:4] == ["task_id", "t", "status", "success"]
    assert shown[4] == "result"
    assert len(shown[5]) < 600
    if value == EVIL:
        assert shown[5] == EVIL


def test_a_value_that_contains_itself() -> None:
    """It has no form, which is said."""
    value: list[Any] = []
    value.append(value)
    assert any("contains itself" in text for text in texts(TaskResult.success("t", value)))


def test_every_text() -> None:
    """Names, labels, errors and notes of users are escaped wherever they stand."""
    error = TaskError(type=EVIL, message=EVIL, traceback=EVIL)
    task = TaskResult.failed(
        EVIL, error, task_name=EVIL, labels=[EVIL], meta={EVIL: EVIL}, worker_id=EVIL, args=(EVIL,)
    )
    assert texts(task).count(EVIL) >= 3
    page: Page = Page(items=[task], next_cursor=EVIL, unreadable=[Unreadable(task_id=EVIL, reason=EVIL)])
    assert texts(page).count(EVIL) >= 5
    worker = Worker(
        worker_id=EVIL, host=EVIL, pid=1, started_at=START, last_seen=START, labels=frozenset({EVIL})
    )
    assert texts(worker).count(EVIL) == 2


def test_pages_are_lists() -> None:
    """One line for each task, with the columns that any of them has."""
    page: Page = Page(
        items=[TaskResult.pending("a", at=START), TaskResult.running("b", at=START)], next_cursor=None
    )
    assert texts(page) == [
        *("items", "task_id", "status", "submitted_at", "started_at", "retries"),
        *("a", "pending", "2026-01-01T00:00:00+00:00", "0"),
        *("b", "running", "2026-01-01T00:00:00+00:00", "0"),
    ]


async def test_a_workflow() -> None:
    """The root, the counts, the data and the tasks."""
    async with InMemoryBackend() as backend:
        await backend.store("root", TaskResult.success("root", 1, task_name="run"))
        await backend.data.set("root", "k", EVIL)
        workflow = await backend.workflows.get("root")
    assert isinstance(workflow, Workflow)
    shown = texts(workflow)
    assert {"root", "counts", "data", "tasks"} <= set(shown)
    assert any('"success": 1' in text for text in shown)
