"""The contract of checksums: what is not what was written is never returned as if it were."""

from __future__ import annotations

from typing import Any

import pytest

from flowstore import (
    BaseResultBackend,
    CorruptRecord,
    Progress,
    TaskResult,
    TaskStatus,
    UnreadableRecords,
)
from flowstore.testing.contract.base import Contract
from flowstore.testing.insides import plant, plant_kept
from flowstore.testing.support import failed, ids, stored

TASK = failed(
    *("t", 1), result=[1, "two"], task_name="n", worker_id="w", labels={"x"}, parent_id="p", root_id="r"
)
LATER = 1_900_000_000_000_000
CHANGES: dict[str, Any] = {
    "status": "cancelled",
    "stage": 6,
    "submitted_at": LATER,
    "started_at": LATER,
    "finished_at": LATER,
    "due_at": LATER,
    "updated_at": LATER,
    "expires_at": 2 * LATER,
    "fixed": ("parent:q", "root:r"),
    "facets": ("step:other", "worker:w", "label:x"),
    "head": b'{"error":{"type":"ValueError","message":"u"}}',
    "body": b'{"result":[1,"twp"]}',
}


class CheckingContract(Contract):
    @pytest.mark.parametrize("field", CHANGES)
    async def test_changed_record(self, backend: BaseResultBackend, field: str) -> None:
        """Whatever has changed since it was written: CorruptRecord, or unreadable among readable ones."""
        await backend.store("other", failed("other", 0))
        await plant(backend, TASK, is_checked=False, **{field: CHANGES[field]})
        for read in (backend.get("t"), backend.get_many(["other", "t"]), backend.wait_for("t", 5)):
            with pytest.raises(CorruptRecord, match=r"'t'.*checksum"):
                await read
        page = await backend.page()
        assert (ids(page.items), [one.task_id for one in page.unreadable]) == (["other"], ["t"])
        assert await backend.exists("t") is True
        assert await backend.store("t", TaskResult.success("t", 1, parent_id=None), overwrite=True)
        assert (await stored(backend, "t")).unwrap() == 1

    async def test_changed_body_that_is_not_read(self, backend: BaseResultBackend) -> None:
        """A listing without results does not look at it."""
        await plant(backend, TASK, is_checked=False, body=CHANGES["body"])
        [listed] = (await backend.page(load_result=False)).items
        assert (listed.task_id, listed.error) == ("t", TASK.error)

    async def test_changed_progress(self, backend: BaseResultBackend) -> None:
        """It has a checksum of its own, as it is replaced by itself."""
        running = TaskResult.running("t", progress=Progress(done=1, total=9))
        await plant(backend, running, is_checked=False, progress=b'{"done":1,"total":8,"crc":2286445522}')
        with pytest.raises(CorruptRecord, match=r"progress: .*checksum"):
            await backend.get("t")
        assert await backend.set_progress("t", 2)
        assert (await stored(backend, "t")).progress == Progress(done=2)

    async def test_changed_values(self, backend: BaseResultBackend) -> None:
        """Those of data, checkpoints, workers and apps."""
        await backend.store("t", TaskResult.running("t"))
        await plant_kept(backend, "data", "t", "k", b'{"value":1}', is_checked=False)
        await plant_kept(backend, "checkpoint", "t", None, b'{"value":1}', is_checked=False)
        await plant_kept(backend, "app", "", "info", b'{"info":{}}', is_checked=False)
        await plant_kept(backend, "worker", "", "w", b'{"host":"h","pid":1}', is_checked=False)
        reads = [backend.data.all("t"), backend.checkpoints.latest("t"), backend.app.info()]
        for read in (*reads, backend.workers.all()):
            with pytest.raises(CorruptRecord, match="checksum"):
                await read
        assert await backend.data.set("t", "k", 2) == 2
        assert await backend.data.get("t", "k") == 2

    async def test_recovery_does_not_hide_damage(self, backend: BaseResultBackend) -> None:
        """Requeueing passes values on as bytes, and must not give a changed one a checksum that fits."""
        running = TaskResult.running("t", worker_id="w", args=(1,))
        await plant(backend, running, is_checked=False, body=b'{"args":[2]}')
        await backend.store("u", TaskResult.running("u", worker_id="w"))
        with pytest.raises(CorruptRecord, match=r"'t'.*checksum"):
            await backend.workers.requeue("w")
        assert (await stored(backend, "u")).status is TaskStatus.PENDING
        with pytest.raises(UnreadableRecords):
            [task async for task in backend.workers.running_tasks("w")]
