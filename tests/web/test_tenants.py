"""Who sees a part of the store only: nothing else is shown, counted, told or changed by any address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import httpx
import pytest
import pytest_asyncio
from starlette.types import ASGIApp

from flowstore import BaseResultBackend, TaskResult
from flowstore.web import RIGHTS, Access, live
from flowstore.web.routes import ROUTES, Route
from tests.web.conftest import Made
from tests.web.support import FORMS, FROM_HERE, Page, World, asking
from tests.web.test_live import streamed

TENANT: Final = Access("acme's", RIGHTS, filters="label:acme")
BOUNDED: Final = [route for route in ROUTES if route.name != "events"]


@pytest.fixture
def tenant_app(made: Made) -> ASGIApp:
    return made(TENANT)


@pytest_asyncio.fixture
async def tenant(tenant_app: ASGIApp, world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(tenant_app) as client:
        yield client


async def others(backend: BaseResultBackend) -> list[TaskResult]:
    return [task async for task in backend.iter_search("label:rival", load_result=True)]


@pytest.mark.parametrize("route", BOUNDED, ids=lambda route: f"{route.method} {route.name}")
async def test_every_address(
    route: Route, tenant: httpx.AsyncClient, world: World, backend: BaseResultBackend
) -> None:
    """With the ids of the others, as if somebody had guessed them."""
    before = await others(backend)
    form = {
        name: value.replace("acme", "rival") if isinstance(value, str) else value
        for name, value in FORMS.get(route.name, {}).items()
    }
    data = form if route.method == "POST" else None
    answer = await tenant.request(route.method, world.path(route, "rival"), data=data, headers=FROM_HERE)
    assert "rival" not in answer.text
    if "{" in route.path:
        assert answer.status_code == 404
    assert await others(backend) == before
    for operation in await backend.actions.all():
        assert operation.id == world.operation or operation.done == 0


@pytest.mark.parametrize(
    "q",
    [
        *("label:rival", "-label:acme", "name:rival.mail", "id:rival-failed", "id:rival*", "worker:host:1"),
        *(
            "root:rival-root",
            "parent:rival-root",
            "status:failed",
            '"secret of"',
            "is:root",
            "sort:-finished",
        ),
        *("label:acme,rival", "label:rival label:acme", "error:{group}"),
    ],
)
async def test_every_query(q: str, tenant: httpx.AsyncClient, world: World) -> None:
    """Whatever is asked for, the answer is of what the reader may see."""
    for path in ("/tasks", "/runs", "/api/v1/tasks", "/api/v1/counts"):
        answer = await tenant.get(path, params={"q": q.format(group=world.group)})
        assert answer.status_code in (200, 400), path
        body = answer.text.replace(q, "").replace(q.replace('"', "&#34;"), "")
        rivals = [
            each
            for each in ("rival-root", "rival-failed", "secret of rival", "rival-pending")
            if each in body
        ]
        assert rivals == [] or "id:" in q or "root:" in q or "parent:" in q, (path, rivals)
        assert "/tasks/rival-" not in "".join(Page(answer).links)


async def test_counts(tenant: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    """The tabs, the tiles and the interface count four tasks, not eight."""
    assert sum((await tenant.get("/api/v1/counts")).json()["counts"].values()) == 4
    assert sum((await client.get("/api/v1/counts")).json()["counts"].values()) == 8
    assert "all 4" in Page(await tenant.get("/tasks")).text
    assert (await tenant.get("/api/v1/tasks")).json()["looked_at"] == 4


async def test_cursors(tenant: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    """A cursor of somebody who sees all leads nowhere else."""
    everything = (await client.get("/api/v1/tasks?limit=50")).json()
    assert everything["next_cursor"] is None
    for cursor in ("", "x"):
        answer = await tenant.get("/api/v1/tasks", params={"cursor": cursor})
        assert "rival" not in answer.text


async def test_what_cannot_be_narrowed(tenant: httpx.AsyncClient, world: World) -> None:
    """Statistics, errors, workers and operations know no tenants, so they are not there."""
    for route in ROUTES:
        if route.is_whole:
            answer = await tenant.request(route.method, world.path(route), headers=FROM_HERE)
            assert answer.status_code == 404
    page = Page(await tenant.get("/"))
    assert "Errors of the last day" not in page.text
    assert "alive" not in page.text
    assert "Options in effect" not in Page(await tenant.get("/system")).text


async def test_the_stream(tenant_app: ASGIApp, world: World, backend: BaseResultBackend) -> None:
    """It tells of the reader's own tasks only."""

    async def change() -> None:
        await backend.store("rival-new", TaskResult.pending("rival-new", labels=["rival"]))
        await backend.store("acme-new", TaskResult.pending("acme-new", labels=["acme"]))

    assert "rival" not in await streamed(tenant_app, "", change, until=lambda text: "acme-new" in text)


async def test_the_stream_of_others(
    tenant_app: ASGIApp, world: World, backend: BaseResultBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for by their label or id, nothing comes until the stream ends by itself."""
    monkeypatch.setattr(live, "LONGEST", 0.6)

    async def change() -> None:
        await backend.store("rival-new", TaskResult.pending("rival-new", labels=["rival"]))

    for q in ("label:rival", "id:rival-new"):
        assert "rival" not in await streamed(tenant_app, f"q={q}", change, until=lambda text: False)


async def test_a_tenant_by_text(made: Made, world: World) -> None:
    """One who is known by a text in their values sees their own, and is told so by asking again."""
    async with asking(made(Access("x", RIGHTS, filters='"secret of acme"'))) as client:
        text = (await client.get("/tasks")).text
        assert "acme-failed" in text
        assert "rival" not in text
        assert (await client.get("/events")).status_code == 400


async def test_another_tenant_is_the_same(made: Made, world: World) -> None:
    """By name, and by several terms at once."""
    for filters, seen in (("name:rival.mail", "rival"), ("label:acme name:acme.mail", "acme")):
        other = {"rival": "acme", "acme": "rival"}[seen]
        async with asking(made(Access("x", RIGHTS, filters=filters))) as client:
            text = (await client.get("/tasks")).text
            assert f"{seen}-failed" in text
            assert f"{other}-failed" not in text
            assert (await client.get(f"/tasks/{other}-failed")).status_code == 404
            assert (await client.get(f"/tasks/{seen}-failed")).status_code == 200
