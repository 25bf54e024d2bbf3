"""The contract of records by newer programs, and of unreadable ones: neither hides any other record."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from flowstore import (
    BaseResultBackend,
    CorruptRecord,
    Progress,
    TaskResult,
    TaskStatus,
    UnreadableRecord,
    UnreadableRecords,
    UnresolvedValue,
)
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.values import SAMPLE_TYPES, Point
from flowstore.testing.insides import core_of, engine_of, know_only, plant, plant_kept
from flowstore.testing.support import failed, ids, stored, walk

NEW: Any = {"new": {"nested": [1, None]}, "$new": 1, "\N{SNAKE}": "x"}


def grown(**fields: object) -> bytes:
    """JSON with unknown keys before and after the known ones."""
    return json.dumps({"a new one": 1, **fields, **NEW}).encode()


Walk = Callable[[BaseResultBackend], AsyncIterator[TaskResult]]

WALKS: dict[str, Walk] = {
    "iter_by_status": lambda backend: backend.iter_by_status(TaskStatus.RUNNING, batch_size=7),
    "children": lambda backend: backend.families.children("p"),
    "descendants": lambda backend: backend.families.descendants("p"),
    "running_tasks": lambda backend: backend.workers.running_tasks("w"),
}


class GrowingContract(Contract):
    async def test_unknown_keys_of_a_record_are_ignored(self, backend: BaseResultBackend) -> None:
        """In its head, its error and the causes of it, its body and its progress, in every way to read it."""
        cause = grown(type="KeyError", message="k")
        error = grown(type="ValueError", message="no", args=["no"], cause=json.loads(cause))
        head = grown(error=json.loads(error))
        planted = failed("t", 1, progress=Progress(done=1), task_name="n", labels={"x"})
        body, progress = b'{"a new one":1,"result":7,"args":[8]}', grown(done=3, total=9)
        await plant(backend, planted, head=head, body=body, progress=progress)
        [listed] = (await backend.page(TaskStatus.FAILED)).items
        [walked] = [result async for result in backend.iter_by_status(label="x")]
        for read in (await stored(backend, "t"), await backend.wait_for("t", 30), listed, walked):
            assert (read.result, read.args, read.progress) == (7, (8,), Progress(done=3, total=9))
            assert read.error is not None
            assert [link.type for link in read.error.chain()] == ["ValueError", "KeyError"]
            assert (read.error.message, read.error.args) == ("no", ("no",))

    async def test_unknown_keys_of_what_is_kept_are_ignored(self, backend: BaseResultBackend) -> None:
        """Those of data, checkpoints, workers and apps."""
        await backend.store("t", TaskResult.running("t"))
        await plant_kept(backend, "data", "t", "k", b'{"a new one":1,"value":7}')
        await plant_kept(backend, "checkpoint", "t", None, b'{"value":8,"new":{"$tuple":[1]}}')
        await plant_kept(backend, "app", "", "info", b'{"info":{"n":9},"new":1}')
        worker = grown(host="h", pid=7, started_at="2026-01-01T00:00:00+00:00", labels=["gpu"])
        await plant_kept(backend, "worker", "", "w", worker)
        assert await backend.data.all("t") == {"k": 7}
        assert [one.value for one in await backend.checkpoints.all("t")] == [8]
        app = await backend.app.info()
        assert app is not None
        assert app.info == {"n": 9}
        [found] = await backend.workers.all()
        assert (found.host, found.pid, found.labels) == ("h", 7, frozenset({"gpu"}))
        await backend.workers.heartbeat("w")

    async def test_what_a_newer_program_wrote_can_be_written_over(self, backend: BaseResultBackend) -> None:
        """By a store, by a report of progress, and by the rescue of a dead worker's tasks."""
        running = TaskResult.running("t", worker_id="w")
        await plant(backend, running, head=grown(), body=grown_body(), progress=grown(done=1))
        assert await backend.set_progress("t", 2)
        assert (await stored(backend, "t")).progress == Progress(done=2)
        assert await backend.workers.requeue("w") == ["t"]
        assert (await stored(backend, "t")).args == (8,)
        assert await backend.store("t", TaskResult.success("t", 1, retries=1))
        assert (await backend.wait_for("t", 30)).unwrap() == 1

    @pytest.mark.parametrize("limit", [50, 7, 1])
    async def test_an_unreadable_record_hides_no_other(self, backend: BaseResultBackend, limit: int) -> None:
        """A page of 50 with one damaged record shows 49 and names one, wherever the page ends."""
        await backend.store_many(failed(f"t{n:02}", n) for n in range(50))
        await plant(backend, failed("t17", 17, retries=1), head=b"[]")
        pages = await walk(backend, limit=limit)
        assert [name for page in pages for name in ids(page.items)] == [
            f"t{n:02}" for n in reversed(range(50)) if n != 17
        ]
        [unreadable] = [one for page in pages for one in page.unreadable]
        with pytest.raises(CorruptRecord, match="'t17'") as caught:
            await backend.get("t17")
        assert (unreadable.task_id, unreadable.reason) == ("t17", caught.value.reason)
        assert all(len(page.items) + len(page.unreadable) == limit for page in pages[:-1])
        assert len(pages) == -(-50 // limit)
        page = next(page for page in pages if page.unreadable)
        assert json.loads(page.model_dump_json())["unreadable"] == [unreadable.model_dump()]

    @pytest.mark.parametrize("name", WALKS)
    async def test_a_walk_goes_on_and_names_it_at_the_end(
        self, backend: BaseResultBackend, name: str
    ) -> None:
        """All others are yielded first; a caller who stops earlier gets no error."""
        for n in range(20):
            result = TaskResult.running(f"t{n:02}", parent_id="p", worker_id="w")
            if n in (0, 7, 19):
                await plant(backend, result, body=b'{"result":{"$uuid":1}}')
            else:
                await backend.store(result.task_id, result)
        found: list[str] = []

        async def drain() -> None:
            async for result in WALKS[name](backend):
                found.append(result.task_id)  # noqa: PERF401  # a comprehension would lose what it had

        with pytest.raises(UnreadableRecords, match=r"'t\d\d'.*and 2 more") as caught:
            await drain()
        assert sorted(found) == [f"t{n:02}" for n in range(20) if n not in (0, 7, 19)]
        assert {error.task_id for error in caught.value.errors} == {"t00", "t07", "t19"}
        assert caught.value.count == 3
        assert all(isinstance(error, CorruptRecord) for error in caught.value.errors)

    async def test_no_page_leaves_one_out(self, backend: BaseResultBackend) -> None:
        """However many of its records cannot be read."""
        for n in range(150):
            await plant(backend, failed(f"t{n:03}", n), head=b"[]")
        page = await backend.page(limit=1_000)
        assert [one.task_id for one in page.unreadable] == [f"t{n:03}" for n in reversed(range(150))]
        assert (page.items, page.next_cursor) == ([], None)

    async def test_a_walk_over_the_history_goes_on(self, backend: BaseResultBackend) -> None:
        """Behind a transition that cannot be read: here its time is none that Python has."""
        await backend.store_many(TaskResult.success(f"t{n}") for n in range(3))
        now = core_of(backend).clock()
        write = core_of(backend).records.write(TaskResult.success("t1"), -(2**61), overwrite=True)
        assert await engine_of(backend).write([write], now)
        found: list[str] = []

        async def drain() -> None:
            async for step in backend.history.iter(batch_size=1):
                found.append(step.task_id)  # noqa: PERF401  # a comprehension would lose what it had

        with pytest.raises(UnreadableRecords, match="'t1'"):
            await drain()
        assert sorted(found) == ["t0", "t1", "t2"]

    async def test_fields_of_columns_are_read_from_nowhere_else(self, backend: BaseResultBackend) -> None:
        """What a head or a body says under the name of such a field is a key that nobody knows."""
        head, body = b'{"task_name":"x","args":[1],"worker_id":"w"}', b'{"result":1,"labels":["y"]}'
        await plant(backend, TaskResult.success("t", labels={"x"}), head=head, body=body)
        read = await stored(backend, "t")
        assert (read.task_name, read.args, read.worker_id) == (None, (), None)
        assert (read.result, read.labels) == (1, frozenset("x"))

    async def test_a_list_says_what_it_could_not_read(self, backend: BaseResultBackend) -> None:
        """list_by_status has no place to name a record beside the others, so it raises."""
        await backend.store_many(failed(f"t{n}", n) for n in range(3))
        await plant(backend, failed("t1", 1, retries=1), head=b"x")
        with pytest.raises(UnreadableRecords, match="'t1'"):
            await backend.list_by_status(TaskStatus.FAILED)
        assert ids(await backend.list_by_status(TaskStatus.FAILED, 1)) == ["t2"]
        assert ids(await backend.list_by_status("failed", offset=2)) == ["t0"]

    async def test_a_workflow_with_an_unreadable_step(self, backend: BaseResultBackend) -> None:
        """It is shown, and the step is named on the page of its tasks."""
        await backend.store("run", TaskResult.running("run", task_name="import"))
        await plant(backend, TaskResult.running("step", parent_id="run"), head=b"[]")
        workflow = await backend.workflows.get("run")
        assert workflow is not None
        assert ids(workflow.tasks.items) == ["run"]
        assert [one.task_id for one in workflow.tasks.unreadable] == ["step"]
        assert workflow.counts[TaskStatus.RUNNING] == 2

    async def test_a_type_that_is_not_registered_is_no_corruption(self, make_backend: MakeBackend) -> None:
        """An error of its own names the type and the remedy; nothing else is affected."""
        async with make_backend(types=SAMPLE_TYPES) as backend:
            await backend.store_many(
                [TaskResult.success("p", Point(1, 2)), TaskResult.success("q", 1), TaskResult.pending("r")]
            )
            await backend.data.set("r", "k", Point(1, 2))
            know_only(backend)
            cure = r"Point.*not registered; register it with types="
            with pytest.raises(UnresolvedValue, match=cure) as caught:
                (await backend.wait_for("p", 30)).unwrap()
            assert isinstance(caught.value, UnreadableRecord)
            assert not isinstance(caught.value, CorruptRecord)
            with pytest.raises(UnresolvedValue, match=cure):
                await backend.data.get("r", "k")
            page = await backend.page()
            assert {item.task_id for item in page.items} == {"p", "q", "r"}
            assert page.unreadable == []


def grown_body() -> bytes:
    return b'{"args":[8],"a new one":{"nested":[1]}}'
