"""What the writes of one call make of the records that they meet: decided in Python, written by writes.py."""

from __future__ import annotations

from collections.abc import Mapping

from flowstore.backends.sqlite.statements import NAMES, Stored, texts
from flowstore.engine import ANY_STAGE, APPLIED, Entry, Logged, Outcome, Owner, Verdict, Write


class Record:
    """What becomes of a record in one call. Version 0: absent, expired, or never written by flowstore."""

    __slots__ = (
        *("check", "entry", "expires_at", "fixed", "is_anew"),
        *("counted", "logged", "older", "stage", "stored", "version"),
    )

    def __init__(self, stored: Stored | None, now: int) -> None:
        self.stored = stored
        self.entry: Entry | None = None
        self.logged: list[tuple[int, int, Logged]] = []
        self.counted: list[tuple[Write, bool]] = []
        """The writes that count, and whether each was the first of its record."""
        self.older: int | None = None
        """How many items of the history may stay of those that were there before the call; None: all."""
        self.stage = self.version = self.check = 0
        self.expires_at: int | None = None
        self.fixed: tuple[str, ...] = ()
        self.is_anew = stored is not None and (stored.is_expired(now) or stored.version < 1)
        if stored is not None and not self.is_anew:
            self.stage, self.version, self.expires_at = stored.stage, stored.version, stored.expires_at
            self.fixed, self.check = _texts(stored.fixed), stored.check

    def apply(self, write: Write, now: int) -> Outcome:
        if self.expires_at is not None and self.expires_at <= now:  # written by this very call
            self.version, self.fixed, self.expires_at, self.is_anew = 0, (), None, True
            self.logged.clear()  # what was counted stays counted
            self.older = None
        version = self.version
        if write.if_version is None:
            is_free = not version or self.stage <= write.ceiling
        else:
            is_free = version == write.if_version and write.standing in (None, self.check)
        if not is_free or version >= ANY_STAGE:
            if self._is_readable:
                return Outcome(Verdict.STANDING, version)
            return Outcome(Verdict.UNREADABLE, reason="the standing record is not of this format")
        entry = write.entry
        if self.fixed != entry.fixed:
            if self.fixed:
                return Outcome(Verdict.FIXED, version, fixed=self.fixed)
            self.fixed = entry.fixed
        if write.marks or write.noted is not None:
            self._count(write, is_first=not version)
        if write.standing is not None and self.entry is not None:
            entry = entry._replace(body=self.entry.body)
        self.entry, self.check = entry, entry.check
        self.stage, self.expires_at = entry.stage, entry.expires_at
        self.version = version = version + 1
        if write.logged is not None:
            self.logged.append((version, entry.updated_at, write.logged))
            if (keep := write.logged.keep) is not None:
                del self.logged[: max(0, len(self.logged) - keep)]
                older = keep - len(self.logged)
                self.older = older if self.older is None else min(self.older, older)
        return APPLIED

    def _count(self, write: Write, *, is_first: bool) -> None:
        entry = write.entry
        if is_first or self.stage != entry.stage or self._status != entry.status:
            self.counted.append((write, is_first))

    def ownerless(self, owner: Owner, now: int) -> Outcome | None:
        """The refusal of a write that has this record as its owner; None if it is as it has to be."""
        is_live = self.version > 0 and (self.expires_at is None or self.expires_at > now)
        status = self._status
        if not (is_live and self._is_readable and status):
            return Outcome(Verdict.OWNERLESS)
        return None if owner.admits(status, self.stage) else Outcome(Verdict.OWNERLESS, self.version)

    @property
    def _is_readable(self) -> bool:
        """Numbers beyond 2**53 are of no write, and could only overflow."""
        return self.version < ANY_STAGE and 0 <= self.stage <= ANY_STAGE

    @property
    def _status(self) -> str:
        """What stands by now; "" for none, or what is none of this format."""
        if self.entry is not None:
            return self.entry.status
        return "" if self.stored is None else NAMES.get(self.stored.status, "")


class Records(dict[str, Record]):
    """The records that a call writes, or needs as owners, by id. ``stored``: those of them that stand."""

    def __init__(self, stored: Mapping[str, Stored], now: int) -> None:
        super().__init__()
        self._stored = stored
        self._now = now

    def __missing__(self, task_id: str) -> Record:
        self[task_id] = record = Record(self._stored.get(task_id), self._now)
        return record

    def apply(self, write: Write) -> Outcome:
        owner = write.owner
        refused = None if owner is None else self[owner.id].ownerless(owner, self._now)
        return refused or self[write.entry.id].apply(write, self._now)


def _texts(stored: bytes | None) -> tuple[str, ...]:
    try:
        return texts(stored)
    except ValueError:
        return ()
