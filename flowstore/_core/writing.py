"""Writes: the families that they join, and what became of them.

A storage knows nothing of families. It keeps the fixed facets of a record, and refuses a write that has
others. So a write says parent and root, as a message does that hands its trace along. Where it does not know
the root, the parent's record is read for it first; where it does not know the parent either, but the record
has one, the storage answers with that, and the write is sent again. Neither happens to a write that carries
on from what was read or is being tracked.

The root is looked up once, when it is first stored, and stays. Between the look and the write somebody may
give the parent a parent of its own; the child then keeps the root that was true when it was looked up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flowstore._core.core import Core, steps
from flowstore._values.facets import family_of, moved_below
from flowstore.engine import Outcome, Verdict, Write
from flowstore.errors import CorruptRecord, FamilyConflict
from flowstore.models import TaskResult


async def roots_of(core: Core, results: Sequence[TaskResult]) -> list[str | None]:
    """The root for each result that names its parent and not its root; None for the others.

    Raises FamilyConflict for a task that is its own parent. What is stored along counts as stored before.
    """
    parents = set()
    for result in results:
        if result.parent_id is None:
            continue
        if result.parent_id == result.task_id:
            raise FamilyConflict(result.task_id, result.parent_id, None)
        if result.root_id is None:
            parents.add(result.parent_id)
    if not parents:
        return [None] * len(results)
    roots = core.roots.known(parents)
    if unknown := parents - roots.keys():
        roots |= await _stored_roots(core, list(unknown))
    found: list[str | None] = []
    for result in results:
        parent, root = result.parent_id, result.root_id
        if parent is not None and root is None:
            root = roots[parent]
            root = parent if root == result.task_id else root  # no task is its own root
        if parent is not None and root is not None:
            roots[result.task_id] = root
        found.append(root)
    return found


async def _stored_roots(core: Core, parents: list[str]) -> dict[str, str]:
    roots = {parent: parent for parent in parents}
    for step in steps(parents):
        for entry in core.live(await core.engine.read(step, with_body=False)):
            try:
                _, root = family_of(entry.fixed)
            except ValueError:
                continue  # an unreadable parent must not keep its children from being stored
            if root is not None:
                roots[entry.id] = root
    core.roots.learn(roots)
    return roots


async def write_all(core: Core, writes: Sequence[Write], now: int) -> list[Outcome]:
    """The outcomes. A write that leaves the parent open takes that of the record.

    The writes must be of different ids, or one that is sent again would come after later ones of its id.
    """
    if core.roots.is_in_use:
        core.roots.forget([write.entry.id for write in writes])
    outcomes = await core.engine.write(writes, now)
    for outcome in outcomes:
        if outcome.verdict is Verdict.FIXED:
            return await _joined_again(core, writes, outcomes, now)
    return outcomes


async def _joined_again(
    core: Core, writes: Sequence[Write], outcomes: list[Outcome], now: int
) -> list[Outcome]:
    """The outcomes, once the writes that were refused have been sent again as members of the family."""
    joined = list(writes)
    while True:
        again = []
        for place, outcome in enumerate(outcomes):
            write = _joined(core, writes[place], outcome.fixed) if outcome.verdict is Verdict.FIXED else None
            if write is not None and write.entry.fixed != joined[place].entry.fixed:
                joined[place] = write
                again.append(place)
        if not again:
            return outcomes
        repeated = await core.engine.write([joined[place] for place in again], now)
        for place, outcome in zip(again, repeated, strict=True):
            outcomes[place] = outcome


def _joined(core: Core, write: Write, fixed: tuple[str, ...]) -> Write | None:
    """The same write in the family of what stands; None if it names another parent."""
    entry = write.entry
    if entry.fixed and _parent(entry.fixed) != _parent(fixed):
        return None
    facets = entry.facets if entry.fixed else moved_below(entry.facets)
    return write._replace(entry=core.records.checked(entry._replace(fixed=fixed, facets=facets)))


def _parent(fixed: Iterable[str]) -> str | None:
    return family_of(tuple(fixed))[0]


def applied(write: Write, outcome: Outcome) -> bool:
    """Whether the write was applied. Raises if the reason it was not lies outside the rules of ``store``."""
    if outcome.verdict is Verdict.FIXED:
        raise FamilyConflict(write.entry.id, str(_parent(write.entry.fixed)), _parent(outcome.fixed))
    if outcome.verdict is Verdict.UNREADABLE:
        raise CorruptRecord(write.entry.id, f"{outcome.reason}; nothing was written")
    return outcome.is_applied
