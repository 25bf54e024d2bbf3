"""The README and docs/ tell the truth: each of their programs runs and prints what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
PAGES = {README: 5, README.parent / "docs" / "families.md": 4}
"""How many programs each has at the least."""
PROGRAM = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_programs_of_the_docs(page: Path, tmp_path: Path) -> None:
    """In order, in one folder, each as a program of its own."""
    programs = PROGRAM.findall(page.read_text("utf-8"))
    assert len(programs) >= PAGES[page]
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


def test_commands_of_the_readme_are_sessions() -> None:
    """The two commands name sessions that exist."""
    noxfile = (README.parent / "noxfile.py").read_text("utf-8")
    sessions = re.findall(r"python -m pip install nox && python -m nox -s (\w+)", README.read_text("utf-8"))
    assert sessions == ["demo", "tests"]
    assert all(f"def {session}(" in noxfile for session in sessions)
