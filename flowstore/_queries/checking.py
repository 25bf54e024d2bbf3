"""Which terms go together: a query that plainly finds nothing, whatever is stored, is an error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from flowstore._queries.terms import KINDS, TEXT, Kind, Refusal, Term, is_empty
from flowstore._queries.values import Amounts, Times
from flowstore.models import FINISHED
from flowstore.statuses import TaskStatus

BY_FINISH: Final = frozenset({"finished", "-finished"})
_FAMILY: Final = {"root", "child"}
_WITH_ERRORS: Final = {TaskStatus.FAILED, TaskStatus.RETRYING}
"""The statuses whose errors are grouped."""


def statuses_of(terms: Iterable[Term]) -> tuple[TaskStatus, ...]:
    """The statuses that a record may have which satisfies the terms, in the order of TaskStatus."""
    left = {*TaskStatus}
    for term in terms:
        if term.name == "status":
            named = {TaskStatus(str(value)) for value in term.values}
            left = left - named if term.is_negated else left & named
        elif _is_of_finished(term):
            left &= FINISHED
        elif term.name == "error" and not term.is_negated:
            left &= _WITH_ERRORS
    return tuple(status for status in TaskStatus if status in left)


def _is_of_finished(term: Term) -> bool:
    if term.name == "sort":
        return term.values[0] in BY_FINISH
    return term.name == "finished" and not term.is_negated


def check(term: Term, before: Sequence[Term]) -> None:
    """Raise Refusal unless the term goes together with those before it."""
    if term in before:
        raise Refusal("it was said before")
    same = [other for other in before if other.name == term.name]
    kind = KINDS.get(term.name)
    if kind and not (kind.is_repeatable or term.is_negated) and any(not other.is_negated for other in same):
        raise Refusal(f"{term.name}: was said before; {_how_to_say_once(term, kind)}")
    _check_denials(term, same)
    _check_statuses(term, before)
    _check_time(term, before)
    if {each.values[0] for each in (*before, term) if each.name == "is" and each.is_negated} == _FAMILY:
        raise Refusal("each task is a root or a child")
    if _is_root_with_parent([*before, term]):
        raise Refusal("no task has a parent and is a root")


def _how_to_say_once(term: Term, kind: Kind) -> str:
    if kind.is_list:
        return "put commas between the values, any of which may hold"
    is_range = isinstance(term.values[0], Times | Amounts)
    return "say it once, with both ends, as in 2..5 or 2h..1h" if is_range else "say it once"


def _check_denials(term: Term, same: Sequence[Term]) -> None:
    """Of the values that a term asks for at least one must be left."""
    denied = {value for other in (*same, term) if other.is_negated for value in _compared(other)}
    for other in (*same, term):
        if not other.is_negated and denied.issuperset(_compared(other)):
            raise Refusal("another term asks for the opposite, so that no task can satisfy both")


def _compared(term: Term) -> set[object]:
    return {str(value).casefold() if term.name == TEXT else value for value in term.values}


def _check_statuses(term: Term, before: Sequence[Term]) -> None:
    terms = [*before, term]
    if not statuses_of(terms):
        raise Refusal("no task can be in a status that this and the other terms ask for")
    if any(each.name == "sort" and _is_of_finished(each) for each in terms):
        named = [each for each in terms if each.name == "status" and not each.is_negated]
        for status in {value for each in named for value in each.values}:
            if status not in FINISHED:
                raise Refusal(f"a task that is {status} has not finished, and sort: by finish lists none")


def _check_time(term: Term, before: Sequence[Term]) -> None:
    ends = {each.name: each.values[0] for each in (*before, term) if not each.is_negated}
    if is_empty(ends.get("since"), ends.get("until")):
        raise Refusal("no time is between since: and until:")


def _is_root_with_parent(terms: Sequence[Term]) -> bool:
    asked = {each.name for each in terms if not each.is_negated}
    is_root = any(
        each.name == "is" and each.values[0] == ("child" if each.is_negated else "root") for each in terms
    )
    return is_root and "parent" in asked
