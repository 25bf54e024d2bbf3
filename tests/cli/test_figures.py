"""``flowstore stats``."""

from __future__ import annotations

import json

import pytest

from tests.cli.support import golden, invoke

pytestmark = pytest.mark.usefixtures("all_at_noon")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("total", []),
        ("by-name", ["--by", "name", "--since", "2h"]),
        ("by-status", ["--by", "status"]),
        ("by-hour", ["--by", "hour", "--since", "3h", "--time", "utc"]),
        ("by-minute-limit", ["--by", "minute", "--since", "2h", "--limit", "3", "--time", "utc"]),
        ("ever", ["--by", "name", "--since", "ever"]),
        ("fields", ["--by", "name", "--fields", "name,wait,submitted"]),
        ("by-name-csv", ["--by", "name", "--since", "2h", "-o", "csv"]),
        ("by-name-jsonl", ["--by", "name", "--since", "2h", "-o", "jsonl"]),
        ("total-json", ["--name", "mail.send", "--since", "2h", "-o", "json"]),
    ],
)
def test_what_is_shown(shop: str, name: str, words: list[str]) -> None:
    golden(f"figures/{name}", invoke("stats", *words, url=shop))


def test_numbers(own_store: str) -> None:
    """Each store has counted the same, and programs get the distributions."""
    rows = json.loads(invoke("stats", "--by", "name", "--since", "2h", "-o", "json", url=own_store).out)
    of = {row["name"]: row for row in rows}
    assert [row["name"] for row in rows] == ["mail.send", "report.render", "nightly"]
    mail = of["mail.send"]
    assert (mail["succeeded"], mail["failed"], mail["retried"], mail["submitted"]) == (1, 2, 2, 4)
    assert mail["failure_rate"] == 2 / 3
    assert sum(count for _, count in mail["run"]["buckets"]) == 3
    assert mail["run"]["p50"] == pytest.approx(30, rel=0.09)
    assert of["nightly"]["run"] == {"p50": None, "p95": None, "p99": None, "buckets": []}


def test_a_time_without_tasks(shop: str) -> None:
    ran = invoke("stats", "--since", "5m", "-o", "json", url=shop)
    row = json.loads(ran.out)
    assert (row["ended"], row["failure_rate"], row["ended_per_minute"]) == (0, None, 0)
    assert invoke("stats", "--by", "name", "--since", "5m", "-o", "jsonl", url=shop) == (0, "", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--since", "tomorrow"], "--since: expected 10m, 2h, today"),
        (["--since", "1h", "--until", "2h"], "since: expected a time before until"),
        (["--by", "hour", "--since", "ever"], "--since: expected a time, as --by hour has a row for each"),
        (["--by", "minute", "--since", "7d"], "minutes are kept for a day"),
        (["--by", "name", "--name", "x"], "--name: is one row already"),
        (["--by", "week"], "--by"),
        (["--limit", "0"], "--limit: expected at least 1"),
        (["-o", "ids"], "-o ids: what this prints has no ids"),
    ],
    ids=str,
)
def test_refused(shop: str, words: list[str], said: str) -> None:
    ran = invoke("stats", *words, url=shop)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
