"""A family with its histories, for a picture of it: a tree, or bars along the time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

from flowstore._core.core import Core
from flowstore._core.counting import count
from flowstore._core.filters import Selection
from flowstore._core.histories import of_many
from flowstore._core.listing import Reading, listing_of, step
from flowstore._core.viewing import View
from flowstore._values.facets import Where
from flowstore._values.reading import transition
from flowstore.engine import Entry, Item
from flowstore.fields import Record
from flowstore.models import TaskResult, TaskStatus, Transition, Unreadable
from flowstore.tables import Tabular

_HEAD = View(with_body=False)


class FamilyMember(Tabular, Record):
    """A task without its values, and its newest transitions in the order of writing.

    ``has_earlier``: whether it has had others before them, which are left out.
    """

    task: TaskResult
    steps: list[Transition]
    has_earlier: bool


class FamilyPicture(Tabular, Record):
    """``members``: the root first, if it is stored, then the others, the oldest submission first.

    ``left_out``: how many others there are in each status, if there are any. ``unreadable``: the members, or
    those whose history, cannot be read.
    """

    members: list[FamilyMember]
    left_out: dict[TaskStatus, int]
    unreadable: list[Unreadable]


async def picture(core: Core, root_id: str, limit: int, most_steps: int) -> FamilyPicture:
    """In three round trips, or six if members are left out; more for a ``limit`` above 500."""
    listing = listing_of(None, Where(root=root_id), limit + 1, newest_first=True, load_result=False)
    async with core.life:
        entries = await step(core, listing)
        left_out: dict[TaskStatus, int] = {}
        if len(entries) > limit:
            entries = await _with_root(core, root_id, entries[:limit])
            left_out = _others(await count(core, None, Selection(root_id=root_id)), entries)
        histories = await of_many(core, [entry.id for entry in entries], most_steps + 1)
    reading = Reading(partial(_member, core, histories, most_steps), most_errors=limit)
    entries.reverse()
    in_order = sorted(entries, key=lambda entry: entry.id != root_id)
    return FamilyPicture(members=reading.decoded(in_order), left_out=left_out, unreadable=reading.unreadable)


async def _with_root(core: Core, root_id: str, entries: list[Entry]) -> list[Entry]:
    """The root has a place among them, whatever its time of submission is."""
    if any(entry.id == root_id for entry in entries):
        return entries
    roots = core.live(await core.engine.read([root_id], with_body=False))
    return [*entries[: len(entries) - len(roots)], *roots]


def _others(counts: Mapping[TaskStatus, int], entries: Sequence[Entry]) -> dict[TaskStatus, int]:
    shown = Counter(entry.status for entry in entries)
    return {status: count - shown[status] for status, count in counts.items() if count > shown[status]}


def _member(core: Core, histories: Mapping[str, list[Item]], most_steps: int, entry: Entry) -> FamilyMember:
    items = histories[entry.id]
    return FamilyMember(
        task=_HEAD.decoded(core, entry),
        steps=[transition(item) for item in items[max(0, len(items) - most_steps) :]],
        has_earlier=len(items) > most_steps,
    )
