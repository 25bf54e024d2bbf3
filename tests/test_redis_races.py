"""What others do between the steps of one call."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from flowstore import RedisBackend, TaskResult, TaskStatus
from flowstore.testing import ManualClock
from flowstore.testing.insides import storage_of
from flowstore.testing.support import START, failed, ids


async def test_a_filtered_page_shows_no_record_that_has_left_it(redis_url: str) -> None:
    """Whichever way it left between the look that chose it and the one that reads it whole."""
    slow = ManualClock(START - timedelta(seconds=100))
    async with (
        RedisBackend(redis_url, clock=ManualClock()) as backend,
        RedisBackend(redis_url, clock=slow) as other,
    ):
        names = [f"t{n}" for n in range(9)]
        for name in names:
            await backend.store(name, failed(name, 0, labels=["eu"], task_name="n"))
        calls = storage_of(backend).calls
        records, has_changed = calls.records, False

        async def change() -> None:
            await other.store("t0", TaskResult.pending("t0", labels=["eu"], task_name="n"), overwrite=True)
            moved = failed("t1", 0, labels=["us"], task_name="n")
            await other.store("t1", moved, overwrite=True)
            await other.delete("t2")
            short = failed("t3", 0, labels=["eu"], task_name="n")
            await other.store("t3", short, overwrite=True, ttl=5)

        async def records_later(asked: Sequence[str], *, with_body: bool = True, **options: Any) -> Any:
            nonlocal has_changed
            if with_body and not has_changed:
                has_changed = True
                await change()
            return await records(asked, with_body=with_body, **options)

        calls.records = records_later
        page = await backend.page(TaskStatus.FAILED, label="eu", name="n", limit=3)
        assert has_changed
        assert {*ids(page.items)} <= {*names[4:]}
        assert all(task.status == "failed" and task.labels == {"eu"} for task in page.items)
        rest = await backend.page(TaskStatus.FAILED, label="eu", name="n", cursor=page.next_cursor)
        assert sorted(ids([*page.items, *rest.items])) == names[4:]
