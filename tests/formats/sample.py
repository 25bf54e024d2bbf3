"""What every fixture of a stored format holds. It never changes: a new format gets the same records."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel

from flowstore import Progress, TaskResult

START: Final = datetime(2026, 1, 1, tzinfo=UTC)


class Colour(enum.Enum):
    RED = "r"
    BLUE = 2


@dataclass(frozen=True)
class Point:
    x: int
    y: int


class Order(BaseModel):
    number: int
    lines: list[str] = []


TYPES: Final = {"Colour": Colour, "Point": Point, "Order": Order}

VALUE: Final[Any] = {
    "plain": [None, True, -7, 0.5, "caf\u00e9 \N{SNAKE}", {"a": {"b": []}}],
    "tagged": (2**80, float("inf"), b"\x00\xff", {1, 2}, frozenset({"x"}), {(1, 2): date(2026, 1, 1)}),
    "times": [START, timedelta(days=-1, microseconds=3), UUID(int=7), Decimal("1.50")],
    "types": [Colour.BLUE, Point(3, 4), Order(number=5, lines=["a"])],
}


def at(second: int) -> datetime:
    return START + timedelta(seconds=second)


def results() -> list[TaskResult]:
    """In the order of storing. The first is the root of a family, the second a retry that came to an end."""
    error = ValueError("bad row")
    error.__cause__ = KeyError("id")
    root = TaskResult.running(
        "root", at=at(2), task_name="import", submitted_at=at(1), labels={"night", "eu"}
    )
    step = TaskResult.pending(
        "step", at=at(3), task_name="load", parent_id="root", args=(1, "a"), kwargs={"k": b"x"}
    )
    return [
        root.model_copy(update={"progress": Progress(done=3, total=10, note="reading")}),
        step,
        TaskResult.retrying(step, error, worker_id="w1"),
        TaskResult.success(step, VALUE, at=at(9), retries=1, worker_id="w2", started_at=at(8)),
        TaskResult.pending("leaf", at=at(4), parent_id="step"),
        TaskResult.failed("failed", error, at=at(6), submitted_at=at(5), labels={"eu"}),
        TaskResult.cancelled("cancelled", at=at(7)),
        TaskResult.success("odd \0\n'\N{SNAKE}", None, at=at(7)),
    ]
