"""Sample data for tests of engines: entries and writes with all fields filled in, and hints that are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from itertools import count
from typing import Any, Final

from flowstore.engine import STATUSES, Change, Entry, Logged, Mark, Noted, Owner, Write

NOW: Final = 1_767_225_600_000_000
"""2026-01-01, in microseconds: the ``now`` of the tests of engines, unless time passes."""

SECOND: Final = 1_000_000

_tokens = map("token {}".format, count())


def sample_entry(id: str, **changes: Any) -> Entry:
    """A pending record that was submitted at NOW and never expires, but for ``changes``."""
    entry = Entry(
        id=id,
        status="pending",
        stage=0,
        version=0,
        submitted_at=NOW,
        started_at=None,
        finished_at=None,
        due_at=None,
        updated_at=NOW,
        expires_at=None,
        fixed=(),
        facets=(),
        check=1234,
        head=b"{}",
        body=b'{"result": 1}',
    )
    return entry._replace(**changes)


def sample_write(
    id: str,
    status: str = "pending",
    *,
    ceiling: int | None = None,
    if_version: int | None = None,
    logged: Logged | None = None,
    token: str | None = None,
    owner: Owner | None = None,
    marks: tuple[Mark, ...] = (),
    noted: Noted | None = None,
    **changes: Any,
) -> Write:
    """A write of a sample entry. ``stage``: by default that of its status in the first attempt.

    ``ceiling``: by default the entry's own stage. ``token``: by default one that was never used.
    """
    stage = changes.pop("stage", {"pending": 0, "running": 1, "retrying": 1}.get(status, 2))
    entry = sample_entry(id, status=status, stage=stage, **changes)
    own = next(_tokens) if token is None else token
    bound = stage if ceiling is None else ceiling
    return Write(entry, own, bound, if_version, logged, None, owner, marks, noted)


class KeptHints:
    """The ``Hints`` of an engine under test: keeps what it is told, in order.

    ``on_change`` is called with each id and change at the moment it is told.
    """

    def __init__(self, *, is_waiting: bool = True) -> None:
        self.is_waiting = is_waiting
        self.told: list[tuple[str, Change]] = []
        self.looks = 0
        """How often it was told to look again: hints from before may be missing."""
        self.on_change: Callable[[str, Change], object] | None = None
        self._news = asyncio.Event()

    def changed(self, ids: Collection[str], change: Change, at: int | None = None) -> None:
        assert not isinstance(ids, str), f"ids: expected a collection of ids, got {ids!r}"
        for task_id in ids:
            self.told.append((task_id, change))
            if self.on_change is not None:
                self.on_change(task_id, change)
        self._news.set()

    def interrupted(self, error: Exception) -> None:
        pass

    def look_again(self) -> None:
        self.looks += 1
        self._news.set()

    def clear(self) -> None:
        """Forget what was told so far."""
        self.told.clear()
        self.looks = 0

    async def heard(self, task_id: str, *changes: Change, within: float) -> None:
        """Return once one of ``changes`` of the id was told, or to look again, since the last ``clear``."""
        try:
            async with asyncio.timeout(within):
                while not self.looks and not any((task_id, change) in self.told for change in changes):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            wanted = " or ".join(change.name for change in changes)
            raise AssertionError(f"no hint of {wanted} of {task_id!r}; told: {self.told}") from None

    def stores(self, task_id: str) -> list[str]:
        """The statuses in which the id was stored, as told, in order."""
        return [change.value for told, change in self.told if told == task_id and change.value in STATUSES]
