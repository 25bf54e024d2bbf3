"""The query language: text to a query and back, and what is said of a query that cannot be read."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowstore import InvalidQuery, TaskQuery, TaskStatus, format_query, parse_query
from flowstore.testing.contract.random_queries import QUERIES, TEXTS

WHOLE = 'status:failed name:send_mail label:x error:5d0c run:>5s since:1h sort:-finished "some text"'

SAME = {
    WHOLE: WHOLE,
    "": "",
    "  boom \t": "boom",
    "a,b": "a,b",
    "caf\N{LATIN SMALL LETTER E WITH ACUTE}": "caf\N{LATIN SMALL LETTER E WITH ACUTE}",
    '"http://x"': '"http://x"',
    '"boom"': "boom",
    '-"two words"': '-"two words"',
    r'"a \"b\" \\ c"': r'"a \"b\" \\ c"',
    "worker:host:4711": "worker:host:4711",
    'name:"a b",c': 'name:"a b",c',
    "id:ab12*": "id:ab12*",
    'id:"ab 12"*': 'id:"ab 12"*',
    'id:"ab12*"': 'id:"ab12*"',
    "ERROR": "ERROR",
    "error:5D0C": "error:5d0c",
    "submitted:>2h": "submitted:>2h",
    "finished:2026-11-25..": "finished:2026-11-25..",
    "finished:2026-11-25..2026-11-25": "finished:2026-11-25",
    "started:..": "started:..",
    "since:2026-11-25T10:00+02:00": "since:2026-11-25T08:00Z",
    "since:2026-11-25T10:20:30Z": "since:2026-11-25T10:20:30Z",
    "since:2026-11-25T10:00:00.500Z": "since:2026-11-25T10:00:00.5Z",
    "since:2026-11-25T10:00:00.000010Z": "since:2026-11-25T10:00:00.00001Z",
    "since:2026-11-25T10:00:00.0Z": "since:2026-11-25T10:00Z",
    "until:today": "until:today",
    "submitted:24h..1h": "submitted:24h..1h",
    "run:90s..2m": "run:90s..2m",
    "tries:2..2": "tries:2",
    "-tries:>1 -is:root": "-tries:>1 -is:root",
    "label:x label:y,z -label:w": "label:x label:y,z -label:w",
}
"""Queries, and how they are formatted."""

REFUSED = {
    "statsu:failed": ("statsu:failed", 0, "expected one of status, name", "status"),
    "a statuss:failed": ("statuss:failed", 2, "expected one of", "status"),
    "status:faild": ("status:faild", 7, "expected one of pending", "failed"),
    "status:failed,runing": ("status:failed,runing", 14, "expected one of pending", "running"),
    "http://x": ("http://x", 0, "put it in quotes", None),
    "ValueError: boom": ("ValueError:", 0, "put it in quotes", "error"),
    "12:30": ("12:30", 0, "put it in quotes", None),
    ":x": (":x", 0, "expected one of", None),
    "error: boom": ("error:", 6, "a value after the colon", None),
    "name:a,": ("name:a,", 7, "a value after the colon or comma", None),
    'a "b': ('"b', 2, "not closed", None),
    r'"C:\temp"': (r'"C:\temp"', 0, "a backslash in quotes", None),
    r"a\b": (r"a\b", 0, "outside of quotes", None),
    'a"b"': ('a"b"', 0, "outside of quotes", None),
    '"a"b': ('"a"b', 0, "a blank after the quotes", None),
    '"a"*': ('"a"*', 0, "a blank after the quotes", None),
    '"a":b': ('"a":b', 0, "a blank after the quotes", None),
    'name:a"b"': ('name:a"b"', 5, "a comma or a blank", None),
    r"name:\a": (r"name:\a", 5, "quotes around a backslash", None),
    '""': ('""', 0, "expected text", None),
    "a - b": ("-", 2, "after '-'", None),
    "--verbose": ("--verbose", 0, "after '-'", None),
    'name:""': ('name:""', 5, "1 to 512", None),
    f"id:{'x' * 513}": (f"id:{'x' * 513}", 3, "1 to 512", None),
    "name:send*": ("name:send*", 5, "only id:", None),
    "id:a*b": ("id:a*b", 3, "a star", None),
    "error:5d0": ("error:5d0", 6, "4 to 16", None),
    "error:5d0g": ("error:5d0g", 6, "4 to 16", None),
    "submitted:2h": ("submitted:2h", 10, "<2h", None),
    "submitted:>today": ("submitted:>today", 10, "a number and one of", None),
    "since:2026-11-25T10:00": ("since:2026-11-25T10:00", 6, "with its zone", None),
    "since:2026-13-01": ("since:2026-13-01", 6, "a day in UTC", None),
    "since:0001-01-01T00:00+01:00": ("since:0001-01-01T00:00+01:00", 6, "a day in UTC", None),
    "since:101w,1h": ("since:101w,1h", 0, "one value", None),
    "since:9999999w": ("since:9999999w", 6, "up to 100 years", None),
    "since:1h..": ("since:1h..", 6, "a duration ago", None),
    "run:5s": ("run:5s", 4, "5s.. for at least", None),
    "run:5s..1s": ("run:5s..1s", 4, "its end is below", None),
    "run:\N{ARABIC-INDIC DIGIT FIVE}s": ("run:\N{ARABIC-INDIC DIGIT FIVE}s", 4, "a number", None),
    "submitted:1h..2h": ("submitted:1h..2h", 10, "its end is not after", None),
    "submitted:2026-11-25..2026-11-24": ("submitted:2026-11-25..2026-11-24", 10, "its end is not", None),
    "tries:<1": ("tries:<1", 6, "the first attempt is 1", None),
    "tries:>2147483648": ("tries:>2147483648", 6, "the last 2147483648", None),
    "-is:root -is:child": ("-is:child", 9, "each task is a root or a child", None),
    "tries:>1 tries:<5": ("tries:<5", 9, "say it once, with both ends", None),
    "submitted:>1h submitted:<2h": ("submitted:<2h", 14, "say it once, with both ends", None),
    "tries:0": ("tries:0", 6, "the first attempt is 1", None),
    "is:roots": ("is:roots", 3, "expected one of root, child", "root"),
    "sort:-finish": ("sort:-finish", 5, "expected one of -submitted", "-finished"),
    "-sort:finished": ("-sort:finished", 0, "not to be negated", None),
    "status:failed status:running": ("status:running", 14, "put commas between", None),
    "since:1h since:2h": ("since:2h", 9, "say it once", None),
    "label:x label:x": ("label:x", 8, "said before", None),
    "name:a,a": ("name:a,a", 7, "said before", None),
    "name:a,b -name:a,b": ("-name:a,b", 9, "the opposite", None),
    "-label:x label:x": ("label:x", 9, "the opposite", None),
    "Boom -boom": ("-boom", 5, "the opposite", None),
    "is:root -is:root": ("-is:root", 8, "the opposite", None),
    "is:root parent:p": ("parent:p", 8, "no task has a parent", None),
    "-is:child parent:p": ("parent:p", 10, "no task has a parent", None),
    "status:pending finished:<1h": ("finished:<1h", 15, "no task can be in a status", None),
    "status:failed,pending sort:finished": ("sort:finished", 22, "has not finished", None),
    "since:1h until:2h": ("until:2h", 9, "no time is between", None),
    " ".join(f"-label:{n}" for n in range(21)): ("-label:20", 190, "at most 20 terms", None),
    f"name:{','.join(map(str, range(101)))}": (
        f"name:{','.join(map(str, range(101)))}",
        0,
        "at most 100",
        None,
    ),
    "x" * 2_049: ("x" * 80, 0, "at most 2048 UTF-8 bytes", None),
    "\N{SNAKE}" * 513: ("\N{SNAKE}" * 80, 0, "at most 2048 UTF-8 bytes", None),
    "a\ud800": ("\ud800", 1, "lone surrogate", None),
}
"""Queries, and the term, place, part of the reason and nearest word of the error."""


@pytest.mark.parametrize("text", SAME)
def test_queries_as_text(text: str) -> None:
    """A query formats to its text, which is read as the same query."""
    query = parse_query(text)
    assert format_query(query) == str(query) == SAME[text]
    assert parse_query(str(query)) == query


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_query(text: str) -> None:
    """The error names the term, its place, what was expected and the nearest known word."""
    term, place, reason, nearest = REFUSED[text]
    with pytest.raises(InvalidQuery) as refused:
        parse_query(text)
    error = refused.value
    assert (error.term, error.place, error.nearest) == (term, place, nearest)
    assert reason in error.reason
    assert isinstance(error, ValueError)
    assert f"at character {place + 1}" in str(error)
    assert len(str(error)) < 500
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@given(QUERIES)
def test_formatted_queries_are_read_as_the_same(text: str) -> None:
    """For queries of all terms and values, in any order: parse(str(q)) == q, and str is stable."""
    query = parse_query(text)
    assert parse_query(str(query)) == query
    assert str(parse_query(str(query))) == str(query)
    assert len(str(query).encode()) <= len(text.encode())


@given(st.text() | st.text(alphabet='-:,"\\*.<> \n1hsnameidtextfinlo'))
@example('-"')
@example("since:2026-11-25T10:00Z")
@example('id:"a"*,')
@example("name:\\")
def test_any_text_is_a_query_or_is_refused(text: str) -> None:
    """InvalidQuery is the only error, and it names a part of the text and where that is."""
    read = query_or_error(text)
    if isinstance(read, TaskQuery):
        assert parse_query(str(read)) == read
    else:
        assert read.term in text
        assert read.place <= len(text)


def query_or_error(text: str) -> TaskQuery | InvalidQuery:
    try:
        return parse_query(text)
    except InvalidQuery as error:
        return error


@given(TEXTS)
def test_any_text_can_be_said(text: str) -> None:
    """In quotes, to look for it or as a name."""
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    [term] = parse_query(quoted).terms
    assert term.values == (text,)
    [named] = parse_query(f"-name:{quoted}").terms
    assert named.values == (text,)
    assert parse_query(str(parse_query(quoted))).terms == (term,)


def test_no_query_takes_long() -> None:
    """Of those that are as long as one may be, also of one character repeated."""
    began = perf_counter()
    for character in '"\\,:-*.< a1':
        for prefix in ("", '"', "name:", "id:", "since:", "run:", "-", "submitted:", "zz:"):
            text = (prefix + character * 2_048)[:2_048]
            query_or_error(text)
    assert perf_counter() - began < 2


def test_what_is_not_text() -> None:
    calls: list[Callable[[Any], object]] = [parse_query, format_query]
    for call in calls:
        with pytest.raises(TypeError, match="query: expected"):
            call(7)
    terms: Any = ["status:failed"]
    with pytest.raises(TypeError, match="use parse_query"):
        TaskQuery(terms)


def test_queries_tell_what_they_are() -> None:
    """Which statuses a task may have, in which order it is listed, whether there is text to look for."""
    query = parse_query(WHOLE)
    assert query.statuses == (TaskStatus.FAILED,)
    assert (query.is_by_finish, query.newest_first, query.has_text) == (True, True, True)
    assert query == TaskQuery(query.terms)
    assert hash(query) == hash(parse_query(WHOLE))
    other = parse_query("finished:<1h -status:failed sort:submitted")
    assert other.statuses == (TaskStatus.SUCCESS, TaskStatus.CANCELLED)
    assert (other.is_by_finish, other.newest_first, other.has_text) == (False, False, False)
    assert parse_query("").statuses == tuple(TaskStatus)


def test_formatted_queries_are_not_too_long() -> None:
    """One that is as long as it may be is read again."""
    times = " ".join(f"-{name}:2026-11-25T10:00Z..2026-11-25T10:00:00.5Z" for name in ("started", "updated"))
    text = times + " name:" + ",".join(f"{'x' * 507}{n}" for n in range(3)) + " "
    text += "y" * (2_048 - len(text))
    assert parse_query(str(parse_query(text))) == parse_query(text)


def test_places_of_terms() -> None:
    """They are those of the text that was read, however it is formatted; equal queries may have others."""
    text = '  "boom"   -label:"x"'
    query = parse_query(text)
    assert [query.place(term) for term in query.terms] == [2, 11]
    plain = TaskQuery(query.terms)
    assert [plain.place(term) for term in plain.terms] == [0, 5]
    assert (query, hash(query)) == (plain, hash(plain))


NOW = int(datetime(2026, 11, 26, 16, tzinfo=UTC).timestamp()) * 1_000_000
HOUR, DAY = 3_600_000_000, 86_400_000_000
MIDNIGHT = NOW - 16 * HOUR
BOUNDS = {
    "submitted:>2h": (None, NOW - 2 * HOUR - 1),
    "submitted:<2h": (NOW - 2 * HOUR + 1, None),
    "submitted:2h..1h": (NOW - 2 * HOUR, NOW - HOUR - 1),
    "submitted:today": (MIDNIGHT, MIDNIGHT + DAY - 1),
    "submitted:yesterday..": (MIDNIGHT - DAY, None),
    "submitted:..yesterday": (None, MIDNIGHT - 1),
    "submitted:2026-11-25": (MIDNIGHT - DAY, MIDNIGHT - 1),
    "submitted:2026-11-26T00:00Z..2026-11-26T01:00Z": (MIDNIGHT, MIDNIGHT + HOUR - 1),
    "submitted:..": (None, None),
    "run:>5s": (5_000_001, None),
    "run:<5ms": (None, 4_999),
    "run:1s..1m": (1_000_000, 60_000_000),
    "tries:>1": (2, None),
    "tries:3": (3, 3),
    "tries:..3": (None, 3),
}


@pytest.mark.parametrize("text", BOUNDS)
def test_bounds_of_ranges(text: str) -> None:
    """Both included, at a time."""
    [term] = parse_query(text).terms
    assert term.values[0].bounds(NOW) == BOUNDS[text]  # type: ignore[union-attr]
