"""Changes with content: one reader for all who listen to them in this process.

What comes during a read shares the next one, and after each the reader rests for a moment, so that many
changes cost few reads, while one alone is read at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Final

from flowstore._core.core import STEP, Core, steps
from flowstore._core.matching import matching_of
from flowstore._core.transitions import END_OF_TIME, walk_transitions
from flowstore._trips.background import in_background
from flowstore._trips.patience import Pauses
from flowstore._values.arguments import check_int
from flowstore._values.reading import STAGES_PER_ATTEMPT, entered, transition, unvalidated
from flowstore._waiting.changes import Change, Found, Key, Listening, TaskChange
from flowstore._waiting.feeds import Comparison, Feed
from flowstore.engine import STATUSES, Asked, Entry, Item, Section, Span
from flowstore.errors import CorruptRecord, StorageUnavailable, UnreadableRecord
from flowstore.models import TaskResult, TaskStatus, Transition
from flowstore.queries import TaskQuery, query_of
from flowstore.times import from_micros

MOST_KEPT: Final = 10_000
_REST: Final = 0.02
_MORE: Final = 16
"""How many transitions of a task are read beyond those that were heard of: stores whose hints are late."""
_LONGEST_TURN: Final = 64
"""After how many records others have their turn."""


def watch_changes(core: Core, query: str | TaskQuery | None, most: int) -> AsyncGenerator[Change, None]:
    asked = None if query is None else query_of(query)
    if asked is not None and asked.has_text:
        wanted = "nothing about values, which no change comes with"
        raise ValueError(f"query: expected {wanted}, got {str(asked)[:200]!r}")
    return _changes(core, asked, core.clock(), check_int("most", most, 1))


async def _changes(
    core: Core, query: TaskQuery | None, since: int, most: int
) -> AsyncGenerator[Change, None]:
    life = core.life
    async with life:
        holds = None if query is None else (await matching_of(core, query, STEP)).holds
        listening = Listening(since, holds, most)
        feed = _join(core, listening)
    try:
        while True:
            life.check_place()  # each step may be taken in another loop
            await listening.news()
            for change in listening.take():
                yield change
    finally:
        _leave(core, feed, listening)


def _join(core: Core, listening: Listening) -> Feed:
    feed = core.feed
    if feed is None or feed.is_over or not feed.listeners:
        kept = core.kept_transitions
        memory = round(core.op_timeout * 1_000_000)
        feed = Feed(core.clock, memory, has_history=kept != 0, is_complete=kept is None)
        core.waiters.follow(feed)
        core.feed = feed
        _start(core, feed)
    feed.add(listening)
    return feed


def _leave(core: Core, feed: Feed, listening: Listening) -> None:
    feed.listeners.remove(listening)
    if not feed.listeners:
        core.waiters.unfollow(feed)
        feed.stop()


def _start(core: Core, feed: Feed) -> None:
    feed.reader = in_background(_read(core, feed))
    feed.reader.add_done_callback(lambda _: _ended(core, feed))


def _ended(core: Core, feed: Feed) -> None:
    """All tasks of the loop may have been cancelled; those who listen may still be there."""
    if feed.listeners and not feed.is_over:
        feed.try_again()
        _start(core, feed)


async def _read(core: Core, feed: Feed) -> None:
    """Until the feed is over. An outage is ridden out."""
    pauses = Pauses()
    try:
        while True:
            await feed.news()
            try:
                await _turn(core, feed)
            except StorageUnavailable:
                await asyncio.sleep(pauses.next())
            else:
                pauses.reset()
                await asyncio.sleep(_REST)
    except Exception as error:
        feed.fail(error)


async def _turn(core: Core, feed: Feed) -> None:
    feed.tell_missed()
    joining = feed.joining()
    if comparison := feed.compare(joining):
        try:
            await _compare(core, feed, comparison, joining)
        except BaseException:
            feed.undo(comparison)
            raise
        feed.compared(comparison)
    feed.joined(joining)
    await _show_heard(core, feed)


async def _compare(core: Core, feed: Feed, span: Comparison, joining: Collection[Listening]) -> None:
    """What the history has and nobody was shown. What is stored meanwhile is heard, or found next time."""
    async with aclosing(walk_transitions(core, Span(STEP, span.start, END_OF_TIME))) as walk:
        async for items in walk:
            missing = [item for item in items if joining or not feed.is_shown(_key(item))]
            if missing:
                entries = await _heads(core, list({item.owner: None for item in missing}))
                feed.tell(await _of_items(core, missing, entries), joining)
            if joining:  # what was heard of has to wait: they are given it when they have joined
                continue
            await _show_heard(core, feed)
            if items[-1].at > span.end:
                break


async def _show_heard(core: Core, feed: Feed) -> None:
    while heard := feed.take_heard(STEP):
        try:
            feed.tell(await _heard(core, feed, heard))
        except BaseException:
            feed.put_back(heard)
            raise


async def _heard(core: Core, feed: Feed, heard: Mapping[str, list[str]]) -> list[Found]:
    """The transitions that the hints are about, as far as they were not shown, in the order of time."""
    entries = await _heads(core, list(heard))
    # A record that stands in the one status that was heard of is what was stored. Of several stores, the
    # history knows those that were replaced already.
    replaced = {
        task_id: statuses
        for task_id, statuses in heard.items()
        if feed.has_history and (entry := entries.get(task_id)) and statuses != [entry.status]
    }
    items = await _replaced(core, feed, replaced)
    found = await _of_items(core, items, entries)
    known = {each.key for each in found}
    for at, entry in enumerate(entries.values()):
        key = Key(entry.id, entry.version, entry.updated_at)
        if key not in known and not feed.is_shown(key) and (one := _of_entry(core, key, entry)):
            found.append(one)
        if at % _LONGEST_TURN == _LONGEST_TURN - 1:
            await asyncio.sleep(0)
    return sorted(found, key=lambda each: (each.key.at, each.key.seq))


async def _replaced(core: Core, feed: Feed, heard: Mapping[str, list[str]]) -> list[Item]:
    if not heard:
        return []
    asked = [
        Asked(Section.HISTORY, task_id, last=len(statuses) + _MORE) for task_id, statuses in heard.items()
    ]
    try:
        async with core.life:
            histories = await core.engine.items(asked, core.clock())
    except CorruptRecord:  # one damaged item; the comparison to come passes over it
        return []
    return [
        item
        for statuses, history in zip(heard.values(), histories, strict=True)
        for item in _meant(feed, statuses, history)
    ]


def _meant(feed: Feed, statuses: Sequence[str], history: Sequence[Item]) -> list[Item]:
    """Of the newest transitions of a task those that were heard of, and others that nobody was shown.

    The clock of who stored them may be behind, so what was heard of counts whatever its time is.
    """
    wanted, meant = Counter(statuses), []
    for item in reversed(history):
        status = entered(item)
        if not feed.is_shown(_key(item)) and (item.at >= feed.settled or wanted[status] > 0):
            meant.append(item)
        wanted[status] -= 1
    return meant


async def _heads(core: Core, ids: list[str]) -> dict[str, Entry]:
    """The live records among them, without their values."""
    found = []
    for step in steps(ids):
        async with core.life:
            found += core.live(await core.engine.read(step, with_body=False))
    return {entry.id: entry for entry in found}


async def _of_items(core: Core, items: Sequence[Item], entries: Mapping[str, Entry]) -> list[Found]:
    """What is in the history, with the records that it belongs to. Without the record there is no history."""
    tasks: dict[str, TaskResult | None] = {}
    found = []
    for at, item in enumerate(items):
        if (entry := entries.get(item.owner)) is not None:
            if entry.id not in tasks:
                tasks[entry.id] = _task(core, entry)
            with suppress(CorruptRecord):
                found.append(_of_transition(_key(item), transition(item), tasks[entry.id]))
        if at % _LONGEST_TURN == _LONGEST_TURN - 1:
            await asyncio.sleep(0)
    return found


def _of_transition(key: Key, step: Transition, task: TaskResult | None) -> Found:
    changed = {
        name: getattr(step, "at" if name == "updated_at" else "seq" if name == "version" else name)
        for name in ("status", "retries", "worker_id", "error", "updated_at", "version")
    }
    then = None if task is None or task.version == step.seq else unvalidated({**task.__dict__, **changed})
    change = TaskChange(
        task_id=step.task_id,
        status=step.status,
        name=None if task is None else task.task_name,
        at=step.at,
        retries=step.retries,
        worker_id=step.worker_id,
        seq=step.seq,
        task=task,
    )
    return Found(key, change, then or task)


def _of_entry(core: Core, key: Key, entry: Entry) -> Found | None:
    """None for what is no record."""
    task = _task(core, entry)
    if task is None and entry.status not in STATUSES:
        return None
    change = TaskChange(
        task_id=entry.id,
        status=TaskStatus(entry.status),
        name=None if task is None else task.task_name,
        at=from_micros(entry.updated_at),
        retries=entry.stage // STAGES_PER_ATTEMPT,
        worker_id=None if task is None else task.worker_id,
        seq=entry.version,
        task=task,
    )
    return Found(key, change, task)


def _task(core: Core, entry: Entry) -> TaskResult | None:
    try:
        return core.records.decode(entry)
    except UnreadableRecord:
        return None


def _key(item: Item) -> Key:
    return Key(item.owner, int(item.key), item.at)
