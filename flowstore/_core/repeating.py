"""Writes that are made again while the storage is full or cannot be reached, and take effect once.

An answer can be lost while the write was carried out. So before it is made again, what stands is compared
with what was sent; and the write is then bound to the version that was looked at, in case the first one is
only late. A storage that recognises tokens would see it by itself, but not all do, and a token is gone with
the next write of somebody else.
"""

from __future__ import annotations

from collections.abc import Callable

from flowstore._core.core import Core
from flowstore._trips.patience import patiently
from flowstore._values.checks import body_check
from flowstore.engine import APPLIED, FINAL, Entry, Outcome, Verdict, Write


class Sent:
    """The writes that were sent for one purpose, have no answer, and may have been carried out.

    ``is_outcome``: they finish a task. A record that is finished at the same microsecond, with the same
    values, has that outcome, whatever was written about it since.
    """

    __slots__ = ("_entries", "_is_outcome")

    def __init__(self, *, is_outcome: bool = False) -> None:
        self._is_outcome = is_outcome
        self._entries: list[Entry] = []

    def __bool__(self) -> bool:
        return bool(self._entries)

    async def send(self, core: Core, write: Write, now: int) -> Outcome:
        self._entries.append(write.entry)
        [outcome] = await core.engine.write([write], now)
        self._entries.pop()
        return outcome

    def includes(self, entry: Entry | None) -> bool:
        """Whether one of them has made this record what it is. Its body need not have been read."""
        if entry is None or not self._entries:
            return False
        return self._marks(entry) in map(self._marks, self._entries)

    def _marks(self, entry: Entry) -> tuple[object, ...]:
        if self._is_outcome and entry.status in FINAL:
            return entry.status, entry.stage, entry.started_at, entry.finished_at, body_check(entry)
        # Its expiry may have been changed since, and its root was perhaps not known.
        return *entry[:3], *entry[4:9], entry.head, body_check(entry)


async def write_patiently(
    core: Core, make: Callable[[int], Write], patience: float, *, is_bound: bool
) -> tuple[Write, Outcome]:
    """The write that ``make`` returns for a time, and what became of it. ``is_bound``: to a version."""
    sent = Sent(is_outcome=not is_bound)

    async def send() -> tuple[Write, Outcome]:
        while True:
            now = core.clock()
            write = bound = make(now)
            if sent:
                await core.engine.confirm()
                [entry] = await core.engine.read([write.entry.id], with_body=False)
                entry = None if entry is None or entry.is_expired(now) else entry
                if sent.includes(entry):
                    return write, APPLIED
                version = 0 if entry is None else entry.version
                if not _may_replace(write, entry):
                    return write, Outcome(Verdict.STANDING, version)
                bound = write._replace(if_version=version)
            outcome = await sent.send(core, bound, now)
            if bound is write or outcome.verdict is not Verdict.STANDING:
                return write, outcome

    return await patiently(send, patience, core.op_timeout)


def _may_replace(write: Write, entry: Entry | None) -> bool:
    """The guard of the write, as the storage would decide it."""
    if write.if_version is not None:
        return write.if_version == (0 if entry is None else entry.version)
    return entry is None or entry.stage <= write.ceiling
