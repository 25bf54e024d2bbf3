"""Real processes on one tree of files, which race and are killed. See tree_lab.py."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

LAB = Path(__file__).with_name("tree_lab.py")


async def lab(job: str, folder: Path) -> Any:
    """What happened in there."""
    command = [sys.executable, str(LAB), job, str(folder / "tree")]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(output)


async def test_8_processes_create_one_id(tmp_path: Path) -> None:
    """Exactly one True, for each of 20 ids; and what stands is the winner's."""
    result = await lab("race", tmp_path)
    assert result["winners"] == [1] * 20
    assert result["are_theirs"] == [True] * 20


async def test_increments_of_4_processes_are_all_counted(tmp_path: Path) -> None:
    """By reading and replacing what was read, three at once in each process."""
    assert await lab("count", tmp_path) == {"n": 180, "version": 180}


async def test_folders_are_pruned_while_siblings_are_created(tmp_path: Path) -> None:
    """4 processes make and remove entries in one deep folder: none fails, and no folder is left."""
    assert await lab("prune", tmp_path) == []


async def test_kill_at_each_step(tmp_path: Path) -> None:
    """Of each verb: every file is the one before or the one after, and the next one leaves no litter.

    Also in the midst of a write, and whether the next one opens the tree or takes the lock.
    """
    result = await lab("steps", tmp_path)
    assert result["wrong"] == []
    assert min(result["steps"].values()) > 10


async def test_kills_at_any_moment(tmp_path: Path) -> None:
    """What was acknowledged is there, all files are whole, and nothing is left."""
    result = await lab("kills", tmp_path)
    assert result["wrong"] == []
    assert result["done"] > 50


async def test_a_child_of_a_dead_process_holds_no_lock(tmp_path: Path) -> None:
    """One that was forked in the midst of a call, and lives on."""
    assert await lab("inherit", tmp_path) < 5


async def test_a_walk_beside_writers(tmp_path: Path) -> None:
    """Entries that stay are listed exactly once, in order, while others are replaced and come and go."""
    assert await lab("listing", tmp_path) == []
