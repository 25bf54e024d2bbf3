"""The interface for programs: its answers are what its description says, and what the command line prints."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import httpx
import pytest

from flowstore import BaseResultBackend, TaskResult
from flowstore._faces.records import as_json
from flowstore.web import Access
from flowstore.web.openapi import described
from flowstore.web.routes import ROUTES
from tests.web.conftest import Made
from tests.web.support import World, asking

TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict,
    "null": type(None),
}  # fmt: skip


def wrong(value: Any, schema: dict[str, Any], at: str = "$") -> list[str]:
    """Where a value is not what a schema says, by as much of JSON Schema as the description uses."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return wrong(value, described()["components"]["schemas"][name], at)
    if "anyOf" in schema:
        return [] if any(not wrong(value, each, at) for each in schema["anyOf"]) else [f"{at}: none of them"]
    found = []
    kind = schema.get("type")
    if kind and (not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return [f"{at}: {type(value).__name__} is no {kind}"]
    if ("const" in schema and value != schema["const"]) or value not in schema.get("enum", [value]):
        found.append(f"{at}: {value!r}")
    if kind == "object":
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        found += [f"{at}: no {name}" for name in schema.get("required", []) if name not in value]
        for name, each in value.items():
            if name not in properties and others is False:
                found.append(f"{at}.{name}: not described")
            inner = properties.get(name, others)
            found += wrong(each, inner if isinstance(inner, dict) else {}, f"{at}.{name}")
    if kind == "array":
        items = schema.get("prefixItems") or [schema.get("items", {})] * len(value)
        found += [
            one for number, each in enumerate(value) for one in wrong(each, items[number], f"{at}[{number}]")
        ]
    return found


def answer_of(path: str, status: int = 200) -> dict[str, Any]:
    responses = described()["paths"][path]["get"]["responses"]
    schema: dict[str, Any] = responses[str(status)]["content"]["application/json"]["schema"]
    return schema


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/api/v1/tasks", "/api/v1/tasks"),
        ("/api/v1/tasks", "/api/v1/tasks?q=status:failed&limit=100"),
        ("/api/v1/tasks/{id}", "/api/v1/tasks/acme-failed"),
        ("/api/v1/tasks/{id}", "/api/v1/tasks/acme-done"),
        ("/api/v1/counts", "/api/v1/counts"),
        ("/api/v1/counts", "/api/v1/counts?q=name:acme.mail"),
        ("/api/v1/stats", "/api/v1/stats"),
        ("/api/v1/stats", "/api/v1/stats?window=1h&name=acme.mail"),
    ],
)
async def test_answers(path: str, asked: str, client: httpx.AsyncClient) -> None:
    answer = await client.get(asked)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert wrong(answer.json(), answer_of(path)) == []


def test_the_check_finds_what_is_wrong() -> None:
    """A field that is missing, one too many, and one of another type."""
    schema = answer_of("/api/v1/counts")
    good: dict[str, Any] = {"v": 1, "counts": {"failed": 1}, "is_exact": True}
    assert wrong(good, schema) == []
    bad: list[Any] = [{"v": 1}, {**good, "x": 1}, {**good, "v": 2}, {**good, "counts": {"failed": "1"}}, []]
    assert all(wrong(each, schema) for each in bad)


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("/api/v1/tasks?limit=1", 400),
        ("/api/v1/tasks?q=statsu:failed", 400),
        ("/api/v1/tasks?cursor=x", 400),
        ("/api/v1/counts?q=boom", 400),
        ("/api/v1/stats?window=1y", 400),
        ("/api/v1/tasks/nobody", 404),
        ("/api/v1/nothing", 404),
        ("/api/v1/tasks?namespace=nowhere", 404),
    ],
)
async def test_refusals(asked: str, status: int, client: httpx.AsyncClient) -> None:
    """In JSON, whatever went wrong."""
    answer = await client.get(asked)
    assert answer.status_code == status
    assert wrong(answer.json(), answer_of("/api/v1/tasks", 400)) == []


async def test_nobody_is_told_in_json(made: Made, world: World) -> None:
    async with asking(made(lambda request: None)) as client:
        answer = await client.get("/api/v1/tasks")
    assert answer.status_code == 401
    assert answer.json()["error"]["message"]


async def test_description(client: httpx.AsyncClient) -> None:
    """It is served, and has every address of the interface, and no other."""
    served = (await client.get("/api/v1/openapi.json")).json()
    assert served == json.loads(json.dumps(described()))
    known = {route.path for route in ROUTES if route.path.startswith("/api/")}
    assert {*served["paths"]} == known - {"/api/v1/openapi.json"}


def test_description_is_printed() -> None:
    command = [sys.executable, "-m", "flowstore.web.openapi"]
    printed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert json.loads(printed) == json.loads(json.dumps(described()))


async def test_the_same_as_the_command_line(client: httpx.AsyncClient, backend: BaseResultBackend) -> None:
    task = await backend.get("acme-done")
    assert task is not None
    assert (await client.get("/api/v1/tasks/acme-done")).json() == as_json(task)


async def test_values(made: Made, world: World, client: httpx.AsyncClient) -> None:
    """They are not in lists, and not for who may not see them."""
    listed = (await client.get("/api/v1/tasks")).json()["items"]
    assert listed
    assert not [each for each in listed if {"args", "kwargs", "result"} & {*each}]
    async with asking(made(Access("x", frozenset({"read"})))) as reader:
        told = (await reader.get("/api/v1/tasks/acme-failed")).json()
    assert "args" not in told
    assert told["error"]["message"]


async def test_large_values_are_cut(client: httpx.AsyncClient, backend: BaseResultBackend) -> None:
    await backend.store("large", TaskResult.success("large", ["x" * 1_000] * 1_000))
    answer = await client.get("/api/v1/tasks/large")
    assert answer.status_code == 200
    assert len(answer.content) < 100_000
    assert wrong(answer.json(), answer_of("/api/v1/tasks/{id}")) == []


async def test_pages(client: httpx.AsyncClient, backend: BaseResultBackend) -> None:
    """Page after page, and back."""
    await backend.store_many([TaskResult.pending(f"p{n:03}", labels=["paged"]) for n in range(120)])
    asked = {"q": "label:paged", "limit": "50"}
    first = (await client.get("/api/v1/tasks", params=asked)).json()
    second = (await client.get("/api/v1/tasks", params={**asked, "cursor": first["next_cursor"]})).json()
    third = (await client.get("/api/v1/tasks", params={**asked, "cursor": second["next_cursor"]})).json()
    ids = [each["task_id"] for page in (first, second, third) for each in page["items"]]
    assert sorted(ids) == [f"p{n:03}" for n in range(120)]
    assert third["next_cursor"] is None
    back = (await client.get("/api/v1/tasks", params={**asked, "cursor": second["prev_cursor"]})).json()
    assert back["items"] == first["items"]


async def test_health(client: httpx.AsyncClient, made: Made, backend: BaseResultBackend) -> None:
    """Alive and ready are for who watches the process, without a password, and tell nothing else."""
    async with asking(made(lambda request: None)) as nobody:
        assert (await nobody.get("/healthz")).text == "alive\n"
        assert (await nobody.get("/readyz")).text == "ready\n"
        await backend.close()
        assert (await nobody.get("/healthz")).status_code == 200
        answer = await nobody.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "the store does not answer\n")


async def test_metrics(client: httpx.AsyncClient) -> None:
    """Those of docs/prometheus.md; without its package it is said what is missing."""
    answer = await client.get("/metrics")
    if find_spec("prometheus_client") is None:
        assert (answer.status_code, "extra prometheus" in answer.text) == (501, True)
    else:
        assert answer.status_code == 200
        assert 'flowstore_tasks{namespace="default",status="failed"} 2' in answer.text
