"""Celery: an observer that records what becomes of each task, and waits for results by push.

See docs/from-celery.md. While the storage cannot be reached tasks run as always, each up to twice
``op_timeout`` later; what is not recorded is logged to ``flowstore.integrations``. Only ``wait`` raises
StorageError. It is no result backend: that of Celery, if there is one, is left alone.
"""

from __future__ import annotations

import sys
from asyncio import CancelledError
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final, Unpack

from flowstore import ConnectOptions, TaskCancelled, TaskResult, TrackOptions, WaitTimeout, sync
from flowstore._packages import needed
from flowstore.integrations._attempts import SHOWN, Again
from flowstore.integrations._stores import attached_sync
from flowstore.integrations._sync_recorder import Recorder

with needed("flowstore.integrations.celery", "celery"):
    from celery import Celery, signals
    from celery.exceptions import Retry, TaskRevokedError, TimeoutError
    from celery.states import IGNORED, REJECTED
    from celery.utils.time import maybe_iso8601
    from kombu.utils import json

QUEUE: Final = "queue"
OPTIONS: Final = "options"
"""In ``meta``: the queue of the task, and what follows it as JSON, with which it is sent again."""

Classes = type[BaseException] | tuple[type[BaseException], ...]

_FOLLOWING: Final = {"chain": "chain", "callbacks": "link", "errbacks": "link_error"}


class FlowstoreObserver:
    """Records the tasks of a Celery app, under their ids, from now on.

    ``backend``: a ``flowstore.sync.ResultBackend``, or a URL with the options of ``flowstore.connect``.
    ``store`` of the observer is what to ask everything else. Make one in a process, where the app is made, so
    that it is there in workers and producers alike: the signals of Celery are those of all apps. The pools
    are prefork, threads and solo; each process that runs tasks is a worker here, from its first task.
    """

    def __init__(
        self, app: Celery, backend: sync.ResultBackend | str | None = None, **options: Unpack[ConnectOptions]
    ) -> None:
        attached = attached_sync(backend, options)
        self.app = app
        self._uid = f"flowstore {id(self)}"  # methods of two observers are the same for some Celery
        self.store = attached.backend
        self.recorder = Recorder(attached, self._send, app.control.revoke)
        for signal, receiver in self._receivers().items():
            signal.connect(receiver, weak=False, dispatch_uid=self._uid)

    def _receivers(self) -> dict[Any, Callable[..., None]]:
        return {
            signals.before_task_publish: self._publishing,
            signals.after_task_publish: self._published,
            signals.task_prerun: self._begun,
            signals.task_success: self._succeeded,
            signals.task_failure: self._failed,
            signals.task_postrun: self._over,
            signals.task_revoked: self._revoked,
            signals.worker_process_shutdown: self._stopped,
            signals.worker_shutdown: self._stopped,
        }

    def close(self) -> None:
        """Record nothing from now on."""
        for signal, receiver in self._receivers().items():
            signal.disconnect(receiver, dispatch_uid=self._uid)
        self.recorder.close()

    def wait(self, task: Any, timeout: float | None = None, *, reraise: Classes = ()) -> Any:
        """The result of a task, of an AsyncResult or an id, as soon as it is stored, by push.

        ``timeout`` is in seconds. Raises TimeoutError and TaskRevokedError of Celery. A task that has failed
        raises TaskFailed, or its own exception if that is one of ``reraise``.
        """
        task_id = task if isinstance(task, str) else task.id
        try:
            return self.store.wait_for(task_id, timeout).unwrap(reraise=reraise)
        except WaitTimeout as late:
            raise TimeoutError(f"task {task_id} has not ended after {timeout} s") from late
        except TaskCancelled as cancelled:
            raise TaskRevokedError(str(cancelled)) from cancelled

    def current_task(self) -> sync.TrackedTask[Any] | None:
        """In the code of a task: its block, to report progress, and to ask whether it was cancelled."""
        return self.recorder.block()

    def dispatch(self, task_ids: Iterable[str]) -> None:
        """Send these tasks again, under their ids, with what follows them; for those a sweep has requeued.

        Not for late acknowledgements, with which the broker delivers them again. Raises QueueRefused for the
        header of a chord, which has been counted. The hook of ``actions`` for requeued tasks does the same.
        """
        self.recorder.dispatch(task_ids)

    def _send(self, task: TaskResult) -> None:
        options = json.loads(str(task.meta.get(OPTIONS, "{}")))
        options |= {"parent_id": task.parent_id, "root_id": task.root_id} if task.parent_id else {}
        queue = task.meta.get(QUEUE)
        self.app.send_task(
            task.task_name, task.args, task.kwargs, task_id=task.task_id, queue=queue, **options
        )

    def _publishing(self, headers: Any = None, **_: Any) -> None:
        """A retry is stored so before the next worker can have it; Celery tells of it afterwards."""
        if self._is_retry(headers):
            error = sys.exc_info()[1] or Retry("asked for by the task")
            due_at = _time(headers.get("eta"))
            delay = 0.0 if due_at is None else max(0.0, (due_at - datetime.now(UTC)).total_seconds())
            self.recorder.end(headers["id"], headers["task"], error=error, again=Again(delay))

    def _published(self, body: Any = None, headers: Any = None, routing_key: Any = None, **_: Any) -> None:
        """Not before: a broker that cannot be reached would leave tasks that nobody runs."""
        if self._is_retry(headers) or "id" not in headers:
            return
        args, kwargs, embedded = body
        meta = _meta(routing_key, headers.get("group"), embedded)
        options = TrackOptions(name=headers["task"], args=args, kwargs=kwargs, meta=meta)
        options |= _parent(headers.get("parent_id"), headers["id"])
        due_at, root_id = _time(headers.get("eta")), headers.get("root_id")
        self.recorder.submitted(headers["id"], due_at=due_at, root_id=root_id, **options)

    def _is_retry(self, headers: Any) -> bool:
        return bool(headers.get("retries")) and self.recorder.current == headers.get("id")

    def _begun(
        self, task: Any = None, task_id: Any = None, args: Any = (), kwargs: Any = None, **_: Any
    ) -> None:
        request = task.request
        queue = (request.delivery_info or {}).get("routing_key")
        embedded = {name: getattr(request, name, None) for name in (*_FOLLOWING, "chord")}
        options = TrackOptions(name=task.name, args=args, kwargs=kwargs or {})
        options |= TrackOptions(meta=_meta(queue, request.group, embedded))
        options |= _parent(request.parent_id, task_id)
        if request.is_eager:  # perhaps inside of another task, and its retries inside of itself
            self.recorder.submitted(task_id, **options)
            return
        self.recorder.ensured_worker(None, {"host": "celery", "worker": str(request.hostname)})
        self.recorder.begin(task_id, **options)

    def _succeeded(self, sender: Any = None, result: Any = None, **_: Any) -> None:
        request = sender.request
        is_ignored = sender.ignore_result if request.ignore_result is None else request.ignore_result
        self.recorder.end(request.id, sender.name, result=None if is_ignored else result)

    def _failed(self, sender: Any = None, task_id: Any = None, exception: Any = None, **_: Any) -> None:
        """In the process of the task, or in its parent if that was killed."""
        self.recorder.end(task_id, sender.name, error=exception)

    def _over(
        self, task: Any = None, task_id: Any = None, retval: Any = None, state: Any = None, **_: Any
    ) -> None:
        """What has no signal of its own. Without a state the process ends, and its parent tells."""
        if self.recorder.block(task_id) is not None:
            if state == REJECTED:
                self.recorder.end(task_id, task.name, error=retval, again=Again() if retval.requeue else None)
            elif state == IGNORED:
                self.recorder.end(task_id, task.name, error=CancelledError())
        if not task.request.is_eager:
            self.recorder.left()

    def _revoked(self, sender: Any = None, request: Any = None, terminated: Any = None, **more: Any) -> None:
        how = "expired" if more.get("expired") else "terminated" if terminated else "revoked"
        self.recorder.end(request.id, sender.name, error=CancelledError(how))

    def _stopped(self, **_: Any) -> None:
        self.recorder.closed_worker()


def _parent(parent_id: str | None, task_id: str) -> TrackOptions:
    """Of a retry Celery says that it is its own parent."""
    return TrackOptions() if parent_id in (None, task_id) else TrackOptions(parent_id=parent_id)


def _meta(queue: str | None, group: str | None, embedded: Any) -> dict[str, Any]:
    meta = {name: each for name, each in ((QUEUE, queue), ("group", group)) if each}
    following = {to: embedded[name] for name, to in _FOLLOWING.items() if embedded.get(name)}
    text = json.dumps(following)
    if embedded.get("chord") or len(text) > 8_192:
        return meta | {SHOWN: "shown"}
    return meta | {OPTIONS: text} if following else meta


def _time(eta: str | datetime | None) -> datetime | None:
    at = maybe_iso8601(eta)
    return None if at is None else at.astimezone(UTC)
