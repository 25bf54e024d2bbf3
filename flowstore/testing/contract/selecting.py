"""The contract of selections: error groups and ranges of times, in every listing, count and iterator."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from flowstore import BaseResultBackend, InvalidCursor, TaskResult, TaskStatus
from flowstore.testing.contract.base import Contract
from flowstore.testing.contract.finishing import at, ended
from flowstore.testing.contract.retaining import FIRST_MOMENT
from flowstore.testing.insides import plant
from flowstore.testing.support import failed, ids, walk

ONE, OTHER, NONE = "5d0c" * 4, "0123456789abcdef", "f" * 16
BAD_FINGERPRINTS: Final[list[tuple[Any, type[Exception]]]] = [
    ("", ValueError),
    ("5D0C" * 4, ValueError),
    ("5d0c", ValueError),
    ("g" * 16, ValueError),
    ("5d0c" * 4 + "\n", ValueError),
    (7, TypeError),
    (b"5d0c" * 4, TypeError),
]


class SelectingContract(Contract):
    async def test_filter_by_error_group(self, backend: BaseResultBackend) -> None:
        """Failed and retrying tasks by submission, failed ones by finish, beside any other filter."""
        choose = random.Random(2)
        of: dict[str, TaskResult] = {}
        for n in range(60):
            fields: Any = {"task_name": choose.choice("ab"), "parent_id": choose.choice(["p", None])}
            task = ended(f"t{n:02}", choose.randint(0, 9), choose.randint(0, 9), **fields)
            fingerprint = choose.choice([ONE, OTHER])
            if choose.random() < 0.3:
                retried = {"status": TaskStatus.RETRYING, "finished_at": None}
                task = task.model_copy(update=retried)
            await plant_failed(backend, task, fingerprint)
            of[task.task_id] = task.model_copy(update={"labels": {fingerprint}})
        for wanted in ({}, {"name": "a"}, {"parent_id": "p", "name": "b"}, {"root_id": "p"}):
            for order in ("submitted", "finished"):
                expected = [task for task in of.values() if _passes(task, ONE, order, wanted)]
                expected.sort(key=lambda task: (-_time(task, order), task.task_id))
                selection: Any = {"error": ONE, "order": order, **wanted}
                pages = await walk(backend, None, limit=4, **selection)
                assert [name for page in pages for name in ids(page.items)] == ids(expected)
                listed = backend.iter_ids(newest_first=False, batch_size=3, **selection)
                assert [task_id async for task_id in listed] == ids(expected)[::-1]
                some = await backend.list_by_status("failed", since=at(3), until=at(8), **selection)
                assert ids(some) == [
                    task.task_id
                    for task in expected
                    if task.status is TaskStatus.FAILED and 3 <= _time(task, order) < 8
                ]
        assert (await backend.page(error=NONE)).items == []
        assert await backend.clear("failed", error=OTHER, until=at(5)) > 0
        assert all(
            _time(task, "submitted") >= 5 for task in (await backend.page("failed", error=OTHER)).items
        )

    async def test_what_is_no_fingerprint(self, backend: BaseResultBackend) -> None:
        """Named at the call, with what was expected; nothing is cleared."""
        await plant_failed(backend, failed("t"), ONE)
        for bad, error in BAD_FINGERPRINTS:
            for call in (backend.page, backend.clear, backend.count_by_status):
                with pytest.raises(error, match=r"^error: expected"):
                    await call(error=bad)
            with pytest.raises(error, match=r"^error: expected"):
                backend.iter_by_status(error=bad)
        assert await backend.exists("t")

    async def test_a_cursor_belongs_to_its_error_group(self, backend: BaseResultBackend) -> None:
        """In both directions."""
        for n in range(6):
            await plant_failed(backend, failed(f"t{n}", n), ONE)
        first = await backend.page(error=ONE, limit=2)
        second = await backend.page(error=ONE, limit=2, cursor=first.next_cursor)
        assert await backend.page(error=ONE, limit=2, cursor=second.prev_cursor) == first
        for cursor in (first.next_cursor, second.prev_cursor):
            others: tuple[Any, ...] = ({}, {"error": OTHER})
            for other in others:
                with pytest.raises(InvalidCursor):
                    await backend.page(cursor=cursor, **other)

    async def test_every_listing_has_bounds_in_time(self, backend: BaseResultBackend) -> None:
        """The same tasks in all of them; what was never submitted is in no range, and last without one."""
        await backend.store_many(failed(f"t{n}", n, task_name="a") for n in range(8))
        await backend.store("never", failed("never", None, task_name="a"))
        inside = ["t5", "t4", "t3", "t2"]
        bounds: Any = {"since": at(2), "until": at(6), "name": "a"}
        assert ids((await backend.page(**bounds)).items) == inside
        assert ids(await backend.list_by_status("failed", **bounds)) == inside
        assert [task.task_id async for task in backend.iter_by_status(**bounds)] == inside
        assert [task_id async for task_id in backend.iter_ids(**bounds)] == inside
        assert (await backend.count_by_status(**bounds)) == dict.fromkeys(TaskStatus, 0) | {"failed": 4}
        assert await backend.clear(**bounds) == 4
        assert [task_id async for task_id in backend.iter_ids(name="a")] == [
            *("t7", "t6", "t1", "t0", "never")
        ]
        assert [task_id async for task_id in backend.iter_ids(until=at(99))] == ["t7", "t6", "t1", "t0"]
        assert sum((await backend.count_by_status(since=at(-99))).values()) == 4

    async def test_the_first_moment_is_a_bound_as_well(self, backend: BaseResultBackend) -> None:
        """No task was submitted then: typed results, which have that time, are in no range either."""
        first = datetime.min.replace(tzinfo=UTC)
        await plant(backend, TaskResult.success("typed", 1), submitted_at=FIRST_MOMENT)
        await backend.store("t", failed("t"))
        assert ids((await backend.page(since=first)).items) == ["t"]
        assert [task_id async for task_id in backend.iter_ids(since=first)] == ["t"]
        assert ids((await backend.search("since:0001-01-01 submitted:0001-01-01..")).items) == ["t"]
        assert (await backend.count_by_status(since=first)).total == 1
        assert await backend.clear(since=first) == 1
        assert await backend.exists("typed")


async def plant_failed(backend: BaseResultBackend, task: TaskResult, fingerprint: str) -> None:
    """Store a task with the facets of a group of errors."""
    facets = [] if task.task_name is None else [f"{'step' if task.parent_id else 'run'}:{task.task_name}"]
    is_failed = task.status is TaskStatus.FAILED
    by_finish = ["~", f"~error:{fingerprint}"] if is_failed else []
    await plant(backend, task, facets=(*facets, *by_finish, f"error:{fingerprint}"))


def _time(task: TaskResult, order: str) -> float:
    time = task.submitted_at if order == "submitted" else task.finished_at
    assert time is not None
    return (time - at(0)).total_seconds()


def _passes(task: TaskResult, fingerprint: str, order: str, wanted: dict[str, Any]) -> bool:
    if order == "finished" and task.status is not TaskStatus.FAILED:
        return False
    has = {"name": task.task_name, "parent_id": task.parent_id, "root_id": task.root_id or task.parent_id}
    return fingerprint in task.labels and all(has[name] == value for name, value in wanted.items())
