"""Changes with content: one reader for all who listen to them in this process.

What comes during a read shares the next one, and after each the reader rests for a moment, so that many
changes cost few reads, while one alone is read at once. Whoever joins reads by itself what was stored since
it was called, as fast as it takes that, and nobody else waits for it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Hashable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final, NamedTuple

from flowstore._core.core import STEP, Core
from flowstore._core.found import LONGEST_TURN, heads, key_of, of_entry, of_items
from flowstore._core.matching import matching_of
from flowstore._core.rows import Row, row_of_task
from flowstore._core.transitions import END_OF_TIME, walk_transitions
from flowstore._trips.background import in_background
from flowstore._trips.patience import Pauses
from flowstore._values.arguments import check_int
from flowstore._values.reading import entered
from flowstore._waiting.changes import Change, Found, Key, Listening, Question, missed
from flowstore._waiting.durations import watch_begun
from flowstore._waiting.feeds import Comparison, Feed
from flowstore.engine import Asked, Entry, Item, Section, Span
from flowstore.errors import CorruptRecord, StorageUnavailable
from flowstore.queries import TaskQuery, query_of

MOST_KEPT: Final = 10_000
_REST: Final = 0.02
_MORE: Final = 16
"""How many transitions of a task are read beyond those that were heard of: stores whose hints are late."""
_TIMELESS: Final = frozenset(
    ("status", "name", "label", "worker", "parent", "root", "error", "id", "tries", "is", "sort")
)
"""Terms that mean the same whenever the query was asked."""


class _Meant(NamedTuple):
    """A transition of a task that was heard of. ``is_heard``: whether it is one that the hints were about."""

    item: Item
    is_heard: bool


def watch_changes(core: Core, query: str | TaskQuery | None, most: int) -> AsyncGenerator[Change, None]:
    asked = None if query is None else query_of(query)
    if asked is not None and asked.has_text:
        wanted = "nothing about values, which no change comes with"
        raise ValueError(f"query: expected {wanted}, got {str(asked)[:200]!r}")
    # What was stamped before the call may be committed later than whatever the caller looks at after it.
    since = core.clock() - _memory(core)
    return _changes(core, asked, since, check_int("most", most, 1))


def _memory(core: Core) -> int:
    """How long a store may take from its time until it is seen, in microseconds."""
    return round(core.op_timeout * 1_000_000)


async def _changes(
    core: Core, query: TaskQuery | None, since: int, most: int
) -> AsyncGenerator[Change, None]:
    life = core.life
    async with life:
        listening = Listening(since, None if query is None else await _question(core, query), most)
        feed = _join(core, listening)
    end = watch_begun(core.observers, "changes")
    try:
        while not feed.is_registered:
            await listening.news()
        if not feed.is_complete:
            yield missed(since)
        async with aclosing(_stored_before(core, feed, listening)) as before:
            async for change in before:
                yield change
                life.check()  # each step may be taken in another loop
        listening.joined(feed.settled - _memory(core))
        while True:
            life.check_place()
            _keep_reading(core, feed)
            for change in listening.take():
                yield change
            await listening.news()
    finally:
        _leave(core, feed, listening)
        end()


async def _question(core: Core, query: TaskQuery) -> Question:
    matching = await matching_of(core, query, STEP)
    is_timeless = all(term.name in _TIMELESS for term in query.terms)
    return Question(str(matching.query) if is_timeless else object(), matching.fits)


def _join(core: Core, listening: Listening) -> Feed:
    feed = core.feed
    if feed is None or feed.is_over or not feed.listeners:
        kept = core.kept_transitions
        feed = Feed(core.clock, _memory(core), has_history=kept != 0, is_complete=kept is None)
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


async def _stored_before(core: Core, feed: Feed, listening: Listening) -> AsyncGenerator[Change, None]:
    """What the history has from the call on. What is stored meanwhile is heard, and follows."""
    pauses, span = Pauses(), Span(STEP, listening.since, END_OF_TIME)
    end = core.clock() + _memory(core)  # there are clocks that are ahead
    while feed.has_history:
        listening.check()
        try:
            async with core.life:
                items = await core.engine.timeline(span, core.clock())
            found = await _shown_by(core, items)
        except StorageUnavailable:
            await asyncio.sleep(pauses.next())
            continue
        pauses.reset()
        fresh = listening.join(found, core.clock())
        for each in await _answer(listening.question, fresh):
            yield each.change
        if len(items) < span.limit or items[-1].at > end:
            return
        span = replace(span, after=items[-1])


def _start(core: Core, feed: Feed) -> None:
    feed.reader = in_background(_read(core, feed))
    feed.reader.add_done_callback(lambda _: feed.wake())


def _keep_reading(core: Core, feed: Feed) -> None:
    """Its reader may have been cancelled, as when all tasks of a loop are, by one who still listens then.

    It is for those who take the next step to begin with it: in a loop that ends nobody does.
    """
    if feed.reader is not None and feed.reader.done() and not feed.is_over:
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
    if comparison := feed.compare():
        try:
            await _compare(core, feed, comparison)
        except BaseException:
            feed.undo(comparison)
            raise
        feed.compared(comparison)
    await _show_heard(core, feed)


async def _compare(core: Core, feed: Feed, span: Comparison) -> None:
    """What the history has and nobody was shown. What is stored meanwhile is heard, or found next time."""
    async with aclosing(walk_transitions(core, Span(STEP, span.start, END_OF_TIME))) as walk:
        async for items in walk:
            found = await _shown_by(core, [item for item in items if not feed.is_shown(key_of(item))])
            await _tell(feed, [each._replace(is_heard=False) for each in found])
            await _show_heard(core, feed)
            if items[-1].at > span.end:
                break


async def _shown_by(core: Core, items: Sequence[Item]) -> list[Found]:
    if not items:
        return []
    return await of_items(core, items, await heads(core, list({item.owner: None for item in items})))


async def _show_heard(core: Core, feed: Feed) -> None:
    while heard := feed.take_heard(STEP):
        try:
            await _tell(feed, await _heard(core, feed, heard))
        except BaseException:
            feed.put_back(heard)
            raise


async def _tell(feed: Feed, found: Sequence[Found]) -> None:
    """Those who ask the same share the answer. It is given to all at once, or, after an error, to nobody."""
    fresh = [each for each in found if not feed.is_shown(each.key)]
    answers: dict[Hashable, Sequence[Found] | Exception] = {}
    rows = await _rows(fresh) if any(listener.question for listener in feed.listeners) else []
    for listener in [*feed.listeners]:
        question = listener.question
        if question is not None and question.asked not in answers:
            try:
                answers[question.asked] = await _wanted(question, fresh, rows)
            except Exception as error:
                answers[question.asked] = error
    feed.tell(fresh, answers)


async def _answer(question: Question | None, found: Sequence[Found]) -> Sequence[Found]:
    return found if question is None else await _wanted(question, found, await _rows(found))


async def _rows(found: Sequence[Found]) -> list[Row | None]:
    """What a query is tested on; None: it cannot be read."""
    rows = []
    for at, each in enumerate(found):
        rows.append(None if each.then is None else row_of_task(each.then))
        if at % LONGEST_TURN == LONGEST_TURN - 1:
            await asyncio.sleep(0)
    return rows


async def _wanted(question: Question, found: Sequence[Found], rows: Sequence[Row | None]) -> list[Found]:
    wanted = []
    for at, (each, row) in enumerate(zip(found, rows, strict=True)):
        if row is not None and question.holds(row):
            wanted.append(each)
        if at % LONGEST_TURN == LONGEST_TURN - 1:
            await asyncio.sleep(0)
    return wanted


async def _heard(core: Core, feed: Feed, heard: Mapping[str, list[str]]) -> list[Found]:
    """The transitions that the hints are about, as far as they were not shown, in the order of time."""
    entries = await heads(core, list(heard))
    # A record that stands in the one status that was heard of is what was stored. Of several stores, the
    # history knows those that were replaced already.
    replaced = {
        task_id: statuses
        for task_id, statuses in heard.items()
        if feed.has_history and (entry := entries.get(task_id)) and statuses != [entry.status]
    }
    meant = await _replaced(core, feed, replaced)
    latest = await _not_behind(core, entries, [each.item for each in meant])
    others = {key_of(each.item) for each in meant if not each.is_heard}
    found = [
        each._replace(is_heard=each.key not in others)
        for each in await of_items(core, [each.item for each in meant], latest)
    ]
    known = {each.key for each in found}
    for at, entry in enumerate(latest.values()):
        key = Key(entry.id, entry.version, entry.updated_at)
        if key not in known and not feed.is_shown(key) and (one := of_entry(core, key, entry)):
            found.append(one)
        if at % LONGEST_TURN == LONGEST_TURN - 1:
            await asyncio.sleep(0)
    return sorted(found, key=lambda each: (each.key.at, each.key.seq))


async def _not_behind(core: Core, entries: dict[str, Entry], items: Sequence[Item]) -> Mapping[str, Entry]:
    """The records, those read again that have been stored since: a change comes with no older state."""
    newest: dict[str, int] = {}
    for item in items:
        newest[item.owner] = max(newest.get(item.owner, 0), int(item.key))
    behind = [
        task_id
        for task_id, version in newest.items()
        if (entry := entries.get(task_id)) is not None and entry.version < version
    ]
    if not behind:
        return entries
    gone = dict.fromkeys(behind)
    return {key: each for key, each in entries.items() if key not in gone} | await heads(core, behind)


async def _replaced(core: Core, feed: Feed, heard: Mapping[str, list[str]]) -> list[_Meant]:
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
        each
        for statuses, history in zip(heard.values(), histories, strict=True)
        for each in _meant(feed, statuses, history)
    ]


def _meant(feed: Feed, statuses: Sequence[str], history: Sequence[Item]) -> list[_Meant]:
    """Of the newest transitions of a task those that were heard of, and others that nobody was shown.

    The clock of who stored them may be behind, so what was heard of counts whatever its time is. What was
    heard of, and is not kept any more, is missing.
    """
    wanted, meant = Counter(statuses), []
    for item in reversed(history):
        status = entered(item)
        is_heard = wanted[status] > 0
        if not feed.is_shown(key_of(item)) and (item.at >= feed.settled or is_heard):
            meant.append(_Meant(item, is_heard))
        wanted[status] -= 1
    is_cut = bool(history) and int(history[0].key) > 1
    if is_cut and any(count > 0 for count in wanted.values()):
        feed.lack()
    return meant
