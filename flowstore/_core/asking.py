"""What each term of a query means: the only place that says so, whatever is walked to find its records."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final

from flowstore._core.rows import Row
from flowstore._queries.terms import TEXT, Term
from flowstore._queries.values import Bounds, Day, Duration, Instant, Prefix
from flowstore.queries import TaskQuery

Test = Callable[[Row], bool]
_LEAST: Final = -(2**63)
_MOST: Final = 2**63


def tests_of(query: TaskQuery, now: int) -> list[Test]:
    """All of these hold for the records that the query asks for, at that time; text is not among them."""
    statuses = frozenset(status.value for status in query.statuses)
    tests: list[Test] = [lambda row: row.status in statuses]
    for term in query.terms:
        if term.name not in ("status", "sort", TEXT):
            test = _MEANINGS[term.name](term, now)
            tests.append(_not(test) if term.is_negated else test)
    return tests


def _not(test: Test) -> Test:
    return lambda row: not test(row)


def _one_of(field: str) -> Callable[[Term, int], Test]:
    get = attrgetter(field)

    def meaning(term: Term, now: int) -> Test:
        values = frozenset(term.values)
        return lambda row: get(row) in values

    return meaning


def _label(term: Term, now: int) -> Test:
    values = frozenset(term.values)
    return lambda row: not values.isdisjoint(row.labels)


def _root(term: Term, now: int) -> Test:
    values = frozenset(term.values)
    return lambda row: row.root in values or row.id in values


def _id(term: Term, now: int) -> Test:
    whole = frozenset(value for value in term.values if isinstance(value, str))
    prefixes = tuple(value.text for value in term.values if isinstance(value, Prefix))
    return lambda row: row.id in whole or row.id.startswith(prefixes)


def _error(term: Term, now: int) -> Test:
    prefixes = tuple(map(str, term.values))
    return lambda row: row.error is not None and row.error.startswith(prefixes)


def _family(term: Term, now: int) -> Test:
    is_root = term.values[0] == "root"
    return lambda row: (row.parent is None) is is_root


def _within(read: Callable[[Row, int], int | None]) -> Callable[[Term, int], Test]:
    def meaning(term: Term, now: int) -> Test:
        least, most = bounds_of(term, now)
        first, last = _LEAST if least is None else least, _MOST if most is None else most

        def test(row: Row) -> bool:
            found = read(row, now)
            return found is not None and first <= found <= last

        return test

    return meaning


def bounds_of(term: Term, now: int) -> Bounds:
    """The least and the greatest int in the range of a term, None: no bound."""
    value: Any = term.values[0]
    if not isinstance(value, Duration | Day | Instant):
        found: Bounds = value.bounds(now)
        return found
    return (value.begins(now), None) if term.name == "since" else (None, value.ends(now) - 1)


def _when(row: Row, now: int) -> int | None:
    """When it finished, if it has finished, and otherwise when it was submitted."""
    return row.finished if row.is_finished else row.submitted


def _ran(row: Row, now: int) -> int | None:
    """How long it ran, or has been running so far."""
    end = now if row.status == "running" else row.finished
    return None if end is None or row.started is None else end - row.started


def _waited(row: Row, now: int) -> int | None:
    """How long it waited for its start, or has been waiting so far."""
    end = now if row.started is None and row.status == "pending" else row.started
    return None if end is None or row.submitted is None else end - row.submitted


_MEANINGS: Final[dict[str, Callable[[Term, int], Test]]] = {
    "name": _one_of("name"),
    "label": _label,
    "worker": _one_of("worker"),
    "parent": _one_of("parent"),
    "root": _root,
    "error": _error,
    "id": _id,
    "submitted": _within(lambda row, now: row.submitted),
    "started": _within(lambda row, now: row.started),
    "finished": _within(lambda row, now: row.finished),
    "updated": _within(lambda row, now: row.updated),
    "since": _within(_when),
    "until": _within(_when),
    "run": _within(_ran),
    "wait": _within(_waited),
    "tries": _within(lambda row, now: row.tries),
    "is": _family,
}
