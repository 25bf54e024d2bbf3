"""The states of a task as server-sent events, up to its end; a client that comes back misses nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from flowstore import (
    BackendClosed,
    BaseResultBackend,
    ResultDeleted,
    StorageError,
    TaskResult,
)
from flowstore._packages import needed
from flowstore.integrations._asgi_answers import (
    Access,
    document_of,
    encoded,
    is_as_granted,
    mark_of,
    problem_of,
    told,
)

with needed("flowstore.integrations.asgi", "asgi", "starlette"):
    from starlette.exceptions import HTTPException
with needed("flowstore.integrations.asgi", "asgi", "sse-starlette"):
    from sse_starlette import ServerSentEvent

FIRST_STATE_WITHIN: Final = 5.0
"""Seconds after which a watch that has shown nothing looks whether the task is still there."""

logger = logging.getLogger("flowstore.integrations.asgi")


class Events:
    """One stream. ``grant`` says what may be seen of a state; it is asked again for all but progress.

    ``last``: the mark of the state that the client has already, which is not sent again. Each event has the
    mark of its state as its id: a client that comes back, to whatever process, is sent the state as it is
    then, unless it knows it. States in between are skipped, as ``watch`` does for slow consumers; the
    finished one never is.
    """

    def __init__(
        self,
        backend: BaseResultBackend,
        task: TaskResult,
        access: Access,
        grant: Callable[[TaskResult], Awaitable[Access]],
        last: str | None,
    ) -> None:
        self._backend = backend
        self._task = task
        self._access = access
        self._grant = grant
        self._last = last or ""

    async def stream(self, retry_after: int) -> AsyncGenerator[ServerSentEvent, None]:
        yield ServerSentEvent(retry=retry_after * 1_000)
        try:
            async with aclosing(_states(self._backend, self._task.task_id)) as states:
                async for state in states:
                    if (event := await self._event(state)) is not None:
                        yield event
        except (BackendClosed, StorageError) as error:  # the client comes back, perhaps to another process
            logger.info("a stream of events ended: %s", error)
        except HTTPException as error:
            yield _problem(error)

    async def _event(self, state: TaskResult) -> ServerSentEvent | None:
        if not is_as_granted(state, self._task):
            self._task, self._access = state, await self._grant(state)
        document = document_of(state, self._access)
        mark = mark_of(document)
        if mark == self._last:
            return None
        is_same_version = mark.partition("-")[0] == self._last.partition("-")[0]
        name = "finished" if state.is_finished else "progress" if is_same_version else "status"
        self._last = mark
        return ServerSentEvent(encoded(document).decode(), event=name, id=mark)


def _problem(error: HTTPException) -> ServerSentEvent:
    """Without an id, so that the client asks for the same again, and is answered with the error itself."""
    return ServerSentEvent(encoded(problem_of(error)).decode(), event="problem")


async def _states(backend: BaseResultBackend, task_id: str) -> AsyncGenerator[TaskResult, None]:
    """``watch``, but of a task that was there: one that goes before the watch begins is gone as well."""
    with told():
        async with aclosing(backend.watch(task_id)) as states:
            try:
                async with asyncio.timeout(FIRST_STATE_WITHIN):
                    first = await anext(states)
            except TimeoutError:
                if await backend.exists(task_id):  # the storage has been away; the client comes back
                    return
                raise ResultDeleted(task_id) from None
            yield first
            async for state in states:
                yield state
