"""``flowstore errors``."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

import flowstore
from flowstore import TaskResult
from tests.cli.support import NOW, Clock, golden, invoke

pytestmark = pytest.mark.usefixtures("all_at_noon")


def groups(url: str, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(invoke("errors", *words, "-o", "json", url=url).out)
    return found


def fail(url: str, **errors: Exception) -> None:
    """A failed task of each name, half an hour ago."""
    asyncio.run(_fail(url, errors))


async def _fail(url: str, errors: dict[str, Exception]) -> None:
    clock = Clock(NOW)
    clock.at = at = NOW - timedelta(minutes=30)
    async with flowstore.connect(url, clock=clock) as backend:
        await backend.store_many(
            TaskResult.failed(f"f-{name}", error, task_name=name, at=at, submitted_at=at)
            for name, error in errors.items()
        )


@pytest.mark.parametrize("output", ["table", "json", "ids"])
def test_one_group(shop: str, output: str) -> None:
    golden(f"group/{output}", invoke("errors", "0d3c", "-o", output, "--time", "utc", url=shop))


def test_which_are_listed(own_store: str) -> None:
    fail(own_store, report=LookupError("no page 3"), mail=OSError("no route"))
    most, *others = (group["type"] for group in groups(own_store))
    assert (most, sorted(others)) == ("TimeoutError", ["LookupError", "OSError"])
    assert [group["type"] for group in groups(own_store, "--name", "report")] == ["LookupError"]
    assert [group["type"] for group in groups(own_store, "--type", "OSError")] == ["OSError"]
    assert [group["recent"] for group in groups(own_store, "--since", "ever", "--limit", "1")] == [4]
    assert len(groups(own_store, "--since", "45m")) == 2
    assert groups(own_store, "--since", "10m") == []
    assert invoke("errors", "--since", "10m", url=own_store).err == "no such errors\n"
    assert {group["type"] for group in groups(own_store, "--order", "last", "--limit", "2")} == {
        "LookupError",
        "OSError",
    }


def test_decisions(own_store: str) -> None:
    """By the beginnings of fingerprints, all or none; each is kept with who and why."""
    fail(own_store, mail=OSError("no route"))
    first, second = (group["id"] for group in groups(own_store))
    ran = invoke("errors", "--resolve", first[:6], "nothing", url=own_store)
    assert (ran.code, len(groups(own_store))) == (3, 2)
    ran = invoke("errors", "--resolve", first[:6], second, "--by", "ada", "--reason", "mended", url=own_store)
    assert (ran.code, ran.out, ran.err.count("resolved: ")) == (0, "", 2)
    assert groups(own_store) == []
    decided = groups(own_store, "--state", "resolved")
    assert {(group["by"], group["reason"]) for group in decided} == {("ada", "mended")}
    assert invoke("errors", "--reopen", first, "-q", url=own_store) == (0, "", "")
    assert [group["id"] for group in groups(own_store)] == [first]


def test_ignored_for_a_time(own_shop: str) -> None:
    words = (
        "errors",
        "--ignore",
        "0d3c",
        "--until",
        "7d",
        "--more",
        "100",
        "--by",
        "ada",
        "--reason",
        "known",
    )
    assert invoke(*words, url=own_shop).code == 0
    [group] = groups(own_shop, "--state", "ignored")
    assert (group["ignored_until"][:10], group["ignored_total"], group["by"]) == ("2026-03-08", 104, "ada")
    shown = invoke("errors", "0d3c", url=own_shop).out
    assert "state     ignored until in 7d up to failure 104, decided now by ada: known\n" in shown
    assert "  ignored  " in invoke("errors", "--state", "all", url=own_shop).out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nothing"], 3, "there is no error group 'nothing'"),
        (["--resolve", "nothing"], 3, "there is no error group 'nothing'"),
        (["0d3c", "--resolve", "0d3c"], 2, "expected it behind --resolve"),
        (["--until", "7d"], 2, "--until, --more: are for --ignore"),
        (["--ignore", "0d3c", "--until", "2020-01-01"], 2, "--until: expected a time to come"),
        (["--ignore", "0d3c", "--until", "soon"], 2, "--until: expected"),
        (["--ignore", "0d3c", "--more", "0"], 2, "more"),
        (["--since", "soon"], 2, "--since: expected"),
        (["--limit", "0"], 2, "limit"),
        (["--state", "closed"], 2, "--state"),
    ],
    ids=str,
)
def test_refused(shop: str, words: list[str], code: int, said: str) -> None:
    ran = invoke("errors", *words, url=shop)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err


def test_a_beginning_of_several_groups(own_shop: str) -> None:
    """With sixteen groups or more, two begin with the same digit."""
    errors = {f"n{n}": LookupError(f"of kind {'abcdefghijklmnopqrs'[n]}") for n in range(17)}
    fail(own_shop, **errors)
    ids = [group["id"] for group in groups(own_shop)]
    digit = next(digit for digit in "0123456789abcdef" if sum(id.startswith(digit) for id in ids) > 1)
    ran = invoke("errors", digit, url=own_shop)
    assert (ran.code, ran.out) == (2, "")
    assert f"{digit!r} is ambiguous: " in ran.err
    assert all(id in ran.err for id in ids if id.startswith(digit))


def test_messages_are_shown_harmlessly(own_shop: str) -> None:
    fail(own_shop, **{"\x1b[2Jname": LookupError("\x1b]0;title\x07 and \u202ebidi")})
    for words in ([], ["--state", "all"], [groups(own_shop, "--type", "LookupError")[0]["id"]]):
        ran = invoke("errors", *words, url=own_shop)
        assert not any(character in ran.out + ran.err for character in "\x1b\x07\u202e")
