"""``flowstore purge``, ``vacuum`` and ``backup``."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import flowstore
from flowstore import TaskResult
from tests.cli.support import invoke, seed


def test_what_has_expired(own_shop: str) -> None:
    """Of whatever status; there is nothing to ask about what every program removes sooner or later."""
    assert invoke("expire", "task-0", "--in", "1ms", "-y", url=own_shop).code == 0
    assert invoke("purge", "--expired", url=own_shop) == (0, "1 expired task removed\n", "")
    assert json.loads(invoke("purge", "-o", "json", url=own_shop).out) == {"v": 1, "removed": 0}


def test_what_is_old(own_shop: str) -> None:
    ran = invoke("purge", "--older", "30d", "status:success", "--dry-run", url=own_shop)
    assert (ran.code, "would remove 2 tasks (" in ran.out) == (0, True)
    assert invoke("purge", "--older", "30d", url=own_shop).code == 2
    assert invoke("purge", "--older", "30d", "-y", url=own_shop).code == 0
    left = invoke("ls", "-o", "ids", url=own_shop).out.splitlines()
    assert left == ["task-5", "task-4", "nightly"]


def test_purges_that_make_no_sense(shop: str) -> None:
    for arguments, expected in (
        (["status:success"], "--older: how old?"),
        (["--older", "soon"], "--older"),
        (["--older", "1d", "--expired"], "--expired: either that or --older"),
        (["--dry-run"], "--dry-run"),
    ):
        ran = invoke("purge", *arguments, url=shop)
        assert (ran.code, expected in ran.err) == (2, True), arguments


def test_a_file_gets_smaller(own_shop: str) -> None:
    async def fill() -> None:
        async with flowstore.connect(own_shop) as backend:
            task = TaskResult.success(TaskResult.pending("big"), "x" * 4_000_000)
            await backend.store("big", task)
            await backend.delete("big")

    asyncio.run(fill())
    assert json.loads(invoke("vacuum", "--full", "-o", "json", url=own_shop).out)["bytes"] > 3_000_000
    assert invoke("vacuum", url=own_shop).out == "0 B given back\n"


def test_a_backup_is_the_same(shop: str, tmp_path: Path) -> None:
    file = tmp_path / "copy.db"
    ran = invoke("backup", str(file), url=shop)
    assert (ran.code, ran.out.startswith(f"{file}: ")) == (0, True)
    assert invoke("verify", str(file), url=shop).code == 0
    file.write_text("mine")
    ran = invoke("backup", str(file), url=shop)
    assert (ran.code, file.read_text(), "--force replaces it" in ran.err) == (5, "mine", True)
    assert json.loads(invoke("backup", str(file), "--force", "-o", "json", url=shop).out)["path"] == str(file)
    assert invoke("verify", str(file), url=shop).code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["copy.db"]


def test_a_server_has_its_own(redis_url: str, tmp_path: Path) -> None:
    seed(redis_url)
    ran = invoke("backup", str(tmp_path / "a.db"), url=redis_url)
    assert (ran.code, "BGSAVE" in ran.err) == (5, True)
    assert invoke("purge", url=redis_url) == (0, "0 expired tasks removed\n", "")
    assert invoke("vacuum", url=redis_url).code in (0, 5)
