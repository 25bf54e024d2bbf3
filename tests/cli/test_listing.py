"""``flowstore ls``."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from tests.cli.support import damage, golden, invoke


@pytest.mark.usefixtures("at_noon")
@pytest.mark.parametrize("output", ["table", "json", "jsonl", "csv", "ids"])
def test_formats(shop: str, output: str) -> None:
    golden(f"ls/{output}", invoke("ls", "status:failed,running", "-o", output, "--time", "utc", url=shop))


@pytest.mark.usefixtures("at_noon")
def test_relative_times(shop: str) -> None:
    golden("ls/relative", invoke("ls", "--limit", "3", url=shop))


def test_negated_terms_and_unknown_options(shop: str) -> None:
    """A hyphen belongs to the query, two of them do not."""
    assert "task-1\n" not in invoke("ls", "-label:eu", "-o", "ids", url=shop).out
    ran = invoke("ls", "--limt", "3", url=shop)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "flowstore: --limt: no such option\n  hint: did you mean --limit?\n"
    assert "did you mean --part?" in invoke("show", "task-1", "--prt=all", url=shop).err
    assert "hint: --help lists them" in invoke("ls", "--zzz", url=shop).err


def test_common_options_may_come_first(shop: str) -> None:
    assert invoke("-o", "ids", "--url", shop, "ls", "id:task-1") == (0, "task-1\n", "")
    assert invoke("ls", "id:task-1", "-o", "ids", "--url", shop) == (0, "task-1\n", "")


def test_whether_there_is_one(shop: str) -> None:
    assert invoke("ls", "--exists", "label:none", "-q", url=shop).code == 1
    assert invoke("ls", "--exists", "label:eu", "-q", url=shop).code == 0


def test_a_reader_makes_no_file(tmp_path: object) -> None:
    ran = invoke("ls", url=f"sqlite:///{tmp_path}/typo.db")
    assert (ran.code, ran.out) == (4, "")
    assert "typo.db: there is no such file" in ran.err


def test_a_password_is_no_argument() -> None:
    ran = invoke("ls", "--url", "redis://:s3cret@localhost/0")
    assert ran.code == 2
    assert "s3cret" not in ran.err


def test_all_and_pages_list_the_same(store: str) -> None:
    """Each page goes on exactly where the one before has ended."""
    whole = invoke("ls", "--all", "-o", "ids", url=store).out.split()
    assert len(whole) == 7
    paged: list[str] = []
    rest: tuple[str, ...] = ()
    while True:
        ran = invoke("ls", "-o", "ids", "--limit", "3", *rest, url=store)
        paged += ran.out.split()
        if "--cursor" not in ran.err:
            break
        assert ran.err.startswith("3 of 7 · next: ")
        rest = ("--cursor", ran.err.split()[-1])
    assert paged == whole


def test_streams_in_batches(own_shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table in batches has its head once, JSON is one array, and CSV one file."""
    monkeypatch.setattr("flowstore.cli.listing._BATCH", 2)
    assert invoke("ls", "--all", url=own_shop).out.count("STATUS") == 1
    assert len(json.loads(invoke("ls", "--all", "-o", "json", url=own_shop).out)) == 7
    rows = [*csv.DictReader(io.StringIO(invoke("ls", "--all", "-o", "csv", url=own_shop).out))]
    assert len(rows) == 7
    assert rows[2]["error"] == "TimeoutError: smtp3.example.org timed out"
    assert rows[2]["labels"] == "eu"


def test_count(store: str) -> None:
    """Exact, or as far as it was asked to look, by an index or by a search."""

    def counted(*words: str) -> str:
        ran = invoke("ls", "--count", *words, url=store)
        assert (ran.code, ran.err) == (0, "")
        return ran.out.strip()

    assert counted() == "7"
    assert counted("status:failed,success", "-status:failed", "name:mail.send") == "1"
    assert counted("label:eu,us") == "6"
    assert counted("timed out") == "2"
    assert counted("timed out", "--at-most", "1") == "1+"
    assert counted("timed out", "--at-most", "2") == "2"
    assert counted("label:eu", "--at-most", "2") == "2+"
    assert counted("label:eu", "--at-most", "3") == "3"
    assert json.loads(counted("-o", "json")) == {"v": 1, "count": 7, "is_exact": True}
    assert counted("-o", "csv") == "count,is_exact\n7,true"


def test_exists_prints_nothing(store: str) -> None:
    assert invoke("ls", "--exists", "timed out", url=store) == (0, "", "")
    assert invoke("ls", "--exists", "nowhere", url=store) == (1, "", "")


def test_values(store: str) -> None:
    [task] = json.loads(invoke("ls", "--values", "id:task-2", "-o", "json", url=store).out)
    assert task["kwargs"] == {"to": "user2@example.org"}
    assert task["result"] == {"rows": 2, "pages": {"$tuple": [1, 2]}}
    assert '[2] {"to": "user2@example.org"}' in invoke("ls", "--values", "id:task-2", url=store).out
    assert "user2" not in invoke("ls", "id:task-2", "-o", "json", url=store).out
    ran = invoke("ls", "id:task-2", "-o", "jsonl", "--fields", "task_id,args", url=store)
    assert json.loads(ran.out) == {"task_id": "task-2", "args": [2]}


@pytest.mark.parametrize(
    "options",
    [
        ("--all", "--limit", "3"),
        ("--all", "--cursor", "x"),
        ("--count", "--exists"),
        ("--count", "--limit", "3"),
        ("--watch", "--all"),
        ("-w", "--cursor", "x"),
    ],
)
def test_options_that_do_not_go_together(shop: str, options: tuple[str, ...]) -> None:
    ran = invoke("ls", *options, url=shop)
    assert (ran.code, ran.out) == (2, "")
    assert "do not go together" in ran.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--at-most", "3"), "--at-most: expected a number from 1 on, with --count, got 3"),
        (("--count", "--at-most", "0"), "--at-most: expected a number from 1 on, with --count, got 0"),
        (("--cursor", "zzz"), "cursor"),
        (("--limit", "0"), "limit"),
        (("--limit", "x"), "x"),
        (("stauts:failed",), "status"),
        (("since:yesteryear",), "yesteryear"),
    ],
)
def test_mistakes(shop: str, options: tuple[str, ...], message: str) -> None:
    ran = invoke("ls", *options, url=shop)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert "Traceback" not in ran.err


def test_where_a_search_has_ended(shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that ran out of time says how far it got, and goes on there."""
    monkeypatch.setattr("flowstore.cli.listing._SECONDS", 0.000_001)
    found: list[str] = []
    rest: tuple[str, ...] = ()
    notes = []
    while True:
        ran = invoke("ls", "timed out", "-o", "ids", "--time", "utc", *rest, url=shop)
        found += ran.out.split()
        if not ran.err:
            break
        notes.append(ran.err)
        rest = ("--cursor", ran.err.split()[-3])
    assert found == ["task-3", "task-1"]
    assert re.fullmatch(
        r"looked at \d, back to 2026-03-01 \d\d:\d\d:00\+00:00: --cursor \S+ goes on\n", notes[0]
    )


def test_unreadable_records_are_told(own_shop: str) -> None:
    """The others are shown, and what is wrong with these stands on stderr."""
    damage(own_shop, "task-3")
    for options in (), ("--all",):
        ran = invoke("ls", "-o", "ids", *options, url=own_shop)
        assert ran.code == 0
        assert ran.out.split() == ["task-5", "task-4", "task-2", "task-1", "task-0", "nightly"]
        assert ran.err.startswith("flowstore: task-3 cannot be read: ")
