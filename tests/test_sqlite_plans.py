"""How SQLite carries out each statement: on the SQLite at hand, and on that of apsw.

A plan that looks through a whole table, or a whole namespace, is right as long as the table is small, and so
no other test notices it.
"""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, Final

import apsw
import pytest

from flowstore.backends.sqlite.audit_step import AUDIT
from flowstore.backends.sqlite.counting import counting_statement, last_statement
from flowstore.backends.sqlite.statements import (
    ROW,
    SCHEMA,
    SQL,
    WHOLE,
    items_statement,
    owned_statement,
    read_statement,
    scan_statement,
    shape_of,
    split,
    stored_statement,
)
from flowstore.engine import STATUSES, Position, Query

Explain = Callable[[str], list[str]]

RANGES: Final = {
    "count": {"tally(ns=?)"},
    "expired": {"task(ns=? AND expires_at<?)"},
    "anything": {"task(ns=?)"},
    "update": {"task(rowid=?)"},
    "update_beside": {"task(rowid=?)"},
    "report": {"task(rowid=?)"},
    "drop_task": {"task(rowid=?)"},
    "next_facet": {"facet(ns=? AND facet>?)"},
    "timeline": {"timeline(ns=? AND (at,key,id)>(?,?,?) AND at<?)"},
    "timeline_back": {"timeline(ns=? AND at>? AND (at,key,id)<(?,?,?))"},
    "find_namespace": {"namespace(name=?)"},
    "last_task": {"item(ns=?)"},
    "namespaces": {"task(ns=?)"},
    "unmark_dropped": {"namespace(name=?)"},
    "has_tasks": {"task(ns=?)"},
    "lost_items": {"item(ns=? AND task>?)"},
    "lost_facets": {"facet(ns=?)"},
    "lost_times": {"timeline(ns=?)"},
    "drop_tally": {"tally(ns=?)"},
    "drop_lost_facets": {"facet(ns=?)"},
    "first_in_minute": {"minute(ns=? AND series>?)"},
    "first_in_hour": {"hour(ns=? AND series>?)"},
    "next_in_minute": {"minute(ns=? AND series>?)"},
    "next_in_hour": {"hour(ns=? AND series>?)"},
    "some_minutes": {"minute(ns=?)"},
    "some_hours": {"hour(ns=?)"},
    **{f"{verb}groups": {"error_group(ns=?)"} for verb in ("", "some_", "drop_", "trim_")},
}
"""The searches that are bounded by something else than the equality of two columns: by their LIMIT, or by a
row number. Those of what is lost find nothing unless somebody wrote into the file by hand, and of
groups there are at most MOST_GROUPS.
"""
SORTED: Final = {
    "trim_groups": ["USE TEMP B-TREE FOR ORDER BY"],
    "close_hour": ["USE TEMP B-TREE FOR GROUP BY"],
    "summed_minutes": ["USE TEMP B-TREE FOR GROUP BY"],
    "summed_hours": ["USE TEMP B-TREE FOR GROUP BY"],
}
"""What is sorted is bounded: so many groups, or as many sums as are returned."""
WALKED: Final = {
    "ids": {"task(ns=? AND id>? AND id<?)"},
    "next_range": {"facet(ns=? AND (facet,status)>(?,?))"},
    "times": {"timeline(ns=? AND (at,key,id)>(?,?,?))"},
    "dues": {"due(ns=? AND expires_at>?)"},
    "items": {"item(ns=? AND (task,section,key)>(?,?,?))"},
    "tally": {"tally(ns=?)"},
}
"""What an audit walks, with a LIMIT."""
SCANNED: Final = re.compile(r"SCAN (CONSTANT ROW|namespace|compatibility)")
"""What is small by nature, as the namespaces of a file."""
GROUPS: Final[list[tuple[tuple[str, ...], ...]]] = [
    (),
    (("run:add",),),
    (("run:add", "step:add"),),
    (("worker:w",), ("run:add", "step:add")),
    (("child:p", "parent:p"), ("worker:w",), ("label:x",)),
    (("~",), ("worker:w",)),
    (("worker:w",), ("~failed",)),
    (("error:5d0c",),),
    (("~error:5d0c",), ("worker:w",), ("run:add", "step:add")),
]


@pytest.fixture(params=["sqlite3", "apsw"])
def explain(request: pytest.FixtureRequest) -> Iterator[Explain]:
    """From a statement to its plan, of a schema without any statistics: as files of flowstore are."""
    connection: Any = (
        sqlite3.connect(":memory:") if request.param == "sqlite3" else apsw.Connection(":memory:")
    )
    for statement in [*split(SCHEMA["file"]), *split(SCHEMA["records"])]:
        connection.execute(statement)

    def plan(statement: str) -> list[str]:
        bare = re.sub(r"--.*", "", statement)
        numbers = [int(number) for number in re.findall(r"\?(\d+)", bare)]
        values = (1,) * (max(numbers) if numbers else bare.count("?"))
        return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {bare}", values)]

    yield plan
    connection.close()


def statements() -> dict[str, str]:
    """All but those of a listing."""
    made = {name: text for name, text in SQL.items() if "{" not in text}
    for size in (1, 10, 500):
        made |= {f"read {size}": read_statement(size, WHOLE), f"stored {size}": stored_statement(size, "")}
        made |= {f"read parts of {size}": read_statement(size, ROW)}
        made |= {f"items of {size}": owned_statement(size, "0")}
    return made | {"items": items_statement(None), "items by key": items_statement(2)}


def searches(plan: list[str]) -> set[str]:
    """Of each search its table, and the columns that bound it."""
    found = [re.match(r"SEARCH (\w+) .*?(\(.*\))", line) for line in plan if line.startswith("SEARCH")]
    return {f"{search[1]}{search[2]}" for search in found if search is not None}


def test_the_planners_are_two(explain: Explain) -> None:
    """The newest is not the one that Python has: plans differ between them."""
    assert apsw.sqlite_lib_version() != sqlite3.sqlite_version
    assert explain("SELECT 1 FROM task WHERE stage = 1") == ["SCAN task"]


@pytest.mark.parametrize("name", statements())
def test_each_statement_is_bounded(explain: Explain, name: str) -> None:
    """By the equality of two columns at least, such as namespace and id, or by the range that it is for."""
    plan = explain(statements()[name])
    assert [line for line in plan if "SCAN" in line and not SCANNED.search(line)] == []
    assert [line for line in plan if "TEMP" in line] == SORTED.get(name, [])
    unbounded = {search for search in searches(plan) if search.count("=?") < 2}
    assert unbounded <= RANGES.get(name, set())


@pytest.mark.parametrize("name", AUDIT)
def test_each_statement_of_an_audit_is_bounded(explain: Explain, name: str) -> None:
    """By a limit on the rows of one range, in the order of its keys; what is looked up has a whole key."""
    plan = explain(AUDIT[name])
    scanned = [line for line in plan if "SCAN" in line and not re.search("SCAN (wanted|own) VIRTUAL", line)]
    if name == "tally":  # a sum of a few rows
        assert scanned == ["SCAN (subquery-2)"]
    else:
        assert scanned == [line for line in plan if "TEMP" in line] == []
    unbounded = {search for search in searches(plan) if search.count("=?") < 2}
    assert unbounded - {"task(rowid=?)"} <= WALKED.get(name, set())


@pytest.mark.parametrize("name", ["timeline", "timeline_back"])
def test_each_transition_is_found_by_its_whole_key(explain: Explain, name: str) -> None:
    """A task may have very many of them."""
    found = searches(explain(statements()[name]))
    assert "item(ns=? AND task=? AND section=? AND key=?)" in found


@pytest.mark.parametrize("after", [None, Position(-1_767_225_600_000_000 - 10**8, "t")])
@pytest.mark.parametrize("within", [None, (-2 * 10**15, 0)])
@pytest.mark.parametrize("statuses", [("failed",), STATUSES])
@pytest.mark.parametrize("groups", GROUPS)
def test_pages_never_scan_or_sort(
    explain: Explain,
    after: Position | None,
    within: tuple[int, int] | None,
    statuses: tuple[str, ...],
    groups: tuple[tuple[str, ...], ...],
) -> None:
    """First page and deep page are index searches for each status, merged without a temporary b-tree.

    With several filters, what is merged is looked at row by row as it comes.
    """
    both = (True, False)
    for newest_first, with_body, max_body, has_fixed in itertools.product(
        both, both, (None, 9), (None, *both)
    ):
        query = Query(statuses, 50, groups, after, within, newest_first, with_body, max_body, has_fixed)
        statement, values = scan_statement(query, 0)
        assert len(values) == max(map(int, re.findall(r"\?(\d+)", statement))) - 1
        plan = explain(statement)
        walked = [line for line in plan if re.match("SEARCH facet ", line)]
        assert len(walked) == len(statuses) * len((groups or ((),))[0] or ("",))
        bounds = "(sort,id)>(?,?) AND sort<?" if newest_first else "sort>? AND (sort,id)<(?,?)"
        assert all(f"status=? AND {bounds}" in line for line in walked)
        others = [line for line in plan if "SEARCH other" in line]
        assert len(others) == len(groups[1:])
        assert all("facet=? AND status=? AND sort=? AND id=?" in line for line in others)
        assert not [line for line in plan if "TEMP" in line]
        merged = ["CO-ROUTINE merged", "SCAN merged"] if query.is_filtered else []
        assert [line for line in plan if re.match("SCAN|CO-ROUTINE|MATERIALIZE", line)] == merged


@pytest.mark.parametrize("statuses", [("failed",), STATUSES])
@pytest.mark.parametrize("groups", GROUPS)
def test_counts_touch_ranges_of_indexes(
    explain: Explain, statuses: tuple[str, ...], groups: tuple[tuple[str, ...], ...]
) -> None:
    """The place where a limit ends is found by a merge, without sorting; then each range is counted alone.

    A record is only read for what no row of an index tells: the order of another one, and fixed facets.
    """
    for has_fixed in (None, True, False):
        query = Query(statuses, 50, groups, has_fixed=has_fixed)
        plan = explain(last_statement(len(statuses), len(query.first)))
        walked = [line for line in plan if re.match("SEARCH facet ", line)]
        assert len(walked) == len(statuses) * len(query.first)
        assert all("USING PRIMARY KEY" in line for line in walked)
        assert all("facet=? AND status=? AND (sort,id)>(?,?) AND sort<?" in line for line in walked)
        assert not [line for line in plan if re.match("SCAN|CO-ROUTINE|MATERIALIZE", line) or "TEMP" in line]
        plan = explain(counting_statement(len(statuses), shape_of(query), has_fixed))
        counted = [line for line in plan if re.match("SEARCH merged ", line)]
        assert len(counted) == len(walked)
        assert all("status=? AND (sort,id)>(?,?) AND (sort,id)<(?,?)" in line for line in counted)
        others = [line for line in plan if "SEARCH other" in line]
        assert len(others) == len(walked) * len(groups[1:])
        assert all("facet=? AND status=? AND sort=? AND id=?" in line for line in others)
        is_crossed = len({group[0].startswith("~") for group in groups}) > 1
        read = [line for line in plan if "SEARCH task" in line]
        assert len(read) == (len(walked) if is_crossed or has_fixed is not None else 0)
        assert not [line for line in plan if re.match("SCAN|CO-ROUTINE|MATERIALIZE", line) or "TEMP" in line]
