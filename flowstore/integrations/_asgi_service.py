"""The life of a service: its backend is opened and closed, and waits end when the server is to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any, Final, Unpack

from flowstore import BaseResultBackend, ConnectOptions, RunningWorker, StorageError
from flowstore._packages import needed
from flowstore.integrations._attempts import worker_name
from flowstore.integrations._stores import attached

with needed("flowstore.integrations.asgi", "asgi", "starlette"):
    from starlette.requests import HTTPConnection

_PLACE: Final = "flowstore"
"""The attribute of ``app.state``, which Starlette, FastAPI and Litestar have alike."""
GRACE: Final = 5.0
"""Seconds that what runs in the background has to end, when the application stops."""

logger = logging.getLogger("flowstore.integrations.asgi")


class Service:
    """What an application that runs has: its backend, and a worker once something runs in the background."""

    def __init__(self, backend: BaseResultBackend, heartbeat: float | timedelta) -> None:
        self.backend = backend
        self._heartbeat = heartbeat
        self._worker: RunningWorker | None = None
        self._starting = asyncio.Lock()
        self._under_way: set[asyncio.Task[Any]] = set()

    async def worker(self) -> RunningWorker:
        """That of this process, registered at the first call. Raises StorageError if that fails."""
        async with self._starting:
            if self._worker is None:
                worker_id = f"web:{worker_name()}"
                worker = self.backend.worker(worker_id, every=self._heartbeat, labels=["web"])
                self._worker = await worker.__aenter__()
            return self._worker

    @contextmanager
    def background(self) -> Iterator[None]:
        """Around what runs in the background: the backend is not closed before it has stored how it ended."""
        running = asyncio.current_task()
        assert running is not None
        self._under_way.add(running)
        try:
            yield
        finally:
            self._under_way.discard(running)

    async def stop(self) -> None:
        """Most servers have let background tasks end by now, or are cancelling them.

        It is no failure of the application if the storage is away: a sweep finds that the worker is silent.
        """
        with _logged():
            if self._worker is not None:
                await self._worker.drain(GRACE)
        if self._under_way:
            await asyncio.wait([*self._under_way], timeout=GRACE)
        with _logged():
            if self._worker is not None:
                await self._worker.__aexit__(None, None, None)


@contextmanager
def _logged() -> Iterator[None]:
    try:
        yield
    except StorageError as error:
        logger.warning("the worker of this service stays registered: %s", error)


def lifespan(
    backend: BaseResultBackend | str | None = None,
    *,
    heartbeat: float | timedelta = 5.0,
    **options: Unpack[ConnectOptions],
) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """The lifespan of an application: ``FastAPI(lifespan=lifespan(url))``, ``Litestar(lifespan=[...])``.

    ``backend``: a URL, with the options of ``flowstore.connect``; None: that of FLOWSTORE_URL. It is opened
    when the application starts, which fails if that fails, and closed when it has stopped. Or a backend,
    which is opened, and stays open. Raises what ``flowstore.connect`` raises, at once.

    When the server is told to stop, by SIGTERM or SIGINT, all waits and streams of the backend end, so that
    the requests which wait are answered and the server need not wait for them. That works with servers which
    handle these signals in Python before the application starts, as uvicorn does, also under gunicorn. With
    others call ``backend.end_waits()`` when they are about to stop.

    ``heartbeat``: how often, in seconds, this process says that it is alive while it has run background
    tasks. One application has one lifespan of these; to have more in it, enter it in one of your own.
    """
    attached(backend, options)

    @asynccontextmanager
    async def running(app: Any) -> AsyncIterator[None]:
        ours = attached(backend, options)
        service = Service(ours.backend, heartbeat)
        try:
            await ours.backend.open()
            setattr(app.state, _PLACE, service)
            with _ending_waits(ours.backend):
                try:
                    yield
                finally:
                    await service.stop()
        finally:
            if ours.is_own:
                await ours.backend.close()

    return running


def get_backend(connection: HTTPConnection) -> BaseResultBackend:
    """The backend of the application that this request or websocket is for, also as ``Depends(get_backend)``.

    RuntimeError if the application does not run with ``lifespan``.
    """
    return service_of(connection.scope).backend


def backend_of(app: Any) -> BaseResultBackend:
    """The same of an application, for what runs beside its requests: inside of a lifespan of its own."""
    return _service(app).backend


def service_of(scope: MutableMapping[str, Any]) -> Service:
    return _service(scope.get("app"))


def _service(app: Any) -> Service:
    service = getattr(getattr(app, "state", None), _PLACE, None)
    if not isinstance(service, Service):
        raise RuntimeError(
            "this application has no backend: it needs lifespan(...) of flowstore.integrations.asgi, and a "
            "server, or a client in tests, that runs lifespans; an application mounted in it is another one"
        )
    return service


@contextmanager
def _ending_waits(backend: BaseResultBackend) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # others get no signals, as in a TestClient
        yield
        return
    stopping = _Stopping(backend)
    stopping.begin()
    try:
        yield
    finally:
        stopping.end()


class _Stopping:
    """Ends the waits when a signal comes, and then does what the server does.

    What nobody handles in Python stays as it is: it would not end the process any more.
    """

    def __init__(self, backend: BaseResultBackend) -> None:
        self._backend = backend
        found = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        self._before = {number: handler for number, handler in found.items() if callable(handler)}

    @property
    def should_exit(self) -> bool:
        """That of the server. sse-starlette looks for it at whatever handles SIGTERM, to end its streams."""
        servers = [getattr(handler, "__self__", None) for handler in self._before.values()]
        return any(getattr(server, "should_exit", False) for server in servers)

    def begin(self) -> None:
        for number in self._before:
            signal.signal(number, self.handle)

    def handle(self, number: int, frame: FrameType | None) -> None:
        self._backend.end_waits()
        self._before[signal.Signals(number)](number, frame)

    def end(self) -> None:
        for number, handler in self._before.items():
            if signal.getsignal(number) == self.handle:  # else another took over meanwhile
                signal.signal(number, handler)
