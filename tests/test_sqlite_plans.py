"""How SQLite carries out each statement, triggers included: on the SQLite at hand, and on that of apsw.

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

from flowstore.backends.sqlite.statements import (
    SQL,
    count_statement,
    fetches,
    history_statement,
    kept_statement,
    scan_statement,
    split,
)
from flowstore.engine import ANYWHERE, Asked, Position, Query, Section, Span, TransitionRow, Where
from flowstore.models import TaskStatus

Explain = Callable[[str], list[str]]

RANGES: Final = {
    "count": {"tally(ns=?)"},
    "names": {"task(ns=? AND task_name>?)"},
    "has_expired": {"task(ns=? AND expires_at<?)"},
    "purge_expired": {"task(ns=? AND expires_at<?)", "task(rowid=?)"},
    "purge_everything": {"task(ns=?)", "task(rowid=?)"},
    "history": {"transition(ns=? AND (at,seq,id)>(?,?,?) AND at<?)"},
    "history_first": {"first(ns=? AND (at,seq,id)>(?,?,?) AND at<?)"},
    "find_namespace": {"namespace(name=?)"},
}
"""The searches that are bounded by something else than the equality of two columns: by their LIMIT."""
SCANNED: Final = re.compile(
    r"SCAN (json_each|CONSTANT ROW|ancestor|descendant|found|namespace|compatibility|\(subquery-\d\))"
)
"""What is small by nature, as the labels of one task or the namespaces of a file; or was found already."""
WHERES: Final = [
    ANYWHERE,
    Where(name="add"),
    Where(name="add", is_root=True),
    Where(parent="p"),
    Where(worker="w", name="add"),
    Where(root="r"),
    Where(label="x"),
]


@pytest.fixture(params=["sqlite3", "apsw"])
def explain(request: pytest.FixtureRequest) -> Iterator[Explain]:
    """From a statement to its plan, of a schema without any statistics: as files of flowstore are."""
    connection: Any = (
        sqlite3.connect(":memory:") if request.param == "sqlite3" else apsw.Connection(":memory:")
    )
    for statement in split(SQL["schema"]):
        connection.execute(statement)

    def plan(statement: str) -> list[str]:
        bare = re.sub(r"--.*", "", statement)
        names = set(re.findall(r":(\w+)", bare))
        values: Any = dict.fromkeys(names, 1) if names else (1,) * bare.count("?")
        return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {bare}", values)]

    yield plan
    connection.close()


def fixed_statements() -> dict[str, str]:
    return {name: text for name, text in SQL.items() if "{" not in text and name not in ("schema", "columns")}


def statements_of_triggers() -> dict[str, str]:
    """Each by itself, with parameters for what is old and what is new."""
    found = {}
    for script in split(SQL["schema"]):
        if trigger := re.search(r"CREATE TRIGGER (\w+) .*?\bBEGIN\b(.*)\bEND\b", script, re.DOTALL):
            for number, statement in enumerate(trigger[2].split(";")[:-1]):
                bare = re.sub(r"\braise\(.*?\)", "1", statement)
                found[f"{trigger[1]} {number}"] = re.sub(r"\b(old|new)\.(\w+)", r":\1_\2", bare)
    return found


def made_statements() -> dict[str, str]:
    """Those that are put together for what is asked."""
    made = {f"fetch {size}": statement for size in (1, 500) for statement, _ in fetches(["t"] * size, True)}
    after = TransitionRow(1, 1, "t", "failed", 2, None)
    spans = {
        "history_of_task": Span(5, 0, 9, "t"),
        "history": Span(5, 0, 9),
        "history_first": Span(5, 0, 9, first_only=True),
    }
    for name, span in spans.items():
        made[name] = history_statement(span)[0]
        made[f"{name}, further"] = history_statement(Span(5, 0, 9, span.id, after, span.first_only))[0]
    for name, asked in {"all": {}, "keys": {"keys": ["k", "l"]}, "last": {"last": 3}}.items():
        made[f"kept {name}"] = kept_statement(Asked(Section.DATA, "t", **asked))[0]  # type: ignore[arg-type]  # of mixed types
    counted = [where for where in WHERES if where != ANYWHERE]
    return made | {f"count by {_named(where)}": count_statement(where)[0] for where in counted}


def _named(where: Where) -> str:
    return " and ".join(name for name, value in where._asdict().items() if value)


def searches(plan: list[str]) -> set[str]:
    """Of each search its table, and the columns that bound it."""
    found = [re.match(r"SEARCH (\w+) .*?(\(.*\))", line) for line in plan if line.startswith("SEARCH")]
    return {f"{search[1]}{search[2]}" for search in found if search is not None}


def test_the_planners_are_two(explain: Explain) -> None:
    """The newest is not the one that Python has: plans differ between them."""
    assert apsw.sqlite_lib_version() != sqlite3.sqlite_version
    assert explain("SELECT 1 FROM task WHERE stage = 1") == ["SCAN task"]


@pytest.mark.parametrize("name", [*fixed_statements(), *statements_of_triggers(), *made_statements()])
def test_each_statement_is_bounded(explain: Explain, name: str) -> None:
    """By the equality of two columns at least, such as namespace and id, or by the range that it is for."""
    statement = {**fixed_statements(), **statements_of_triggers(), **made_statements()}[name]
    plan = explain(statement)
    assert [line for line in plan if "SCAN" in line and not SCANNED.search(line)] == []
    unbounded = {search for search in searches(plan) if search.count("=?") < 2}
    assert unbounded <= RANGES.get(name.partition(",")[0], set())


def test_every_trigger_is_looked_at() -> None:
    """However it is spelled in the schema."""
    named = {name.split()[0] for name in statements_of_triggers()}
    assert named == set(re.findall(r"CREATE TRIGGER (\w+)", SQL["schema"]))


@pytest.mark.parametrize("after", [None, Position(-1_767_225_600_000_000 - 10**8, "t")])
@pytest.mark.parametrize("statuses", [("failed",), tuple(TaskStatus)])
@pytest.mark.parametrize(
    ("where", "indexes"),
    [
        (WHERES[0], ["INDEX task_by_status"]),
        (WHERES[1], ["INDEX task_by_run", "INDEX task_by_step"]),
        (WHERES[2], ["INDEX task_by_run"]),
        (WHERES[3], ["INDEX task_by_parent"]),
        (WHERES[4], ["INDEX task_by_worker"]),
        (WHERES[5], ["INDEX sqlite_autoindex_task_1", "INDEX task_by_parent", "INDEX task_by_root"]),
        (WHERES[6], ["PRIMARY KEY", "INDEX sqlite_autoindex_task_1"]),
    ],
)
def test_pages_never_scan_or_sort(
    explain: Explain, after: Position | None, statuses: tuple[str, ...], where: Where, indexes: list[str]
) -> None:
    """First page and deep page are index searches for each status, merged without a temporary b-tree."""
    for newest_first in (True, False):
        statement, _ = scan_statement(Query(statuses, 50, where, after, newest_first))
        plan = explain(statement)
        found = [line for line in plan if line.startswith("SEARCH")]
        used = [index for line, index in itertools.product(found, indexes) if index in line]
        assert sorted(used) == sorted(indexes * len(statuses))
        assert after is None or any("sort" in line for line in found)
        assert not [line for line in plan if "SCAN" in line or "TEMP" in line]
