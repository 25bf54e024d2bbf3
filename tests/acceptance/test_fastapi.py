"""Whatever flowstore returns can be the answer of a FastAPI endpoint, and is described in its OpenAPI."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from pydantic import BaseModel

from flowstore import (
    AppInfo,
    BaseResultBackend,
    Checkpoint,
    DataEntry,
    InMemoryBackend,
    Page,
    Progress,
    TaskError,
    TaskResult,
    Transition,
    Worker,
    Workflow,
    to_jsonable,
)

VALUE: Any = {1: b"\xff", "1": float("nan"), "set": {2, 1}}
FORM: Any = [[1, "/w=="], ["1", "nan"], ["set", [1, 2]]]


class Sum(BaseModel):
    total: int


def endpoint(call: Any) -> Any:
    async def answer():  # type: ignore[no-untyped-def]  # noqa: ANN202  # without an annotation, on purpose
        return await call()

    return answer


def make_app(backend: BaseResultBackend) -> FastAPI:
    """Each answer three times: as the annotation says, as a response model says, and without any."""
    app = FastAPI()
    calls: dict[str, tuple[Any, Any]] = {
        "task": (TaskResult, lambda: backend.get("root")),
        "failed": (TaskResult[Any], lambda: backend.get("failed")),
        "sum": (TaskResult[Sum], lambda: backend.get("sum")),
        "page": (Page, backend.page),
        "listing": (Page, lambda: backend.page(load_result=False)),
        "typed": (Page[Sum], lambda: backend.page(load_result=False)),
        "list": (list[TaskResult], lambda: backend.list_by_status("success")),
        "worker": (Worker, lambda: backend.workers.get("w")),
        "workflow": (Workflow, lambda: backend.workflows.get("root")),
        "app": (AppInfo, backend.app.info),
        "entry": (DataEntry, lambda: backend.data.entry("root", "k")),
        "checkpoint": (Checkpoint, lambda: backend.checkpoints.latest("root")),
        "history": (list[Transition], lambda: backend.history.of("root")),
    }
    for name, (kind, call) in calls.items():
        annotated = endpoint(call)
        annotated.__annotations__["return"] = kind
        app.get(f"/annotated/{name}")(annotated)
        app.get(f"/model/{name}", response_model=kind)(endpoint(call))
        app.get(f"/bare/{name}", response_model=None)(endpoint(call))
    return app


@pytest_asyncio.fixture
async def backend() -> AsyncIterator[BaseResultBackend]:
    async with InMemoryBackend(types=[Sum]) as backend:
        root: TaskResult = TaskResult.success("root", VALUE, task_name="flow", args=(VALUE,), meta={"a": 1})
        await backend.store("root", root.model_copy(update={"progress": Progress(done=1, total=2)}))
        await backend.store("failed", TaskResult.failed("failed", ValueError("no"), parent_id="root"))
        await backend.store("sum", TaskResult.success("sum", Sum(total=3)))
        await backend.workers.register("w", labels=["b", "a"])
        await backend.app.register({"value": VALUE})
        await backend.data.set("root", "k", VALUE)
        await backend.checkpoints.save("root", VALUE)
        yield backend


@pytest_asyncio.fixture
async def client(backend: BaseResultBackend) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(make_app(backend))
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        yield client


@pytest.mark.parametrize("way", ["annotated", "model", "bare"])
async def test_answers(client: httpx.AsyncClient, backend: BaseResultBackend, way: str) -> None:
    """The same JSON in every way, which is that of to_jsonable."""

    async def get(name: str) -> Any:
        response = await client.get(f"/{way}/{name}")
        assert response.status_code == 200, response.text
        return response.json()

    task = await get("task")
    assert task == to_jsonable(await backend.get("root"))
    assert (task["result"], task["args"], task["meta"]) == (FORM, [FORM], {"a": 1})
    assert (await get("failed"))["error"]["message"] == "no"
    assert (await get("sum"))["result"] == {"total": 3}
    assert (await get("page")) == to_jsonable(await backend.page())
    for name in ("listing", "typed"):
        items = (await get(name))["items"]
        assert [item["task_id"] for item in items] == ["failed", "root", "sum"]
        assert all(not item.keys() & {"result", "args", "kwargs"} for item in items)
    assert len(await get("list")) == 2
    assert (await get("worker"))["labels"] == ["a", "b"]
    workflow = await get("workflow")
    assert (workflow["root"], workflow["data"]) == (task, {"k": FORM})
    assert workflow["counts"]["failed"] == 1
    assert "result" not in workflow["tasks"]["items"][0]
    assert (await get("app"))["info"] == {"value": FORM}
    assert ((await get("entry"))["value"], (await get("checkpoint"))["value"]) == (FORM, FORM)
    assert [step["status"] for step in await get("history")] == ["success"]


async def test_openapi(client: httpx.AsyncClient) -> None:
    """It can be made, and says which fields may be missing."""
    described = (await client.get("/openapi.json")).json()["components"]["schemas"]
    task = described["TaskResult"]
    assert {*task["properties"]} - {*task["required"]} == {"result", "args", "kwargs"}
    assert task["properties"]["args"]["description"] == "Left out where it was not loaded."
    assert {*task["properties"]} == {*TaskResult.model_fields}
    assert {*described["TaskError"]["properties"]} == {*TaskError.model_fields}
