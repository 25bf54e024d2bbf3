"""What people read of times, sizes, numbers and text out of a store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore import TaskError
from flowstore._faces.showing import (
    age,
    ago,
    counted,
    error_line,
    lasting,
    plain,
    share,
    short_id,
    shortened,
    sized,
    sparkline,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, ""),
        (0, "0ms"),
        (0.0124, "12ms"),
        (0.9996, "1.00s"),
        (1.239, "1.24s"),
        (9.996, "10.0s"),
        (59.96, "1m"),
        (192, "3m 12s"),
        (3_599.7, "1h"),
        (7_500, "2h 5m"),
        (86_399.6, "1d"),
        (273_600, "3d 4h"),
        (86_400_000, "1,000d"),
        (-1.5, "-1.50s"),
    ],
)
def test_durations(seconds: float | None, shown: str) -> None:
    assert lasting(seconds) == shown


@given(st.floats(0, 1e9))
def test_durations_never_say_sixty_of_a_unit(seconds: float) -> None:
    """Rounding carries over: no ``60s``, no ``1m 60s``."""
    parts = lasting(seconds).split()
    assert not {"60s", "60m", "24h", "60.0s", "1000ms"} & {*parts}


def test_ages() -> None:
    assert [age(seconds) for seconds in (-1, 0, 59.9, 60, 7_199, 172_800)] == [
        *("0s", "0s", "59s", "1m", "1h", "2d"),
    ]
    moments = [NOW - timedelta(minutes=2), NOW + timedelta(minutes=5, seconds=1), NOW, None]
    assert [ago(at, NOW) for at in moments] == ["2m ago", "in 5m", "now", ""]


def test_numbers_and_sizes() -> None:
    assert [counted(12_345), counted(10_000, is_exact=False)] == ["12,345", "10,000+"]
    assert [sized(size) for size in (None, 512, 65_536, 1_048_575, 5 * 1_024**3)] == [
        *("", "512 B", "64.0 KiB", "1.0 MiB", "5.0 GiB"),
    ]
    assert [share(part) for part in (None, 0, 0.014, 1)] == ["", "0%", "1.4%", "100%"]


def test_text_shows_what_would_hide() -> None:
    """Escapes of a terminal, marks that turn text around, and what ends a line."""
    assert plain("a\x1b[2Jb\r\n\u202egnp.exe\u2028\ud800") == r"a\x1b[2Jb\r\n\u202egnp.exe\u2028\ud800"
    assert plain("two\nlines\x1b", keep="\n") == "two\nlines\\x1b"
    assert plain("Grüße 👩\u200d💻 שלום") == "Grüße 👩\u200d💻 שלום"


@given(st.text())
def test_shown_text_can_be_written_anywhere(text: str) -> None:
    shown = plain(text)
    assert shown.encode().decode() == shown
    assert shown.splitlines() in ([shown], [])
    assert plain(shown) == shown


def test_ids_and_errors() -> None:
    assert short_id("a91f0c3e5d0c1b7e02f9a44ae5d0c1b7") == "a91f0c3e"
    assert short_id("a91f0c3e-5d0c-1b7e-02f9-a44ae5d0c1b7") == "a91f0c3e"
    assert short_id("report-7") == "report-7"
    assert error_line(TaskError(type="builtins.ValueError", message="page 3\n is  empty")) == (
        "ValueError: page 3 is empty"
    )
    assert error_line(None) == ""
    assert [shortened("abcdef", most) for most in (6, 5, 1)] == ["abcdef", "abcd…", "…"]


def test_sparklines() -> None:
    assert sparkline([0, 1, 4, 8]) == " ▂▅█"
    assert sparkline([0, 0]) == "  "
    assert sparkline([]) == ""
