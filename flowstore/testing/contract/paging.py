"""The contract of pages in both directions: the page before, and the page behind."""

from __future__ import annotations

import random
from typing import Any, Final

import pytest

from flowstore import BaseResultBackend, InvalidCursor, Page, TaskResult, TaskStatus
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.finishing import ALL_FACETS, ended, listed
from flowstore.testing.insides import plant
from flowstore.testing.support import EFFORT, failed, ids, walk

SELECTIONS: Final[list[dict[str, Any]]] = [
    {},
    {"newest_first": False},
    {"order": "finished"},
    {"name": "a"},
    {"name": "a", "label": "x"},
    {"root_id": "p"},
    {"root_id": "p", "newest_first": False},
    {"order": "finished", "label": "x", "parent_id": "p"},
    {"order": "finished", "root_id": "p", "newest_first": False},
]


class PagingContract(Contract):
    async def test_back_and_forth(self, make_backend: MakeBackend) -> None:
        """From each page back to the start, and forth again: the same pages, in every order."""
        async with make_backend(facets=ALL_FACETS) as backend:
            await fill(backend, random.Random(3))
            for selection in SELECTIONS:
                for limit in (1, 4, 100):
                    pages = await walk(backend, None, limit=limit, **selection)
                    assert [page.prev_cursor is None for page in pages] == [True, *[False] * (len(pages) - 1)]
                    page = pages[-1]
                    for place in reversed(range(len(pages) - 1)):
                        page = await backend.page(cursor=page.prev_cursor, limit=limit, **selection)
                        assert page == pages[place], selection
                        again = await backend.page(cursor=page.next_cursor, limit=limit, **selection)
                        assert again == pages[place + 1], selection

    async def test_pages_turned_while_records_change(self, make_backend: MakeBackend) -> None:
        """Whatever comes and goes: the page before ends where this one begins, the next begins behind it."""
        choose = random.Random(8)
        for selection in SELECTIONS:
            async with make_backend(facets=ALL_FACETS) as backend:
                await fill(backend, choose)
                page = await backend.page(limit=3, **selection)
                for _ in range(20 * EFFORT):
                    first, last = edges(page, selection)
                    await change(backend, choose, ids(page.items))
                    places = await places_of(backend, selection)
                    if choose.random() < 0.5 and page.prev_cursor is not None:
                        cursor = page.prev_cursor
                        expected = [place for place in places if first is None or place < first][-3:]
                        expected = expected or places[:3]
                    else:
                        cursor = page.next_cursor or ""
                        expected = [place for place in places if last is not None and place > last][:3]
                        expected = expected if cursor else places[:3]
                    page = await backend.page(cursor=cursor or None, limit=3, **selection)
                    assert ids(page.items) == [place[-1] for place in expected], selection
                    if expected:
                        assert (page.prev_cursor is None) is (expected[0] == places[0])
                        assert (page.next_cursor is None) is (expected[-1] == places[-1])
                    else:
                        assert (page.prev_cursor is None, page.next_cursor) == (not places, None)

    async def test_the_page_before_an_empty_one(self, backend: BaseResultBackend) -> None:
        """All that was behind is gone: the way back leads to the end of what there still is."""
        await backend.store_many(failed(f"t{n}", -n) for n in range(10))
        second = (await backend.page(limit=4)).next_cursor
        await backend.delete_many(f"t{n}" for n in range(3, 10))
        empty = await backend.page(limit=4, cursor=second)
        assert (empty.items, empty.next_cursor) == ([], None)
        before = await backend.page(limit=2, cursor=empty.prev_cursor)
        assert ids(before.items) == ["t1", "t2"]
        assert before.next_cursor is None
        await backend.clear()
        empty = await backend.page(limit=4, cursor=second)
        assert (empty.items, empty.next_cursor, empty.prev_cursor) == ([], None, None)

    async def test_nothing_is_left_before_a_page(self, backend: BaseResultBackend) -> None:
        """The way back leads to the start, wherever that is by now."""
        await backend.store_many(failed(f"t{n}", -n) for n in range(10))
        first = await backend.page(limit=4)
        second = await backend.page(limit=4, cursor=first.next_cursor)
        await backend.delete_many(ids(first.items))
        start = await backend.page(limit=4, cursor=second.prev_cursor)
        assert start == await backend.page(limit=4)
        assert ids(start.items) == ids(second.items)

    async def test_the_way_back_belongs_to_its_query(self, backend: BaseResultBackend) -> None:
        """As the way forth does; and neither is the other, whatever is done to its text."""
        await backend.store_many(failed(f"t{n}", n, task_name="a") for n in range(4))
        first = await backend.page(TaskStatus.FAILED, name="a", limit=2)
        back = (await backend.page(TaskStatus.FAILED, name="a", cursor=first.next_cursor)).prev_cursor
        assert back is not None
        assert first.next_cursor is not None
        others: list[dict[str, Any]] = [{}, {"name": "b"}, {"name": "a", "newest_first": False}]
        for other in others:
            with pytest.raises(InvalidCursor):
                await backend.page(TaskStatus.FAILED, cursor=back, **other)
        for forged in ("AQ" + back[2:], "Ag" + first.next_cursor[2:], "Ag", back[:12], "Aw" + back[2:]):
            with pytest.raises(InvalidCursor):
                await backend.page(TaskStatus.FAILED, name="a", cursor=forged)

    async def test_what_cannot_be_read_has_its_place_on_the_way_back(
        self, backend: BaseResultBackend
    ) -> None:
        """It counts for the size of a page, and is named beside the items."""
        for n in range(9):
            await backend.store(f"t{n}", failed(f"t{n}", -n))
        await plant(backend, failed("t2x", -2), head=b"{", is_checked=False)
        pages = await walk(backend, limit=3)
        assert [len(page.items) for page in pages] == [3, 2, 3, 1]
        assert [one.task_id for one in pages[1].unreadable] == ["t2x"]
        back = await backend.page("failed", limit=3, cursor=pages[2].prev_cursor)
        assert back == pages[1]


async def fill(backend: BaseResultBackend, choose: random.Random) -> None:
    await backend.store_many(some_task(choose, f"t{n}") for n in range(40))
    await backend.store("p", ended("p", 4, 4, task_name="a", labels={"x"}))


def some_task(choose: random.Random, task_id: str) -> TaskResult:
    """Of one of few times, so that ids decide; some were never submitted."""
    fields = {
        "task_name": choose.choice(["a", None]),
        "parent_id": choose.choice(["p", "p", None]),
        "labels": choose.choice([{"x"}, {"x", "y"}, set()]),
    }
    task = ended(task_id, choose.choice([None, *range(5)]), choose.randint(0, 5), **fields)
    return task.model_copy(update={"status": choose.choice([TaskStatus.FAILED, TaskStatus.SUCCESS])})


async def change(backend: BaseResultBackend, choose: random.Random, shown: list[str]) -> None:
    """A few records come, go or move, mostly those that were just shown."""
    for _ in range(choose.randint(0, 4)):
        task_id = choose.choice([*shown, *shown, f"t{choose.randint(0, 60)}"])
        if choose.random() < 0.5:
            await backend.delete(task_id)
        elif task_id != "p":
            await backend.delete(task_id)  # or it would keep its parent
            await backend.store(task_id, some_task(choose, task_id))


Place = tuple[float, tuple[int, ...], str]
"""What orders a listing: a time, the code points of the id, either negated if need be, and the id."""


def place_of(task: TaskResult, selection: dict[str, Any]) -> Place:
    time = task.finished_at if selection.get("order") == "finished" else task.submitted_at
    sign = 1 if selection.get("newest_first", True) else -1
    key = float("inf") if time is None else -time.timestamp()
    return sign * key, tuple(sign * ord(sign_) for sign_ in task.task_id.ljust(4)), task.task_id


def edges(page: Page, selection: dict[str, Any]) -> tuple[Place | None, Place | None]:
    if not page.items:
        return None, None
    return place_of(page.items[0], selection), place_of(page.items[-1], selection)


async def places_of(backend: BaseResultBackend, selection: dict[str, Any]) -> list[Place]:
    """All that the selection has, in its order."""
    tasks = (await backend.page(limit=1_000)).items
    names = set(listed(tasks, None, selection))
    return sorted(place_of(task, selection) for task in tasks if task.task_id in names)
