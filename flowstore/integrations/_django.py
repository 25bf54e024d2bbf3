"""Tasks of Django in flowstore: what holds for ``django_tasks`` and for Django's own ``django.tasks``.

Both describe a backend that takes tasks and gives their results. The records are the queue, too: a pending
one waits for a worker of ``flowstore.integrations.django_worker``, which takes it by a compare-and-set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from threading import Lock
from typing import Any, ClassVar, Final, NamedTuple

from asgiref.sync import sync_to_async
from django.db import close_old_connections
from django.utils import timezone
from django.utils.crypto import get_random_string
from django.utils.module_loading import import_string

import flowstore.sync
from flowstore import TaskError, TaskResult, TaskStatus, Transition
from flowstore.integrations._attempts import logger
from flowstore.integrations._stores import attached_sync

Known = tuple[TaskResult, list[Transition]]
_PREFIX: Final = "django-tasks/"
_HIGHEST: Final = 100
_STATUSES: Final = {
    TaskStatus.PENDING: "READY",
    TaskStatus.RETRYING: "READY",
    TaskStatus.RUNNING: "RUNNING",
    TaskStatus.SUCCESS: "SUCCESSFUL",
    TaskStatus.FAILED: "FAILED",
    TaskStatus.CANCELLED: "FAILED",
}


class Host(NamedTuple):
    """The modules of one of the two packages, which have the same names in them."""

    base: Any
    signals: Any
    exceptions: Any
    normalize_json: Any


class FlowstoreTasks:
    """A task backend of Django, but for the host's own base class. In the settings::

        TASKS = {"default": {"BACKEND": "...", "OPTIONS": {"url": "sqlite:///tasks.db", "ttl": 86400}}}

    ``url``: where the tasks are, by default FLOWSTORE_URL. The other options are those of
    ``flowstore.connect``. All threads of a process share one store, which closes when it exits.

    A call raises StorageError if the storage is away; a task whose enqueue has raised may have been enqueued.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    host: ClassVar[Host]
    alias: str
    queues: set[str]
    options: Mapping[str, Any]
    validate_task: Any

    @property
    def store(self) -> flowstore.sync.ResultBackend:
        """The store of this process with these options: for listings, cancelling, statistics and so on."""
        return store_of(self.options)

    def close(self) -> None:
        """Close the store, as a test does. It opens again when it is needed."""
        with _LOCK:
            store = _STORES.pop(_key(self.options), None)
        if store is not None:
            store.close()

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        self.validate_task(task)
        record = _new(task, self.host.normalize_json(args), self.host.normalize_json(kwargs))
        self.store.store(record.task_id, record)
        enqueued = self.result_of(record, [])
        self.host.signals.task_enqueued.send(type(self), task_result=enqueued)
        return enqueued

    def get_result(self, result_id: str) -> Any:
        """Raises TaskResultDoesNotExist, also for what is no id, or that of a record that is not Django's."""
        record = self._record(result_id)
        if record is None or "queue" not in record.meta:
            raise self.host.exceptions.TaskResultDoesNotExist(result_id)
        return self.result_of(record, self.store.history.of(result_id))

    def _record(self, result_id: str) -> TaskResult | None:
        try:
            return self.store.get(result_id)
        except flowstore.FlowstoreError:
            raise
        except ValueError:  # empty, too long, or no Unicode
            return None

    def wait(self, result: Any, timeout: float | None = None) -> Any:
        """The task result, or the one with that id, once it is finished: told by push, nothing is polled.

        ``timeout`` is in seconds. Raises WaitTimeout, and ResultDeleted or ResultExpired if it goes away.
        """
        result_id = result if isinstance(result, str) else result.id
        self.store.wait_for(result_id, timeout, load_result=False)
        return self.get_result(result_id)

    async def await_result(self, result: Any, timeout: float | None = None) -> Any:
        """``wait`` in a thread, for asynchronous views."""
        return await sync_to_async(self.wait, thread_sensitive=False)(result, timeout)

    def result_of(self, record: TaskResult, history: Iterable[Transition]) -> Any:
        """A record as Django's TaskResult. Raises ImportError if its task is not known here any more."""
        runs = _runs(record, history)
        result = self.host.base.TaskResult(
            task=self._task_of(record),
            id=record.task_id,
            status=self.host.base.TaskResultStatus[_STATUSES[record.status]],
            enqueued_at=_enqueued_at(record),
            started_at=min((run.at for run in runs), default=record.started_at),
            last_attempted_at=max((run.at for run in runs), default=record.started_at),
            finished_at=record.finished_at,
            args=list(record.args),
            kwargs=record.kwargs,
            backend=self.alias,
            errors=[self._error_of(error) for error in _errors(record, history)],
            worker_ids=[run.worker_id for run in runs if run.worker_id is not None],
        )
        object.__setattr__(result, "_return_value", record.result)  # as its own backends do
        return result

    def _task_of(self, record: TaskResult) -> Any:
        task = import_string(record.task_name or "")
        return task.using(
            priority=record.meta["priority"],
            queue_name=record.meta["queue"],
            run_after=record.submitted_at if "enqueued_at" in record.meta else None,
            backend=self.alias,
        )

    def _error_of(self, error: TaskError) -> Any:
        known = flowstore.TaskFailed("", error).__cause__
        text = known.text if isinstance(known, flowstore.RemoteTraceback) else error.message
        return self.host.base.TaskError(exception_class_path=_path(error), traceback=text)


def call(tasks: FlowstoreTasks, known: Known) -> tuple[Any, Any, BaseException | None]:
    """Django's TaskResult (None: there is no such task here), the value, and the error."""
    close_old_connections()
    result = None
    try:
        result = tasks.result_of(*known)
        tasks.host.signals.task_started.send(type(tasks), task_result=result)
        task = result.task
        context = (tasks.host.base.TaskContext(task_result=result),) if task.takes_context else ()
        value = task.call(*context, *result.args, **result.kwargs)
        return result, tasks.host.normalize_json(value), None
    except BaseException as error:  # SystemExit as well, as in Django's own backends
        return result, None, error
    finally:
        close_old_connections()


def tell_finished(tasks: FlowstoreTasks, known: Known) -> None:
    """What receivers raise is logged, as the task has its outcome."""
    result = tasks.result_of(*known)
    for receiver, answer in tasks.host.signals.task_finished.send_robust(type(tasks), task_result=result):
        if isinstance(answer, Exception):
            logger.warning("receiver %r of task_finished has raised", receiver, exc_info=answer)
    close_old_connections()


def label_of(queue: str, priority: int) -> str:
    """A queue is a label for each of its priorities; the highest is the first in their order."""
    return f"{prefix_of(queue)}{_HIGHEST - priority:03}"


def prefix_of(queue: str) -> str:
    return f"{_PREFIX}{queue}/"


def store_of(options: Mapping[str, Any]) -> flowstore.sync.ResultBackend:
    """One for all that have these options: Django makes a backend in each thread."""
    key = _key(options)
    with _LOCK:
        if key not in _STORES:
            given: Any = dict(options)
            _STORES[key] = attached_sync(given.pop("url", None), given).backend
        return _STORES[key]


_LOCK: Final = Lock()
_STORES: Final[dict[str, flowstore.sync.ResultBackend]] = {}


def _key(options: Mapping[str, Any]) -> str:
    """Values of the settings need not be hashable."""
    return repr([(name, options[name]) for name in sorted(options)])


def _new(task: Any, args: list[Any], kwargs: dict[str, Any]) -> TaskResult:
    """It counts as submitted when it may run, so that the oldest that may are the first of a listing."""
    now = datetime.now(UTC)
    later = None if task.run_after is None else _aware(task.run_after)
    meta: dict[str, Any] = {"queue": task.queue_name, "priority": task.priority}
    return TaskResult.pending(
        get_random_string(32),
        at=now if later is None else later,
        task_name=task.module_path,
        args=args,
        kwargs=kwargs,
        labels={label_of(task.queue_name, task.priority)},
        meta=meta if later is None else {**meta, "enqueued_at": now.isoformat()},
        due_at=later,
    )


def _aware(at: datetime) -> datetime:
    return at if timezone.is_aware(at) else timezone.make_aware(at)


def _enqueued_at(record: TaskResult) -> datetime | None:
    given = record.meta.get("enqueued_at")
    return record.submitted_at if given is None else datetime.fromisoformat(str(given))


def _runs(record: TaskResult, history: Iterable[Transition]) -> list[Transition]:
    """The first transition of each attempt that has begun, in their order."""
    runs: dict[int, Transition] = {}
    for step in history:
        if step.status is TaskStatus.RUNNING and step.event is None:
            runs.setdefault(step.retries, step)
    return [runs[retries] for retries in sorted(runs)]


def _errors(record: TaskResult, history: Iterable[Transition]) -> list[TaskError]:
    """Of every try; the last one whole, and those before as the history keeps them, cut to 1 KiB."""
    last = record.error
    ended = None if last is None else (record.retries, record.status)
    earlier = [
        step.error for step in history if step.error is not None and (step.retries, step.status) != ended
    ]
    if record.status is TaskStatus.CANCELLED:
        reason = None if record.cancel_request is None else record.cancel_request.reason
        last = TaskError.from_exception(flowstore.TaskCancelled(record.task_id, reason))
    return earlier if last is None else [*earlier, last]


def _path(error: TaskError) -> str:
    return f"{error.module or 'builtins'}.{error.qualname}"
