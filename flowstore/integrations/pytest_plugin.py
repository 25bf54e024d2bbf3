"""What the fixtures of the pytest plugin do, and ``assert_succeeded``. See docs/testing.md."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from textwrap import indent
from typing import Any, Final

import flowstore
import flowstore.sync
from flowstore import BaseResultBackend, RemoteTraceback, TaskFailed, TaskResult, WaitTimeout
from flowstore._packages import needed

with needed("flowstore.integrations.pytest_plugin", "testing", "pytest"):
    import pytest

_STORAGES: Final = ("memory", "sqlite")
_OF_ANYIO: Final = "_flowstore_opened_by_anyio"
_MOST_SHOWN: Final = 20


class Submitted:
    """The tasks of one test: all that are in its backend, which was empty when it began."""

    def __init__(self, backend: BaseResultBackend) -> None:
        self._backend = backend

    async def __call__(self, timeout: float = 10.0, *, at_least: int = 1) -> list[TaskResult]:
        """Wait until ``at_least`` tasks were submitted and all are finished, with those that they submitted.

        The results come in the order of submission. Nothing is polled. Raises TimeoutError after ``timeout``
        seconds, which names the tasks that are late.
        """
        __tracebackhide__ = True
        end = time.monotonic() + timeout
        async with aclosing(self._backend.watch_status()) as stored:
            ids = await self._ids(stored, timeout, at_least)
            while True:
                try:
                    settled = await self._backend.wait_for_many(ids, max(0.0, end - time.monotonic()))
                except WaitTimeout:
                    raise _late([*(await self._backend.get_many(ids)).values()], timeout) from None
                known, ids = set(ids), await self._all()
                if known.issuperset(ids):
                    return [each for each in settled.values() if isinstance(each, TaskResult)]

    async def _ids(self, stored: AsyncGenerator[str, None], timeout: float, at_least: int) -> list[str]:
        __tracebackhide__ = True
        try:
            async with asyncio.timeout(timeout):
                while len(ids := await self._all()) < at_least:
                    await anext(stored)
        except TimeoutError:
            raise _too_few(len(await self._all()), at_least, timeout) from None
        return ids

    async def _all(self) -> list[str]:
        return [task_id async for task_id in self._backend.iter_ids(newest_first=False)]


class SubmittedSync:
    """The same for synchronous tests, which have submitted what they wait for."""

    def __init__(self, store: flowstore.sync.ResultBackend) -> None:
        self._store = store

    def __call__(self, timeout: float = 10.0, *, at_least: int = 1) -> list[TaskResult]:
        """As ``Submitted``, but if there are fewer than ``at_least`` tasks already, it raises at once."""
        __tracebackhide__ = True
        end = time.monotonic() + timeout
        ids = self._all()
        if len(ids) < at_least:
            raise _too_few(len(ids), at_least, 0)
        while True:
            try:
                settled = self._store.wait_for_many(ids, max(0.0, end - time.monotonic()))
            except WaitTimeout:
                raise _late([*self._store.get_many(ids).values()], timeout) from None
            known, ids = set(ids), self._all()
            if known.issuperset(ids):
                return [each for each in settled.values() if isinstance(each, TaskResult)]

    def _all(self) -> list[str]:
        return list(self._store.iter_ids(newest_first=False))


def assert_succeeded(results: Iterable[TaskResult]) -> list[Any]:
    """The values of the results, in their order; AssertionError with what became of those that have none.

    That shows of each task its name, its id and attempt, and its error with causes and tracebacks.
    """
    __tracebackhide__ = True
    given = list(results)
    others = [result for result in given if not result.is_success]
    if others:
        told = [_told(result) for result in others[:_MOST_SHOWN]]
        left = [f"... and {len(others) - _MOST_SHOWN} more"] if len(others) > _MOST_SHOWN else []
        raise AssertionError(
            "\n\n".join([f"{len(others)} of {len(given)} tasks did not succeed:", *told, *left])
        )
    return [result.unwrap() for result in given]


def url_of(request: pytest.FixtureRequest, storage: str) -> str:
    if storage not in _STORAGES:
        raise pytest.UsageError(f"flowstore: expected the storage {' or '.join(_STORAGES)}, got {storage!r}")
    if storage == "memory":
        return "memory://"
    return f"sqlite:///{request.getfixturevalue('tmp_path') / 'flowstore.db'}"


def opened(request: pytest.FixtureRequest, url: str, options: Any) -> Iterator[BaseResultBackend]:
    """By a fixture of whoever runs the loop of the test; without one it opens where it is first used."""
    marker = request.node.get_closest_marker("asyncio")
    if marker is not None:
        yield _by_asyncio(request, marker)
    elif "anyio_backend" in request.fixturenames:
        yield _by_anyio(request)
    else:
        yield from _by_itself(url, options)


def _by_asyncio(request: pytest.FixtureRequest, marker: pytest.Mark) -> BaseResultBackend:
    from flowstore.integrations import _pytest_asyncio

    _register(request, _pytest_asyncio)
    scope = marker.kwargs.get("loop_scope") or marker.kwargs.get("scope")
    default = request.config.getini("asyncio_default_test_loop_scope")
    backend: BaseResultBackend = request.getfixturevalue(_pytest_asyncio.NAME.format(scope or default))
    return backend


def _by_anyio(request: pytest.FixtureRequest) -> BaseResultBackend:
    if request.getfixturevalue("anyio_backend_name") != "asyncio":
        pytest.skip("flowstore runs on asyncio; parametrize anyio_backend, or use flowstore_sync in a thread")
    from flowstore.integrations import pytest_plugin

    _register(request, pytest_plugin)
    backend: BaseResultBackend = request.getfixturevalue(_OF_ANYIO)
    return backend


@pytest.fixture(name=_OF_ANYIO)
async def _opened_by_anyio(
    flowstore_url: str, flowstore_options: dict[str, Any]
) -> AsyncIterator[BaseResultBackend]:
    async with flowstore.connect(flowstore_url, **flowstore_options) as backend:
        yield backend


def _by_itself(url: str, options: Any) -> Iterator[BaseResultBackend]:
    """A test without a loop, which runs one of its own, such as that of a test client, and ends it."""
    backend = flowstore.connect(url, **options)
    yield backend
    asyncio.run(backend.close())


def _register(request: pytest.FixtureRequest, module: Any) -> None:
    manager = request.config.pluginmanager
    if not manager.is_registered(module):
        manager.register(module)


def _too_few(count: int, at_least: int, timeout: float) -> TimeoutError:
    within = f" within {timeout:g} s" if timeout else ""
    return TimeoutError(f"{count} tasks were submitted{within}, expected at least {at_least}")


def _late(results: list[TaskResult], timeout: float) -> TimeoutError:
    late = [f"  {_named(result)}" for result in results if not result.is_finished]
    return TimeoutError("\n".join([f"not finished within {timeout:g} s:", *late[:_MOST_SHOWN]]))


def _named(result: TaskResult) -> str:
    name = "task" if result.task_name is None else result.task_name
    return f"{name} {result.task_id!r} is {result.status} in attempt {result.retries}"


def _told(result: TaskResult) -> str:
    cause = TaskFailed(result.task_id, result.error).__cause__
    if isinstance(cause, RemoteTraceback):
        return f"{_named(result)}\n{indent(cause.text.rstrip(), '    ')}"
    request = result.cancel_request
    reason = "" if request is None or request.reason is None else f": {request.reason}"
    return f"{_named(result)}{reason}"
