"""The README and the documents tell the truth: each of their programs runs and prints what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
DOCUMENTS = [
    path
    for path in (README, *sorted((README.parent / "docs").glob("*.md")))
    if "```python" in path.read_text("utf-8") and path.name != "cluster.md"
]
"""But for the one whose program needs a cluster: test_cluster_page.py runs it."""
FEWEST = {"README.md": 2}
PROGRAM = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_programs_of_a_document(document: Path, tmp_path: Path) -> None:
    """In order, in one folder, each as a program of its own."""
    text = document.read_text("utf-8")
    programs = PROGRAM.findall(text)
    assert len(programs) == text.count("```python") >= FEWEST.get(document.name, 1)
    for source, expected in programs:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", source],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == expected


@pytest.mark.parametrize("first", [0, 1], ids=["worker first", "producer first"])
def test_the_two_programs_of_the_readme_in_either_order(first: int, tmp_path: Path) -> None:
    """The worker and the producer are processes that run side by side, whichever is started first."""
    (worker, _), (producer, expected) = PROGRAM.findall(README.read_text("utf-8"))
    assert "backend.track(" in worker
    assert "backend.wait_for(" in producer
    programs = [worker, producer] if first == 0 else [producer, worker]
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", source],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for source in programs
    ]
    outputs = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    assert sorted(outputs) == [("", ""), (expected, "")]


def test_commands_of_the_readme_are_sessions() -> None:
    """The two commands name sessions that exist."""
    noxfile = (README.parent / "noxfile.py").read_text("utf-8")
    sessions = re.findall(r"python -m pip install nox && python -m nox -s (\w+)", README.read_text("utf-8"))
    assert sessions == ["demo", "tests"]
    assert all(f"def {session}(" in noxfile for session in sessions)
