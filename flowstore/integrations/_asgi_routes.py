"""Requests for tasks: the state of one, now or once it is finished, and its events."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from inspect import isawaitable, iscoroutinefunction
from typing import Any, Final

from flowstore import (
    BackendClosed,
    BaseResultBackend,
    StorageError,
    TaskResult,
    UnreadableRecord,
    WaitsEnded,
    WaitTimeout,
)
from flowstore._packages import needed
from flowstore.integrations._asgi_answers import (
    HEADERS,
    Access,
    document_of,
    encoded,
    is_as_granted,
    is_known,
    mark_of,
    problem,
    told,
)
from flowstore.integrations._asgi_asked import asked, waiting
from flowstore.integrations._asgi_events import Events
from flowstore.integrations._asgi_service import service_of

with needed("flowstore.integrations.asgi", "asgi", "starlette"):
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send
    from starlette.websockets import WebSocketClose
with needed("flowstore.integrations.asgi", "asgi", "sse-starlette"):
    from sse_starlette import EventSourceResponse

AccessRule = Callable[[Request, TaskResult], Access | Awaitable[Access]]
"""What a request may see of a task, given without its values. A plain function is called in a thread."""

LONGEST_WAIT: Final = 60.0
"""Seconds. Many proxies give up on requests that take longer."""
PING_EVERY: Final = 15
"""Seconds between the comments that keep a stream of events open."""

logger = logging.getLogger("flowstore.integrations.asgi")


def task_routes(
    *,
    access: AccessRule,
    backend: BaseResultBackend | None = None,
    longest_wait: float = LONGEST_WAIT,
    retry_after: int = 1,
) -> ASGIApp:
    """An application to be mounted, at ``/tasks`` say, that answers requests for tasks by their ids.

    ``GET /{id}``: 200 with the task as JSON once it is finished, 202 with Retry-After before, 404, and 410 if
    it goes during a wait. ``?wait=20s`` or ``Prefer: wait=20`` waits for its end, ``longest_wait`` seconds at
    most. ``GET /{id}/events``: its states as server-sent events. Errors are problem details (RFC 9457).

    ``access``: called with the request and the task, says what that request may see of it. What may not be
    seen is answered as if it was not there. An HTTPException that it raises is the answer. It is called again
    when the task has changed during a wait or a stream.

    ``backend``: by default that of the ``lifespan`` of the application. ``retry_after``: in how many seconds
    clients are told to come back.
    """
    if not callable(access):
        raise TypeError(f"access: expected a function of a request and a task, got {type(access).__name__}")
    return _TaskRoutes(access, backend, longest_wait, retry_after)


class _TaskRoutes:
    def __init__(
        self, access: AccessRule, backend: BaseResultBackend | None, longest_wait: float, retry_after: int
    ) -> None:
        self._rule: Callable[..., Any] = access
        self._is_async = iscoroutinefunction(access) or iscoroutinefunction(type(access).__call__)
        self._backend = backend
        self._longest_wait = longest_wait
        self._retry_after = retry_after
        self._later = {"Retry-After": str(retry_after)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError("task_routes is not an application by itself, but to be mounted in one")
        response = await self._response(Request(scope, receive))
        await response(scope, receive, send)

    async def _response(self, request: Request) -> Response:
        try:
            if request.method not in ("GET", "HEAD"):
                raise HTTPException(405, headers={"Allow": "GET, HEAD"})
            wanted = asked(request.scope)
            read = self._events if wanted.is_events else self._state
            return await read(request, wanted.task_id)
        except HTTPException as error:
            return problem(error)
        except BackendClosed:
            return problem(HTTPException(503, "the service is stopping", self._later))
        except StorageError as error:
            logger.warning("a request for a task was answered 503: %s", error)
            return problem(HTTPException(503, "the storage does not answer", self._later))

    def _backend_of(self, request: Request) -> BaseResultBackend:
        return self._backend or service_of(request.scope).backend

    async def _state(self, request: Request, task_id: str) -> Response:
        wait = waiting(request, self._longest_wait)
        task, access = await self._found(request, task_id)
        if wait.seconds and not task.is_finished:
            task = await self._ended(request, task.task_id, wait.seconds)
            access = await self._granted(request, task)
        shows_values = access is Access.ALL or (access is Access.RESULT and task.is_finished)
        if shows_values and not is_known(request.headers, mark_of(document_of(task, access))):
            whole = await self._whole(request, task.task_id)
            if not is_as_granted(whole, task):  # it has moved on meanwhile
                access = await self._granted(request, whole)
            task = whole
        return self._answer(request, task, access, wait.headers)

    def _answer(
        self, request: Request, task: TaskResult, access: Access, applied: dict[str, str]
    ) -> Response:
        document = document_of(task, access)
        mark = mark_of(document)
        later = {} if task.is_finished else self._later
        headers = {**HEADERS, **later, **applied, "ETag": f'W/"{mark}"'}
        if is_known(request.headers, mark):
            return Response(None, 304, headers)
        return Response(encoded(document), 200 if task.is_finished else 202, headers, "application/json")

    async def _found(self, request: Request, task_id: str) -> tuple[TaskResult, Access]:
        """The task without its values, and what may be seen of it. Otherwise 404, whatever the reason."""
        try:
            task = await self._backend_of(request).get(task_id, load_result=False)
        except UnreadableRecord as error:  # whose it is cannot be told, so nobody may know that it is there
            logger.warning("%s", error)
            task = None
        except ValueError:  # no id at all, as it is too long
            task = None
        if task is None:
            raise HTTPException(404)
        return task, await self._granted(request, task)

    async def _granted(self, request: Request, task: TaskResult) -> Access:
        """More than nothing: what may not be seen is not there."""
        if self._is_async:
            granted = self._rule(request, task)
        else:
            granted = await run_in_threadpool(self._rule, request, task)
        if isawaitable(granted):
            granted = await granted
        if not isinstance(granted, Access):
            raise TypeError(f"access: expected an Access, got {type(granted).__name__}")
        if granted is Access.NOTHING:
            raise HTTPException(404)
        return granted

    async def _ended(self, request: Request, task_id: str, seconds: float) -> TaskResult:
        """The task once it is finished, or as it is after so many seconds, or when the server stops."""
        backend = self._backend_of(request)
        with told():
            try:
                return await backend.wait_for(task_id, seconds, load_result=False)
            except (WaitTimeout, WaitsEnded):
                latest = await backend.get(task_id, load_result=False)
        return _still_there(latest)

    async def _whole(self, request: Request, task_id: str) -> TaskResult:
        with told():
            whole = await self._backend_of(request).get(task_id)
        return _still_there(whole)

    async def _events(self, request: Request, task_id: str) -> Response:
        task, access = await self._found(request, task_id)
        last = request.headers.get("last-event-id")
        if task.is_finished and last == mark_of(document_of(task, access)):
            return Response(status_code=204, headers=HEADERS)  # an EventSource would come back for ever
        if request.method == "HEAD":  # which has no end for older versions of sse-starlette
            return Response(headers=HEADERS, media_type="text/event-stream")
        events = Events(
            self._backend_of(request), task, access, lambda state: self._granted(request, state), last
        )
        return EventSourceResponse(events.stream(self._retry_after), headers=HEADERS, ping=PING_EVERY)


def _still_there(task: TaskResult | None) -> TaskResult:
    if task is None:
        raise HTTPException(410)
    return task
