"""Retention in the words of its users: what stays, what would go and why, and what went."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    Strict,
    model_validator,
)

from flowstore._values.arguments import Seconds, check_statuses, check_ttl
from flowstore.fields import Record, Timestamp
from flowstore.models import FINISHED, Statuses, TaskStatus, Unreadable

PINNED: Final = "pinned"
"""The label of a task that no retention policy removes."""


def _max_age(value: Any) -> timedelta:
    try:
        micros = check_ttl("max_age", value)
    except TypeError as error:  # which pydantic would not make an error of this field
        raise ValueError(str(error)) from None
    assert micros is not None
    return timedelta(microseconds=micros)


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected seconds or a timedelta, got bool")
    return value


def _finished(value: Any) -> tuple[TaskStatus, ...] | None:
    if value is None:
        return None
    try:
        statuses = check_statuses(value)
    except TypeError as error:
        raise ValueError(str(error)) from None
    if unfinished := [status.value for status in statuses if status not in FINISHED]:
        raise ValueError(f"statuses: {unfinished[0]} is not finished, and what is not finished never goes")
    if not statuses:
        raise ValueError("statuses: with none of them nothing ever goes; None means all that are finished")
    return statuses


AtLeastOne = Annotated[int, Strict(), Field(ge=1, lt=2**63)]
MaxAge = Annotated[Seconds, BeforeValidator(_no_bool), AfterValidator(_max_age)]
FinishedStatuses = Annotated[
    Statuses,
    PlainValidator(_finished, json_schema_input_type=list[TaskStatus] | None),
    PlainSerializer(lambda statuses: statuses, return_type=tuple[TaskStatus, ...] | None),
]


class RetentionPolicy(Record):
    """What stays of the finished ones in each group. Whatever breaks one of the limits goes.

    ``max_per_group``: only so many, the newest. ``max_age``: only those that have finished no longer ago, in
    seconds or as a timedelta. ``max_bytes``: only the newest that fit into so many bytes together; the first
    that does not fit goes, and all that are older. ``keep_latest``: so many of the newest stay whatever the
    limits say. ``statuses``: which ones it is about; None: all that are finished.

    What is not finished, is pinned, or has another status never goes and does not count. At least one limit
    must be given. Raises pydantic's ValidationError, a ValueError, for what contradicts itself.
    """

    max_per_group: AtLeastOne | None = None
    max_age: MaxAge | None = None
    max_bytes: AtLeastOne | None = None
    statuses: FinishedStatuses = None
    keep_latest: Annotated[int, Strict(), Field(ge=0, lt=2**63)] = 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_per_group is None and self.max_age is None and self.max_bytes is None:
            raise ValueError("expected max_per_group, max_age or max_bytes: without any nothing ever goes")
        if self.max_per_group is not None and self.keep_latest > self.max_per_group:
            raise ValueError(
                f"keep_latest: {self.keep_latest} would stay, and max_per_group allows {self.max_per_group}"
            )
        return self


class RetentionItem(Record):
    """One that would go: ``reason`` says why. ``size`` in bytes is None where the policy does not ask."""

    id: str
    group: str | None
    status: str
    finished_at: Timestamp
    size: int | None
    reason: str


class RetentionPlan(Record):
    """What a policy would remove now, the newest first, and how many others it is about, which stay.

    ``unreadable``: those that could not be judged, which stay as well; at most 100 are named.
    """

    items: list[RetentionItem]
    kept: int
    unreadable: list[Unreadable]

    @property
    def size(self) -> int | None:
        """The bytes of all items; None where the policy does not ask for sizes."""
        sizes = [item.size for item in self.items if item.size is not None]
        return sum(sizes) if len(sizes) == len(self.items) else None


class RetentionOutcome(Record):
    """What was removed, so far or in all: how many, and of how many bytes (None: the policy does not ask).

    ``kept``: those that the policy keeps. ``changed``: those that were to go, and were stored anew, pinned or
    removed by others before. ``unreadable``: as in RetentionPlan.
    """

    removed: int
    size: int | None
    kept: int
    changed: int
    unreadable: list[Unreadable]
