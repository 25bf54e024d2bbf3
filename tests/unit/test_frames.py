"""Tasks as data frames, of the real pandas and polars."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC
from importlib import import_module
from typing import Any

import polars
import pytest

from flowstore import Page, TaskResult, to_frame
from flowstore.frames import Library
from flowstore.testing.support import START

pandas: Any = import_module("pandas")  # which has no types of its own

LIBRARIES: list[Library] = ["pandas", "polars"]
TASKS = [
    TaskResult.pending("a", at=START, task_name="x", labels=["l"]),
    TaskResult.success("b", {"rows": [1, 2]}, at=START, retries=2),
    TaskResult.failed("c", ValueError("no"), at=START),
    TaskResult.success("d", "text", at=START),
]


def lists(frame: Any) -> dict[str, list[Any]]:
    if isinstance(frame, polars.DataFrame):
        return frame.to_dict(as_series=False)
    return {name: [None if value is pandas.NaT else value for value in frame[name]] for name in frame.columns}


@pytest.mark.parametrize("library", LIBRARIES)
def test_columns(library: Library) -> None:
    """One for each field, whatever the values are; times are aware, and none stays none."""
    columns = lists(to_frame(TASKS, library))
    assert [*columns] == [*TaskResult.model_fields]
    assert columns["task_id"] == ["a", "b", "c", "d"]
    assert columns["status"] == ["pending", "success", "failed", "success"]
    assert columns["result"] == [None, {"rows": [1, 2]}, None, "text"]
    assert columns["error"] == [None, None, "ValueError: no", None]
    assert columns["finished_at"] == [None, START, START, START]
    assert columns["finished_at"][1].utcoffset() == UTC.utcoffset(None)
    assert columns["retries"] == [0, 2, 0, 0]
    assert columns["labels"][0] == {"l"}
    assert columns["expires_at"] == [None] * 4


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_page_and_an_empty_one(library: Library) -> None:
    """The frame has the items of the page. Without any it has all columns, of the same types."""
    page: Page[Any] = Page(items=TASKS, next_cursor=None)
    none: Page[Any] = Page(items=[], next_cursor=None)
    assert lists(to_frame(page, library)) == lists(to_frame(TASKS, library))
    assert [*map(str, to_frame(none, library).dtypes)] == [*map(str, to_frame(page, library).dtypes)]
    assert len(to_frame(none, library)) == 0


def test_bad_arguments() -> None:
    """They are named."""
    with pytest.raises(ValueError, match="library"):
        to_frame(TASKS, "numpy")  # type: ignore[arg-type]  # on purpose
    with pytest.raises(TypeError, match="tasks"):
        to_frame(["a"])  # type: ignore[list-item]  # on purpose


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_library_of_the_program(library: Library) -> None:
    """The one that was imported is used, and importing flowstore imports neither."""
    program = (
        f"import sys, flowstore; assert not {{'pandas', 'polars'}} & sys.modules.keys(); import {library}; "
        "print(type(flowstore.to_frame([])).__module__.partition('.')[0])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == (f"{library}\n", "")
