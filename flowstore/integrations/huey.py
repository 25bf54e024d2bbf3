"""huey: an observer that records what becomes of each task, and waits for results by push.

See docs/from-huey.md. While the storage cannot be reached tasks run as always, each up to twice
``op_timeout`` later; what is not recorded is logged to ``flowstore.integrations``. Only ``wait`` raises
StorageError.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Iterable
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Final, Unpack

from flowstore import ConnectOptions, TaskResult, TrackOptions, WaitTimeout, sync
from flowstore._packages import needed
from flowstore.integrations._attempts import SHOWN, Again
from flowstore.integrations._stores import attached_sync
from flowstore.integrations._sync_recorder import Recorder

with needed("flowstore.integrations.huey", "huey"):
    from huey import signals
    from huey.api import Huey, PeriodicTask, Task
    from huey.exceptions import (
        CancelExecution,
        RateLimitExceeded,
        ResultTimeout,
        RetryTask,
        TaskException,
    )

NAME: Final = "flowstore"
"""Of the hooks, in the Huey object."""

RETRIES: Final = "retries"
"""In ``meta``: how many retries huey had left, with which the task is sent again."""

_FACTS: Final = {"host": "huey"}
_NOT_RUN: Final = {signals.SIGNAL_REVOKED: "revoked", signals.SIGNAL_EXPIRED: "expired"}
_INTERRUPTED: Final = "the consumer was stopped before the task had ended"


class FlowstoreObserver:
    """Records the tasks of a Huey object, under their ids, from now on.

    ``backend``: a ``flowstore.sync.ResultBackend``, or a URL with the options of ``flowstore.connect``.
    ``store`` of the observer is what to ask everything else. Make it where the Huey object is made, for
    consumers and producers alike. Tasks run in threads or processes, or at once (``immediate``).
    Results are recorded if the Huey object keeps results; one that cannot be stored as JSON shows it.
    """

    def __init__(
        self, huey: Huey, backend: sync.ResultBackend | str | None = None, **options: Unpack[ConnectOptions]
    ) -> None:
        attached = attached_sync(backend, options)
        self.huey = huey
        self.store = attached.backend
        self.recorder = Recorder(attached, self._send)
        self._workers = 0
        self._lock = Lock()
        huey.on_startup(NAME)(self._started)
        huey.on_shutdown(NAME)(self._stopped)
        huey.pre_execute(NAME)(self._begin)
        huey.post_execute(NAME)(self._end)
        huey.signal()(self._told)

    def close(self) -> None:
        """Record nothing from now on."""
        self.huey.unregister_on_startup(NAME)
        self.huey.unregister_on_shutdown(NAME)
        self.huey.unregister_pre_execute(NAME)
        self.huey.unregister_post_execute(NAME)
        self.huey.disconnect_signal(self._told)
        self.recorder.close()

    def wait(self, task: Any, timeout: float | None = None) -> Any:
        """The result of a task, of a Result of huey, or of an id, as soon as it is stored, by push.

        ``timeout`` is in seconds. Raises TaskException if the task has failed or was cancelled, as a Result
        does, and ResultTimeout. It leaves the result of huey where it is.
        """
        task_id = task if isinstance(task, str) else task.id
        try:
            found = self.store.wait_for(task_id, timeout)
        except WaitTimeout as late:
            raise ResultTimeout(f"timed out waiting for result of {task_id}") from late
        try:
            return found.unwrap()
        except RuntimeError as error:  # TaskFailed or TaskCancelled
            failed = found.error
            told = str(error) if failed is None else f"{failed.type}({failed.message!r})"
            trace = failed and failed.traceback
            metadata = {"error": told, "traceback": trace, "task_id": task_id, "retries": 0}
            raise TaskException(metadata) from error

    def current_task(self) -> sync.TrackedTask[Any] | None:
        """In the code of a task: its block, to report progress, and to ask whether it was cancelled."""
        return self.recorder.block()

    def dispatch(self, task_ids: Iterable[str]) -> None:
        """Enqueue these tasks again, under their ids: huey forgets those that a dead worker had.

        Raises QueueRefused for a task that others wait for in huey: in a pipeline, a chord, or for errors.
        The hook of ``actions`` for requeued tasks does the same.
        """
        self.recorder.dispatch(task_ids)

    def _send(self, task: TaskResult) -> None:
        kind = self.huey._registry.string_to_task(task.task_name)
        self.huey.enqueue(kind(task.args, task.kwargs, id=task.task_id, retries=task.meta.get(RETRIES)))

    def _started(self) -> None:
        """In each worker of a consumer, be it a thread or a process."""
        with self._lock:
            self._workers = self._workers + 1 if self.recorder.is_worker else 1
            if self._workers == 1:
                self.recorder.opened_worker(None, _FACTS)

    def _stopped(self) -> None:
        with self._lock:
            self._workers -= 1
            if not self._workers:
                self.recorder.closed_worker()

    def _told(self, signal: str, task: Task, *_: object) -> None:
        name = self._name(task)
        if signal == signals.SIGNAL_ENQUEUED:
            self._enqueued(task)
        elif signal == signals.SIGNAL_EXECUTING:
            self._be_last()
        elif signal in _NOT_RUN:
            self.recorder.end(task.id, name, error=CancelledError(_NOT_RUN[signal]))
        elif signal == signals.SIGNAL_CANCELED and not self._has_begun(task):
            self.recorder.end(task.id, name, error=CancelledError("canceled before it was executed"))
        elif signal == signals.SIGNAL_SCHEDULED:
            self.recorder.left()  # it waits for its next attempt
        elif signal == signals.SIGNAL_INTERRUPTED:
            self.recorder.end(task.id, name, error=InterruptedError(_INTERRUPTED))

    def _has_begun(self, task: Task) -> bool:
        """Then ``_end`` is told how it ends; also if no attempt at it could be recorded."""
        return self.recorder.current == task.id or self.recorder.block(task.id) is not None

    def _be_last(self) -> None:
        """Of the hooks before a task: a later one could keep it from running, and nobody would be told."""
        hooks = self.huey._pre_execute
        if next(reversed(hooks), NAME) != NAME:
            others = {name: hook for name, hook in [*hooks.items()] if name != NAME}
            self.huey._pre_execute = {**others, NAME: self._begin}  # anew, as threads go through the old one

    def _enqueued(self, task: Task) -> None:
        """Before it is in the queue. Not for what is on its way: retries, and what was scheduled."""
        is_due = task.eta is not None and task.eta <= self.huey._get_timestamp()
        if is_due or self.recorder.current == task.id:
            self.recorder.left()
            return
        due_at = None if task.eta is None else self._aware(task.eta)
        options = self._options(task)
        if parent_id := getattr(task, "_flowstore_parent", None):
            options["parent_id"] = parent_id
        self.recorder.submitted(task.id, due_at=due_at, **options)

    def _begin(self, task: Task) -> None:
        """A hook: unlike a signal it can keep the task from running."""
        self.recorder.ensured_worker(None, _FACTS)  # if it is run at once, in whatever process
        if not self.recorder.begin(task.id, **self._options(task)):
            self.recorder.left()
            raise CancelExecution("cancelled by flowstore")

    def _end(self, task: Task, value: Any, error: BaseException | None) -> None:
        """A hook: unlike a signal it is told the result."""
        name = self._name(task)
        if error is None:
            is_kept = self.huey.results and not isinstance(task, PeriodicTask)
            self.recorder.end(task.id, name, result=value if is_kept else None)
        elif task.retries:
            self.recorder.end(task.id, name, error=error, again=Again(self._delay(task, error)))
            return  # what is enqueued next is this task
        elif isinstance(error, CancelExecution):
            self.recorder.end(task.id, name, error=CancelledError(*error.args))
        else:
            self.recorder.end(task.id, name, error=error)
        self.recorder.left()
        for following in _following(task):
            following._flowstore_parent = task.id

    def _delay(self, task: Task, error: BaseException) -> float:
        """Until the next attempt, as huey is about to plan it."""
        delay = task.retry_delay or 0.0
        if isinstance(error, RateLimitExceeded):
            delay = task.retry_delay or error.delay
        elif isinstance(error, RetryTask) and error.eta is not None:
            delay = max(0.0, (error.eta.astimezone(UTC) - datetime.now(UTC)).total_seconds())
        elif isinstance(error, RetryTask) and error.delay is not None:
            delay = error.delay
        return float(delay)

    def _options(self, task: Task) -> TrackOptions:
        meta: dict[str, Any] = {RETRIES: task.retries}
        if _following(task):
            meta[SHOWN] = "shown"
        return TrackOptions(name=self._name(task), args=task.args, kwargs=task.kwargs, meta=meta)

    def _name(self, task: Task) -> str:
        return str(self.huey._registry.task_to_string(type(task)))

    def _aware(self, at: datetime) -> datetime:
        """As huey keeps its times, without a zone."""
        return at.replace(tzinfo=UTC) if at.tzinfo is None and self.huey.utc else at.astimezone(UTC)


def _following(task: Task) -> list[Task]:
    """What huey enqueues behind this one."""
    chord = task.chord_config and task.chord_config.callback
    return [each for each in (task.on_complete, task.on_error, chord) if each is not None]
