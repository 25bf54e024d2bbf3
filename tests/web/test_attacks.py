"""What a hostile reader asks the page for, and does not get."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import pytest_asyncio

import flowstore
from flowstore import BaseResultBackend, TaskResult
from flowstore.web import Access, create_app
from flowstore.web.access import RIGHTS

NOW = datetime(2026, 5, 1, tzinfo=UTC)
FROM_HERE = {"sec-fetch-site": "same-origin"}


@pytest_asyncio.fixture
async def backend() -> AsyncIterator[BaseResultBackend]:
    async with flowstore.connect("memory://", purge_interval=None) as backend:
        for tenant in ("acme", "rival"):
            common: dict[str, Any] = {"at": NOW, "task_name": f"{tenant}.mail", "labels": [tenant]}
            for task in (
                TaskResult.pending(f"{tenant}-pending", args=(f"secret of {tenant}",), **common),
                TaskResult.success(f"{tenant}-done", f"secret of {tenant}", worker_id="w", **common),
            ):
                await backend.store(task.task_id, task)
        yield backend


@asynccontextmanager
async def reader(
    backend: BaseResultBackend, can: frozenset[str] = RIGHTS, filters: str = ""
) -> AsyncIterator[httpx.AsyncClient]:
    """The page as somebody with these rights has it; errors of the application are raised here."""
    access = Access("mallory", can, filters, namespaces=None)
    app = await asyncio.to_thread(create_app, backend, access=access)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://ops", headers=FROM_HERE) as client:
        yield client


@pytest.mark.parametrize("q", ["id:{}-pending", "worker:{}", "name:{}.mail", "label:{}", "root:{}-done"])
async def test_what_was_looked_at_tells_nothing_of_others(q: str, backend: BaseResultBackend) -> None:
    """Tasks of others and tasks that do not exist are answered alike, to the last figure."""
    async with reader(backend, filters="label:acme") as client:
        of_others = await client.get("/api/v1/tasks", params={"q": q.format("rival")})
        of_nobody = await client.get("/api/v1/tasks", params={"q": q.format("nobody")})
        assert of_others.status_code == 200
        assert of_others.json() == of_nobody.json()
        pages = [await client.get("/tasks", params={"q": q.format(each)}) for each in ("rival", "nobody")]
    assert [page.status_code for page in pages] == [200, 200]
    assert all("looked at" not in page.text for page in pages)


async def test_others_are_told_how_far_was_looked(backend: BaseResultBackend) -> None:
    async with reader(backend) as client:
        found = (await client.get("/api/v1/tasks", params={"q": "id:rival-pending"})).json()
        page = await client.get("/tasks")
    assert found["looked_at"] == 1
    assert found["looked_back_to"] is not None
    assert "looked at" in page.text


@pytest.mark.parametrize("filters", ["status:pending", "name:acme.mail status:pending"])
async def test_a_filter_by_status_counts_no_other(filters: str, backend: BaseResultBackend) -> None:
    async with reader(backend, filters=filters) as client:
        counts = await client.get("/api/v1/counts")
        pages = [await client.get(path) for path in ("/", "/tasks")]
    assert counts.status_code == 400
    assert [page.status_code for page in pages] == [200, 200]
    async with reader(backend, filters="label:acme") as client:
        counts = await client.get("/api/v1/counts")
    assert counts.json()["counts"]["success"] == 1


async def test_values_are_not_guessed_by_a_search(backend: BaseResultBackend) -> None:
    async with reader(backend, RIGHTS - {"values"}) as client:
        for path in ("/tasks", "/runs", "/api/v1/tasks", "/api/v1/counts"):
            for q in ("secret", "-secret", '"secret of acme" label:acme'):
                refused = await client.get(path, params={"q": q})
                assert refused.status_code == 400, (path, q)
                assert "values" in refused.text
                assert "acme-pending" not in refused.text
            assert (await client.get(path, params={"q": "label:acme"})).status_code == 200


async def test_a_task_without_its_values(backend: BaseResultBackend) -> None:
    """It is shown all the same."""
    async with reader(backend, RIGHTS - {"values"}) as client:
        pages = [await client.get(f"{at}/acme-done") for at in ("/tasks", "/api/v1/tasks")]
    assert [page.status_code for page in pages] == [200, 200]
    assert all("acme.mail" in page.text and "secret" not in page.text for page in pages)


async def test_going_on_with_what_one_may_not_do(backend: BaseResultBackend) -> None:
    """Who may not remove tasks does not go on with removing them either."""
    operation = await backend.actions.start("delete", "label:acme", by="rosa")
    async with reader(backend, RIGHTS - {"delete"}) as client:
        refused = await client.post(f"/operations/{operation.id}/resume")
        page = await client.get(f"/operations/{operation.id}")
    assert refused.status_code == 404
    assert "/resume" not in page.text
    assert (await backend.actions.get(operation.id)).matched == 0
    async with reader(backend) as client:
        taken = await client.post(f"/operations/{operation.id}/resume")
    assert taken.status_code == 303


@pytest.mark.parametrize("length", ["9" * 5_000, "٣", "-1", "1_0", "65537"])
async def test_a_length_that_is_none(length: str, backend: BaseResultBackend) -> None:
    """Python refuses to read a number with so many digits."""
    async with reader(backend) as client:
        refused = await client.post("/bulk", headers={b"content-length": length.encode()})
    assert refused.status_code == 413


ODD = [
    "~",
    "~~",
    "~AA%3D%3D",
    "~_w",
    "~7aCA",
    "%2e%2e",
    "%00",
    "~" + "eHh4" * 200,
    "~" + "w6nDqcOp" * 90,
    "~" + "eHh4" * 171,
]
"""Parts of paths: empty, twice encoded, no UTF-8, a surrogate, too long."""


async def test_odd_addresses(backend: BaseResultBackend) -> None:
    """There is no such thing, and no error."""
    paths = ("/tasks/{}", "/tasks/{}/value/args", "/runs/{}", "/api/v1/tasks/{}", "/errors/{}", "/workers/{}")
    async with reader(backend) as client:
        for path in paths:
            for part in ODD:
                assert (await client.get(path.format(part))).status_code == 404, (path, part)


async def test_odd_rows(backend: BaseResultBackend) -> None:
    async with reader(backend) as client:
        for part in ("", "~", "~" + "eHh4" * 200):
            assert (await client.get("/rows", params={"id": part})).status_code == 400, part


async def test_what_is_refused_is_not_begun(backend: BaseResultBackend) -> None:
    """Calls of the store that nobody awaits would be warned of, and warnings are errors."""
    async with reader(backend) as client:
        page = await client.get("/errors/0123456789abcdef", params={"cursor": "x" * 3_000})
    assert page.status_code == 400
    async with reader(backend, filters="status:pending") as client:
        assert (await client.get("/tasks", params={"q": "status:failed"})).status_code == 400


async def test_nothing_is_not_everything(backend: BaseResultBackend) -> None:
    """A form with an empty query is refused, by name, and does nothing."""
    async with reader(backend) as client:
        for q in ("", " ", "sort:submitted"):
            for path in ("/bulk", "/bulk/start"):
                form = {"action": "delete", "which": "all", "q": q}
                assert (await client.post(path, data=form)).status_code == 400, (path, q)
    assert await backend.get("acme-done") is not None


async def test_a_body_that_does_not_end(backend: BaseResultBackend) -> None:
    """Without a length: no more of it is read than there may be, and that is no error of the server."""
    read = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 8_192
            yield b"x" * 8_192

    async with reader(backend) as client:
        for path in ("/bulk", "/tasks/acme-done/label"):
            read = 0
            assert (await client.post(path, content=chunks())).status_code == 413
            assert read < 100_000
    done = await backend.get("acme-done")
    assert done is not None
    assert done.labels == {"acme"}


async def test_odd_details_of_actions(backend: BaseResultBackend) -> None:
    """What the store would not take is refused, and not an error of the server."""
    wide = "\U0001f600"
    async with reader(backend) as client:
        for form in (
            *({"action": "expire", "ttl": ttl} for ttl in ("0", "0s", "-1s", "9" * 19, "5300w", "nan")),
            *({"action": "label", name: wide * 500} for name in ("add", "remove")),
        ):
            for path in ("/bulk", "/bulk/start"):
                for chosen in ({"which": "all", "q": "label:acme"}, {"which": "chosen", "id": "acme-done"}):
                    answer = await client.post(path, data={**form, **chosen})
                    assert answer.status_code == 400, (path, form, chosen)
        texts = {"action": "fail", "error": wide * 1_000, "reason": wide * 1_000, "which": "chosen"}
        answer = await client.post("/bulk/start", data={**texts, "id": "acme-pending"})
        assert answer.status_code in (303, 400)
