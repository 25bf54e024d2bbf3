"""The contract of listings by finish, of ranges of times, and of clearing what they show."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

import pytest

from flowstore import (
    BaseResultBackend,
    InvalidCursor,
    ResultDeleted,
    Selection,
    TaskResult,
    TaskStatus,
    UnreadableRecords,
)
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.insides import plant
from flowstore.testing.support import START, ids, seen, stored, waiting, walk

FAILED, SUCCESS = TaskStatus.FAILED, TaskStatus.SUCCESS
ALL_FACETS = ("name", "worker_id", "label", "finished")


class FinishingContract(Contract):
    async def test_what_failed_last(self, backend: BaseResultBackend) -> None:
        """The newest finish first, ties by id, whenever it was submitted; in each way to list."""
        await backend.store_many(ended(f"t{n:02}", n, 100 - n) for n in range(50))
        await backend.store_many([ended("late", None, 500), ended("a", 7, 500), TaskResult.pending("p")])
        expected = ["a", "late", *(f"t{n:02}" for n in range(50))]
        pages = await walk(backend, FAILED, limit=7, order="finished")
        assert [len(page.items) for page in pages] == [7] * 7 + [3]
        assert [name for page in pages for name in ids(page.items)] == expected
        backwards = backend.iter_by_status(FAILED, order="finished", newest_first=False, batch_size=9)
        assert [task.task_id async for task in backwards] == expected[::-1]
        assert ids(await backend.list_by_status(FAILED, 3, 1, order="finished")) == expected[1:4]
        assert ids((await backend.page(FAILED, limit=1)).items) == ["t49"]

    async def test_every_range_and_filter(self, make_backend: MakeBackend) -> None:
        """Orders, bounds, statuses and filters together, in both directions."""
        choose = random.Random(11)
        async with make_backend(facets=ALL_FACETS) as backend:
            await fill(backend, choose)
            everything = (await backend.page(limit=500)).items
            for _ in range(80):
                wanted: Any = {
                    name: choose.choice(values)
                    for name, values in RANDOM_ARGUMENTS.items()
                    if choose.random() < 0.4
                }
                statuses = choose.choice([None, [FAILED], [FAILED, SUCCESS], [TaskStatus.RUNNING]])
                expected = listed(everything, statuses, wanted)
                found = await walk(backend, statuses, limit=6, **wanted)
                assert [name for page in found for name in ids(page.items)] == expected, wanted
                backwards = backend.iter_by_status(statuses, newest_first=False, batch_size=6, **wanted)
                assert [task.task_id async for task in backwards] == expected[::-1], wanted

    async def test_successful_tasks_only_where_they_are_indexed(self, make_backend: MakeBackend) -> None:
        """Otherwise the call says how they would be; nothing is cleared."""
        async with make_backend() as backend:
            await backend.store("t", TaskResult.success("t"))
            for statuses in (None, [SUCCESS], [SUCCESS, FAILED]):
                for call in (backend.page, backend.clear):
                    with pytest.raises(ValueError, match=r"^order: .*'finished' among its facets"):
                        await call(statuses, order="finished")
                with pytest.raises(ValueError, match=r"^order: "):
                    backend.iter_by_status(statuses, order="finished")
            assert (await backend.page(["failed", "running"], order="finished")).items == []
            assert await backend.exists("t")
        async with make_backend(facets=["finished"]) as backend:
            await backend.store_many([TaskResult.success("t", at=at(1)), ended("u", 5, 0)])
            assert ids((await backend.page(order="finished")).items) == ["t", "u"]

    async def test_bounds(self, backend: BaseResultBackend) -> None:
        """``since`` is included, ``until`` is not; no task without the time is in a range."""
        await backend.store_many([*(ended(f"t{n}", n, 9 - n) for n in range(5)), ended("never", None, 3)])
        for order, names in (("submitted", ["t3", "t2"]), ("finished", ["t2", "t3"])):
            range_of: Any = {"order": order, "since": at(2 if order == "submitted" else 6)}
            for seconds, expected in ((2, names), (0, []), (-1, [])):
                until = range_of["since"] + seconds * SECOND
                assert ids((await backend.page(FAILED, until=until, **range_of)).items) == expected
        assert ids((await backend.page(until=at(1))).items) == ["t0"]
        assert ids((await backend.page(since=at(4))).items) == ["t4"]
        assert ids(await backend.list_by_status(FAILED, until=at(2))) == ["t1", "t0"]

    async def test_bad_ranges_are_named(self, backend: BaseResultBackend) -> None:
        """At the call, with what was expected."""
        bad: list[tuple[str, Any, type[Exception]]] = [
            ("since", datetime(2026, 1, 1), ValueError),
            ("until", "today", TypeError),
            ("order", "started", ValueError),
            ("order", None, TypeError),
            ("ordre", "finished", TypeError),
        ]
        await backend.store("t", ended("t", 1, 2))
        for name, value, error in bad:
            arguments: Any = {name: value}
            for call in (backend.page, backend.clear):
                with pytest.raises(error, match=f"^{name}: "):
                    await call(FAILED, **arguments)
            with pytest.raises(error, match=f"^{name}: "):
                backend.iter_by_status(FAILED, **arguments)
        assert await backend.exists("t")

    async def test_cursor_belongs_to_its_order_and_range(self, backend: BaseResultBackend) -> None:
        """Any other is another listing."""
        await backend.store_many(ended(f"t{n}", n, n) for n in range(6))
        listings: list[Selection] = [
            {},
            {"order": "finished"},
            {"since": at(1)},
            {"since": at(1), "order": "finished"},
            {"since": at(1), "until": at(5)},
            {"until": at(5)},
        ]
        for selection in listings:
            cursor = (await backend.page(FAILED, limit=2, **selection)).next_cursor
            assert cursor is not None
            assert (await backend.page(FAILED, limit=2, cursor=cursor, **selection)).items
            for other in listings:
                if other != selection:
                    with pytest.raises(InvalidCursor):
                        await backend.page(FAILED, cursor=cursor, **other)

    async def test_it_follows_the_record(self, backend: BaseResultBackend) -> None:
        """A task that fails again is listed by its new finish; while it runs it is not listed at all."""
        await backend.store_many([ended("t", 0, 1), ended("u", 0, 2)])
        again = TaskResult.running(await stored(backend, "t"), retries=1)
        await backend.store("t", again)
        assert ids((await backend.page(FAILED, order="finished")).items) == ["u"]
        await backend.store("t", TaskResult.failed(again, ValueError(), at=at(3)))
        assert ids((await backend.page(FAILED, order="finished")).items) == ["t", "u"]
        await backend.delete("t")
        assert ids((await backend.page(FAILED, order="finished")).items) == ["u"]

    async def test_record_that_cannot_be_read(self, backend: BaseResultBackend) -> None:
        """It is named on the page, as in any listing, and cleared with the others."""
        await backend.store_many([ended("t", 0, 1), ended("v", 0, 3)])
        await plant(backend, ended("u", 0, 2), head=b"[]")
        page = await backend.page(FAILED, order="finished")
        assert (ids(page.items), [bad.task_id for bad in page.unreadable]) == (["v", "t"], ["u"])
        with pytest.raises(UnreadableRecords):
            await backend.list_by_status(FAILED, order="finished")
        assert await backend.clear(FAILED, order="finished", until=at(3)) == 2
        assert ids((await backend.page()).items) == ["v"]

    async def test_record_of_a_program_that_had_no_such_listing(self, backend: BaseResultBackend) -> None:
        """It is not listed by its finish until it is stored again."""
        await plant(backend, ended("t", 0, 1), facets=())
        assert (await backend.page(FAILED, order="finished")).items == []
        await backend.store("t", await stored(backend, "t"), overwrite=True)
        assert ids((await backend.page(FAILED, order="finished")).items) == ["t"]

    async def test_clear_by_status_and_age(self, make_backend: MakeBackend) -> None:
        """Only what page would show with the same arguments goes, however much, and its waiters are told."""
        async with make_backend() as backend:
            await backend.store_many(ended(f"t{n}", 0, n) for n in range(1_200))
            await backend.store_many(ended(f"w{n}", 0, n, worker_id="w") for n in range(3))
            await backend.store("p", TaskResult.pending("p"))
            waits = await waiting(backend, "p")
            await seen(backend, waits, "p")
            await backend.clear("success")
            assert await backend.clear("failed", order="finished", until=at(1_100)) == 1_103
            counts = await backend.count_by_status()
            assert (counts[FAILED], counts[TaskStatus.PENDING]) == (100, 1)
            assert await backend.clear([], since=START) == 0
            assert await backend.clear("failed", worker_id="w") == 0
            await backend.store("w", ended("w", 0, 0, worker_id="w"))
            assert await backend.clear(worker_id="w") == 1
            assert await backend.clear("pending") == 1
            with pytest.raises(ResultDeleted):
                await waits
            assert await backend.clear() == 100


SECOND = timedelta(seconds=1)


def at(second: int) -> datetime:
    return START + second * SECOND


RANDOM_ARGUMENTS: dict[str, list[Any]] = {
    "order": ["finished", "finished", "submitted"],
    "since": [at(second) for second in range(8)],
    "until": [at(second) for second in range(2, 10)],
    "name": ["a"],
    "parent_id": ["p"],
    "root_id": ["p"],
    "label": ["x", "y"],
}


def ended(task_id: str, submitted: int | None, finished: int, **fields: Any) -> TaskResult:
    """A failed task, with its times in seconds after START; None: never submitted."""
    submitted_at = None if submitted is None else at(submitted)
    return TaskResult.failed(task_id, ValueError(), at=at(finished), submitted_at=submitted_at, **fields)


async def fill(backend: BaseResultBackend, choose: random.Random) -> None:
    """150 finished tasks of all kinds, and a family."""
    for n in range(150):
        fields = {
            "task_name": choose.choice(["a", None]),
            "parent_id": choose.choice(["p", None]),
            "labels": choose.sample(["x", "y"], choose.randint(0, 2)),
        }
        task = ended(f"t{n}", choose.choice([None, *range(9)]), choose.randint(0, 9), **fields)
        status = choose.choice([FAILED, SUCCESS, TaskStatus.CANCELLED])
        await backend.store(f"t{n}", task.model_copy(update={"status": status}))
    await backend.store("p", ended("p", 4, 4, task_name="a"))
    await backend.store("r", TaskResult.running("r", submitted_at=at(5), parent_id="p"))


def listed(tasks: list[TaskResult], statuses: list[TaskStatus] | None, wanted: dict[str, Any]) -> list[str]:
    """The ids that a listing of ``tasks`` shows, newest first."""
    is_by_finish = wanted.get("order") == "finished"
    found = []
    for task in tasks:
        time = task.finished_at if is_by_finish else task.submitted_at
        has: dict[str, Any] = {
            "name": {task.task_name},
            "parent_id": {task.parent_id},
            "root_id": {task.root_id, task.task_id},
            "label": task.labels,
        }
        is_listed = task.is_finished or not is_by_finish
        is_listed &= statuses is None or task.status in statuses
        is_listed &= all(wanted[name] in has[name] for name in has if name in wanted)
        if "since" in wanted or "until" in wanted:
            is_listed &= time is not None and (
                wanted.get("since", START)
                <= time
                < wanted.get("until", datetime.max.replace(tzinfo=START.tzinfo))
            )
        if is_listed:
            found.append((float("inf") if time is None else -time.timestamp(), task.task_id))
    return [task_id for _, task_id in sorted(found)]
