"""``flowstore ls``."""

from __future__ import annotations

import pytest

from tests.cli.support import golden, invoke


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
    assert "--limt: no such option" in ran.err


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
