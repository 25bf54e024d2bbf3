"""The examples run as a newcomer runs them: as programs, on real files and a real server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(example: str, *arguments: str, cwd: Path) -> str:
    command = [sys.executable, "-W", "error", str(EXAMPLES / example), *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)
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
        "and 15 more",
        "31/31 29 success 2 failed",
        "the tasks that took longest",
        "####",
        "source report: {'files': 25, 'lines': ",
        "running",
        "Workflows here: source report",
    ):
        assert text in shown
