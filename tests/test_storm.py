"""Pools of worker processes that are killed, drained and frozen, on servers that die and full disks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flowstore.testing.support import IS_STRESS
from tests.servers import ONE_KIND

ROOT = Path(__file__).parents[1]
TASKS, SECONDS, SEEDS = (2_000, 60, range(5)) if IS_STRESS else (150, 1, range(1))


def brew(kind: str, folder: Path, seed: int, *prefix: str) -> str:
    job = [kind, str(folder), str(TASKS), str(SECONDS), str(seed)]
    command = [*prefix, sys.executable, "-m", "tests.storm", *job]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(done.stderr)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ONE_KIND)
def test_storm_over_a_server(kind: str, seed: int, tmp_path: Path) -> None:
    """Every task ends once, as its attempts explain; no waiter hangs, and no outcome is lost."""
    told = brew(kind, tmp_path, seed)
    assert "'restart': " in told


@pytest.mark.parametrize("seed", SEEDS)
def test_storm_over_a_file(seed: int, tmp_path: Path) -> None:
    """The same on a file, whose disk is full for five seconds, if the run may mount one."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={8 + TASKS // 50}m", "flowstore", str(tmp_path)]
    inside = ["unshare", "--mount", "sh", "-c", f'{" ".join(mount)} && exec "$@"', "sh"]
    if shutil.which("unshare") and not subprocess.run([*inside, "true"], check=False).returncode:
        assert "'disk': 1" in brew("sqlite", tmp_path, seed, *inside)
    else:
        brew("sqlite", tmp_path, seed)
