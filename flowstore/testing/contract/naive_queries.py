"""Queries as a test means them, and their answers by looking at each task: independent of flowstore's."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from flowstore import TaskError, TaskResult, TaskStatus
from flowstore.testing.support import START

NOW: Final = START + timedelta(days=2, hours=5)
"""When the queries are asked."""

NAMES: Final = ("mail.send", "mail read", "a,b", 'say "hi"', "back\\slash")
LABELS: Final = ("x", "y", "z:1")
WORKERS: Final = ("w1", "w:2", "w*")
PARENTS: Final = ("t3", "t4", "gone")
WORDS: Final = (
    "timeout",
    "Gr\N{LATIN SMALL LETTER U WITH DIAERESIS}\N{LATIN SMALL LETTER SHARP S}e",
    "17",
    'q"t',
)
VALUES: Final[tuple[Any, ...]] = (
    *(None, True, "Timeout!", 'a q"t here', "GR\N{LATIN CAPITAL LETTER U WITH DIAERESIS}SSE", 1.17, 317),
    *({"timeouts": [1, 2, ("17",)]}, {"k": "v"}, ["x\ny", "\N{SNAKE}"]),
)
_FINISHED: Final = (TaskStatus.SUCCESS, TaskStatus.FAILED, TaskStatus.CANCELLED)


class Said(NamedTuple):
    """A term: its text, and what it means."""

    name: str
    text: str
    holds: Callable[[TaskResult], bool]


def some_tasks(choose: random.Random, count: int) -> list[TaskResult]:
    """Tasks t0, t1 ... in any state, with times around those that queries ask for, some of them equal."""
    return [_task(choose, f"t{n}") for n in range(count)]


def _task(choose: random.Random, task_id: str) -> TaskResult:
    status = choose.choice(list(TaskStatus))
    error = TaskError(type="builtins.OSError", message=f"{choose.choice(WORDS)} of {task_id}")
    cause = TaskError(type="Timeout", message="never")
    has_error = status in (TaskStatus.FAILED, TaskStatus.RETRYING)
    return TaskResult(
        task_id=task_id,
        status=status,
        task_name=choose.choice((*NAMES, None)),
        result=choose.choice(VALUES) if status is TaskStatus.SUCCESS else None,
        args=tuple(choose.choices(VALUES, k=choose.randint(0, 2))),
        kwargs={"key": choose.choice(VALUES)} if choose.random() < 0.3 else {},
        error=error.model_copy(update={"cause": choose.choice((cause, None))}) if has_error else None,
        submitted_at=_time(choose, 0.1),
        started_at=_time(choose, 0.3),
        finished_at=_time(choose, 0.1) if status in _FINISHED else None,
        retries=choose.choice((0, 0, 1, 2)),
        worker_id=choose.choice((*WORKERS, None)),
        parent_id=choose.choice((*PARENTS, None, None, None)) if task_id not in PARENTS else None,
        labels=frozenset(choose.sample(LABELS, choose.randint(0, 2))),
    )


def _time(choose: random.Random, none: float) -> datetime | None:
    hours = choose.choice((0, 1, 5, 24, 29, 30, 48, 52))
    return (
        None if choose.random() < none else START + timedelta(hours=hours, minutes=choose.choice((0, 0, 7)))
    )


def some_terms(choose: random.Random, count: int) -> list[Said]:
    """Terms of different kinds; some that say nothing, or contradict one another, are among them."""
    makers = choose.sample([*_MAKERS], min(count, len(_MAKERS)))
    return [_negated(said) if choose.random() < 0.25 else said for said in (make(choose) for make in makers)]


def _negated(said: Said) -> Said:
    return Said(said.name, f"-{said.text}", lambda task: not said.holds(task))


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _status(choose: random.Random) -> Said:
    wanted = choose.sample(list(TaskStatus), choose.randint(1, 3))
    return Said("status", f"status:{','.join(wanted)}", lambda task: task.status in wanted)


def _field(name: str, values: Iterable[str], has: Callable[[TaskResult], set[str | None]]) -> Any:
    def make(choose: random.Random) -> Said:
        wanted = choose.sample([*values], choose.choice((1, 1, 2)))
        text = f"{name}:{','.join(map(quoted, wanted))}"
        return Said(name, text, lambda task: any(value in has(task) for value in wanted))

    return make


def _id(choose: random.Random) -> Said:
    prefix, whole = f"t{choose.randint(0, 9)}", f"t{choose.randint(0, 99)}"
    if choose.random() < 0.5:
        return Said(
            "id", f"id:{prefix}*,{whole}", lambda task: task.task_id[:2] == prefix or task.task_id == whole
        )
    return Said("id", f"id:{whole},{prefix}", lambda task: task.task_id in (whole, prefix))


def _time_range(name: str, when: Callable[[TaskResult], datetime | None]) -> Any:
    def make(choose: random.Random) -> Said:
        text, first, last = choose.choice([*_ranges()])

        def holds(task: TaskResult) -> bool:
            at = when(task)
            return at is not None and (first is None or at >= first) and (last is None or at < last)

        return Said(name, f"{name}:{text}", holds)

    return make


def _ranges() -> Iterator[tuple[str, datetime | None, datetime | None]]:
    """Text, the first time in the range, and the first one behind it; None: it has no end there."""
    day = NOW.astimezone(UTC).replace(hour=0)
    micro, hour = timedelta(microseconds=1), timedelta(hours=1)
    yield "<5h", NOW - 5 * hour + micro, None
    yield ">29h", None, NOW - 29 * hour
    yield "1d..5h", NOW - 24 * hour, NOW - 5 * hour
    yield "today", day, day + 24 * hour
    yield "yesterday..", day - 24 * hour, None
    yield "..2026-01-01", None, START + 24 * hour
    yield "2026-01-01T05:00Z..2026-01-02T06:00+01:00", START + 5 * hour, START + 29 * hour
    yield "..", None, None


def _end(name: str) -> Any:
    def make(choose: random.Random) -> Said:
        text, begin, end = choose.choice(
            [
                ("24h", NOW - timedelta(hours=24), NOW - timedelta(hours=24)),
                ("yesterday", START + timedelta(days=1), START + timedelta(days=2)),
                ("2026-01-01T05:00Z", START + timedelta(hours=5), START + timedelta(hours=5)),
            ]
        )

        def holds(task: TaskResult) -> bool:
            at = task.finished_at if task.status in _FINISHED else task.submitted_at
            return at is not None and (at >= begin if name == "since" else at < end)

        return Said(name, f"{name}:{text}", holds)

    return make


def _lasting(name: str, how_long: Callable[[TaskResult], timedelta | None]) -> Any:
    def make(choose: random.Random) -> Said:
        hours = choose.choice((0, 4, 23))
        limit = timedelta(hours=hours)
        sign = choose.choice("<>.")

        def holds(task: TaskResult) -> bool:
            took = how_long(task)
            if took is None:
                return False
            return (
                took < limit if sign == "<" else took > limit if sign == ">" else limit <= took <= 2 * limit
            )

        text = f"{hours}h..{2 * hours}h" if sign == "." else f"{sign}{hours}h"
        return Said(name, f"{name}:{text}", holds)

    return make


def _ran(task: TaskResult) -> timedelta | None:
    if task.started_at is None:
        return None
    if task.status is TaskStatus.RUNNING:
        return NOW - task.started_at
    return task.finished_at - task.started_at if task.finished_at and task.status in _FINISHED else None


def _waited(task: TaskResult) -> timedelta | None:
    if task.submitted_at is None:
        return None
    if task.started_at is None:
        return NOW - task.submitted_at if task.status is TaskStatus.PENDING else None
    return task.started_at - task.submitted_at


def _tries(choose: random.Random) -> Said:
    count = choose.randint(1, 3)
    return choose.choice(
        [
            Said("tries", f"tries:>{count}", lambda task: task.retries + 1 > count),
            Said("tries", f"tries:{count}", lambda task: task.retries + 1 == count),
            Said("tries", f"tries:1..{count}", lambda task: task.retries < count),
        ]
    )


def _is(choose: random.Random) -> Said:
    return choose.choice(
        [
            Said("is", "is:root", lambda task: task.parent_id is None),
            Said("is", "is:child", lambda task: task.parent_id is not None),
        ]
    )


def _text(choose: random.Random) -> Said:
    word = choose.choice((*WORDS, "OSERROR", "mail", "never", "key", "true", "x\ny", "\N{SNAKE}", "1.1"))
    folded = word.casefold()
    return Said("text", quoted(word), lambda task: any(folded in text.casefold() for text in texts_of(task)))


def texts_of(task: TaskResult) -> Iterator[str]:
    """All that a search of a task may find, one by one."""
    yield task.task_name or ""
    if task.error is not None:
        links = [task.error] if task.error.cause is None else [task.error, task.error.cause]
        for link in links:
            yield from (link.type, link.message)
    yield from () if task.result is None else _shown(task.result)
    yield from _shown([*task.args])
    yield from _shown(task.kwargs)


def _shown(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _shown(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _shown(item)
    elif value is None or value is True:
        yield "null" if value is None else "true"
    else:
        yield str(value)


_MAKERS: Final[tuple[Callable[[random.Random], Said], ...]] = (
    _status,
    _field("name", NAMES, lambda task: {task.task_name}),
    _field("label", LABELS, lambda task: {*task.labels}),
    _field("worker", WORKERS, lambda task: {task.worker_id}),
    _field("parent", PARENTS, lambda task: {task.parent_id}),
    _field("root", PARENTS, lambda task: {task.root_id, task.task_id}),
    _id,
    _time_range("submitted", lambda task: task.submitted_at),
    _time_range("started", lambda task: task.started_at),
    _time_range("finished", lambda task: task.finished_at if task.status in _FINISHED else None),
    _time_range("updated", lambda task: task.updated_at),
    _end("since"),
    _end("until"),
    _lasting("run", _ran),
    _lasting("wait", _waited),
    _tries,
    _is,
    _text,
)

SORTS: Final = (None, None, "submitted", "-submitted", "finished", "-finished")


def answer(tasks: Iterable[TaskResult], terms: Iterable[Said], sort: str | None) -> list[TaskResult]:
    """The tasks for which all terms hold, in the order of ``sort``."""
    is_by_finish = sort is not None and sort.endswith("finished")

    def place(task: TaskResult) -> tuple[float, str]:
        at = task.finished_at if is_by_finish else task.submitted_at
        return (float("inf") if at is None else -at.timestamp(), task.task_id)

    wanted = [*terms]
    found = [task for task in tasks if all(said.holds(task) for said in wanted)]
    found = [task for task in found if not is_by_finish or task.status in _FINISHED]
    return sorted(found, key=place, reverse=sort is not None and not sort.startswith("-"))
