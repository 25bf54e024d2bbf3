"""A store with one of everything, and the page on it as a client sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Final
from urllib.parse import urljoin, urlsplit

import httpx
from starlette.types import ASGIApp, Message

from flowstore import BaseResultBackend, TaskResult
from flowstore.web.addresses import segment
from flowstore.web.guard import Guard
from flowstore.web.routes import ROUTES, Route

HERE: Final = "http://testserver"
FROM_HERE: Final = {"sec-fetch-site": "same-origin"}
PAGES: Final = tuple(
    route
    for route in ROUTES
    if route.method == "GET" and route.where.startswith("pages.") and route.name not in ("events", "suggest")
)


@dataclass(frozen=True)
class World:
    """Ids of what is in the store: each is there twice, labelled with a tenant."""

    group: str
    operation: str
    worker: str = "host:1"

    def path(self, route: Route, tenant: str = "acme") -> str:
        """The address of a route for what belongs to the tenant."""
        parts = {
            "task": segment(f"{tenant}-failed"),
            "id": segment(f"{tenant}-failed"),
            "part": "args",
            "root": segment(f"{tenant}-root"),
            "group": self.group,
            "name": f"{tenant}.mail",
            "worker": segment(self.worker),
            "operation": self.operation,
        }
        path = route.path
        for name, value in parts.items():
            path = path.replace("{" + name + "}", value)
        if route.name == "rows":
            path += f"?id={tenant}-failed&id={tenant}-root"
        return path


FORMS: Final = {
    "label": {"add": "seen"},
    "cancel": {"reason": "x"},
    "bulk": {"action": "label", "add": "seen", "id": "acme-failed", "which": "chosen"},
    "bulk-start": {"action": "label", "add": "seen", "id": "acme-failed", "which": "chosen"},
    "decide": {"what": "resolve"},
    "free": {"what": "requeue"},
}
"""What the forms of the pages send."""


async def fill(backend: BaseResultBackend) -> World:
    now = datetime.now(UTC)
    await backend.workers.register("host:1")
    for tenant in ("acme", "rival"):
        name, labels = f"{tenant}.mail", [tenant]
        root = TaskResult.running(
            f"{tenant}-root",
            at=now,
            submitted_at=now - timedelta(minutes=9),
            task_name=name,
            labels=labels,
            worker_id="host:1",
        )
        await backend.store(root.task_id, root)
        failed = TaskResult.running(
            f"{tenant}-failed",
            at=now,
            submitted_at=now - timedelta(minutes=5),
            task_name=name,
            labels=labels,
            args=(f"secret of {tenant}",),
            parent_id=root.task_id,
            root_id=root.task_id,
            worker_id="host:1",
        )
        await backend.store(failed.task_id, failed)
        error = TimeoutError(f"no answer for {tenant}")
        await backend.store(failed.task_id, TaskResult.failed(failed, error, at=now + timedelta(seconds=1)))
        pending = TaskResult.pending(f"{tenant}-pending", at=now, task_name=name, labels=labels)
        await backend.store(pending.task_id, pending)
        done = TaskResult.success(
            f"{tenant}-done", f"result of {tenant}", at=now, task_name=name, labels=labels
        )
        await backend.store(done.task_id, done)
    operation = await backend.actions.apply("label", "label:rival", dry_run=False, by="rosa", add=["counted"])
    failed_task = await backend.get("acme-failed")
    assert failed_task is not None
    assert failed_task.error is not None
    return World(failed_task.error.fingerprint, operation.id)


@asynccontextmanager
async def asking(app: ASGIApp, base: str = HERE) -> AsyncIterator[httpx.AsyncClient]:
    """A client that follows no redirect, and is told of errors as a browser is: by a status."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=base) as client:
        yield client


@asynccontextmanager
async def living(app: ASGIApp) -> AsyncIterator[None]:
    """What a server does for an application when it starts, and when it stops."""
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    ready, over = asyncio.Event(), asyncio.Event()

    async def receive() -> Message:
        if ready.is_set():
            await over.wait()
        return next(messages)

    async def send(message: Message) -> None:
        assert message["type"].endswith(".complete"), message
        ready.set()

    running = asyncio.ensure_future(app({"type": "lifespan", "asgi": {}}, receive, send))
    await ready.wait()
    try:
        yield
    finally:
        over.set()
        await running


@asynccontextmanager
async def closing(app: Guard) -> AsyncIterator[None]:
    """What who mounts a page that has a store of its own does in the end."""
    try:
        yield
    finally:
        await app.close()
        await app.close()


class Page(HTMLParser):
    """What a test looks for in a page: elements with their attributes, and all its text."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._inside: list[str] = []
        self._url = str(answer.url)
        self.feed(answer.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside.append(tag)

    def handle_data(self, data: str) -> None:
        if self._inside and self._inside[-1] in ("script", "style") and data.strip():
            self.scripts.append(data)
        self.texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def links(self) -> list[str]:
        """Where links, forms and resources lead, as paths."""
        found = [
            value
            for _, attributes in self.elements
            for name in ("href", "src", "action", "formaction", "data-events", "data-rows", "data-base")
            if (value := attributes.get(name)) is not None
        ]
        return [urlsplit(urljoin(self._url, each)).path for each in found]
