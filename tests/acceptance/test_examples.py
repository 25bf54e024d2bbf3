"""The examples run as a newcomer runs them: as programs, on real files and a real server."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import re
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

import flowstore
from flowstore import InMemoryBackend, Page, TaskResult, TaskStatus

EXAMPLES = Path(__file__).parents[2] / "examples"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def command(example: str, *arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", str(EXAMPLES / example), *arguments]


def run(example: str, *arguments: str, cwd: Path) -> str:
    done = subprocess.run(command(example, *arguments), cwd=cwd, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_quickstart_and_admin_on_sqlite(tmp_path: Path) -> None:
    """Workers parse real files; some fail; the operator finds them in the file that is left."""
    shown = run("quickstart.py", "--limit", "60", "--db", str(tmp_path / "q.db"), cwd=tmp_path)
    for text in (
        "100%",
        "The largest files",
        "worker-",
        " failed",
        "page 3",
        "UnicodeDecodeError",
        "in parse",
    ):
        assert text in shown
    listed = run("admin_failed.py", f"sqlite:///{tmp_path}/q.db", "--namespace", "quickstart", cwd=tmp_path)
    for text in ("failed", "page 3", "UnicodeDecodeError", "Why ", "in parse"):
        assert text in listed


def test_quickstart_on_redis(redis_url: str, tmp_path: Path) -> None:
    """The same program, with the results in a real server."""
    shown = run("quickstart.py", "--limit", "40", "--url", redis_url, cwd=tmp_path)
    assert "The largest files" in shown
    assert "page 3" in shown
    assert list(tmp_path.iterdir()) == []


def check_day(shown: str) -> None:
    for text in (
        "The store",
        "mail.send",
        "x ConnectionRefusedError: no answer from smtp.example.org:<n> after",
        "x ValueError: page <n> of <text> is empty (report.render)",
        "What failed last",
        "49 tasks would be requeued, such as mail.send-",
        "operation 1: 49 requeued",
        "49 of them have succeeded",
        "1 ada requeue 49: the mail server is back",
    ):
        assert text in shown
    assert re.search(r"resolved +49 x ConnectionRefusedError", shown)
    assert re.search(r"report\.render-\d+ page \d+ of 'monthly-\d+\.pdf' is empty", shown)


def test_a_day_of_an_operator(tmp_path: Path) -> None:
    """Finds the two errors of a night, mends one, and sees who did what."""
    check_day(run("operator_day.py", "--tasks", "1000", cwd=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_day_of_an_operator_on_redis(redis_url: str, tmp_path: Path) -> None:
    """The same, in a real server."""
    check_day(run("operator_day.py", "--tasks", "1000", "--url", redis_url, cwd=tmp_path))


@pytest.mark.parametrize("arguments", [[], ["--url", "memory://"]])
def test_pipeline(arguments: list[str], tmp_path: Path) -> None:
    """A workflow is watched while it runs: its tree, its counts, its failures, then its timeline."""
    check_pipeline(run("pipeline.py", "--files", "25", *arguments, cwd=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_pipeline_on_redis(redis_url: str, tmp_path: Path) -> None:
    """The same, in a real server."""
    check_pipeline(run("pipeline.py", "--files", "25", "--url", redis_url, cwd=tmp_path))


def check_pipeline(shown: str) -> None:
    for text in (
        "success   summarise",
        "UnicodeDecodeError",
        "and 17 more",
        "the tasks that took longest",
        "####",
        "source report: {'files': 25, 'lines': ",
        " failed with UnicodeDecodeError: 'utf-8' codec can't decode byte",
        "running",
        "Workflows here: source report",
    ):
        assert text in shown
    assert re.search("31/31 29 success 2 failed *$", shown, re.MULTILINE)


class Moving(InMemoryBackend):
    """Its task has ended as soon as somebody has looked."""

    async def page(self, *statuses: Any, **options: Any) -> Page:
        seen = await super().page(*statuses, **options)
        await self.store("task", TaskResult.success("task"))
        return seen


async def test_a_frame_of_the_pipeline_counts_what_it_shows() -> None:
    """Its tree and its counts are of the same moment, whatever is stored between two trips."""
    example = await asyncio.to_thread(runpy.run_path, str(EXAMPLES / "pipeline.py"))
    console = Console(width=80, file=io.StringIO(), record=True)
    async with Moving() as backend:
        await backend.store("task", TaskResult.running("task"))
        console.print(await example["look"](backend, "task"))
    shown = console.export_text()
    assert "running   task" in shown
    assert "0/1 1 running" in shown


def test_frames_of_the_pipeline_agree_with_themselves(tmp_path: Path) -> None:
    """On a terminal each frame counts as many running tasks as it shows."""
    shown = CONTROL.sub("", run_on_a_terminal("pipeline.py", "--files", "60", cwd=tmp_path))
    frames = re.split(r"(?=\b(?:running|success) +report )", shown)[1:]
    assert len(frames) > 2
    for frame in frames:
        listed = re.findall("^[│├└─ ]*running ", frame, re.MULTILINE)
        counted = re.search(r"(\d+) running", frame)
        assert len(listed) == (int(counted[1]) if counted else 0), frame


def run_on_a_terminal(example: str, *arguments: str, cwd: Path) -> str:
    screen, terminal = pty.openpty()
    size = {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    with subprocess.Popen(
        command(example, *arguments), cwd=cwd, stdout=terminal, stderr=terminal, env={**os.environ, **size}
    ) as program:
        os.close(terminal)
        shown = b"".join(read(screen)).decode()
        os.close(screen)
    assert program.returncode == 0, shown
    return shown


def read(screen: int) -> Iterator[bytes]:
    with suppress(OSError):  # EIO is how Linux says that nobody has the terminal open any more
        yield from iter(lambda: os.read(screen, 65_536), b"")


async def test_stopped_pipeline(tmp_path: Path) -> None:
    """Ctrl-C ends it with the usual code and one last frame; what was not parsed is stored as cancelled."""
    await check_stopped(f"sqlite:///{tmp_path}/p.db", tmp_path)


async def test_stopped_pipeline_on_redis(redis_url: str, tmp_path: Path) -> None:
    """The same, in a real server."""
    await check_stopped(redis_url, tmp_path)


async def check_stopped(url: str, cwd: Path) -> None:
    """Ctrl-C reaches each process of the terminal, those that parse too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its background jobs ignore it
    async with flowstore.connect(url, namespace="pipeline") as backend:
        successes = backend.watch_status([TaskStatus.SUCCESS])
        program = await asyncio.create_subprocess_exec(
            *command("pipeline.py", "--url", url),
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        async for task_id in successes:
            if "/parse/" in task_id:
                break
        os.killpg(program.pid, signal.SIGINT)
        shown, errors = (output.decode() for output in await program.communicate())
        assert (program.returncode, errors) == (130, "")
        counts = await backend.count_by_status()
        assert [status for status in counts if counts[status] and not status.is_finished] == []
        [root] = (await backend.workflows.runs("source report")).items
        assert root.status is TaskStatus.CANCELLED
        assert f"cancelled {root.task_id}" in shown
        assert f" {counts[TaskStatus.CANCELLED]} cancelled" in shown


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--files", "-1"], "-1 is less than 1"),
        (["--files", "few"], "invalid positive value: 'few'"),
        (["--url", "nonsense"], "url: this form is not known"),
        (["--url", "sqlite:////nowhere/p.db"], "/nowhere/p.db: cannot be opened"),
        (["--url", "redis://127.0.0.1:1/0"], "connecting to 127.0.0.1:1"),
    ],
)
def test_arguments_that_the_pipeline_cannot_use(arguments: list[str], why: str, tmp_path: Path) -> None:
    """One line says why, and no traceback."""
    done = subprocess.run(command("pipeline.py", *arguments), cwd=tmp_path, capture_output=True, text=True)
    *usage, line = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert [text for text in usage if not text.startswith("usage: ")] == []
    assert line.startswith("pipeline.py: ")
    assert why in line


async def test_evaluation(tmp_path: Path) -> None:
    """One run ends, the other is killed, resumed and ends; both are scored, compared, and drawn."""
    url = f"sqlite:///{tmp_path}/e.db"
    shown = await asyncio.to_thread(
        run, "evaluation.py", "--modules", "25", "--db", f"{tmp_path}/e.db", cwd=tmp_path
    )
    await check_evaluation(url, shown)
    drawing = ElementTree.parse(tmp_path / "evaluation.svg").getroot()
    assert len(drawing.findall(".//{*}rect")) == 1 + 2 + 2 * 2 * 10
    async with flowstore.connect(url, namespace="evaluation") as old, flowstore.connect("memory://") as new:
        await new.runs.archive.load(tmp_path / "evaluation.jsonl.gz")
        assert await new.runs.archive.digest() == await old.runs.archive.digest()


async def test_evaluation_on_redis(redis_url: str, tmp_path: Path) -> None:
    """The same, in a real server."""
    shown = await asyncio.to_thread(
        run, "evaluation.py", "--modules", "25", "--url", redis_url, "--chart", "e.svg", cwd=tmp_path
    )
    await check_evaluation(redis_url, shown)
    assert sorted(os.listdir(tmp_path)) == ["e.jsonl.gz", "e.svg"]


async def check_evaluation(url: str, shown: str) -> None:
    for text in (
        "Killed on purpose",
        "attempts",
        "readability, mean",
        "coverage, mean",
        "were read again, 0 are damaged",
        "0 older runs went, and 2 stay",
    ):
        assert text in shown
    async with flowstore.connect(url, namespace="evaluation") as backend:
        second, first = (await backend.runs.list()).items
        assert [(each.status, each.attempt) for each in (first, second)] == [("success", 0), ("success", 1)]
        far = [await backend.runs.progress(each.run_id) for each in (first, second)]
        assert [each.done for each in far] == [each.total for each in far]
        killed_at = re.search(rf"{second.run_id} .* (\d+)/{far[1].total} ", shown)
        assert killed_at
        assert far[1].done / 2 <= int(killed_at[1]) < far[1].done
        for each in (first, second):
            said = await backend.runs.all_evaluations(each.run_id)
            assert [one.eval_id for one in said] == ["readability", "coverage"]
            assert said[0].values > said[1].values > 100


def test_evaluation_on_a_terminal(tmp_path: Path) -> None:
    """The bars move while another process works; no line is wider than the terminal."""
    shown = CONTROL.sub("", run_on_a_terminal("evaluation.py", "--modules", "60", cwd=tmp_path))
    assert len(set(re.findall(r"whole \w+ +\S* +(\d+)/\d+ ", shown))) > 3
    assert max(map(len, re.split(r"[\r\n]+", shown))) <= 80


async def test_stopped_evaluation(tmp_path: Path) -> None:
    """Ctrl-C ends it with the usual code, and its run as cancelled."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its background jobs ignore it
    url = f"sqlite:///{tmp_path}/e.db"
    async with flowstore.connect(url, namespace="evaluation") as backend:
        program = await asyncio.create_subprocess_exec(
            *command("evaluation.py", "--db", f"{tmp_path}/e.db"),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        while not (found := (await backend.runs.list()).items):
            assert program.returncode is None
        os.killpg(program.pid, signal.SIGINT)
        _, errors = await program.communicate()
        assert (program.returncode, errors) == (130, b"")
        stopped = await backend.runs.get(found[0].run_id)
        assert stopped is not None
        assert stopped.status is TaskStatus.CANCELLED


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--modules", "0"], "0 is less than 1"),
        (["--url", "memory://"], "memory:// ends with its process"),
        (["--url", "nonsense"], "url: this form is not known"),
        (["--db", "/nowhere/p.db"], "/nowhere/p.db: cannot be opened"),
        (["--url", "redis://127.0.0.1:1/0"], "connecting to 127.0.0.1:1"),
        (["--chart", "/nowhere/e.svg"], "--chart: /nowhere/e.svg cannot be a file"),
    ],
)
def test_arguments_that_the_evaluation_cannot_use(arguments: list[str], why: str, tmp_path: Path) -> None:
    """One line says why, before anything is done, and no traceback."""
    done = subprocess.run(command("evaluation.py", *arguments), cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
