"""What a query in words asks for: the listing to walk, and what each of its records is tested for.

What is walked is one range of one index: the statuses that the terms leave, one facet, and the times between
which the listing has them. All other terms are tested on each record of the walk, here and not by the engine.
So a walk is made of steps whose size is known, and whoever has a budget can stop between two of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from flowstore._core.asking import Test, bounds_of, tests_of
from flowstore._core.core import Core
from flowstore._core.listing import Listing
from flowstore._core.rows import Row, row_of_task
from flowstore._core.saying import Saying
from flowstore._queries.terms import FINGERPRINT_DIGITS, Term
from flowstore._queries.values import Bounds
from flowstore._values.facets import ERROR, Where, group_of
from flowstore.engine import UNSORTED, sort_key
from flowstore.errors import InvalidQuery
from flowstore.models import FINISHED, TaskResult, TaskStatus
from flowstore.queries import TaskQuery, query_of
from flowstore.times import OF_NO_TASK

_MOST_FACETS: Final = 8
"""Of how many facets a walk is merged: for more of them, all records are walked."""
_MOST_NAMED: Final = 5
_WALKED: Final = {"parent": None, "error": None, "worker": "worker_id", "label": "label", "name": "name"}
"""The terms that an index serves, the most selective first, and what a backend may call the index."""
_OF_ONE_VALUE: Final = ("label",)
"""Of which a record may have several, so that it would be met several times."""


class Matching(NamedTuple):
    """``query``: with whole fingerprints, as it is to be kept. ``listing``: all records that it may want.

    A record is wanted if all ``tests`` hold for its row, and it says what it has to: ``saying``. Only with
    ``needs_values`` there is such text.
    """

    query: TaskQuery
    listing: Listing
    needs_values: bool
    tests: Sequence[Test]
    saying: Saying

    def fits(self, row: Row) -> bool:
        """Whether the query wants the record, but for the text that it looks for."""
        return all(test(row) for test in self.tests)

    def holds(self, task: TaskResult) -> bool:
        """The same of a task in hand, whichever way that was found."""
        return self.fits(row_of_task(task))


async def matching_of(
    core: Core,
    query: str | TaskQuery,
    limit: int,
    now: int | None = None,
    known: Collection[str] | None = None,
) -> Matching:
    """The walk of ``query`` in steps of ``limit`` records, without values. Raises InvalidQuery.

    What is relative in it is resolved at ``now``, by default the time on the clock of the backend, and each
    beginning of a fingerprint among those that are ``known``: whoever goes on with a walk knows what it meant
    at first. None: among all that there are, of which only one may begin so.
    """
    asked = query_of(query)
    now = core.clock() if now is None else now
    _check_order(core, asked)
    _check_groups(core, asked)
    whole = await _whole(core, asked, known)
    listing = _listing(core, whole, limit, now)
    return Matching(whole, listing, whole.has_text, tests_of(whole, now), Saying(core, whole))


def fingerprints_in(query: TaskQuery) -> set[str]:
    """The whole ones that it says."""
    said = {str(value) for term in query.terms if term.name == "error" for value in term.values}
    return {value for value in said if len(value) == FINGERPRINT_DIGITS}


def _check_order(core: Core, query: TaskQuery) -> None:
    is_indexed = "finished" in core.records.facets
    if query.is_by_finish and TaskStatus.SUCCESS in query.statuses and not is_indexed:
        [sort] = [term for term in query.terms if term.name == "sort"]
        raise InvalidQuery(
            str(sort),
            query.place(sort),
            "the finish of successful tasks is not indexed by this backend; say status:failed,cancelled, "
            "or make the backend with 'finished' among its facets",
        )


def _check_groups(core: Core, query: TaskQuery) -> None:
    for term in query.terms:
        if term.name == "error" and not core.records.has_groups:
            reason = "errors are not grouped by this backend, which was made with error_groups=False"
            raise InvalidQuery(str(term), query.place(term), reason)


async def _whole(core: Core, query: TaskQuery, known: Collection[str] | None) -> TaskQuery:
    """With a whole fingerprint for each beginning of one. A beginning of none is left, and lists nothing."""
    terms = []
    for term in query.terms:
        if term.name == "error":
            values = [await _begun(core, query, term, str(value), known) for value in term.values]
            term = replace(term, values=tuple(dict.fromkeys(values)))
        terms.append(term)
    return query if terms == [*query.terms] else TaskQuery(tuple(dict.fromkeys(terms)))


async def _begun(
    core: Core, query: TaskQuery, term: Term, beginning: str, known: Collection[str] | None
) -> str:
    if len(beginning) == FINGERPRINT_DIGITS:
        return beginning
    if known is not None:
        return min((name for name in known if name.startswith(beginning)), default=beginning)
    async with core.life:
        facets = await core.engine.facets(ERROR + beginning)
    found = sorted(facet[len(ERROR) :] for facet in facets)
    if len(found) > 1:
        others = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
        named = f"{', '.join(found[:_MOST_NAMED])}{others}"
        raise InvalidQuery(str(term), query.place(term), f"{beginning} is the beginning of several: {named}")
    return found[0] if found else beginning


def _listing(core: Core, query: TaskQuery, limit: int, now: int) -> Listing:
    asked = {term.name: term for term in query.terms if not term.is_negated}
    ids = _ids(asked)
    is_free = ids is None and not query.is_by_finish  # else the walk has its index already
    group = () if ids is not None else _group(core, query, asked)
    return Listing(
        query.statuses,
        limit,
        where=Where(root=_root(asked)) if is_free and not group else Where(),
        newest_first=query.newest_first,
        with_body=False,
        is_by_finish=query.is_by_finish,
        within=_within(query, asked, now),
        any_of=group,
        ids=ids,
    )


def _ids(asked: dict[str, Term]) -> tuple[str, ...] | None:
    """Those that are asked for, if they are whole."""
    values = asked["id"].values if "id" in asked else ()
    whole = tuple(value for value in values if isinstance(value, str))
    return whole if values and len(whole) == len(values) else None


def _root(asked: dict[str, Term]) -> str | None:
    values = asked["root"].values if "root" in asked else ()
    return str(values[0]) if len(values) == 1 else None


def _group(core: Core, query: TaskQuery, asked: dict[str, Term]) -> tuple[str, ...]:
    """The facets that are walked; (): none."""
    for name, index in _WALKED.items():
        if name not in asked or (index is not None and index not in core.records.facets):
            continue
        if query.is_by_finish and name != "error":  # the only one that lists by finish as well
            continue
        values = tuple(map(str, asked[name].values))
        group = group_of(name, values, _is_root(query))
        if group and len(group) <= _MOST_FACETS and (len(values) == 1 or name not in _OF_ONE_VALUE):
            return group
    return ()


def _is_root(query: TaskQuery) -> bool | None:
    for term in query.terms:
        if term.name == "is":
            return (term.values[0] == "root") is not term.is_negated
    return None


def _within(query: TaskQuery, asked: dict[str, Term], now: int) -> tuple[int, int] | None:
    """The sort keys of the times that the terms leave, of the time that the listing goes by; None: all."""
    bounds = list(_bounds(query, asked, now))
    if not bounds:
        return None
    least = max((first for first, _ in bounds if first is not None), default=None)
    most = min((last for _, last in bounds if last is not None), default=None)
    # What is no task has no time of submission either.
    no_time = UNSORTED if query.is_by_finish else sort_key(OF_NO_TASK)
    return -UNSORTED if most is None else sort_key(most), no_time - 1 if least is None else sort_key(least)


def _bounds(query: TaskQuery, asked: dict[str, Term], now: int) -> Iterator[Bounds]:
    times = ["finished" if query.is_by_finish else "submitted"]
    if query.is_by_finish or not FINISHED.intersection(query.statuses):
        times += ["since", "until"]  # which are about that time then
    for name in times:
        if name in asked:
            yield bounds_of(asked[name], now)
