"""The attempts at a task, out of its history, and what differs between two of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

from flowstore import TaskError, TaskStatus, Transition

_ENDS = (TaskStatus.RETRYING, TaskStatus.SUCCESS, TaskStatus.FAILED, TaskStatus.CANCELLED)


@dataclass(frozen=True)
class Attempt:
    """One attempt, numbered from 1. Times are those of the stores; None: the history does not say.

    ``status``: the last one in it. ``error``: cut to 1 KiB, as histories keep it. ``ended_at``: of one that
    has no end of its own, as its worker was lost, the time at which the next one was made.
    """

    number: int
    status: TaskStatus
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    worker_id: str | None = None
    error: TaskError | None = None

    @property
    def wait(self) -> float | None:
        """Seconds from when it could have begun to its start."""
        return _between(self.submitted_at, self.started_at)

    @property
    def run(self) -> float | None:
        """Seconds from its start to its end."""
        return _between(self.started_at, self.ended_at)


def attempts_of(history: Iterable[Transition]) -> list[Attempt]:
    """In order, from transitions in the order of writing; events are passed over."""
    found: dict[int, Attempt] = {}
    current: int | None = None
    before: datetime | None = None
    for step in history:
        if step.event is not None:
            continue
        if current is not None and current != step.retries and found[current].ended_at is None:
            found[current] = replace(found[current], ended_at=step.at)
            before = step.at
        current = step.retries
        last = found.get(current) or Attempt(current + 1, step.status, submitted_at=before)
        found[current] = _after(last, step)
        if step.status in _ENDS:
            before = step.at
    return [found[number] for number in sorted(found)]


def _after(last: Attempt, step: Transition) -> Attempt:
    submitted, started = last.submitted_at, last.started_at
    if step.status == TaskStatus.PENDING:
        submitted = step.at
    elif step.status == TaskStatus.RUNNING and started is None:
        started = step.at
    return Attempt(
        number=last.number,
        status=step.status,
        submitted_at=submitted,
        started_at=started,
        ended_at=step.at if step.status in _ENDS else None,
        worker_id=step.worker_id or last.worker_id,
        error=step.error or last.error,
    )


def _between(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else (end - start).total_seconds()


class Piece(NamedTuple):
    """A part of two messages: in both of them, in the first only ("gone"), or in the second only ("new")."""

    kind: Literal["same", "gone", "new"]
    text: str


@dataclass(frozen=True)
class Differences:
    """``message``: the second error's message as a change of the first one's.

    ``types``: those of both, None for an attempt without an error. ``frames``: the innermost frames that
    differ, None where one traceback has no more; None: as far as they are kept, none do.
    """

    first: Attempt
    second: Attempt
    types: tuple[str | None, str | None]
    message: list[Piece]
    frames: tuple[str | None, str | None] | None


def differences(first: Attempt, second: Attempt) -> Differences:
    """What is to be seen between two attempts."""
    one, other = first.error, second.error
    return Differences(
        first=first,
        second=second,
        types=(one.type if one else None, other.type if other else None),
        message=_words(one.message if one else "", other.message if other else ""),
        frames=_frames(_frames_of(one), _frames_of(other)),
    )


def _words(first: str, second: str) -> list[Piece]:
    one, other = first.split(), second.split()
    pieces: list[Piece] = []
    for tag, i, j, k, m in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if tag == "equal":
            pieces.append(Piece("same", " ".join(one[i:j])))
            continue
        if i < j:
            pieces.append(Piece("gone", " ".join(one[i:j])))
        if k < m:
            pieces.append(Piece("new", " ".join(other[k:m])))
    return pieces


def _frames_of(error: TaskError | None) -> list[str]:
    """Each a line that names file, line and function, with the code below it."""
    frames: list[str] = []
    for line in ((error and error.traceback) or "").splitlines():
        if line.lstrip().startswith("File "):
            frames.append(line.strip())
        elif frames and line.startswith("    "):
            frames[-1] += "\n  " + line.strip()
    return frames


def _frames(first: Sequence[str], second: Sequence[str]) -> tuple[str | None, str | None] | None:
    """From the innermost frame outwards, as the outer ones may have been cut off."""
    longest = max(len(first), len(second))
    for place in range(1, longest + 1):
        one = first[-place] if place <= len(first) else None
        other = second[-place] if place <= len(second) else None
        if one != other:
            return one, other
    return None
