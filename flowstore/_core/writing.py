"""What became of a write, in the words of ``store``."""

from __future__ import annotations

from flowstore._values.facets import family_of
from flowstore.engine import Outcome, Verdict, Write
from flowstore.errors import CorruptRecord, FamilyConflict
from flowstore.models import TaskResult


def check_parent(result: TaskResult) -> TaskResult:
    """Raise FamilyConflict for a task that is its own parent."""
    if result.parent_id == result.task_id:
        raise FamilyConflict(result.task_id, result.task_id, None)
    return result


def applied(write: Write, outcome: Outcome) -> bool:
    """Whether the write was applied. Raises if the reason it was not lies outside the rules of ``store``."""
    if outcome.verdict is Verdict.FIXED:
        raise FamilyConflict(write.entry.id, str(_parent(write.entry.fixed)), _parent(outcome.fixed))
    if outcome.verdict is Verdict.UNREADABLE:
        raise CorruptRecord(write.entry.id, f"{outcome.reason}; nothing was written")
    return outcome.is_applied


def _parent(fixed: tuple[str, ...]) -> str | None:
    try:
        return family_of(fixed)[0]
    except ValueError:  # of a newer program
        return " ".join(fixed)
