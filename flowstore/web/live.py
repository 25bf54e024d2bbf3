"""What has changed, told to browsers as it happens: one watch of the store for all who look at the same.

Changes are joined for a moment and told as ids with their statuses, not as tasks: a browser that shows one
of them asks for it, and is answered what its reader may see.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Final

import anyio

from flowstore import (
    BackendClosed,
    BaseResultBackend,
    ChangesMissed,
    FlowstoreError,
    TaskChange,
    TaskQuery,
    WaitsEnded,
    format_query,
)
from flowstore.web.addresses import segment

MOST_STREAMS: Final = 500
MOST_IDS: Final = 200
"""In one event. If there are more, only their number is told, and pages look again at all they show."""
JOINED_FOR: Final = 0.25
"""Seconds for which changes are gathered for one event."""
LONGEST: Final = 3_600.0
"""Seconds after which a stream ends: the browser comes again, and is asked again who it is."""
RETRY_AFTER: Final = 2_000
"""Milliseconds after which a browser comes back that was cut off."""
_KEPT: Final = 64
"""Events of a feed that a browser can have missed without having to look again at everything."""
_ON_ITS_WAY: Final = 10.0
"""Seconds for which a page may have been on its way before it asks what has changed since."""

logger = logging.getLogger("flowstore.web")


@dataclass(frozen=True)
class Event:
    """``id``: what a browser names when it comes back. ``data``: JSON; see ``Feed``."""

    id: str
    data: str


class TooManyStreams(Exception):
    """As many streams as there may be are open; the browser asks every few seconds instead."""


class Hub:
    """All streams of a process. A feed is begun by the first who wants it, and ends with the last."""

    def __init__(self) -> None:
        self._feeds: dict[tuple[str, str], Feed] = {}
        self.streams = 0
        """How many are open."""

    def check_room(self) -> None:
        """Raises TooManyStreams."""
        if self.streams >= MOST_STREAMS:
            raise TooManyStreams

    async def stream(
        self, backend: BaseResultBackend, query: TaskQuery, last: str | None, leaving: anyio.Event
    ) -> AsyncGenerator[Event, None]:
        """What changes of the tasks that ``query`` wants, from now on until ``leaving`` is set.

        ``last``: the id of the last event that the browser has seen. If it is not known which followed, the
        first event says that there were many. Whoever is new is told of the last moments as well, in which
        its page was on its way. The first event comes at once, so that there is an id to come back with.
        """
        key = (backend.namespace, format_query(query))
        feed = self._feeds.get(key)
        if feed is None or feed.is_over:
            feed = self._feeds[key] = Feed(backend, query)
        mailbox = _Mailbox(feed.missed_since(last))
        feed.mailboxes.add(mailbox)
        self.streams += 1
        parting = asyncio.create_task(_part(leaving, mailbox))
        try:
            async with asyncio.timeout(LONGEST):
                while True:
                    for event in await mailbox.take():
                        yield event
        except (TimeoutError, _Over):
            return
        finally:
            parting.cancel()
            self.streams -= 1
            feed.mailboxes.discard(mailbox)
            if not feed.mailboxes:
                if self._feeds.get(key) is feed:
                    del self._feeds[key]
                await feed.end()


class _Over(Exception):
    """The feed has ended as the store is closed, or the server is about to stop."""


async def _part(leaving: anyio.Event, mailbox: _Mailbox) -> None:
    await leaving.wait()
    mailbox.end()


@dataclass(eq=False)
class _Mailbox:
    """Of one browser; one that reads slowly is told that there were many."""

    events: deque[Event]
    is_over: bool = False
    _ready: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, event: Event) -> None:
        if len(self.events) >= _KEPT:
            self.events.clear()
            event = Event(event.id, _MANY)
        self.events.append(event)
        self._ready.set()

    def end(self) -> None:
        self.is_over = True
        self._ready.set()

    async def take(self) -> list[Event]:
        if not self.events:
            if self.is_over:
                raise _Over
            self._ready.clear()
            await self._ready.wait()
        taken = list(self.events)
        self.events.clear()
        return taken


_MANY: Final = json.dumps({"many": True, "ids": {}})
_NOTHING: Final = json.dumps({"ids": {}})


class Feed:
    """The changes of the tasks of one query, in events for all who watch it.

    The data of an event: ``ids``, from the ids of tasks as ``segment`` writes them to the status that each
    has changed to, the last one if there were several, and the time of its submission in milliseconds since
    1970; or ``many``: true, if too many or unknown ones have changed.
    """

    def __init__(self, backend: BaseResultBackend, query: TaskQuery) -> None:
        self._changes = backend.watch_changes(query)  # it begins with the call
        self._life = secrets.token_urlsafe(6)
        self._number = 0
        self._told: deque[tuple[Event, float]] = deque(maxlen=_KEPT)
        self._waiting: dict[str, tuple[str, int | None]] = {}
        self._is_many = False
        self.mailboxes: set[_Mailbox] = set()
        self._task = asyncio.create_task(self._follow(), name="flowstore.web feed")
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_over(self) -> bool:
        return self._task.done()

    def missed_since(self, last: str | None) -> deque[Event]:
        """What a browser has missed that comes back with the id of its last event; None: it is new."""
        now = Event(self._id(), _NOTHING)
        if last == now.id:
            return deque([now])
        if last is None:
            since = asyncio.get_running_loop().time() - _ON_ITS_WAY
            return deque([*(event for event, at in self._told if at >= since), now])
        told = [event for event, _ in self._told]
        for place, event in enumerate(told):
            if event.id == last:
                return deque(told[place + 1 :])
        return deque([Event(now.id, _MANY)])

    async def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def _id(self) -> str:
        return f"{self._life}.{self._number}"

    async def _follow(self) -> None:
        try:
            async with aclosing(self._changes) as changes:
                async for change in changes:
                    self._note(change)
        except (BackendClosed, WaitsEnded):
            logger.debug("the store was closed, and its streams of changes have ended")
        except FlowstoreError as error:
            logger.warning("a stream of changes has ended: %s", error)
        finally:
            for mailbox in self.mailboxes:
                mailbox.end()

    def _note(self, change: TaskChange | ChangesMissed) -> None:
        if isinstance(change, ChangesMissed):
            self._is_many = True
        elif not self._is_many:
            at = None if change.task is None else change.task.submitted_at
            submitted = None if at is None else int(at.timestamp() * 1_000)
            self._waiting[segment(change.task_id)] = change.status, submitted
            self._is_many = len(self._waiting) > MOST_IDS
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(JOINED_FOR, self._tell)

    def _tell(self) -> None:
        self._timer = None
        data = _MANY if self._is_many else json.dumps({"ids": self._waiting}, separators=(",", ":"))
        self._waiting, self._is_many = {}, False
        self._number += 1
        event = Event(self._id(), data)
        self._told.append((event, asyncio.get_running_loop().time()))
        for mailbox in self.mailboxes:
            mailbox.put(event)
