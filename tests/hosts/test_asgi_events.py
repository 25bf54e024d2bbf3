"""Streams of server-sent events: what they tell, where they end, and how clients come back to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount

from flowstore import BaseResultBackend, TaskResult
from flowstore.integrations import _asgi_events
from flowstore.integrations.asgi import Access, lifespan, task_routes
from flowstore.testing.insides import listening, meanwhile, plant
from tests.hosts.asgi_client import Event, event_of, serving, stream


async def owner(request: Request, task: TaskResult) -> Access:
    return Access.RESULT if task.meta.get("owner", "ada") == "ada" else Access.NOTHING


@pytest_asyncio.fixture
async def app(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """It runs with the backend that the test has asked for."""
    used = request.getfixturevalue("backend" if "backend" in request.fixturenames else "memory")
    app = Starlette(routes=[Mount("/tasks", task_routes(access=owner))], lifespan=lifespan(used))
    async with serving(app):
        yield app


async def test_a_life(backend: BaseResultBackend, app: Any) -> None:
    """Each state as it is stored, with an id of its own, up to the result; then the answer ends."""
    await backend.store("t1", TaskResult.pending("t1"))
    async with stream(app, "/tasks/t1/events") as opened:
        events = opened.events()
        seen = [await anext(events)]
        await backend.store("t1", TaskResult.running("t1"))
        seen.append(await anext(events))
        await backend.set_progress("t1", 1, 2, "half")
        seen.append(await anext(events))
        await backend.store("t1", TaskResult.success("t1", 5))
        seen += [event async for event in events]
    assert (opened.status, opened.headers["cache-control"]) == (200, "no-store")
    assert opened.headers["content-type"].startswith("text/event-stream")
    assert [(event.name, event.data["status"]) for event in seen] == [
        ("status", "pending"),
        ("status", "running"),
        ("progress", "running"),
        ("finished", "success"),
    ]
    assert seen[2].data["progress"] == {"done": 1, "total": 2, "note": "half"}
    assert seen[3].data["result"] == 5
    assert len({event.id for event in seen}) == 4


async def test_coming_back(backend: BaseResultBackend, app: Any) -> None:
    """What was seen is not repeated; what has changed meanwhile comes at once; at the end there is 204."""
    await backend.store("t1", TaskResult.running("t1"))

    async def next_after(last: str | None, *changes: Any) -> Event:
        headers = {} if last is None else {"Last_Event_ID": last}
        async with stream(app, "/tasks/t1/events", **headers) as opened:
            if changes:
                await listening(backend, "t1")
            for change in changes:
                await change
            return await anext(opened.events())

    first = await next_after(None)
    assert await next_after(None) == first
    unseen = backend.set_progress("t1", 1)
    second = await next_after(first.id, unseen)
    assert (second.name, second.data["progress"]["done"]) == ("progress", 1)
    await backend.set_progress("t1", 2)
    await backend.set_progress("t1", 3)
    third = await next_after(second.id)
    assert (third.name, third.data["progress"]["done"]) == ("progress", 3)
    await backend.store("t1", TaskResult.success("t1", "done"))
    last = await next_after(third.id)
    assert (last.name, last.data["result"]) == ("finished", "done")
    assert await next_after("nonsense") == last
    async with stream(app, "/tasks/t1/events", Last_Event_ID=last.id or "") as opened:
        assert [event async for event in opened.events()] == []
        assert opened.status == 204
    await backend.requeue("t1")
    assert (await next_after(last.id)).data["status"] == "pending"
    await backend.delete("t1")
    await backend.store("t1", TaskResult.running("t1"))
    again = await next_after(first.id)
    assert (again.data["version"], again.data["status"]) == (1, "running")


async def test_the_id_of_an_event_is_the_etag_of_its_state(memory: BaseResultBackend, app: Any) -> None:
    """So a client can change from one to the other."""
    await memory.store("t1", TaskResult.success("t1", "x"))
    async with stream(app, "/tasks/t1/events") as opened:
        [event] = [event async for event in opened.events()]
    async with stream(app, "/tasks/t1") as opened:
        assert opened.status == 0
    assert opened.headers["etag"] == f'W/"{event.id}"'


async def test_a_task_that_goes(backend: BaseResultBackend, app: Any) -> None:
    """Is told as the problem that it is, without an id; who comes back gets 404."""
    await backend.store("t1", TaskResult.running("t1"))
    async with stream(app, "/tasks/t1/events") as opened:
        events = opened.events()
        await anext(events)
        await backend.delete("t1")
        assert [event async for event in events] == [Event("problem", None, {"title": "Gone", "status": 410})]
    async with stream(app, "/tasks/t1/events") as opened:
        assert [chunk async for chunk in opened.chunks()] == [b'{"title":"Not Found","status":404}']


async def test_a_task_that_goes_before_the_stream_begins(
    memory: BaseResultBackend, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would ever hear of it again."""
    monkeypatch.setattr(_asgi_events, "FIRST_STATE_WITHIN", 0.05)
    await memory.store("t1", TaskResult.running("t1"))

    meanwhile(memory, "read", lambda: memory.delete("t1"))
    async with asyncio.timeout(10), stream(app, "/tasks/t1/events") as opened:
        assert [event.data["status"] async for event in opened.events()] == [410]


async def test_what_may_not_be_seen_any_more(memory: BaseResultBackend, app: Any) -> None:
    """Access is asked again when the task is stored anew; the stream ends as if it had gone."""
    await memory.store("t1", TaskResult.running("t1"))
    async with stream(app, "/tasks/t1/events") as opened:
        events = opened.events()
        await anext(events)
        await memory.store("t1", TaskResult.success("t1", "secret", meta={"owner": "eve"}))
        assert [(event.name, event.data) async for event in events] == [
            ("problem", {"title": "Not Found", "status": 404})
        ]


async def test_another_task_under_the_same_id(memory: BaseResultBackend, app: Any) -> None:
    """It begins with version 1 again; but whose it is, is asked again."""
    await memory.store("t1", TaskResult.pending("t1", meta={"owner": "ada"}))
    async with stream(app, "/tasks/t1/events") as opened:
        events = opened.events()
        await anext(events)
        await memory.delete("t1")
        await memory.store("t1", TaskResult.success("t1", "secret", meta={"owner": "eve"}))
        left = [event async for event in events]
    assert [(event.name, event.data["status"]) for event in left] == [("problem", 404)]


async def test_a_record_that_cannot_be_read_any_more(memory: BaseResultBackend, app: Any) -> None:
    await memory.store("t1", TaskResult.running("t1"))
    async with stream(app, "/tasks/t1/events") as opened:
        events = opened.events()
        await anext(events)
        await plant(memory, TaskResult.success("t1", 1), body=b"?")
        assert [event.data["status"] async for event in events] == [500]


async def test_the_end_of_waits(memory: BaseResultBackend, app: Any) -> None:
    """As when the server stops: the answer ends, with no event, and the client will come back."""
    await memory.store("t1", TaskResult.running("t1"))
    async with stream(app, "/tasks/t1/events") as opened, asyncio.timeout(10):
        events = opened.events()
        await anext(events)
        memory.end_waits()
        assert [event async for event in events] == []


async def test_a_client_that_leaves(memory: BaseResultBackend, app: Any) -> None:
    """Nothing watches for it any more."""
    await memory.store("t1", TaskResult.running("t1"))
    async with stream(app, "/tasks/t1/events") as opened:
        await anext(opened.events())
        assert memory.waiting == 1
    assert memory.waiting == 0


async def test_the_first_line_tells_when_to_come_back(memory: BaseResultBackend, app: Any) -> None:
    await memory.store("t1", TaskResult.success("t1", "a\nb\r\n\u2028c"))
    async with stream(app, "/tasks/t1/events") as opened:
        first, second = [chunk async for chunk in opened.chunks() if chunk]
    assert first.split() == [b"retry:", b"1000"]
    event = event_of(second.decode())
    assert event is not None
    assert event.data["result"] == "a\nb\r\n\u2028c"
