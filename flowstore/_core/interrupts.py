"""What others want of a block of code that is under way: that it ends, as its task is to be cancelled, or is
no longer its own.

The block listens through the waits of its backend, once it has run for a moment: short blocks, which are
most, are not worth a trip. It stops before its own outcome is stored, which would be news to it otherwise.

It is interrupted as by ``asyncio.timeout``: the task that runs it is cancelled, which is taken back at the
end of the block. If somebody else has cancelled that task as well, the cancellation goes on.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from flowstore._core.core import Core
from flowstore._waiting.subscribers import Listener
from flowstore.errors import BackendClosed
from flowstore.models import CancelRequest, TaskResult
from flowstore.times import from_micros

_MOMENT: Final = 0.05
"""Seconds. A request that was made before is found by the first read."""
_A_WHILE: Final = 1.0


class Interrupts:
    """What is asked of one block. ``is_raised``: by CancelledError in the block, too.

    ``request``: the first reason to end. ``cancel_request``: that of ``backend.cancel``, which decides how
    the task ends.
    """

    def __init__(self, core: Core, task_id: str, is_raised: bool) -> None:
        self.task_id = task_id
        self.request: CancelRequest | None = None
        self.cancel_request: CancelRequest | None = None
        self.was_given_up = False
        self._core = core
        self._is_raised = is_raised
        self._running: TaskResult
        self._owner: asyncio.Task[Any] | None = None
        self._requested_before = 0
        self._is_interrupted = False
        self._is_given_up = False
        self._own_error: asyncio.CancelledError | None = None
        self._timer: asyncio.Handle | None = None
        self._listener: Listener | None = None

    def begin(self, running: TaskResult) -> None:
        """The block begins, in the current task of asyncio."""
        self._running = running
        self._owner = asyncio.current_task()
        if self._owner is not None:
            self._requested_before = self._owner.cancelling()
        loop = asyncio.get_running_loop()
        if self._is_given_up or running.cancel_request is not None:
            # Not at once: a task that cancels itself is cancelled at its next await, which may be behind the
            # block, and before Python 3.13 that cannot be taken back.
            self._timer = loop.call_soon(self._catch_up)
        else:
            self._timer = loop.call_later(_MOMENT, self._listen)

    def end(self, error: BaseException | None) -> bool:
        """Stop listening. Whether ``error``, with which the block ends, is no more than our own interrupt."""
        self._stop_listening()
        owner, self._owner = self._owner, None
        self.was_given_up = self._is_given_up and isinstance(error, asyncio.CancelledError)
        if owner is None or not self._is_interrupted:
            return error is not None and error is self._own_error
        is_only_ours = owner.uncancel() <= self._requested_before
        return is_only_ours and isinstance(error, asyncio.CancelledError)

    def give_up(self) -> None:
        """Cancel the task of asyncio that runs the block. It is not taken back: that task is to end.

        A block that runs in a thread, where nothing can be raised, is told instead. The task that has begun
        it is over.
        """
        if self._is_given_up:
            return
        self._is_given_up = True
        if self._owner is not None and self._owner.done():
            self._ask(CancelRequest(at=from_micros(self._core.clock()), reason="it is to end now"))
        else:
            self._cancel_owner()

    def check(self) -> None:
        if self.request is not None:
            self._own_error = self._own_error or asyncio.CancelledError(self.request.reason)
            raise self._own_error

    def _ask(self, request: CancelRequest) -> None:
        if self.request is None:
            self.request = request
            if self._is_raised:
                self._is_interrupted = True
                self._cancel_owner()

    def _catch_up(self) -> None:
        if self._is_given_up:
            self._cancel_owner()
        self._heard(self._running)
        self._listen()

    def _cancel_owner(self) -> None:
        if self._owner is not None:
            self._owner.cancel()

    def _listen(self) -> None:
        listener = Listener(self._heard, self._listen_again)
        try:
            self._core.waiters.show_to(self.task_id, listener)
        except BackendClosed:  # or its waits were ended: nothing is heard any more
            return
        self._listener = listener

    def _listen_again(self) -> None:
        """The record was removed, or could not be read; but it may be stored again, or be readable."""
        if self._owner is not None:
            self._listener = None
            self._timer = asyncio.get_running_loop().call_later(_A_WHILE, self._listen)

    def _stop_listening(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._listener is not None:
            self._core.waiters.unwatch(self.task_id, self._listener)
            self._listener = None

    def _heard(self, state: TaskResult) -> None:
        if state.is_finished or state.retries > self._running.retries:
            reason = f"the task is {state.status} in attempt {state.retries}"
            self._ask(CancelRequest(at=from_micros(self._core.clock()), reason=reason))
        elif state.cancel_request is not None:
            self.cancel_request = state.cancel_request
            self._ask(state.cancel_request)
