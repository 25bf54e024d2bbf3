"""What stands where in a chart: heights are to scale, gaps stay gaps, and the table has the same numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flowstore.web.charts import HEIGHT, LEFT, WIDTH, Chart, bars, lines, number, sparkline
from flowstore.web.gantt import Row, Span, gantt

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = [NOON + number * HOUR for number in range(24)]


def is_inside(chart: Chart) -> bool:
    rects = all(
        each.x >= 0
        and each.y >= 0
        and each.x + each.width <= chart.width + 1
        and each.y + each.height <= chart.height
        for each in chart.rects
    )
    ticks = [*(each.place for each in chart.ticks)]
    return rects and all(0 <= place <= chart.width + 1 for place in ticks)


def test_bars_stand_on_each_other() -> None:
    chart = bars("Ended", DAY, HOUR, {"success": [3] * 24, "failed": [1] * 24})
    assert is_inside(chart)
    low, high = chart.rects[:2]
    assert (low.kind, high.kind) == ("success", "failed")
    assert low.height == pytest.approx(3 * high.height, abs=0.2)
    assert high.y + high.height == pytest.approx(low.y, abs=0.2)
    assert low.title == "success 3, failed 1"
    assert chart.head == ("", "success", "failed")
    assert chart.rows[0] == (NOON, "3", "1")


def test_the_highest_fits() -> None:
    """Whatever the numbers are, the scale ends at a round number that is not exceeded."""
    for most in (1, 2, 3, 7, 9.99, 10, 999, 1_000, 123_456_789):
        chart = bars("x", DAY, HOUR, {"success": [most] * 24})
        assert is_inside(chart)
        assert min(each.y for each in chart.rects) >= chart.levels[-1].place


def test_nothing_is_drawn_of_nothing() -> None:
    for chart in (
        bars("x", DAY, HOUR, {"success": [0] * 24}),
        lines("x", DAY, HOUR, {"first": [None] * 24}),
        sparkline("x", [0, 0]),
        sparkline("x", []),
        bars("x", [], HOUR, {}),
        gantt("x", []),
    ):
        assert chart.rects == ()
        assert chart.lines == ()
        assert chart.rows == ()


def test_a_line_is_broken_where_nothing_is_known() -> None:
    values = [1.0, 2.0, None, 3.0, *[None] * 20]
    chart = lines("p50", DAY, HOUR, {"first": values})
    [line] = chart.lines
    assert line.path.count("M") == 2
    assert line.path.count("L") == 1
    assert [row[1] for row in chart.rows] == ["1.00s", "2.00s", "3.00s"]


@pytest.mark.parametrize(
    ("every", "periods"),
    [
        (timedelta(minutes=1), 60),
        (timedelta(minutes=5), 72),
        (timedelta(hours=1), 24),
        (timedelta(hours=6), 28),
        (timedelta(days=1), 90),
    ],
)
def test_ticks_are_few_and_in_order(every: timedelta, periods: int) -> None:
    chart = bars("x", [NOON + place * every for place in range(periods)], every, {"success": [1] * periods})
    places = [each.place for each in chart.ticks]
    assert 2 <= len(places) <= 7
    assert places == sorted(places)
    assert places[0] >= LEFT
    assert len({each.at for each in chart.ticks}) == len(places)


def test_sparkline_shows_the_least_of_many() -> None:
    chart = sparkline("x", [0, 1, 1_000_000])
    assert len(chart.rects) == 2
    assert chart.rects[0].height >= 1
    assert chart.rects[1].height == chart.height


def span(start: int, end: int, kind: str = "success") -> Span:
    return Span(NOON + timedelta(seconds=start), NOON + timedelta(seconds=end), kind, kind)


def test_gantt_is_to_scale() -> None:
    chart = gantt("run", [Row("a", "tasks/a", [span(0, 10)]), Row("b", "", [span(10, 40, "failed")])])
    assert is_inside(chart)
    first, second = chart.rects
    assert second.width == pytest.approx(3 * first.width, abs=0.5)
    assert first.x + first.width == pytest.approx(second.x, abs=0.2)
    assert second.y > first.y
    assert [label.href for label in chart.labels] == ["tasks/a", ""]
    assert chart.rows[1] == (NOON + timedelta(seconds=10), "b", "failed", "30.0s")


def test_idle_time_is_cut_out() -> None:
    """A night between two short tasks does not make them invisible."""
    rows = [Row("a", "", [span(0, 10)]), Row("b", "", [span(40_010, 40_020)])]
    whole, cut = gantt("run", rows), gantt("run", rows, hides_idle=True)
    assert whole.rects[0].width == 2
    assert cut.rects[0].width > WIDTH / 4
    [idle] = [each for each in cut.rects if each.kind == "idle"]
    assert idle.title == "idle 11h 6m"
    assert is_inside(cut)


def test_a_moment_is_seen() -> None:
    chart = gantt("run", [Row("a", "", [span(0, 0)])])
    assert chart.rects[0].width == 2
    assert is_inside(chart)


def test_numbers_are_short() -> None:
    assert [number(each) for each in (0, 3, 1_200, 0.25, 2.5, 12.5)] == [
        "0",
        "3",
        "1,200",
        "0.25",
        "2.5",
        "12",
    ]
    assert HEIGHT < WIDTH
