"""What hosts without an event loop record: submissions, attempts by threads, and ends that no attempt has.

Each host announces these by hooks, in the thread and the process in which they happen. None of them raises
what flowstore raises: that goes to the log, and the host goes on. Each takes as long as a call of the backend
may take, ``op_timeout``, and the end of an attempt as long as its ``patience``.

One recorder may be made before a fork. Each process that runs tasks has a worker of its own, from ``open`` to
``close``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from threading import Lock
from typing import Any, Unpack

from flowstore import (
    FlowstoreError,
    LateWrite,
    LoopIsRunning,
    StorageError,
    TaskResult,
    TaskStatus,
    TrackOptions,
    sync,
)
from flowstore.integrations._attempts import (
    Outcome,
    SyncAttempt,
    SyncAttempts,
    check_whole,
    logger,
    not_recorded,
    unattended,
    with_storable,
)
from flowstore.integrations._stores import Attached


class Recorder:
    """All that one program records in one backend.

    ``send``: put this task, with its arguments, into the queue of the host again, under its id. ``revoke``:
    keep the host from running these; None: ``begin`` of its worker says that one was cancelled.
    """

    def __init__(
        self,
        attached: Attached[sync.ResultBackend],
        send: Callable[[TaskResult], object],
        revoke: Callable[[list[str]], object] | None = None,
    ) -> None:
        self.backend = attached.backend
        self._send = send
        self._revoke = revoke
        self.backend.actions.on_requeue(self._requeued)
        self.backend.actions.on_cancel(self._cancelled)
        self._is_own = attached.is_own
        self._attempts: SyncAttempts | None = None
        self._facts: dict[str, Any] = {}
        self._pid = 0
        self._is_open = False
        self._under_way: dict[str, SyncAttempt] = {}
        self._lock = Lock()
        self._opening = Lock()
        self._helpers = Helpers()
        self._current: ContextVar[str | None] = ContextVar("flowstore_task_of_host", default=None)

    def close(self) -> None:
        """At the end of the program; afterwards nothing is recorded."""
        self.closed_worker()
        self._helpers.close()
        if self._is_own:
            self.backend.close()

    # -- actions of an operator

    def dispatch(self, task_ids: Iterable[str]) -> None:
        """Send these tasks again. Raises QueueRefused for one whose arguments are not stored as they were.

        Then none of them is sent: who calls again would send those before it twice.
        """
        tasks = self.backend.get_many(task_ids).values()
        for task in tasks:
            check_whole(task)
        for task in tasks:
            self._send(task)

    def _requeued(self, tasks: list[TaskResult]) -> None:
        self.dispatch([task.task_id for task in tasks])

    def _cancelled(self, tasks: list[TaskResult]) -> None:
        if self._revoke is not None:
            self._revoke([task.task_id for task in tasks])

    # -- the worker

    def opened_worker(self, slots: int | None, info: Mapping[str, Any]) -> None:
        """This process runs tasks. What is left of a process that it was forked from is forgotten."""
        self._facts = {"slots": slots, "info": info}
        self._attempts, self._under_way, self._is_open = SyncAttempts(self.backend), {}, False
        self._lock, self._pid = Lock(), os.getpid()
        self._register()

    def ensured_worker(self, slots: int | None, info: Mapping[str, Any]) -> None:
        """``opened_worker`` where nobody has called it yet: for hosts that do not say when to."""
        if not self.is_worker:
            with self._opening:
                if not self.is_worker:
                    self.opened_worker(slots, info)

    @property
    def is_worker(self) -> bool:
        """Whether this process has said that it runs tasks."""
        return self._attempts is not None and self._pid == os.getpid()

    def closed_worker(self) -> None:
        attempts, self._attempts = self._attempts, None
        if attempts is not None and self._pid == os.getpid():
            attempts.close()

    def _register(self) -> None:
        """Tried again before each task, until it is: by one thread, for which the others do not wait."""
        if self._is_open or self._attempts is None or not self._lock.acquire(blocking=False):
            return
        try:
            if not self._is_open:
                self._attempts.open(**self._facts)
                self._is_open = True
        except FlowstoreError as trouble:
            logger.warning("worker %r is not registered yet: %s", self._attempts.worker_id, trouble)
        finally:
            self._lock.release()

    # -- tasks

    def submitted(
        self,
        task_id: str,
        *,
        due_at: datetime | None = None,
        root_id: str | None = None,
        **options: Unpack[TrackOptions],
    ) -> None:
        """Store the task as pending, unless a worker is ahead and has begun it.

        A child of the task in whose code this is, if it names no other parent. ``due_at``: when it may begin.
        In a thread with an event loop, which must not wait, another thread stores it soon.
        """
        named = options.get("parent_id")
        parent_id = named or sync.current_task(self.backend) or self._current.get()
        if parent_id == task_id:
            parent_id = None
        options = with_storable(self.backend, options)
        pending = partial(
            TaskResult.pending,
            task_id,
            at=options.get("submitted_at"),
            task_name=options["name"],
            args=options["args"],
            kwargs=options["kwargs"],
            meta=options.get("meta", {}),
            labels=options.get("labels", ()),
            due_at=due_at,
            parent_id=parent_id,
            root_id=root_id if named and parent_id else None,
        )
        self._soon(task_id, "its submission", lambda: self.backend.store(task_id, pending()))

    def begin(self, task_id: str, **options: Unpack[TrackOptions]) -> bool:
        """An attempt at it begins in this thread. False: it was cancelled, and should not run."""
        self._current.set(task_id)
        if self._attempts is None or not self.is_worker:
            return True
        if task_id in self._under_way:  # delivered again, while another thread is at it
            logger.warning("task %r: a second attempt at the same time is not recorded", task_id)
            return True
        self._register()
        try:
            self._under_way[task_id] = self._attempts.enter(task_id, **options | {"strict": True})
        except LateWrite as late:
            return not self._is_cancelled(task_id, late)
        except (FlowstoreError, ValueError) as trouble:  # as of an id that no record can have
            not_recorded(task_id, "its beginning", trouble)
        return True

    def _is_cancelled(self, task_id: str, late: LateWrite) -> bool:
        """Otherwise the host runs once more what has ended: a message may come twice."""
        try:
            found = self.backend.get(task_id, load_result=False)
        except FlowstoreError as trouble:
            not_recorded(task_id, "its beginning", trouble)
            return False
        if found is not None and found.status is TaskStatus.CANCELLED:
            logger.info("task %r was cancelled and is skipped", task_id)
            return True
        not_recorded(task_id, "its beginning", late)
        return False

    @property
    def current(self) -> str | None:
        """The task in whose code this is."""
        return self._current.get()

    def block(self, task_id: str | None = None) -> sync.TrackedTask[Any] | None:
        """Of the task that runs in this thread, or of another one; None: no attempt at it is recorded."""
        attempt = self._under_way.get(task_id or self._current.get() or "")
        return None if attempt is None else attempt.block

    def end(self, task_id: str, name: str, **outcome: Unpack[Outcome]) -> None:
        """The attempt ends; so does a task of which none is recorded, unless it is finished."""
        attempt = self._under_way.pop(task_id, None)
        if attempt is not None:
            attempt.end(**outcome)
            return
        known = partial(TaskResult.pending, task_id, task_name=name)
        step, is_whole = unattended(known, self.backend, outcome)
        self._soon(task_id, "its end", lambda: self.backend.update(task_id, step, load_result=is_whole))

    def left(self) -> None:
        """The thread is done with the task, and with what the host does behind it."""
        self._current.set(None)

    def _soon(self, task_id: str, what: str, call: Callable[[], object]) -> None:
        def told() -> None:
            try:
                call()
            except StorageError as trouble:
                not_recorded(task_id, what, trouble)
                self._helpers.give_up(trouble)
            except (FlowstoreError, ValueError) as trouble:  # as of an id that no record can have
                not_recorded(task_id, what, trouble)

        try:
            call()
        except LoopIsRunning:  # also in ``told``, in all threads that there are, if gevent has patched them
            self._helpers.submit(told, partial(not_recorded, task_id, what))
        except (FlowstoreError, ValueError) as trouble:
            not_recorded(task_id, what, trouble)


class Helpers:
    """Threads that call the backend in place of those in which an event loop runs."""

    def __init__(self) -> None:
        self._pid = 0
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: dict[Future[None], Callable[[Exception], None]] = {}

    def submit(self, call: Callable[[], None], given_up: Callable[[Exception], None]) -> None:
        if self._pool is None or self._pid != os.getpid():  # threads of a parent process are not here
            self._pid, self._pool = os.getpid(), ThreadPoolExecutor(4, "flowstore")
            self._waiting = {}
        future = self._pool.submit(call)
        self._waiting[future] = given_up
        future.add_done_callback(lambda done: self._waiting.pop(done, None))

    def give_up(self, trouble: Exception) -> None:
        """What waits behind a call that the storage has not answered in time would only wait as long again.

        So an outage fills no memory, and holds up no end of the program, for longer than that.
        """
        for future, given_up in [*self._waiting.items()]:
            if future.cancel():
                given_up(trouble)

    def close(self) -> None:
        if self._pool is not None and self._pid == os.getpid():
            self._pool.shutdown()
        self._pool = None


def from_timestamp(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
