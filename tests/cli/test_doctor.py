"""``flowstore doctor``: of stores that can be reached, and of those that cannot."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.support import invoke, seed


def test_a_file(shop: str) -> None:
    """What SQLite is too old for depends on the machine, and is all that is wrong."""
    ran = invoke("doctor", url=shop)
    said = {line[:12].strip(): line[13:] for line in ran.out.splitlines() if line[:1].isalpha()}
    assert said["store"] == shop
    assert said["backend"].startswith("sqlite, SQLite 3.")
    assert said["tasks"] == "1 pending, 2 running, 2 success, 2 failed"
    assert said["writable"] == "yes"
    assert "journal_mode wal" in said["policies"]
    document = json.loads(invoke("doctor", "-o", "json", url=shop).out)
    assert {each["code"] for each in document["problems"]} <= {"sqlite-bug"}
    assert ran.code == (1 if document["problems"] else 0)
    assert ("✓ nothing is wrong" in ran.out) is not document["problems"] or document["problems"]
    assert max(map(len, ran.out.splitlines()[2:])) <= 80


def test_each_problem_has_what_to_do(own_shop: str) -> None:
    path = Path(own_shop.removeprefix("sqlite:///"))
    path.chmod(0o666)
    ran = invoke("doctor", url=own_shop)
    assert ran.code == 1
    lines = ran.out.splitlines()
    problem = next(number for number, line in enumerate(lines) if line.startswith("✕ Every user"))
    assert "chmod o=" in lines[problem + 1] + lines[problem + 2]


def test_a_server(redis_url: str) -> None:
    seed(redis_url)
    ran = invoke("doctor", "-o", "json", url=redis_url)
    document = json.loads(ran.out)
    assert (document["v"], document["facts"]["backend"]) == (1, "redis")
    assert document["facts"]["clock_skew"] is not None
    assert ran.code == (1 if document["problems"] else 0)
    assert all(each["problem"] and each["advice"] for each in document["problems"])


def test_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = invoke("doctor", "--url", "a/b.db")
    assert ran.code == 4
    assert f"there is no folder {tmp_path}/a" in " ".join(ran.out.split())
    ran = invoke("doctor", "--url", "b.db")
    assert f"from the working directory, {tmp_path}" in " ".join(ran.out.split())
    (tmp_path / "b.db").write_text("no database at all, " * 100)
    ran = invoke("doctor", "--url", "b.db")
    assert ran.code == 4
    assert "is it a file of flowstore?" in " ".join(ran.out.split())
    ran = invoke("doctor", "-o", "json", "--url", "redis://127.0.0.1:1/0")
    document = json.loads(ran.out)
    assert (ran.code, document["facts"], document["problems"][0]["code"]) == (4, None, "unreachable")
    assert "redis-cli ping" in document["problems"][0]["advice"]
    assert sorted(os.listdir(tmp_path)) == ["b.db"]
