"""``flowstore export``, ``import`` and ``copy``, between files and the stores that there are."""

from __future__ import annotations

import asyncio
import csv
import gzip
import json
from pathlib import Path

import pytest

import flowstore
from tests.cli.support import invoke, seed


def path_of(url: str) -> str:
    return url.removeprefix("sqlite:///")


def digest(url: str) -> str:
    async def read() -> str:
        async with flowstore.connect(url) as backend:
            return await backend.archive.digest()

    return asyncio.run(read())


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.gz"])
def test_there_and_back(shop: str, tmp_path: Path, name: str) -> None:
    """To the last byte, with data and history."""
    file, other = tmp_path / name, f"sqlite:///{tmp_path / 'other.db'}"
    ran = invoke("export", "--to", str(file), url=shop)
    assert (ran.code, ran.out, ran.err) == (0, "", f"7 tasks, sha256 {digest(shop)}\n")
    ran = invoke("import", str(file), url=other)
    assert ran == (0, "7 tasks\n", "")
    assert digest(other) == digest(shop)
    assert invoke("history", "task-3", "-o", "jsonl", url=other) == invoke(
        "history", "task-3", "-o", "jsonl", url=shop
    )
    assert invoke("get", "nightly", "page", url=other).out == "3\n"
    again = invoke("import", str(file), "-o", "json", url=other)
    assert (json.loads(again.out)["restored"], json.loads(again.out)["unchanged"]) == (0, 7)


def test_a_file_that_is_there_stays(shop: str, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("mine")
    ran = invoke("export", "--to", str(file), url=shop)
    assert (ran.code, file.read_text()) == (5, "mine")
    assert "--overwrite replaces it" in ran.err
    assert invoke("export", "--to", str(file), "--overwrite", "-q", url=shop) == (0, "", "")
    assert file.read_text() != "mine"


def test_a_table(shop: str, tmp_path: Path) -> None:
    file = tmp_path / "failed.csv"
    assert invoke("export", "status:failed", "--to", str(file), url=shop).err == "2 tasks\n"
    rows = [*csv.DictReader(file.read_text("utf-8").splitlines())]
    assert [row["task_id"] for row in rows] == ["task-3", "task-1"]
    assert rows[0]["error"] == "TimeoutError: smtp3.example.org timed out"


def test_the_format_may_be_said(shop: str, tmp_path: Path) -> None:
    file = tmp_path / "data.txt"
    assert invoke("export", "id:task-1", "--to", str(file), "--format", "jsonl.gz", url=shop).code == 0
    assert b'"id":"task-1"' in gzip.decompress(file.read_bytes())
    ran = invoke("export", "--to", str(file), "--format", "xlsx", url=shop)
    assert (ran.code, '"jsonl", "jsonl.gz"' in ran.err) == (2, True)


def test_a_page_for_an_incident(tmp_path: Path) -> None:
    """Whatever tasks say is text in it: there is no script, and nothing is loaded from elsewhere."""
    url = f"sqlite:///{tmp_path / 'a.db'}"

    async def put() -> None:
        async with flowstore.connect(url) as backend:
            task = flowstore.TaskResult.pending("</td><script>alert(1)</script>", task_name='"><img src=x>')
            failed = flowstore.TaskResult.failed(task, ValueError("</pre><script>alert(2)</script>"))
            await backend.store(task.task_id, failed)

    asyncio.run(put())
    file = tmp_path / "incident.html"
    assert invoke("export", "status:failed", "--to", str(file), url=url) == (0, "", "1 task\n")
    page = file.read_text()
    assert "<title>1 task of default</title>" in page
    assert not [tag for tag in ("<script", "<img", "<link", "<a ") if tag in page]
    assert "ValueError: &lt;/pre&gt;&lt;script&gt;alert(2)&lt;/script&gt;" in page
    assert "default-src 'none'" in page
    assert len(page) < 4096


def test_resuming_is_for_archives(shop: str, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    assert invoke("export", "--to", str(file), "--resume", url=shop).code == 0
    for arguments in (["--to", "-"], ["--to", str(tmp_path / "a.csv")]):
        ran = invoke("export", *arguments, "--resume", url=shop)
        assert (ran.code, "--resume" in ran.err) == (2, True)


def test_an_import_stops_at_conflicts(shop: str, own_shop: str, tmp_path: Path) -> None:
    """Unless it was said which of the two records stays."""
    file = tmp_path / "a.jsonl"
    invoke("export", "--to", str(file), url=shop)
    assert invoke("requeue", "task-3", "-y", url=own_shop).code == 0
    ran = invoke("import", str(file), url=own_shop)
    assert (ran.code, "task-3" in ran.err) == (5, True)
    ran = invoke("import", str(file), "--conflict", "keep", url=own_shop)
    assert (ran.code, "1 left out, as others have their ids" in ran.out) == (5, True)
    ran = invoke("import", str(file), "--conflict", "replace", url=own_shop)
    assert (ran.code, "1 replaced others" in ran.out) == (0, True)
    assert digest(own_shop) == digest(shop)
    assert invoke("import", str(file), "--conflict", "newest", url=own_shop).code == 2


def test_an_import_that_only_looks(shop: str, tmp_path: Path) -> None:
    file, other = tmp_path / "a.jsonl", f"sqlite:///{tmp_path / 'other.db'}"
    invoke("export", "--to", str(file), url=shop)
    assert invoke("import", str(file), "--dry-run", url=other).code == 4
    seed(other)
    invoke("rm", "task-0", "-y", url=other)
    before = digest(other)
    ran = invoke("import", str(file), "--dry-run", url=other)
    assert ran == (0, "7 tasks in a.jsonl, 6 with ids that are there already\n", "")
    ran = invoke("import", str(file), "--dry-run", "-o", "json", url=other)
    assert json.loads(ran.out) == {"v": 1, "tasks": 7, "present": 6, "expired": 0}
    assert digest(other) == before


@pytest.mark.parametrize(
    ("content", "code", "expected"),
    [(None, 3, "No such file"), ("", 5, "a.jsonl"), ('{"a":1}\n', 5, "line 1")],
)
def test_files_that_are_no_archives(
    shop: str, tmp_path: Path, content: str | None, code: int, expected: str
) -> None:
    file = tmp_path / "a.jsonl"
    if content is not None:
        file.write_text(content)
    ran = invoke("import", str(file), url=shop)
    assert (ran.code, ran.out, expected in ran.err) == (code, "", True), ran


def test_what_is_whole_of_a_file_that_was_cut_off(shop: str, tmp_path: Path) -> None:
    file, other = tmp_path / "a.jsonl", f"sqlite:///{tmp_path / 'other.db'}"
    invoke("export", "--to", str(file), url=shop)
    file.write_bytes(b"".join(file.read_bytes().splitlines(True)[:4]))
    assert invoke("import", str(file), url=other).code == 5
    assert invoke("import", str(file), "--partial", url=other).out == "3 tasks\n"


def test_copies_between_stores(shop: str, redis_url: str, tmp_path: Path) -> None:
    """From SQLite to a server and back, to the last byte; again, it has nothing to do."""
    back = f"sqlite:///{tmp_path / 'back.db'}"
    assert invoke("copy", shop, redis_url, "--verify") == (0, "7 tasks\n", "")
    assert invoke("copy", shop, redis_url).out == "0 tasks, 7 were there already\n"
    assert invoke("verify", redis_url, url=shop).out == f"the same 7 tasks, sha256 {digest(shop)}\n"
    assert invoke("copy", redis_url, path_of(back), "--verify", "-o", "json").code == 0
    assert digest(back) == digest(shop)


def test_some_of_a_store(shop: str, tmp_path: Path) -> None:
    other = str(tmp_path / "other.db")
    assert invoke("copy", shop, other, "status:failed").out == "2 tasks\n"
    assert invoke("copy", shop, other, "--since", "2026-03-01T11:00:00Z").out == "2 tasks\n"
    ran = invoke("copy", shop, other, "status:failed", "--since", "1d")
    assert (ran.code, "say it there: since:1d" in ran.err) == (2, True)


def test_copies_that_make_no_sense(shop: str, tmp_path: Path) -> None:
    assert "are the same store" in invoke("copy", shop, path_of(shop)).err
    ran = invoke("copy", str(tmp_path / "none.db"), str(tmp_path / "other.db"))
    assert (ran.code, "there is no such file" in ran.err) == (4, True)
    assert not (tmp_path / "other.db").exists()
    assert invoke("copy", shop, str(tmp_path / "other.db"), "--since", "soon").code == 2
