"""flowrra's own tests with FlowrraBackend in place of its two backends, each test in a namespace of its own.

What they reach for behind the public methods is here: the length of a memory backend, and whether there is
a Redis, which a fixture asks the client of the other one. No test is left out; those that cannot pass have to
fail, each for the reason that stands here.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import flowrra.backends
import flowrra.backends.factory
import flowrra.backends.memory
import flowrra.backends.redis
import pytest
import pytest_asyncio
from flowrra.config import ExecutorConfig

import flowstore
from flowstore.integrations.flowrra import FlowrraBackend
from tests.suites.places import STORAGE, place

RENAMED = "reads _num_workers, which flowrra 0.1.8 has not any more, with whatever backend"
CANNOT_PASS = {
    "TestIOExecutorBasics::test_executor_creation": RENAMED,
    "TestIOExecutorBasics::test_executor_with_default_config": RENAMED,
}
NEVER_WAITS = (
    "takes for granted that submit() never waits, so that no task begins before all are in the queue; that "
    "holds of no backend outside of the process, be it flowrra's own one on Redis"
)
CANNOT_PASS_ELSEWHERE = {"TestIntegration::test_priority_ordering": NEVER_WAITS}

_stack = ExitStack()
_url = ""
_numbers = itertools.count()
_made: list[FlowrraBackend] = []


class _Replacement(FlowrraBackend):
    def __init__(self, **options: Any) -> None:
        self._options = {"namespace": f"test-{next(_numbers)}", **options}
        super().__init__(_url, **self._options)
        _made.append(self)


class InMemoryBackend(_Replacement):
    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        if STORAGE == "memory":  # nothing waits there, and nobody else sees what it holds
            counting = self.backend.count_by_status()
            with pytest.raises(StopIteration) as counted:
                counting.send(None)
            return sum(counted.value.value.values())
        with ThreadPoolExecutor(1) as pool:  # the caller's event loop runs
            return pool.submit(asyncio.run, self._counted()).result()

    async def _counted(self) -> int:
        async with flowstore.connect(_url, **self._options) as beside:
            return sum((await beside.count_by_status()).values())


class RedisBackend(_Replacement):
    def __init__(self, url: str, ttl: int | None = None, **connections: Any) -> None:
        """Its URL is that of a Redis on this machine, and its other options are about connections."""
        super().__init__(ttl=ttl, unfinished_ttl=ttl)
        self._url, self._ttl = url, ttl
        self._redis = self.backend

    async def _ensure_connected(self) -> None:
        await self.backend.open()


def pytest_configure() -> None:
    global _url
    _url = _stack.enter_context(place())
    for module in (flowrra.backends, flowrra.backends.factory, flowrra.backends.memory):
        module.InMemoryBackend = InMemoryBackend
    for module in (flowrra.backends, flowrra.backends.redis):
        module.RedisBackend = RedisBackend

    _accept_old_name()


def _accept_old_name() -> None:
    """flowrra 0.1.8 has renamed num_workers, and its fixtures say that still: half of its tests end there."""
    made = ExecutorConfig.__init__

    def make(self: Any, num_workers: int = 4, **options: Any) -> None:
        made(self, **{"io_workers": num_workers, **options})

    ExecutorConfig.__init__ = make


def pytest_unconfigure() -> None:
    _stack.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reasons = CANNOT_PASS if STORAGE == "memory" else {**CANNOT_PASS, **CANNOT_PASS_ELSEWHERE}
    for item in items:
        if reason := reasons.get(item.nodeid.partition("::")[2]):
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


@pytest_asyncio.fixture(autouse=True)
async def all_closed() -> AsyncIterator[None]:
    """Most of the tests close nothing."""
    yield
    for backend in _made:
        await backend.close()
    _made.clear()


def pytest_report_header() -> Iterator[str]:
    yield f"flowstore on {STORAGE} in place of the backends of flowrra"
