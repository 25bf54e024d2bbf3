"""While the store is away every page still comes, with all its links, and says what is wrong."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import flowstore
from flowstore.web import ANYONE_DANGEROUS, create_app
from flowstore.web.routes import ROUTES, Route
from tests.servers import Server, start_server
from tests.web.support import FORMS, FROM_HERE, PAGES, Page, World, asking, fill, living
from tests.web.test_pages import check

API = [route for route in ROUTES if route.path.startswith("/api/v1/") and route.name != "openapi"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = start_server("valkey")
    yield server
    server.stop()


async def says_so(client: httpx.AsyncClient, route: Route, world: World) -> None:
    answer = await client.get(world.path(route))
    assert answer.status_code == 503, (route, answer.text[:300])
    assert "no-store" in answer.headers["cache-control"]
    if route.path.startswith("/api/"):
        assert answer.json()["error"]["message"]
        return
    check(answer)
    page = Page(answer)
    assert "The store does not answer" in page.text
    assert "Try again" in page.text
    assert all(f"/{name}" in " ".join(page.links) for name in ("tasks", "errors", "workers", "system"))


async def test_a_server_that_was_killed(server: Server) -> None:
    """On each page and each address; when it is back all is as before."""
    url = f"{server.url}?socket_connect_timeout=0.2"
    app = create_app(url, access=ANYONE_DANGEROUS, op_timeout=0.3)
    async with living(app), asking(app) as client:
        async with flowstore.connect(server.url) as backend:
            world = await fill(backend)
        assert (await client.get("/tasks")).status_code == 200
        assert (await client.get("/readyz")).status_code == 200
        await asyncio.to_thread(server.kill)
        await asyncio.gather(*(says_so(client, route, world) for route in [*PAGES, *API]))
        assert "It last answered" in (await client.get("/tasks")).text
        for route in ROUTES:
            if route.method == "POST":
                data = FORMS.get(route.name, {})
                answer = await client.post(world.path(route), data=data, headers=FROM_HERE)
                assert answer.status_code == 503, route
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
        style = next(link for link in Page(await client.get("/tasks")).links if link.endswith("style.css"))
        assert (await client.get(style)).status_code == 200
        await asyncio.to_thread(server.restart)
        async with asyncio.timeout(20):
            while (await client.get("/tasks")).status_code != 200:
                pass


async def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    """It says what it is instead; the password of nobody is in it."""
    path = tmp_path / "notes.txt"
    await asyncio.to_thread(path.write_text, "these are my notes, and no store" * 100)
    app = create_app(f"sqlite:///{path}", access=ANYONE_DANGEROUS)
    async with living(app), asking(app) as client:
        for route in PAGES:
            await says_so(client, route, World("0" * 16, "1"))


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    app = create_app(f"sqlite:///{tmp_path}/missing/s.db", access=ANYONE_DANGEROUS)
    async with living(app), asking(app) as client:
        for route in PAGES:
            await says_so(client, route, World("0" * 16, "1"))
        assert "It has not answered since this page was started." in (await client.get("/tasks")).text


async def test_a_password_is_not_told(server: Server) -> None:
    """Whatever the driver has to say about a URL."""
    url = f"redis://rosa:hunter2@127.0.0.1:{server.port}/0"
    app = create_app(url, access=ANYONE_DANGEROUS, op_timeout=0.3)
    async with living(app), asking(app) as client:
        for path in ("/tasks", "/system", "/api/v1/tasks", "/readyz"):
            answer = await client.get(path)
            assert answer.status_code == 503
            assert "hunter2" not in answer.text


async def test_one_record_that_cannot_be_read(tmp_path: Path) -> None:
    """Its own page says so; lists name it and show all others."""
    file = f"sqlite:///{tmp_path}/s.db"
    async with flowstore.connect(file) as backend:
        world = await fill(backend)
    await asyncio.to_thread(damage, tmp_path / "s.db", "acme-failed")
    app = create_app(file, access=ANYONE_DANGEROUS)
    async with living(app), asking(app) as client:
        answer = await client.get("/tasks/acme-failed")
        assert answer.status_code == 422
        check(answer)
        listed = Page(await client.get("/tasks"))
        assert "Cannot be read:" in listed.text
        assert "acme-root" in listed.text
        for route in PAGES:
            assert (await client.get(world.path(route))).status_code < 500, route


def damage(path: Path, task_id: str) -> None:
    """Overwrite the head of a record, behind the back of the store."""
    with sqlite3.connect(path) as connection:
        changed = connection.execute("UPDATE task SET head = '{' WHERE id = ?", [task_id])
        assert changed.rowcount == 1
    connection.close()
