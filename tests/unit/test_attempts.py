"""Attempts out of a history, and what differs between two of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flowstore import TaskError, TaskStatus, Transition
from flowstore._faces.attempts import Attempt, attempts_of, differences

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
WORDS = st.lists(st.sampled_from(("smtp", "timed", "out", "3", "ü", "-x-", "<b>")), max_size=8).map(" ".join)


def history_of(*steps: tuple[str, int], **fields: Any) -> list[Transition]:
    """A status and the retries of each step; one is written each second."""
    return [
        Transition(
            task_id="t",
            at=START + timedelta(seconds=number),
            status=TaskStatus(status),
            retries=retries,
            worker_id=f"w{retries}" if status == "running" else None,
            seq=number + 1,
            **fields,
        )
        for number, (status, retries) in enumerate(steps)
    ]


def seconds(attempt: Attempt) -> tuple[float | None, float | None]:
    return attempt.wait, attempt.run


def test_two_attempts() -> None:
    """The second one waits from the end of the first."""
    first, second = attempts_of(
        history_of(("pending", 0), ("running", 0), ("retrying", 0), ("running", 1), ("success", 1))
    )
    assert (first.number, first.status, first.worker_id) == (1, "retrying", "w0")
    assert (second.number, second.status, second.worker_id) == (2, "success", "w1")
    assert seconds(first) == seconds(second) == (1, 1)


def test_a_lost_worker() -> None:
    """Its attempt has ended, at the latest, when the task was put back."""
    first, second = attempts_of(history_of(("pending", 0), ("running", 0), ("pending", 1), ("running", 1)))
    assert (first.status, seconds(first)) == ("running", (1, 1))
    assert (second.status, seconds(second)) == ("running", (1, None))


def test_a_finished_task_that_is_put_back() -> None:
    """It waits from then on, and not from its end."""
    _, second = attempts_of(
        history_of(("pending", 0), ("running", 0), ("failed", 0), ("pending", 1), ("running", 1))
    )
    assert second.submitted_at == START + timedelta(seconds=3)
    assert seconds(second) == (1, None)


def test_a_history_whose_beginning_was_removed() -> None:
    """What it does not say is None."""
    [only] = attempts_of(history_of(("failed", 4)))
    assert (only.number, only.submitted_at, only.started_at, seconds(only)) == (5, None, None, (None, None))
    assert attempts_of([]) == []


def test_events_are_no_attempts() -> None:
    assert attempts_of(history_of(("pending", 0), event="note", event_at=START)) == []


RANKS = {"pending": 0, "running": 1, "retrying": 2}
STEPS = st.lists(st.tuples(st.sampled_from([*map(str, TaskStatus)]), st.integers(0, 4)), max_size=20)


@given(STEPS)
def test_any_history(steps: list[tuple[str, int]]) -> None:
    """One attempt for each number, in order; it starts before it ends, and its status was the last in it."""
    ordered = sorted(steps, key=lambda step: (step[1], RANKS.get(step[0], 3)))  # as a record advances
    attempts = attempts_of(history_of(*ordered))
    assert [attempt.number - 1 for attempt in attempts] == sorted({retries for _, retries in steps})
    for attempt in attempts:
        assert attempt.status == [status for status, retries in ordered if retries == attempt.number - 1][-1]
        assert attempt.run is None or attempt.run >= 0
        assert attempt.wait is None or attempt.wait >= 0
    for one, other in pairwise(attempts):
        assert one.ended_at is not None
        assert other.submitted_at is not None
        assert one.ended_at <= other.submitted_at


def failed(message: str, traceback: str | None = None, kind: str = "ValueError") -> Attempt:
    return Attempt(1, TaskStatus.FAILED, error=TaskError(type=kind, message=message, traceback=traceback))


def test_words_that_differ() -> None:
    found = differences(
        failed("smtp1 timed out after 3 s"), failed("smtp2 timed out after 30 s", None, "OSError")
    )
    assert found.types == ("ValueError", "OSError")
    assert [(piece.kind, piece.text) for piece in found.message] == [
        ("gone", "smtp1"),
        ("new", "smtp2"),
        ("same", "timed out after"),
        ("gone", "3"),
        ("new", "30"),
        ("same", "s"),
    ]
    assert found.frames is None


@given(WORDS, WORDS)
def test_both_messages_can_be_read_from_the_pieces(first: str, second: str) -> None:
    pieces = differences(failed(first), failed(second)).message

    def without(kind: str) -> str:
        return " ".join(piece.text for piece in pieces if piece.kind != kind)

    assert without("new") == first
    assert without("gone") == second


def frame(number: int, code: str = "work()") -> str:
    return f'  File "job.py", line {number}, in work\n    {code}\n'


def test_the_innermost_frames_that_differ() -> None:
    """The outer ones may have been cut off."""
    one, other = failed("", frame(1) + frame(2) + frame(9)), failed("", frame(1) + frame(3) + frame(9))
    assert differences(one, other).frames == (
        'File "job.py", line 2, in work\n  work()',
        'File "job.py", line 3, in work\n  work()',
    )
    assert differences(one, one).frames is None
    assert differences(failed("", frame(2) + frame(9)), failed("", frame(9))).frames == (
        'File "job.py", line 2, in work\n  work()',
        None,
    )


def test_attempts_without_an_error() -> None:
    """There is nothing to compare, and a success differs from a failure by the whole message."""
    success = Attempt(2, TaskStatus.SUCCESS)
    assert differences(success, success).message == []
    found = differences(failed("no room"), success)
    assert found.types == ("ValueError", None)
    assert [piece.kind for piece in found.message] == ["gone"]
