"""Operations that this process carries out in the background, one after the other for each store."""

from __future__ import annotations

import asyncio
import logging

from flowstore import BaseResultBackend, FlowstoreError, OperationBusy

logger = logging.getLogger("flowstore.web")


class Work:
    """What is under way. If the process ends, another one, or this one later, can go on with it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def carry_out(self, backend: BaseResultBackend, operation_id: str) -> None:
        """Begin, and return at once."""
        task = asyncio.create_task(self._carry_out(backend, operation_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, backend: BaseResultBackend, operation_id: str) -> None:
        try:
            await backend.actions.resume(operation_id)
        except OperationBusy:  # somebody is at it already
            pass
        except FlowstoreError:  # the operation says so as well, and where it has stopped
            logger.exception("operation %s has stopped", operation_id)

    async def close(self) -> None:
        """Stop all of it; what is done stays done."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
