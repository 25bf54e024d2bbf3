"""The contract of the pages of a search: they lead back as they lead on."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from flowstore import BaseResultBackend, Found
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.naive_queries import NOW, some_tasks
from flowstore.testing.support import EFFORT, START, failed, ids

QUERIES = (
    *("status:success,pending", "label:x", "tries:>1", "-boom", "sort:submitted"),
    "status:failed sort:-finished",
)


async def led_back(backend: BaseResultBackend, query: str, last: Found, **options: Any) -> list[Found]:
    """The pages before one, up to the start, in the order of the query."""
    found: list[Found] = []
    while (cursor := (found[0] if found else last).prev_cursor) is not None:
        found.insert(0, await backend.search(query, cursor=cursor, **options))
        assert found[0].next_cursor is not None
    return found


class SearchBackContract(Contract):
    async def test_all_that_leads_on_leads_back(self, make_backend: MakeBackend) -> None:
        """Pages of any size, with any budget: back from each of them all before it comes once."""
        choose = random.Random(20)
        async with make_backend(clock=ManualClock(NOW)) as backend:
            await backend.store_many(some_tasks(choose, 60))
            for _ in range(12 * EFFORT):
                query = choose.choice(QUERIES)
                sizes: dict[str, Any] = {
                    "limit": choose.choice((3, 10, 50)),
                    "budget": choose.choice((7, 30, 100_000)),
                }
                before: list[str] = []
                cursor = None
                while True:
                    page = await backend.search(query, cursor=cursor, seconds=60, **sizes)
                    back = await led_back(backend, query, page, seconds=60, **sizes)
                    assert [task.task_id for piece in back for task in piece.items] == before, query
                    before += ids(page.items)
                    if (cursor := page.next_cursor) is None:
                        break

    async def test_back_to_the_very_page(self, backend: BaseResultBackend) -> None:
        """And to what has come before it since; from the end; and from where all before is gone."""
        await backend.store_many(failed(f"t{n}", n) for n in range(9))
        first = await backend.search("-boom", limit=3)
        second = await backend.search("-boom", limit=3, cursor=first.next_cursor)
        third = await backend.search("-boom", limit=3, cursor=second.next_cursor)
        assert (first.prev_cursor, ids(third.items)) == (None, ["t2", "t1", "t0"])
        back = await backend.search("-boom", limit=3, cursor=third.prev_cursor)
        assert ids(back.items) == ["t5", "t4", "t3"]
        assert back.looked_back_to == START + timedelta(seconds=3)
        again = await backend.search("-boom", limit=3, cursor=back.next_cursor)
        assert again.items == third.items

        await backend.store_many(failed(f"t{n}", n) for n in range(9, 11))
        start = await backend.search("-boom", limit=3, cursor=second.prev_cursor)
        assert ids(start.items) == ["t8", "t7", "t6"]
        newest = await backend.search("-boom", limit=3, cursor=start.prev_cursor)
        assert (ids(newest.items), newest.prev_cursor) == (["t10", "t9"], None)
        assert newest.next_cursor is not None

        await backend.delete_many(["t0", "t1", "t2"])
        end = await backend.search("-boom", limit=3, cursor=back.next_cursor)
        assert (end.items, end.next_cursor) == ([], None)
        last = await backend.search("-boom", limit=3, cursor=end.prev_cursor)
        assert ids(last.items) == ["t5", "t4", "t3"]

        await backend.delete_many(f"t{n}" for n in range(6, 11))
        alone = await backend.search("-boom", limit=3, cursor=last.prev_cursor)
        assert (ids(alone.items), alone.prev_cursor) == (["t5", "t4", "t3"], None)
