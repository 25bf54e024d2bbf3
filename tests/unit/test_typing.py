"""What type checkers make of the public API: this file is checked by mypy, and runs as well."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, assert_type

from pydantic import BaseModel, TypeAdapter

from flowstore import (
    AppInfo,
    BaseResultBackend,
    Checkpoint,
    Counts,
    DataEntry,
    InMemoryBackend,
    Page,
    ResultGone,
    Selection,
    Settled,
    StoredType,
    TaskError,
    TaskResult,
    TaskStatus,
    TrackedTask,
    Transition,
    UnreadableRecord,
    Worker,
    Workflow,
    connect,
    discover_apps,
)
from flowstore.typed import AsyncResultsManager, EntryInfo, ResultsManager
from flowstore.typed.registry import (
    ModelRegistry,
    class_of,
    clear_registry,
    find_model_in_all_namespaces,
    find_model_namespace,
    get_model_class,
    kind_of,
    register_model,
)
from flowstore.typed.storage import Kind


async def test_types_of_the_public_calls() -> None:
    """Each call is of the type that its documentation says."""
    async with connect("memory://") as backend:
        assert_type(backend, BaseResultBackend)
        assert_type(await backend.store("t", TaskResult.success("t", 1)), bool)
        assert_type(await backend.get("t"), TaskResult[Any] | None)
        assert_type(await backend.wait_for("t", timeout=5), TaskResult[Any])
        assert_type(await backend.wait_for_many(["t"]), dict[str, Settled])
        assert_type(await backend.wait_for_many(["t"], 5, raise_first=True), dict[str, TaskResult[Any]])
        assert_type(backend.as_completed(["t"]), AsyncGenerator[Settled, None])
        assert_type(backend.as_completed(["t"], raise_first=True), AsyncGenerator[TaskResult[Any], None])
        async for settled in backend.as_completed(["t"]):
            assert_type(settled.task_id, str)
            if not isinstance(settled, TaskResult):
                assert_type(settled, ResultGone | UnreadableRecord)
                settled.unwrap()
        assert_type(await backend.wait_for("t", timedelta(minutes=5)), TaskResult[Any])
        assert_type(await backend.get_many(["t"]), dict[str, TaskResult[Any]])
        assert_type(await backend.page(TaskStatus.SUCCESS), Page[Any])
        assert_type(backend.iter_by_status([TaskStatus.SUCCESS]), AsyncGenerator[TaskResult[Any], None])
        assert_type(await backend.count_by_status(), Counts)
        assert_type(await backend.list_by_status(TaskStatus.FAILED, limit=3), list[TaskResult[Any]])
        assert_type(backend.families.children("t"), AsyncGenerator[TaskResult[Any], None])
        assert_type(backend.families.descendants("t"), AsyncGenerator[TaskResult[Any], None])
        assert_type(await backend.page(parent_id="p", label="x"), Page[Any])
        week: Selection = {"order": "finished", "until": datetime(2026, 1, 1, tzinfo=UTC)}
        assert_type(await backend.page("failed", limit=5, **week), Page[Any])
        assert_type(await backend.clear(["failed", TaskStatus.CANCELLED], **week), int)
        assert_type(await backend.workflows.types(), list[str])
        assert_type(await backend.workflows.runs("a"), Page[Any])
        assert_type(await backend.workflows.get("t"), Workflow | None)
        assert_type(await backend.history.of("t"), list[Transition])
        assert_type(backend.history.iter(), AsyncGenerator[Transition, None])
        assert_type(backend.history.iter_ids(), AsyncGenerator[str, None])
        async with backend.track("u") as task:
            assert_type(task, TrackedTask)
        assert_type(await backend.delete("t"), bool)
        assert_type(await backend.clear(), int)


async def test_types_of_what_tasks_and_workers_leave() -> None:
    """Data, checkpoints, workers and apps as well."""
    async with connect("memory://") as backend:
        await backend.store("t", TaskResult.running("t", worker_id="w"))
        assert_type(await backend.data.set("t", "k", 1), int)
        assert_type(await backend.data.entry("t", "k"), DataEntry | None)
        assert_type(await backend.data.all("t"), dict[str, Any])
        assert_type(await backend.data.delete("t", "k"), bool)
        assert_type(await backend.checkpoints.save("t", 1), int)
        assert_type(await backend.checkpoints.latest("t"), Checkpoint | None)
        assert_type(await backend.checkpoints.all("t"), list[Checkpoint])
        assert_type(await backend.workers.register("w"), Worker)
        assert_type(await backend.workers.get("w"), Worker | None)
        assert_type(await backend.workers.stale(60), list[Worker])
        assert_type(backend.workers.running_tasks("w"), AsyncGenerator[TaskResult[Any], None])
        assert_type(await backend.workers.requeue("w"), list[str])
        assert_type(await backend.app.info(), AppInfo | None)
    assert_type(await discover_apps("memory://"), list[AppInfo])


def test_types_of_results() -> None:
    """A result carries the type of its value."""
    typed = TaskResult[int].success("t", 1)
    assert_type(typed, TaskResult[int])
    assert_type(typed.unwrap(), int)
    assert_type(typed.error, TaskError | None)
    assert_type(InMemoryBackend(max_results=3, ttl=5.0), InMemoryBackend)


class Report(BaseModel):
    title: str


async def test_types_of_typed_reading() -> None:
    """What the reader names is the type of the result, through every verb."""
    async with connect("memory://", types=[Report, StoredType(Report, name="r")]) as backend:
        await backend.store("t", TaskResult.success("t", Report(title="x")))
        assert_type(await backend.get("t", as_=Report), TaskResult[Report] | None)
        assert_type(await backend.wait_for("t", 5, as_=Report), TaskResult[Report])
        assert_type((await backend.wait_for("t", 5, as_=Report)).unwrap(), Report)
        assert_type(await backend.get_many(["t"], as_=Report), dict[str, TaskResult[Report]])
        assert_type(
            await backend.wait_for_many(["t"], as_=Report, raise_first=True), dict[str, TaskResult[Report]]
        )
        assert_type(await backend.wait_for_many(["t"], as_=Report), dict[str, Settled[Report]])
        assert_type(await backend.page(as_=Report), Page[Report])
        assert_type(backend.iter_by_status(as_=Report), AsyncGenerator[TaskResult[Report], None])
        anything: TypeAdapter[int | Report] = TypeAdapter(int | Report)
        assert_type(await backend.wait_for("t", as_=anything), TaskResult[int | Report])
        await backend.data.set("t", "k", [Report(title="x")])
        assert_type(await backend.data.entry("t", "k", as_=list[Report]), DataEntry[list[Report]] | None)
        assert_type(await backend.data.all("t", as_=list[Report]), dict[str, list[Report]])
        assert_type(await backend.checkpoints.latest("t", as_=Report), Checkpoint[Report] | None)
        async with backend.track("u", result_type=Report) as task:
            assert_type(task, TrackedTask[Report])
            task.result = Report(title="y")
            assert_type(task.result, Report)


def test_types_of_registered_models() -> None:
    """However a class is registered, it is still that class."""
    registry = ModelRegistry()

    @registry.register_model
    class Bare(BaseModel):
        title: str

    @registry.register_model("metrics")
    class Positional(BaseModel):
        title: str

    @registry.register_model(namespace="metrics", name="Other", aliases=["Old"], version=2)
    class Keyword(BaseModel):
        title: str

    @registry.register_model(name="Named", unknown_fields="keep")
    class Named(BaseModel):
        title: str

    assert_type(Bare(title="x"), Bare)
    assert_type(Bare(title="x").title, str)
    assert_type(Positional(title="x").title, str)
    assert_type(Keyword(title="x"), Keyword)
    assert_type(Named(title="x"), Named)
    assert_type(registry.register_model(Report), type[Report])
    assert_type(registry.register_model(Report, namespace="metrics"), type[Report])
    assert_type(registry.register_model(namespace="others")(Report), type[Report])
    try:
        assert_type(register_model(Report, namespace=__name__), type[Report])
        assert_type(get_model_class("Report", __name__), type[BaseModel])
        assert_type(find_model_namespace(Report), str | None)
        assert_type(find_model_in_all_namespaces("Report"), dict[str, type[BaseModel]])
        assert_type(kind_of(Report, __name__), Kind)
        assert_type(class_of(Kind(__name__, "Report")), type[BaseModel])
    finally:
        clear_registry(__name__)


async def test_types_of_typed_results(tmp_path: Path) -> None:
    """What is asked for by its class is of that class; what is not is a model."""
    registry = ModelRegistry()
    registry.register_model(Report)
    async with AsyncResultsManager(base_dir=tmp_path, registry=registry) as manager:
        assert_type(await manager.set("a", Report(title="x")), bool)
        assert_type(await manager.get("a", Report), Report)
        assert_type(await manager.get("a"), BaseModel)
        assert_type(await manager.wait_for("a", Report, 5), Report)
        assert_type(await manager.get_many(["a"], Report), dict[str, Report])
        assert_type(await manager.entry("a"), EntryInfo | None)
        assert_type(await manager.list_ids(), list[str])
        assert_type(manager.iter_ids(), AsyncGenerator[str, None])
        assert_type((await manager.list()).items, list[EntryInfo])


def test_types_of_typed_results_without_await(tmp_path: Path) -> None:
    registry = ModelRegistry()
    registry.register_model(Report)
    with ResultsManager(base_dir=tmp_path, registry=registry) as manager:
        assert_type(manager.set(["a"], Report(title="x")), bool)
        assert_type(manager.get("a", Report), Report)
        assert_type(manager.wait_for("a", Report, 5), Report)
        assert_type(manager.get_many(["a"]), dict[str, BaseModel])
        assert_type(manager.iter_ids(), Generator[str, None, None])
