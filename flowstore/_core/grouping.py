"""Error groups: what is known of each, and what an operator has made of it.

The storage counts a group with each failure, and knows no states. What was decided of a group is an item
beside it, with the number of failures that there were then. So a group is open again as soon as there is one
more, without any clock, and a failure that comes while somebody resolves its group is never covered up.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel

from flowstore._core.core import Core
from flowstore._core.keeping import Keeping
from flowstore._values.tallying import example_of
from flowstore.engine import NAMESPACE, Group, Item, Section
from flowstore.errors import UnreadableRecord
from flowstore.tables import Tabular
from flowstore.times import from_micros

PREFIX: Final = "error:"
"""How the keys of decisions begin, among those of Section.APP."""
FIELD: Final = "decision"
"""What their values hold."""


class ErrorState(StrEnum):
    """What an error group is to an operator."""

    OPEN = "open"
    RESOLVED = "resolved"
    IGNORED = "ignored"


class ErrorGroup(Tabular, BaseModel, frozen=True, extra="forbid"):
    """The failures that are one error to an operator. Retries count as well as failures.

    ``id``: the fingerprint, 16 hexadecimal digits, by which tasks can be listed (``error=``). ``message`` has
    placeholders for what differs between the failures. ``example`` is the message of the last one,
    ``example_id`` the id of its task, which may be gone, ``example_name`` its name. ``total``: how many
    failures there were ever. ``recent``: how many there were since the time that was asked about, and
    ``names`` how many of each task name, "" for tasks without one; None if no time was.

    ``state``: OPEN if nobody has decided otherwise, or it has come again since. ``decided_at``, ``by`` and
    ``reason``: of the last decision, also when the group is open again; None if there was none.
    ``ignored_until``: the time at which it opens again by itself; ``ignored_total``: or the total.
    """

    id: str
    type: str
    message: str
    example: str
    example_id: str
    example_name: str | None
    first_at: datetime
    last_at: datetime
    total: int
    recent: int | None = None
    names: dict[str, int] | None = None
    state: ErrorState = ErrorState.OPEN
    decided_at: datetime | None = None
    by: str | None = None
    reason: str | None = None
    ignored_until: datetime | None = None
    ignored_total: int | None = None


class Decision(BaseModel, frozen=True, extra="ignore"):
    """What was decided of a group with ``total`` failures, the first of them at ``first_at``."""

    state: ErrorState
    at: int
    total: int
    first_at: int
    by: str | None = None
    reason: str | None = None
    until: int | None = None
    until_total: int | None = None

    def holds(self, group: Group, now: int) -> bool:
        """Whether it does for the group as it is now, which may have been forgotten, and come anew."""
        if self.state is ErrorState.OPEN or group.first_at > self.first_at or group.total < self.total:
            return False
        if self.state is ErrorState.RESOLVED:
            return group.total <= self.total
        if self.until is not None and now >= self.until:
            return False
        return self.until_total is None or group.total < self.until_total


class Decisions:
    """What was decided of the groups of a namespace."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._keeping = Keeping(core, Section.APP)

    async def of(self, ids: list[str]) -> dict[str, Decision]:
        """By the id of the group. One that cannot be read is none."""
        if not ids:
            return {}
        items = await self._keeping.kept(NAMESPACE, keys=[PREFIX + one for one in ids])
        read = {item.key[len(PREFIX) :]: self._read(item) for item in items}
        return {group: decision for group, decision in read.items() if decision is not None}

    async def put(self, group: str, decision: Decision) -> None:
        fields = decision.model_dump(mode="json", exclude_none=True)
        await self._keeping.put(NAMESPACE, PREFIX + group, self._keeping.encode(fields, FIELD))

    def _read(self, item: Item) -> Decision | None:
        try:
            value, _ = self._keeping.decode(NAMESPACE, item, FIELD)
            return Decision.model_validate(value)
        except (UnreadableRecord, ValueError):
            return None


def group_of(
    group: Group, decision: Decision | None, now: int, names: dict[str, int] | None = None
) -> ErrorGroup:
    """Raises ValueError for a group whose example cannot be read."""
    example = example_of(group.example)
    decided: dict[str, Any] = {}
    if decision is not None:
        state = decision.state if decision.holds(group, now) else ErrorState.OPEN
        decided = {
            "state": state,
            "decided_at": from_micros(decision.at),
            "by": decision.by,
            "reason": decision.reason,
        }
        if state is ErrorState.IGNORED:
            until = decision.until
            decided["ignored_until"] = None if until is None else from_micros(until)
            decided["ignored_total"] = decision.until_total
    return ErrorGroup(
        id=group.id,
        type=example.type,
        message=example.normalised,
        example=example.message,
        example_id=example.task_id,
        example_name=example.name,
        first_at=from_micros(group.first_at),
        last_at=from_micros(group.last_at),
        total=group.total,
        recent=None if names is None else sum(names.values()),
        names=names,
        **decided,
    )
