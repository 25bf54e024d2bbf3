"""How a process learns of the commits of others: by doorbell, or else by polling SQLite.

Every message here is a hint (see _waiting/waiters.py). What must hold is the order: listen before the read,
tell after the commit. Then a commit that the read does not see is one whose message arrives.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from flowstore._local.doorbell import LOOK_AT_EVERYTHING, MOST_BYTES, Doorbell
from flowstore._trips.background import in_background
from flowstore.backends.sqlite.connection import Connection
from flowstore.backends.sqlite.statements import Stored
from flowstore.engine import APPLIED, Change, Hints, Outcome, Write, let_go

_SHORTEST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.02


class Changes:
    """Notifies other processes of changes in one namespace of a file, and receives their notifications.

    Where there is no doorbell (no Unix sockets, or a file system without them) PRAGMA data_version is
    polled, every 1 ms after a change and up to every 20 ms when idle, and only while somebody waits.
    """

    def __init__(
        self,
        file: Path,
        namespace: int,
        hints: Hints,
        reader: Connection,
        connect: Callable[[], Awaitable[Connection]],
    ) -> None:
        self._namespace = namespace
        self._hints = hints
        self._connect = connect
        self._loop = asyncio.get_running_loop()
        self._bell = Doorbell(file, self._heard, reader.post)
        self._asking: asyncio.Task[None] | None = None

    def listen(self) -> bool:
        """Whether from now on no commit can be missed; if False, call ``ask``. From the reader's thread.

        It lasts until nobody waits any more.
        """
        if self._asking is not None:
            return True
        try:
            self._bell.bind()
        except (OSError, NotImplementedError):
            return False
        return True

    async def ask(self) -> None:
        """Start polling; when it returns, no later commit can be missed."""
        # A connection of its own: data_version is blind to commits made on the connection that asks, and
        # inside of a read transaction.
        connection = await self._connect()
        seen = await connection.run(_data_version)
        if self._asking is None:
            self._asking = in_background(self._keep_asking(connection, seen))
            self._asking.add_done_callback(self._asked)

    def tell(self, changes: Mapping[Change, Sequence[str]]) -> None:
        """Notify this process and the others. From the writer's thread, right after the commit.

        In that thread, so that a caller cancelled in the meantime cannot prevent it.
        """
        if self._hints.is_waiting:
            with suppress(RuntimeError):  # the loop is closed; other processes may still wait
                for change, ids in changes.items():
                    self._loop.call_soon_threadsafe(self._hints.changed, ids, change)
        if any(changes.values()):
            self._bell.ring(self._messages(changes))

    async def close(self) -> None:
        self._bell.close()
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    def abandon(self) -> None:
        self._bell.close()
        let_go(self._asking)

    def _messages(self, changes: Mapping[Change, Sequence[str]]) -> Iterator[bytes]:
        for change, ids in changes.items():
            yield from self._fitting(change, ids) if ids else ()

    def _fitting(self, change: Change, ids: Sequence[str]) -> Iterator[bytes]:
        message = json.dumps([self._namespace, change, ids], ensure_ascii=False).encode()
        if len(message) <= MOST_BYTES:
            yield message
        else:
            yield from self._fitting(change, ids[: len(ids) // 2])
            yield from self._fitting(change, ids[len(ids) // 2 :])

    def _heard(self, message: bytes) -> None:
        # The first message after the last wait takes the socket away: to rebind for each wait would cost
        # more than to receive one message in vain.
        if not self._hints.is_waiting:
            self._bell.unbind()
        elif message == LOOK_AT_EVERYTHING:
            self._hints.look_again()
        else:
            namespace, change, ids = json.loads(message)
            if namespace == self._namespace:
                self._hints.changed(ids, Change(change))

    async def _keep_asking(self, connection: Connection, seen: int) -> None:
        pause = _SHORTEST_PAUSE
        while self._hints.is_waiting:
            await asyncio.sleep(pause)
            version = await connection.run(_data_version)
            pause = min(1.5 * pause, _LONGEST_PAUSE) if version == seen else _SHORTEST_PAUSE
            if version != seen:
                seen = version
                self._hints.look_again()

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking = None
        if not task.cancelled():
            # Someone may have begun to wait after the last look at is_waiting, and found polling under way.
            self._hints.look_again()
            if (error := task.exception()) is not None:
                self._loop.call_exception_handler({"message": "change detection stopped", "exception": error})


def _data_version(raw: sqlite3.Connection) -> int:
    [(version,)] = raw.execute("PRAGMA data_version").fetchall()
    return int(version)


def of_writes(writes: Sequence[Write], outcomes: Sequence[Outcome]) -> dict[Change, list[str]]:
    changes: dict[Change, list[str]] = {}
    for write, outcome in zip(writes, outcomes, strict=True):
        if outcome is APPLIED:
            changes.setdefault(Change(write.entry.status), []).append(write.entry.id)
    return changes


def of_removals(rows: Iterable[Stored], now: int) -> dict[Change, list[str]]:
    changes: dict[Change, list[str]] = {}
    for stored in rows:
        change = Change.EXPIRED if stored.is_expired(now) else Change.DELETED
        changes.setdefault(change, []).append(stored.id)
    return changes
