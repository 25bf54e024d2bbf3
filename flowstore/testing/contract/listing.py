"""The contract of listings: their order, their pages, their cursors and their counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from flowstore import NOT_LOADED, BaseResultBackend, InvalidCursor, TaskResult, TaskStatus
from flowstore.testing.contract.base import Contract
from flowstore.testing.support import failed, ids, walk

BAD_CURSORS = ["", "x", "=", "AAAA", "\N{SNAKE}", "A" * 2_000, "AQ" * 20, "' OR 1=1 --"]


class ListingContract(Contract):
    async def test_order(self, backend: BaseResultBackend) -> None:
        """Newest submission first, ties by task_id, those without one last; or exactly the reverse."""
        seconds = {"b": 5, "a": 5, "z": 9, "\N{SNAKE}": 5, "old": -(10**9), "none2": None, "none1": None}
        for task_id, second in seconds.items():
            await backend.store(task_id, failed(task_id, second))
        expected = ["z", "a", "b", "\N{SNAKE}", "old", "none1", "none2"]
        assert ids(await backend.list_by_status(TaskStatus.FAILED)) == expected
        for limit in (1, 2, 7, 50):
            forward = await walk(backend, limit=limit)
            backward = await walk(backend, limit=limit, newest_first=False)
            assert [task_id for page in forward for task_id in ids(page.items)] == expected
            assert [task_id for page in backward for task_id in ids(page.items)] == expected[::-1]
            assert all(len(page.items) == limit for page in forward[:-1])

    async def test_limit_and_offset(self, backend: BaseResultBackend) -> None:
        """None is all, 0 is none, and an offset beyond the end gives nothing."""
        await backend.store_many(failed(f"t{n:04}", -n) for n in range(1_203))
        expected = [f"t{n:04}" for n in range(1_203)]
        assert ids(await backend.list_by_status(TaskStatus.FAILED)) == expected
        for limit, offset in [(0, 0), (3, 0), (3, 5), (None, 1_200), (700, 600), (5, 1_203), (5, 9_999)]:
            end = None if limit is None else offset + limit
            assert ids(await backend.list_by_status(TaskStatus.FAILED, limit, offset)) == expected[offset:end]
        assert await backend.list_by_status(TaskStatus.SUCCESS) == []

    async def test_bad_arguments(self, backend: BaseResultBackend) -> None:
        """Each is named; strings that are the value of a status are accepted."""
        bad: list[tuple[Any, type[Exception], str]] = [
            (backend.list_by_status(TaskStatus.FAILED, -1), ValueError, "limit"),
            (backend.list_by_status(TaskStatus.FAILED, True), TypeError, "limit"),
            (backend.list_by_status(TaskStatus.FAILED, 1, -1), ValueError, "offset"),
            (backend.list_by_status("failure"), ValueError, "status"),  # type: ignore[arg-type]  # on purpose
            (backend.page("done"), ValueError, "statuses"),  # type: ignore[arg-type]  # on purpose
            (backend.page(7), TypeError, "statuses"),  # type: ignore[arg-type]  # on purpose
            (backend.page(limit=0), ValueError, "limit"),
            (backend.page(limit=10_001), ValueError, "limit"),
            (backend.page(name=""), ValueError, "name"),
            (backend.page(newest_first=1), TypeError, "newest_first"),  # type: ignore[arg-type]  # on purpose
            (backend.page(cursor=7), TypeError, "cursor"),  # type: ignore[arg-type]  # on purpose
        ]
        for call, error, name in bad:
            with pytest.raises(error, match=name):
                await call

    async def test_statuses_are_merged_before_the_limit(self, backend: BaseResultBackend) -> None:
        """Records of several statuses come in one order; no status gives an empty page."""
        kinds = list(TaskStatus)
        for n in range(60):
            await backend.store(f"t{n:02}", failed(f"t{n:02}", n).model_copy(update={"status": kinds[n % 6]}))
        some = [TaskStatus.CANCELLED, TaskStatus.PENDING]
        wanted = [f"t{n:02}" for n in reversed(range(60)) if kinds[n % 6] in some]
        assert [name for page in await walk(backend, some, limit=7) for name in ids(page.items)] == wanted
        assert len((await backend.page(limit=100)).items) == 60
        assert (await backend.page([])).items == []
        assert [item.task_id async for item in backend.iter_by_status(some, batch_size=3)] == wanted

    async def test_name_filter(self, backend: BaseResultBackend) -> None:
        """Only tasks of that name, whatever its characters; a change of name moves the record."""
        for n, name in enumerate(["a", "a", "b", "a b", 'q"\n', None] * 3):
            await backend.store(f"t{n}", failed(f"t{n}", n, task_name=name))
        for name, count in {"a": 6, "b": 3, "a b": 3, 'q"\n': 3, "%": 0}.items():
            pages = await walk(backend, TaskStatus.FAILED, name=name, limit=2)
            items = [item for page in pages for item in page.items]
            assert {item.task_name for item in items} <= {name}
            assert len(items) == count
        await backend.store("t0", failed("t0", task_name="b"), overwrite=True)
        assert len((await backend.page(name="a")).items) == 5
        assert len((await backend.page(name="b")).items) == 4

    async def test_cursor_belongs_to_its_query(self, backend: BaseResultBackend) -> None:
        """Other statuses, name or order, or a cursor that was never issued: InvalidCursor."""
        await backend.store_many(failed(f"t{n}", n) for n in range(4))
        cursor = (await backend.page(TaskStatus.FAILED, limit=2)).next_cursor
        assert cursor is not None
        assert ids((await backend.page(TaskStatus.FAILED, limit=3, cursor=cursor)).items) == ["t1", "t0"]
        others: list[dict[str, Any]] = [
            {"name": "a"},
            {"newest_first": False},
            {"statuses": TaskStatus.SUCCESS},
            {},
        ]
        for other in others:
            with pytest.raises(InvalidCursor):
                await backend.page(**other, cursor=cursor)
        for bad in [*BAD_CURSORS, cursor[:-1], cursor + "A", cursor[:20] + "A" + cursor[21:], cursor + "=="]:
            with pytest.raises(InvalidCursor):
                await backend.page(TaskStatus.FAILED, cursor=bad)

    async def test_walk_under_change_sees_each_kept_record_once(self, backend: BaseResultBackend) -> None:
        """5,000 records that keep their status, while 1,000 others come, change and go: exactly once each."""
        kept = [f"kept{n:04}" for n in range(5_000)]
        moving = [f"moving{n:04}" for n in range(1_000)]
        await backend.store_many(failed(name, n % 97) for n, name in enumerate(kept))
        await backend.store_many(failed(name, n % 97) for n, name in enumerate(moving[:600]))

        async def change() -> None:
            for n in range(300):
                await backend.store(moving[n], TaskResult.pending(moving[n]), overwrite=True)
                await backend.delete(moving[300 + n])
                await backend.store_many([failed(name, n % 97) for name in moving[600 + n : 602 + n]])

        changing = asyncio.ensure_future(change())
        found = [item.task_id async for item in backend.iter_by_status(TaskStatus.FAILED, batch_size=100)]
        await changing
        assert sorted(name for name in found if name.startswith("kept")) == kept
        assert len(found) == len(set(found))

    async def test_listing_without_results(self, backend: BaseResultBackend) -> None:
        """The values stay in the storage; the fields that an operator looks at are there."""
        record = TaskResult.failed("t", ValueError("why"), args=(1,), kwargs={"a": 1}, worker_id="w")
        await backend.store("t", record)
        [item] = (await backend.page(load_result=False)).items
        values: list[object] = [item.result, item.args, item.kwargs]
        assert values == [NOT_LOADED] * 3
        assert not item.is_loaded
        assert item.worker_id == "w"
        assert item.error == record.error

    async def test_counts(self, backend: BaseResultBackend) -> None:
        """One number per status, correct after every kind of change."""
        assert await backend.count_by_status() == dict.fromkeys(TaskStatus, 0)
        await backend.store_many(failed(f"t{n}", n) for n in range(10))
        await backend.store("t0", TaskResult.success("t0"), overwrite=True)
        await backend.store("t1", failed("t1", 99), overwrite=True)
        await backend.delete("t2")
        counts = await backend.count_by_status()
        assert counts == dict.fromkeys(TaskStatus, 0) | {TaskStatus.FAILED: 8, TaskStatus.SUCCESS: 1}

    async def test_iterators_check_their_arguments_at_the_call(self, backend: BaseResultBackend) -> None:
        """Not at the first step, which may be far away; nobody has to await anything for it."""
        bad: Any = 7
        calls: dict[str, Callable[[], object]] = {
            "task_ids": lambda: backend.as_completed(bad),
            "timeout": lambda: backend.as_completed([], bad_timeout),
            "raise_first": lambda: backend.as_completed([], raise_first=bad),
            "batch_size": lambda: backend.iter_by_status(batch_size=0),
            "statuses": lambda: backend.iter_by_status(bad),
            "newest_first": lambda: backend.iter_by_status(newest_first=bad),
            "task_id": lambda: backend.watch(bad),
            "statuses ": lambda: backend.watch_status(bad),
            "task_id ": lambda: backend.families.children(bad),
            "load_result": lambda: backend.families.descendants("t", load_result=bad),
            "start": lambda: backend.history.iter(bad),
            "end": lambda: backend.history.iter_ids(None, bad),
            "worker_id": lambda: backend.workers.running_tasks(bad),
        }
        bad_timeout: Any = "soon"
        for name, call in calls.items():
            with pytest.raises((TypeError, ValueError), match=f"^{name.strip()}: "):
                call()
