"""What users write is checked by mypy and pyright: programs of the documents, and slips of the pen."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.test_readme import DOCUMENTS, PROGRAM

SLIPS = """\
import flowstore.sync
from flowstore import BaseResultBackend, InMemoryBackend, RedisBackend, SQLiteBackend, TaskResult, TaskStatus

flowstore.sync.connect("memory://", tll=5)
flowstore.sync.connect("memory://").page("faild")
flowstore.sync.connect("memory://").get("t", as_="int")
flowstore.sync.connect("memory://").track("t", nam="n")
flowstore.sync.connect("memory://").data.set("t", "k")
flowstore.sync.connect("memory://").get("t").unwrap()
flowstore.conect("memory://")
flowstore.connect("memory://", tll=5)
flowstore.connect("sqlite:///x.db", durability="fully")
flowstore.connect("memory://", ttl="1 hour")
InMemoryBackend(max_result=3)
SQLiteBackend("x.db", redcat=None)
RedisBackend("redis://h", name_space="n")
TaskResult.pending("t", name="add")
TaskResult.success("t", 1, worker="w")
TaskResult.failed("t", "boom")
TaskResult[int].success("t", "one")


async def read(backend: BaseResultBackend) -> None:
    await backend.page("faild")
    await backend.page(["success", "canceled"])
    await backend.page(parent="p")
    await backend.list_by_status("done")
    backend.watch_status(TaskStatus.FAILED, "x")
    await backend.store("t", TaskResult.pending("t"), tl=5)
    await backend.requeu("w")
    await backend.get("t", as_="int")
    await backend.wait_for("t", as_type=int)
"""
"""Each line from the third on, but for empty ones and the def, is wrong."""
WITHOUT_TYPES = {f"from-{host}" for host in ("celery", "dramatiq", "flowrra", "huey")}
"""Pages about hosts that have none, or whose decorators take those of the functions away."""
WRONG = {
    number
    for number, line in enumerate(SLIPS.splitlines(), 1)
    if number > 3 and line and not line.startswith("async def")
}
RIGHT = """\
from datetime import timedelta
from typing import Any, assert_type

import flowstore.sync
from flowstore import Page, TaskResult, TaskStatus


def in_a_script(url: str) -> None:
    with flowstore.sync.connect(url, ttl=timedelta(hours=1), durability="normal") as store:
        assert_type(store.get("t", as_=int), TaskResult[int] | None)
        assert_type(store.wait_for("t", timedelta(seconds=5), as_=list[int]).unwrap(), list[int])
        assert_type(store.page(["success", TaskStatus.FAILED], label="x"), Page)
        assert_type(next(store.iter_ids("failed")), str)
        assert_type(store.wait_for_many(["t"], raise_first=True, as_=int), dict[str, TaskResult[int]])
        for settled in store.as_completed(["t"], as_=int):
            assert_type(settled.unwrap(), int)
        with store.worker("w") as worker, worker.track("t", result_type=int, retry_on=OSError) as task:
            assert_type(task.progress(1, 2), bool)
            task.result = 1
        assert_type(store.data.get("t", "k", as_=int), int | Any)
        assert_type(store.app.data.all(), dict[str, Any])


def in_a_thread(task: flowstore.TrackedTask) -> None:
    task.progress(1, 2)


def described(task: TaskResult) -> str:
    return task.task_id


async def read(url: str) -> None:
    async with flowstore.connect(url, ttl=timedelta(hours=1), durability="normal", max_results=3) as backend:
        assert_type(await backend.page("failed"), Page)
        await backend.page(["success", TaskStatus.FAILED], label="x")
        await backend.list_by_status("cancelled")
        async for task_id in backend.watch_status({"success"}):
            assert_type(task_id, str)
        assert_type((await backend.wait_for("t", timedelta(seconds=5), as_=list[int])).unwrap(), list[int])
        await backend.get("t", as_=int | None)
        running = TaskResult.running("t", task_name="n", labels=["a"], args=[1], retries=2)
        assert_type(running, TaskResult)
        assert_type(TaskResult[int].success(running, 1).unwrap(), int)
        described(running)
"""


Found = tuple[set[tuple[str, int]], str]
"""The lines with errors, by file and number, and what was said of them."""
Check = Callable[[Path], Found]


def mypy(folder: Path) -> Found:
    """Each file as a program of its own."""
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--cache-dir",
        str(folder / ".cache"),
    ]
    wrong, said = set(), ""
    for path in sorted(folder.glob("*.py")):
        done = subprocess.run([*command, path.name], cwd=folder, capture_output=True, text=True, timeout=170)
        assert done.returncode in (0, 1), done.stderr
        said += done.stdout
        wrong |= {
            (path.name, int(line)) for line in re.findall(r"^[^:]+:(\d+): error", done.stdout, re.MULTILINE)
        }
    return wrong, said


def pyright(folder: Path) -> Found:
    """In its standard mode."""
    settings = {"typeCheckingMode": "standard", "pythonVersion": "3.11"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode in (0, 1), f"{done.stdout}\n{done.stderr}"
    errors = [
        found for found in json.loads(done.stdout)["generalDiagnostics"] if found["severity"] == "error"
    ]
    wrong = {(Path(found["file"]).name, found["range"]["start"]["line"] + 1) for found in errors}
    return wrong, "\n".join(f"{Path(found['file']).name}: {found['message']}" for found in errors)


@pytest.mark.parametrize("check", [mypy, pyright])
def test_programs_of_the_documents(check: Check, tmp_path: Path) -> None:
    """Those of the README and of docs, as strictly as it can be asked for."""
    for document in DOCUMENTS:
        if document.stem in WITHOUT_TYPES:
            continue
        for number, (source, _) in enumerate(PROGRAM.findall(document.read_text("utf-8")), 1):
            (tmp_path / f"{document.stem}_{number}.py").write_text(source)
    assert check(tmp_path) == (set(), "")


@pytest.mark.parametrize("check", [mypy, pyright])
def test_slips_of_the_pen(check: Check, tmp_path: Path) -> None:
    """A misspelled option, status, field or method is found; what is right is left alone."""
    (tmp_path / "slips.py").write_text(SLIPS)
    (tmp_path / "right.py").write_text(RIGHT)
    wrong, said = check(tmp_path)
    assert wrong == {("slips.py", number) for number in WRONG}, said
