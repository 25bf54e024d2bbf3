"""The contract of filters: listings and counts by parent, root, name, worker and label."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Final

import pytest

from flowstore import BaseResultBackend, Filters, InvalidCursor, TaskResult, TaskStatus
from flowstore.testing.contract.base import Contract
from flowstore.testing.insides import plant
from flowstore.testing.support import failed, ids, walk

FILTERS = ("name", "parent_id", "root_id", "worker_id", "label")

SOME_FILTERS: Final[Mapping[str, list[Any]]] = {
    "name": ["a", "b"],
    "parent_id": ["p", "q", "r"],
    "root_id": ["r", "q", "p", "t3"],
    "worker_id": ["w1", "w2"],
    "label": ["x", "y", "z"],
    "labels": [["x"], ["z", "y"], ("x", "x"), [], ["x", "y", "z"]],
    "is_root": [True, False],
}


class FilterContract(Contract):
    async def test_10000_children(self, backend: BaseResultBackend) -> None:
        """Page by cursor: each once, in order, in full pages, next to as many outside of the family."""
        names = [f"c{n:05}" for n in range(10_000)]
        await backend.store_many(failed(name, -n % 5_000, parent_id="p") for n, name in enumerate(names))
        await backend.store_many(failed(f"x{n}", n, parent_id="other") for n in range(2_000))
        pages = await walk(backend, None, parent_id="p", limit=1_000, load_result=False)
        assert [len(page.items) for page in pages] == [1_000] * 10
        listed = [name for page in pages for name in ids(page.items)]
        assert listed == sorted(names, key=lambda name: (-(-int(name[1:]) % 5_000), name))
        assert (await backend.count_by_status(parent_id="p"))[TaskStatus.FAILED] == 10_000
        children = [child.task_id async for child in backend.families.children("p", load_result=False)]
        assert children == listed[::-1]

    async def test_filters_intersect(self, backend: BaseResultBackend) -> None:
        """Any filters together, with any statuses, in pages, iteration and counts, in both directions."""
        choose = random.Random(5)
        for n in range(120):
            fields: Any = {
                "task_name": choose.choice(["a", "b", None]),
                "worker_id": choose.choice(["w1", "w2", None]),
                "parent_id": choose.choice(["p", "q", None]),
                "labels": choose.sample(["x", "y", "z"], choose.randint(0, 2)),
            }
            status = choose.choice([TaskStatus.FAILED, TaskStatus.RUNNING])
            await backend.store(f"t{n}", failed(f"t{n}", n, **fields).model_copy(update={"status": status}))
        await backend.store("p", failed("p", 200, parent_id="r", task_name="a", worker_id="w1"))
        everything = (await backend.page(limit=500)).items
        for _ in range(90):
            wanted = {
                name: choose.choice(values) for name, values in SOME_FILTERS.items() if choose.random() < 0.35
            }
            statuses = choose.choice([None, [TaskStatus.FAILED], list(TaskStatus), []])
            expected = [task for task in everything if _passes(task, wanted, statuses)]
            pages = await walk(backend, statuses, limit=7, **wanted)
            assert [item for page in pages for item in page.items] == expected, wanted
            backwards = [
                task async for task in backend.iter_by_status(statuses, newest_first=False, **wanted)
            ]
            assert backwards == expected[::-1], wanted
            listed = backend.iter_ids(statuses, batch_size=7, **wanted)
            assert [task_id async for task_id in listed] == ids(expected), wanted
            counts = dict.fromkeys(TaskStatus, 0)
            for task in (task for task in everything if _passes(task, wanted, None)):
                counts[task.status] += 1
            assert await backend.count_by_status(**wanted) == counts, wanted

    async def test_walks_that_stop_at_the_root(self, backend: BaseResultBackend) -> None:
        """A family in steps of any size, in both directions, has its root exactly once."""
        for n in range(5):
            await backend.store(f"c{n}", failed(f"c{n}", n, parent_id="r"))
        for place in (-1, 2, 9):
            await backend.store("r", failed("r", place), overwrite=True)
            family = ids((await backend.page(root_id="r")).items)
            assert sorted(family) == ["c0", "c1", "c2", "c3", "c4", "r"]
            for size in range(1, 7):
                for newest_first, expected in ((True, family), (False, family[::-1])):
                    walked = backend.iter_by_status(batch_size=size, newest_first=newest_first, root_id="r")
                    for task_id in expected:
                        assert (await anext(walked)).task_id == task_id
                    assert await anext(walked, None) is None

    async def test_filters_follow_the_record(self, backend: BaseResultBackend) -> None:
        """A write that changes worker and labels moves the record from the old listings to the new ones."""
        first = TaskResult.running("t", worker_id="w1", labels={"x", "y"}, task_name="a")
        await backend.store("t", first)
        await backend.store("t", TaskResult.running("t", worker_id="w2", labels={"y", "z"}))
        gone: list[Filters] = [{"worker_id": "w1"}, {"label": "x"}, {"name": "a"}]
        there: list[Filters] = [{"worker_id": "w2"}, {"label": "y"}, {"label": "z"}]
        for filters in gone:
            assert (await backend.page(**filters)).items == []
        for filters in there:
            assert ids((await backend.page(**filters)).items) == ["t"]
        await backend.delete("t")
        for filters in there:
            assert (await backend.page(**filters)).items == []

    async def test_odd_names_are_just_names(self, backend: BaseResultBackend) -> None:
        """Parents, workers and labels with separators, globs, NUL and emoji are kept apart."""
        odd = ["a:b", "a", "*", "[x]", "a\0b", "\N{SNAKE}", "x" * 512, "'", ","]
        for n, text in enumerate(odd):
            await backend.store(f"t{n}", failed(f"t{n}", n, parent_id=text, worker_id=text, labels={text}))
        for n, text in enumerate(odd):
            for name in ("parent_id", "root_id", "worker_id", "label"):
                filters: Any = {name: text}
                assert ids((await backend.page(**filters)).items) == [f"t{n}"]

    @pytest.mark.parametrize("name", FILTERS)
    async def test_bad_filters_are_named(self, backend: BaseResultBackend, name: str) -> None:
        """Of the wrong type, empty, too long or unknown; also for children and the deletion of a family."""
        bad: list[tuple[Any, type[Exception]]] = [(7, TypeError), ("", ValueError), ("x" * 513, ValueError)]
        for value, error in bad:
            filters: Any = {name: value}
            for call in (backend.page(**filters), backend.count_by_status(**filters)):
                with pytest.raises(error, match=name):
                    await call
            with pytest.raises(error, match=name):
                backend.iter_by_status(**filters)
        unknown: Any = {name + "_": "x"}
        with pytest.raises(TypeError, match=f"{name}_"):
            await backend.page(**unknown)

    async def test_bad_labels_and_roots_are_named(self, backend: BaseResultBackend) -> None:
        bad: list[tuple[Any, type[Exception], str]] = [
            ({"labels": "x"}, TypeError, "labels: expected an iterable of str"),
            ({"labels": 7}, TypeError, "labels"),
            ({"labels": ["x", ""]}, ValueError, "labels"),
            ({"labels": [b"x"]}, TypeError, "labels"),
            ({"labels": map(str, range(257))}, ValueError, "labels: expected at most 256"),
            ({"is_root": 1}, TypeError, "is_root"),
        ]
        for filters, error, words in bad:
            with pytest.raises(error, match=words):
                backend.iter_ids(**filters)
        with pytest.raises(ValueError, match="batch_size"):
            backend.iter_ids(batch_size=0)

    async def test_roots_of_any_name(self, backend: BaseResultBackend) -> None:
        """A page of those without a parent is full, however many have one; a task that gets one leaves it."""
        for n in range(300):
            parent = None if n % 100 == 0 else "t0"
            await backend.store(f"t{n}", failed(f"t{n}", n, parent_id=parent, task_name="ab"[n % 2]))
        pages = await walk(backend, "failed", is_root=True, limit=2)
        assert [ids(page.items) for page in pages] == [["t200", "t100"], ["t0"]]
        assert ids((await backend.page(is_root=True, root_id="t0")).items) == ["t0"]
        assert ids((await backend.page(is_root=True, parent_id="t0")).items) == []
        assert (await backend.count_by_status(is_root=True, root_id="t0"))[TaskStatus.FAILED] == 1
        assert (await backend.count_by_status(is_root=True, parent_id="t0"))[TaskStatus.FAILED] == 0
        assert (await backend.count_by_status(is_root=True))[TaskStatus.FAILED] == 3
        assert (await backend.count_by_status(is_root=False))[TaskStatus.FAILED] == 297
        assert len([task async for task in backend.iter_ids(is_root=False)]) == 297
        await backend.store("t100", failed("t100", 100, parent_id="t200"), overwrite=True)
        assert [task async for task in backend.iter_ids(is_root=True)] == ["t200", "t0"]
        assert await backend.clear(is_root=True) == 2

    async def test_all_of_several_labels(self, backend: BaseResultBackend) -> None:
        """Up to as many as a task may have; in any order, with ``label``, and none at all."""
        many = [f"l{n}" for n in range(256)]
        await backend.store("many", failed("many", 3, labels=many))
        await backend.store("some", failed("some", 2, labels=many[:200]))
        await backend.store("none", failed("none", 1))
        assert ids((await backend.page(labels=many)).items) == ["many"]
        assert ids((await backend.page(labels=reversed(many[:200]))).items) == ["many", "some"]
        assert ids((await backend.page(labels=["l1"], label="l255")).items) == ["many"]
        assert ids((await backend.page(labels=[])).items) == ["many", "some", "none"]
        assert (await backend.count_by_status(labels=["l1", "l2"]))[TaskStatus.FAILED] == 2
        cursor = (await backend.page(labels=["l1", "l2"], limit=1)).next_cursor
        assert ids((await backend.page(labels=["l2", "l1"], limit=1, cursor=cursor)).items) == ["some"]
        for other in (["l1"], ["l1", "l3"], None):
            with pytest.raises(InvalidCursor):
                await backend.page(labels=other, cursor=cursor)

    async def test_ids_of_records_that_cannot_be_read(self, backend: BaseResultBackend) -> None:
        """They are among the others, in their places."""
        await backend.store_many(failed(f"t{n}", n) for n in (0, 2))
        await plant(backend, failed("t1", 1), head=b"[", body=b"{")
        assert [task_id async for task_id in backend.iter_ids("failed")] == ["t2", "t1", "t0"]
        backwards = backend.iter_ids(newest_first=False, batch_size=1)
        assert [task_id async for task_id in backwards] == ["t0", "t1", "t2"]

    async def test_cursor_belongs_to_its_filters(self, backend: BaseResultBackend) -> None:
        """The same value of another filter is another listing."""
        await backend.store_many(
            failed(f"t{n}", n, parent_id="v", worker_id="v", labels={"v"}, task_name="v") for n in range(4)
        )
        for name in FILTERS:
            filters: Any = {name: "v"}
            cursor = (await backend.page(limit=2, **filters)).next_cursor
            assert cursor is not None
            assert len((await backend.page(limit=2, cursor=cursor, **filters)).items) == 2
            for other in FILTERS:
                others: Any = {other: "v"}
                if other != name:
                    with pytest.raises(InvalidCursor):
                        await backend.page(cursor=cursor, **others)


def _passes(task: TaskResult, wanted: Mapping[str, Any], statuses: list[TaskStatus] | None) -> bool:
    has: dict[str, set[Any]] = {
        "name": {task.task_name},
        "parent_id": {task.parent_id},
        "root_id": {task.root_id, task.task_id},
        "worker_id": {task.worker_id},
        "label": set(task.labels),
        "is_root": {task.parent_id is None},
    }
    labels = set(wanted.get("labels", ()))
    is_wanted = all(value in has[name] for name, value in wanted.items() if name != "labels")
    is_wanted = is_wanted and labels <= task.labels
    return is_wanted and (statuses is None or task.status in statuses)
