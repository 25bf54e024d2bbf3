"""``flowstore verify``: one store, and two."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.support import invoke, seed


def damaged(url: str) -> str:
    """A record whose checksum does not hold, and an index that has lost its entries."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE task SET body = replace(body, 'user1', 'user2') WHERE id = 'task-1'")
        connection.execute("DELETE FROM facet WHERE id = 'task-2'")
    return url


def test_findings_and_repair(own_shop: str) -> None:
    """What indexes have lost is mended, and a damaged record is named for as long as it is there."""
    url = damaged(own_shop)
    ran = invoke("verify", url=url)
    assert ran.code == 1
    lines = ran.out.splitlines()
    assert lines[0].split() == ["KIND", "TASK", "WHERE", "REASON", "REPAIRED"]
    assert {"task-1", "task-2"} < {line.split()[1] for line in lines[1:]}
    assert ran.err.endswith(f": {len(lines) - 1} findings\n")
    documents = json.loads(invoke("verify", "-o", "json", url=url).out)
    assert {each["task_id"] for each in documents} == {"task-1", "task-2", None}
    assert {"v", "kind", "where", "reason", "is_repaired"} <= documents[0].keys()
    ran = invoke("verify", "--repair", "-y", url=url)
    assert (ran.code, "of them repaired" in ran.err) == (1, True)
    ran = invoke("verify", url=url)
    assert {line.split()[1] for line in ran.out.splitlines()[1:]} == {"task-1"}


def test_a_sound_store(shop: str) -> None:
    ran = invoke("verify", url=shop)
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.startswith("7 records and ")
    assert ran.err.endswith(" items read: nothing is wrong\n")
    assert json.loads(invoke("verify", "-o", "json", url=shop).out) == []


def test_two_stores(shop: str, own_shop: str) -> None:
    ran = invoke("verify", own_shop, url=shop)
    assert (ran.code, ran.out.startswith("the same 7 tasks, sha256 ")) == (0, True)
    assert invoke("verify", own_shop, "--fast", url=shop) == (
        0,
        "as many tasks in each status, 7 in all; none was read\n",
        "",
    )
    invoke("set", "nightly", "page", "4", url=own_shop)
    ran = invoke("verify", own_shop, url=shop)
    assert (ran.code, "as many tasks in each status, but not the same" in ran.out) == (1, True)
    assert invoke("verify", own_shop, "--fast", url=shop).code == 0
    invoke("requeue", "task-3", "-y", url=own_shop)
    expected = "they differ:\nSTATUS   FIRST  SECOND\npending      1       2\nfailed       2       1\n"
    assert invoke("verify", own_shop, url=shop) == (1, expected, "")
    assert invoke("verify", own_shop, "--fast", url=shop) == (1, expected, "")
    document = json.loads(invoke("verify", own_shop, "-o", "json", url=shop).out)
    assert (document["v"], document["is_same"], document["counts"][1]["pending"]) == (1, False, 2)


def test_a_server(redis_url: str) -> None:
    seed(redis_url)
    ran = invoke("verify", url=redis_url)
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.startswith("7 records and ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--fast"], "--fast: with another store only"),
        (["other.db", "--repair"], "--repair: of one store only"),
        (["--repair"], "nobody can be asked here"),
    ],
)
def test_options_that_make_no_sense(shop: str, arguments: list[str], expected: str) -> None:
    ran = invoke("verify", *arguments, url=shop)
    assert (ran.code, expected in ran.err) == (2, True)


def test_another_store_that_is_not_there(shop: str, tmp_path: Path) -> None:
    ran = invoke("verify", str(tmp_path / "none.db"), url=shop)
    assert (ran.code, "there is no such file" in ran.err) == (4, True)
