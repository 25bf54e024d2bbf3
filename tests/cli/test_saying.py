"""What command line and page say alike: moments, effects of actions, figures; and the widths of tables."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

import flowstore
from flowstore import InMemoryBackend, TaskResult, parse_query
from flowstore._faces import effects
from flowstore._faces.figures import WINDOWS, series_of_names, window_of
from flowstore._faces.moments import duration, moment, size
from flowstore._faces.terms import TERMS, term
from flowstore.cli._widths import GAP, Wanted, widths

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("500ms", 0.5), ("30s", 30), ("10m", 600), ("2h", 7_200), ("7d", 604_800), ("1w", 604_800)),
        *(("90", 90), ("1.5h", 5_400), (" 2h ", 7_200), ("0", 0)),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration("--in", text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "h", "-1h", "1 h", "1y", "1h30m", "999999999999w", "²s", "1e3", "nan"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"^--in: "):
        duration("--in", text)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("10m", NOW - timedelta(minutes=10)),
        ("today", datetime(2026, 3, 1, tzinfo=UTC)),
        ("yesterday", datetime(2026, 2, 28, tzinfo=UTC)),
        ("2026-02-03", datetime(2026, 2, 3, tzinfo=UTC)),
        ("2026-02-03T04:05Z", datetime(2026, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-02-03T04:05:06.7+01:00", datetime(2026, 2, 3, 3, 5, 6, 700_000, tzinfo=UTC)),
    ],
)
def test_moments(text: str, at: datetime) -> None:
    assert moment("--since", text, NOW) == at


@pytest.mark.parametrize(
    "text", ["", "90", "tomorrow", "2026-02-30", "2026-02-03T04:05", "999999999999d", "2026", "12:00"]
)
def test_what_is_no_moment(text: str) -> None:
    """A time without its zone among them, as nobody knows which is meant."""
    with pytest.raises(ValueError, match=r"^--since: expected 10m, 2h, today"):
        moment("--since", text, NOW)


@pytest.mark.parametrize(
    ("text", "number"),
    [("65536", 65_536), ("64k", 65_536), ("64KiB", 65_536), ("1 MB", 1 << 20), ("2g", 2 << 30)],
)
def test_sizes(text: str, number: int) -> None:
    assert size("--most", text) == number


@pytest.mark.parametrize("text", ["", "k", "-1", "1.5k", "1t", "64 kk"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"^--most: expected a size"):
        size("--most", text)


def test_terms_are_those_of_the_query_language() -> None:
    """Each is known, and no other is: the library names them all when it does not know one."""
    with pytest.raises(flowstore.InvalidQuery) as caught:
        parse_query("nothing:x")
    named = str(caught.value).partition("expected one of ")[2].partition(" before the colon")[0]
    assert tuple(named.split(", ")) == TERMS


@pytest.mark.parametrize(
    "value", ["plain", "two words", 'quo"ted', "back\\slash", "a,b", "star*", "line\nbreak"]
)
def test_a_term_has_any_value(value: str) -> None:
    async def found() -> list[str]:
        async with InMemoryBackend() as backend:
            await backend.store_many(
                TaskResult.pending(name, labels={name}) for name in (value, f"{value}x", "a", "star", "other")
            )
            return [task.task_id for task in (await backend.search(term("label", value))).items]

    assert asyncio.run(found()) == [value]


async def test_effects_in_words() -> None:
    async with InMemoryBackend() as backend:
        for n in range(12):
            await backend.store(f"p{n}", TaskResult.pending(f"p{n}", task_name=("a", "b", "c", "d")[n % 4]))
        for n in range(2):
            await backend.store(f"r{n}", TaskResult.running(f"r{n}", task_name="\x1b[31mred"))
        preview = await backend.actions.apply("cancel", "name:a")
        assert effects.sentence(preview) == "would cancel 3 tasks (a 3)"
        preview = await backend.actions.apply("requeue", "id:r0,p0")
        assert effects.sentence(preview).startswith("would requeue 0 of 2 tasks (")
        assert "\x1b" not in effects.sentence(preview)
        said = effects.left_sentence({"left alone: running": 2, "requeued": 1}, unreadable=3)
        assert said == "5 left alone (running 2, cannot be read 3)"
        preview = await backend.actions.apply("delete", "status:pending")
        assert effects.sentence(preview) == "would remove 12 tasks (the first 10: d 3, c 3, b 2, …)"
        preview = await backend.actions.apply("cancel", "id:none")
        assert effects.sentence(preview) == "would cancel 0 tasks"
        assert effects.left_sentence(preview.effects) is None

        first = await backend.actions.apply("cancel", "status:pending,running", dry_run=False)
        second = await backend.actions.apply("cancel", "status:running", dry_run=False)
        assert effects.outcome(first) == "12 cancelled, 2 asked to end"
        assert effects.outcome(second) == "0 cancelled, 2 left alone (asked to end already 2)"
        assert effects.outcome(first, second) == (
            "12 cancelled, 2 asked to end, 2 left alone (asked to end already 2)"
        )


def test_windows() -> None:
    """Each has at most about a hundred periods, of lengths that statistics know."""
    for window in WINDOWS.values():
        assert window.span / window.every <= 90
        assert window_of(window.span).every == window.every
    assert window_of(timedelta(minutes=1)).every == timedelta(minutes=1)
    assert window_of(timedelta(days=1_000)).every == timedelta(days=10)


async def test_series_of_names() -> None:
    now = datetime.now(UTC)
    async with InMemoryBackend() as backend:
        await backend.store("t", TaskResult.success("t", task_name="a"))
        bars = await series_of_names(backend, ["a", "b"], WINDOWS["1h"], now + timedelta(minutes=1))
    assert (sum(bars["a"]), sum(bars["b"]), len(bars["a"])) == (1, 0, len(bars["b"]))
    assert len(bars["a"]) in (60, 61, 62)


def test_widths() -> None:
    """What has no room takes from the widest that may shrink, down to its head."""
    columns = [Wanted(10, 4, False), Wanted(50, 7, True), Wanted(30, 5, True)]
    assert widths(columns, 1_000) == [10, 50, 30]
    assert widths(columns, 80) == [10, 36, 30]
    found = widths(columns, 60)
    assert sum(found) + 2 * GAP == 60
    assert found[0] == 10
    assert widths(columns, 10) == [10, 0, 0]
    assert widths([Wanted(10**6, 4, True)], 80) == [80]
    assert widths([], 80) == []
