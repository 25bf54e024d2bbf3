"""What became of a write, in the words of ``store``; and a write that leaves the stored values alone."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from flowstore._core.core import Core
from flowstore._values.facets import family_of, named_by
from flowstore._values.reading import STAGES_PER_ATTEMPT
from flowstore.engine import Entry, Outcome, Verdict, Write
from flowstore.errors import CorruptRecord, FamilyConflict
from flowstore.fields import Scalar, check_meta
from flowstore.models import TaskResult, TaskStatus
from flowstore.observing import TaskStored, VersionLost

_STATUSES: Final = {status.value: status for status in TaskStatus}


def check_parent(result: TaskResult) -> TaskResult:
    """Raise FamilyConflict for a task that is its own parent."""
    if result.parent_id == result.task_id:
        raise FamilyConflict(result.task_id, result.task_id, None)
    return result


def to_store(core: Core, result: TaskResult, *, is_new: bool = True) -> TaskResult:
    """The result to store in its place: with what observers add to one that is submitted, and redacted.

    ``is_new`` False: there is a record already. Raises FamilyConflict for a task that is its own parent.
    """
    if core.observers.is_adding and is_new and result.status is TaskStatus.PENDING and not result.retries:
        result = _with_added(result, core.observers.added(result))
    return check_parent(core.records.redacted(result))


def _with_added(result: TaskResult, added: Mapping[str, Scalar]) -> TaskResult:
    """What is there stays, and what does not fit is left out: that is no reason not to store a task."""
    if not added.keys() - result.meta.keys():
        return result
    with suppress(ValueError):
        return result.model_copy(update={"meta": check_meta({**added, **result.meta})})
    return result


def applied(core: Core, write: Write, outcome: Outcome, *, is_news: bool = True) -> bool:
    """Whether the write was applied. Raises if the reason it was not lies outside the rules of ``store``.

    ``is_news`` False: the task is in no other state than before, which observers need not hear.
    """
    assert outcome.verdict is not Verdict.OWNERLESS, "whoever sets an owner looks at the verdict first"
    if outcome.verdict is Verdict.FIXED:
        raise FamilyConflict(write.entry.id, str(_parent(write.entry.fixed)), _parent(outcome.fixed))
    if outcome.verdict is Verdict.UNREADABLE:
        raise CorruptRecord(write.entry.id, f"{outcome.reason}; nothing was written")
    is_applied = outcome.is_applied
    # A compare-and-set that lost is no late write: whoever asked for it will look again.
    is_late = not is_applied and write.if_version is None
    if is_late or (is_applied and is_news and core.observers.is_active):
        core.observers.tell(_stored(core, write.entry, is_applied))
    elif not is_applied and core.observers.is_active:
        core.observers.tell(VersionLost(core.namespace, write.entry.id))
    return is_applied


def _stored(core: Core, entry: Entry, is_applied: bool) -> TaskStored:
    name, *_ = named_by(entry.facets)
    retries = entry.stage // STAGES_PER_ATTEMPT
    return TaskStored(core.namespace, entry.id, _STATUSES[entry.status], retries, name, is_applied)


async def store_beside_values(core: Core, result: TaskResult) -> bool:
    """Store ``result`` with the values of the standing record, which are not read.

    True if it is now the stored state, by the rules of ``store``; False also if there is no record.
    """
    async with core.life:
        await core.engine.room()
        # Compare-and-set: the values that were read here must be those of the record that is replaced.
        while True:
            [entry] = await core.engine.read([result.task_id], with_body=False)
            now = core.clock()
            if entry is None or entry.is_expired(now):
                return False
            core.records.check_whole(entry)
            write = core.records.write_beside(result, now, entry)
            if entry.stage > write.ceiling:
                return False
            [outcome] = await core.engine.write([write], now)
            if outcome.verdict is not Verdict.STANDING:
                return applied(core, write, outcome)


def _parent(fixed: tuple[str, ...]) -> str | None:
    try:
        return family_of(fixed)[0]
    except ValueError:  # of a newer program
        return " ".join(fixed)
