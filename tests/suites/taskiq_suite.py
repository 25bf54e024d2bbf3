"""A plugin of pytest for the test-suite of taskiq itself: brokers that have no other result backend get ours.

``FLOWSTORE_SUITE``: memory, sqlite or redis, for which it starts a server.
``FLOWSTORE_SUITE_RECORDS``: brokers in memory have it as their last middleware as well, as they would have in
an application. ``nox -s suites`` uses it.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import taskiq
from taskiq import InMemoryBroker, TaskiqResult
from taskiq.abc import broker as abstract
from taskiq.brokers import inmemory_broker

import flowstore
from flowstore.integrations.taskiq import FlowstoreResultBackend

RECORDS: Final = bool(os.environ.get("FLOWSTORE_SUITE_RECORDS"))
UNDO: Final = ExitStack()


def url_of(storage: str) -> str:
    if storage == "memory":
        return "memory://"
    if storage == "sqlite":
        return f"sqlite:///{UNDO.enter_context(TemporaryDirectory())}/results.db"
    # By its path: ``tests`` is a package of taskiq here.
    spec = spec_from_file_location("flowstore_servers", Path(__file__).parents[1] / "servers.py")
    assert spec is not None
    assert spec.loader is not None
    servers = module_from_spec(spec)
    spec.loader.exec_module(servers)
    server = servers.start_server("valkey")
    UNDO.callback(server.stop)
    url: str = server.url
    return url


SHARED: Final = flowstore.connect(url_of(os.environ.get("FLOWSTORE_SUITE", "memory")))
"""One backend for all tests: it goes on in the event loop of each."""


class Popped:
    """``results`` of taskiq's backend in memory, of which its tests take single ones away."""

    def __init__(self) -> None:
        self.task_ids: list[str] = []

    def pop(self, task_id: str) -> None:
        self.task_ids.append(task_id)


class Swapped(FlowstoreResultBackend):
    def __init__(self, max_stored_results: int = 100) -> None:
        super().__init__(SHARED)
        self.results = Popped()

    async def is_result_ready(self, task_id: str) -> bool:
        await self._pop()
        return await super().is_result_ready(task_id)

    async def get_result(self, task_id: str, with_logs: bool = False) -> TaskiqResult[Any]:
        await self._pop()
        return await super().get_result(task_id, with_logs)

    async def _pop(self) -> None:
        await self.backend.delete_many(self.results.task_ids)
        self.results.task_ids.clear()


class RecordingBroker(InMemoryBroker):
    """With the middleware of its result backend behind all others."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.recording: Any = self.result_backend
        self.add_middlewares()

    def add_middlewares(self, *middlewares: Any) -> None:
        if self.recording in self.middlewares:
            self.middlewares.remove(self.recording)
        super().add_middlewares(*middlewares, self.recording)

    def with_middlewares(self, *middlewares: Any) -> RecordingBroker:
        self.add_middlewares(*middlewares)
        return self


def pytest_unconfigure() -> None:
    UNDO.close()


def pytest_configure() -> None:
    inmemory_broker.InmemoryResultBackend = Swapped  # type: ignore[misc, assignment]
    setattr(abstract, "DummyResultBackend", Swapped)  # noqa: B010  # which mypy does not find there
    if RECORDS:
        taskiq.InMemoryBroker = inmemory_broker.InMemoryBroker = RecordingBroker  # type: ignore[misc]
