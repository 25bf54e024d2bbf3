"""The stream of changes: told to all who look, once, joined, and only what each may see."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import Any

import anyio
import httpx
import pytest
from starlette.types import ASGIApp, Message

from flowstore import BaseResultBackend, InMemoryBackend, TaskResult, parse_query
from flowstore.web import live
from flowstore.web.live import MOST_IDS, Event, Hub
from tests.web.support import World

EVERYTHING = parse_query("")
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


async def streamed(
    app: ASGIApp,
    query: str,
    change: Callable[[], Awaitable[None]],
    *,
    until: Callable[[str], bool],
    headers: dict[str, str] | None = None,
) -> str:
    """What the stream of a page says after ``change``; the client goes away when it has seen enough."""
    text, begun, gone = "", asyncio.Event(), asyncio.Event()

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal text
        text += message.get("body", b"").decode()
        if message["type"] == "http.response.start":
            assert message["status"] == 200
        if "changes" in text:
            begun.set()
            if until(text):
                gone.set()

    given = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {
        "type": "http", "method": "GET", "path": "/events", "root_path": "", "scheme": "http",
        "query_string": query.encode(), "headers": [(b"host", b"testserver"), *given],
        "server": ("testserver", 80), "client": ("127.0.0.1", 1), "http_version": "1.1",
    }  # fmt: skip
    running = asyncio.ensure_future(app(scope, receive, send))
    async with asyncio.timeout(20):
        await begun.wait()
        await change()
        if not gone.is_set() and until(text):
            gone.set()
        await running
        for watching in [
            each for each in asyncio.all_tasks() if "_shutdown_watcher" in repr(each.get_coro())
        ]:
            watching.cancel()  # sse-starlette leaves it to the end of the loop
            with suppress(asyncio.CancelledError):
                await watching
    return text


def ids_of(events: list[Event]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for event in events:
        told |= json.loads(event.data)["ids"]
    return told


async def nothing() -> None:
    pass


async def test_a_change_is_told(app: ASGIApp, world: World, backend: BaseResultBackend) -> None:
    """By the id as addresses have it, with the status and the time of the submission."""

    async def change() -> None:
        await backend.store("a/b", TaskResult.pending("a/b", at=NOON))
        await backend.store("plain", TaskResult.success("plain"))

    text = await streamed(app, "", change, until=lambda text: "plain" in text)
    assert "event: hello" in text
    assert "retry: 2000" in text
    told: dict[str, Any] = {}
    for line in text.splitlines():
        if line.startswith('data: {"ids'):
            told |= json.loads(line.removeprefix("data: "))["ids"]
    assert told["~YS9i"] == ["pending", int(NOON.timestamp() * 1_000)]
    assert told["plain"][0] == "success"


async def test_only_what_the_list_is_about(app: ASGIApp, world: World, backend: BaseResultBackend) -> None:
    """By name; whether a task has the status of the list is for the page to say, as it may leave it."""

    async def change() -> None:
        await backend.store("x1", TaskResult.pending("x1", task_name="other"))
        await backend.store("x2", TaskResult.pending("x2", task_name="acme.mail"))

    query = "q=name:acme.mail+status:failed+boom+sort:-finished"
    text = await streamed(app, query, change, until=lambda text: "x2" in text)
    assert "x1" not in text


async def test_one_feed_for_all(backend: BaseResultBackend, world: World) -> None:
    """However many look at the same, the store is watched once; the last one to go ends it."""
    hub, leaving = Hub(), anyio.Event()
    streams = [hub.stream(backend, EVERYTHING, None, leaving) for _ in range(50)]
    for stream in streams:
        await anext(stream)
    assert hub.streams == 50
    assert len(hub._feeds) == 1
    await backend.store("n", TaskResult.pending("n"))
    for stream in streams:
        found: dict[str, Any] = {}
        while "n" not in found:
            found |= ids_of([await anext(stream)])
    for stream in streams:
        await stream.aclose()
    assert hub.streams == 0
    assert hub._feeds == {}


async def test_changes_are_joined(backend: BaseResultBackend, world: World) -> None:
    """A hundred stores are a few events, and the last status of a task is what is told."""
    hub = Hub()
    async with aclosing(hub.stream(backend, EVERYTHING, None, anyio.Event())) as stream:
        await anext(stream)
        for number in range(100):
            await backend.store(f"j{number}", TaskResult.pending(f"j{number}"))
        await backend.store("j0", TaskResult.success("j0"))
        events: list[Event] = []
        while ids_of(events).get("j0", [""])[0] != "success" or "j99" not in ids_of(events):
            events.append(await anext(stream))
        assert len(events) < 10


async def test_many(backend: BaseResultBackend, world: World) -> None:
    """More ids than one event may have are not told one by one."""
    hub = Hub()
    async with aclosing(hub.stream(backend, EVERYTHING, None, anyio.Event())) as stream:
        await anext(stream)
        await backend.store_many([TaskResult.pending(f"m{n}") for n in range(MOST_IDS + 1)])
        async with asyncio.timeout(20):
            while not json.loads((event := await anext(stream)).data).get("many"):
                pass
        assert json.loads(event.data)["ids"] == {}


async def test_coming_back(backend: BaseResultBackend, world: World) -> None:
    """With the id of its last event a browser is told what it has missed, or that it must look again."""
    hub = Hub()
    async with aclosing(hub.stream(backend, EVERYTHING, None, anyio.Event())) as stream:
        first = await anext(stream)
        await backend.store("c1", TaskResult.pending("c1"))
        seen = first
        while "c1" not in ids_of([seen]):
            seen = await anext(stream)
        await backend.store("c2", TaskResult.pending("c2"))
        while "c2" not in ids_of([last := await anext(stream)]):
            pass
        for known, told in ((seen.id, {"c2"}), (last.id, set())):
            async with aclosing(hub.stream(backend, EVERYTHING, known, anyio.Event())) as again:
                event = await anext(again)
                assert {*ids_of([event])} == told
                assert "many" not in json.loads(event.data)
        async with aclosing(hub.stream(backend, EVERYTHING, "another.7", anyio.Event())) as again:
            assert json.loads((await anext(again)).data)["many"]
        async with aclosing(hub.stream(backend, EVERYTHING, None, anyio.Event())) as new:
            told_to_new: dict[str, Any] = {}
            while not {"c1", "c2"} <= {*told_to_new}:
                told_to_new |= ids_of([await anext(new)])


async def test_a_slow_browser(
    backend: BaseResultBackend, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not taken is not kept for ever: it is told that there were many."""
    monkeypatch.setattr(live, "JOINED_FOR", 0.001)
    hub = Hub()
    async with (
        aclosing(hub.stream(backend, EVERYTHING, None, anyio.Event())) as slow,
        aclosing(hub.stream(backend, EVERYTHING, None, anyio.Event())) as quick,
    ):
        await anext(slow)
        await anext(quick)
        for number in range(80):
            await backend.store(f"s{number}", TaskResult.pending(f"s{number}"))
            while f"s{number}" not in ids_of([await anext(quick)]):
                pass
        assert json.loads((await anext(slow)).data)["many"]


async def test_leaving(app: ASGIApp, backend: BaseResultBackend, world: World) -> None:
    """A server that stops ends its streams, and so does a store that is closed."""
    hub, leaving = Hub(), anyio.Event()
    stream = hub.stream(backend, EVERYTHING, None, leaving)
    await anext(stream)
    leaving.set()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    other = InMemoryBackend()
    stream = hub.stream(other, EVERYTHING, None, anyio.Event())
    await anext(stream)
    await other.close()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert hub.streams == 0


async def test_the_longest(backend: BaseResultBackend, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream ends after its time, so that a reader is asked again who they are."""
    monkeypatch.setattr(live, "LONGEST", 0.05)
    hub = Hub()
    async with asyncio.timeout(20):
        assert [event async for event in hub.stream(backend, EVERYTHING, None, anyio.Event())]
    assert hub.streams == 0


async def test_too_many(
    client: httpx.AsyncClient, backend: BaseResultBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then a page asks every few seconds."""
    monkeypatch.setattr(live, "MOST_STREAMS", 0)
    answer = await client.get("/events")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"


@pytest.mark.parametrize("last", ["x", "x.1", "~", "é", "0" * 100])
async def test_odd_ids_of_events(last: str, app: ASGIApp, world: World) -> None:
    """Who comes back with an id that was never given is told to look again."""
    headers = {"last-event-id": last}
    text = await streamed(app, "", nothing, until=lambda text: "many" in text, headers=headers)
    assert '"many": true' in text


async def test_rows(client: httpx.AsyncClient, world: World) -> None:
    answer = await client.get("/rows?id=acme-failed&id=acme-failed&id=nobody&id=rival-root")
    assert answer.status_code == 200
    assert answer.text.count("<tr data-task=") == 2
    for query in ("", "id=", "id=~", "&".join(f"id=t{n}" for n in range(26))):
        assert (await client.get(f"/rows?{query}")).status_code == 400
