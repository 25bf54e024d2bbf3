"""dramatiq: a result backend, and the middleware that records what becomes of each message.

See docs/from-dramatiq.md. While the storage cannot be reached messages are processed all the same, each up to
twice ``op_timeout`` later; the log has what is not recorded. Only ``get_result`` raises StorageError.
"""

from __future__ import annotations

import json
from asyncio import CancelledError
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from threading import current_thread
from typing import Any, Final, Unpack

from flowstore import (
    ConnectOptions,
    ResultGone,
    TaskResult,
    TaskStatus,
    TrackOptions,
    WaitTimeout,
    sync,
    to_jsonable,
)
from flowstore._packages import needed
from flowstore.integrations._attempts import SHOWN, Again, Outcome, recordable
from flowstore.integrations._stores import attached_sync
from flowstore.integrations._sync_recorder import Recorder, from_timestamp

with needed("flowstore.integrations.dramatiq", "dramatiq"):
    import dramatiq
    from dramatiq.common import q_name
    from dramatiq.middleware import Middleware, SkipMessage
    from dramatiq.results import Missing, ResultBackend, ResultFailure, ResultMissing, Results, ResultTimeout
    from dramatiq.results.backend import DEFAULT_TIMEOUT
    from dramatiq.results.result import wrap_exception
    from dramatiq.worker import ConsumerThread

QUEUE: Final = "queue"
OPTIONS: Final = "options"
"""In ``meta``: the queue of the message, and its options as JSON, with which it is sent again."""
_PASSING: Final = {"eta", "retries", "traceback", "requeue_timestamp"}


class FlowstoreBackend(ResultBackend):
    """Keeps results in flowstore, under the ids of their messages.

    ``backend``: a ``flowstore.sync.ResultBackend``, or a URL with the options of ``flowstore.connect``;
    ``store`` is what to ask everything else. Results are values of flowstore, not of an ``encoder``; one that
    cannot be stored is kept as JSON shows it. A ``result_ttl`` is that of the record.
    """

    def __init__(
        self, backend: sync.ResultBackend | str | None = None, **options: Unpack[ConnectOptions]
    ) -> None:
        attached = attached_sync(backend, options)
        super().__init__(namespace=attached.backend.namespace)
        self.store = attached.backend
        self.recorder = Recorder(attached, self._send)
        self.middleware = FlowstoreMiddleware(self)

    def close(self) -> None:
        """At the end of a program that goes on without it; otherwise the end of the process does it."""
        self.recorder.close()

    def get_result(self, message: Any, *, block: bool = False, timeout: int | None = None) -> Any:
        """As any result backend of dramatiq; a blocked call returns when the result is stored, by push.

        Raises ResultFailure also for a message that flowstore has cancelled; LoopIsRunning in event loops.
        """
        milliseconds = DEFAULT_TIMEOUT if timeout is None else timeout
        try:
            task = self.store.wait_for(message.message_id, milliseconds / 1_000 if block else 0)
        except (WaitTimeout, ResultGone):
            raise (ResultTimeout if block else ResultMissing)(message) from None
        value, cause = _for_dramatiq(task)
        try:
            return self.unwrap_result(value)  # type: ignore[no-untyped-call]
        except ResultFailure as failure:
            raise failure from cause

    def current_task(self) -> sync.TrackedTask[Any] | None:
        """In the code of an actor: its block, to report progress, and to ask whether it was cancelled."""
        return self.recorder.block()

    def build_message_key(self, message: Any) -> str:
        """The id of the message, and nothing else: that is what its record is found by."""
        return str(message.message_id)

    def store_result(self, message: Any, result: Any, ttl: int) -> None:
        if not self.middleware.ended(message, result=result):
            super().store_result(message, result, ttl)

    def store_exception(self, message: Any, exception: BaseException, ttl: int) -> None:
        if not self.middleware.ended(message, error=exception):
            self._end(TaskResult.failed(message.message_id, exception), ttl)

    def _get(self, message_key: str) -> Any:
        task = self.store.get(message_key)
        return Missing if task is None or not task.is_finished else _for_dramatiq(task)[0]

    def _store(self, message_key: str, result: Any, ttl: int) -> None:
        self._end(TaskResult.success(message_key, recordable(self.store, result)), ttl)

    def _end(self, ended: TaskResult, ttl: int) -> None:
        self.store.store(ended.task_id, ended, ttl=ttl / 1_000, patience=None)

    def dispatch(self, task_ids: Iterable[str]) -> None:
        """Send these messages again, under their ids, as ``actions`` does with those that it requeues.

        Those of dead workers the brokers of Redis and RabbitMQ deliver again by themselves.
        """
        self.recorder.dispatch(task_ids)

    def _send(self, task: TaskResult) -> None:
        queue, options = str(task.meta.get(QUEUE, "default")), json.loads(str(task.meta.get(OPTIONS, "{}")))
        name, broker = str(task.task_name), self.middleware.broker or dramatiq.get_broker()
        broker.enqueue(dramatiq.Message(queue, name, task.args, task.kwargs, options, task.task_id))


class FlowstoreMiddleware(Middleware):
    """Records messages from ``send`` to their end. It is ``FlowstoreBackend.middleware``."""

    def __init__(self, backend: FlowstoreBackend) -> None:
        self.recorder = backend.recorder
        self.broker: dramatiq.Broker | None = None
        self._backend = backend
        self._held: ContextVar[_Held | None] = ContextVar("flowstore_message", default=None)

    def after_declare_actor(self, broker: Any, actor: Any) -> None:
        self.broker = broker

    def before_worker_boot(self, broker: Any, worker: Any) -> None:
        self.recorder.opened_worker(worker.worker_threads, {"host": "dramatiq"})

    def after_worker_shutdown(self, broker: Any, worker: Any) -> None:
        self.recorder.closed_worker()

    def before_enqueue(self, broker: Any, message: Any, delay: int | None) -> None:
        """One that is to be retried is stored so before the next worker can have it."""
        held = self._holding(message)
        if held is not None and held.message._exception is not None:
            self.ended(message, error=held.message._exception, again=Again((delay or 0) / 1_000))

    def after_enqueue(self, broker: Any, message: Any, delay: int | None) -> None:
        """Not before: a broker that cannot be reached would leave tasks that nobody runs."""
        if isinstance(current_thread(), ConsumerThread) or self._holding(message) is not None:
            return  # on its way from the queue for delays, or to its next attempt
        eta = message.options.get("eta")
        due = None if eta is None else from_timestamp(eta / 1_000)
        self.recorder.submitted(message.message_id, due_at=due, **_told(message))

    def before_process_message(self, broker: Any, message: Any) -> None:
        """Raises SkipMessage for one that was cancelled."""
        ttl = self._ttl(broker, message)
        self._held.set(_Held(message, is_kept=ttl is not None))
        options = _told(message) | ({} if ttl is None else TrackOptions(ttl=ttl / 1_000))
        if not self.recorder.begin(message.message_id, **options):
            raise SkipMessage(f"message {message.message_id!r} was cancelled")

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Of one that has failed it is not known here whether it is to be retried."""
        held = self._holding(message)
        if exception is None and held is not None:
            self.ended(message, result=result if held.is_kept else None)

    def after_skip_message(self, broker: Any, message: Any) -> None:
        if not message.failed:
            self._over(message, CancelledError())

    def before_ack(self, broker: Any, message: Any) -> None:
        if message._exception is not None:  # there is no Retries middleware
            self.ended(message, error=message._exception)
        self._let_go()

    def before_nack(self, broker: Any, message: Any) -> None:
        self._over(message, message._exception or Exception("unknown"))
        self._let_go()

    def _over(self, message: Any, error: BaseException) -> None:
        if not self.ended(message, error=error):  # as of one that another middleware has refused
            self.recorder.end(message.message_id, message.actor_name, error=error)

    def ended(self, message: Any, **outcome: Unpack[Outcome]) -> bool:
        """A message in hand, once, whichever middleware comes first. False: it is not in hand."""
        held = self._holding(message)
        if held is None:
            return False
        if not held.is_ended:
            held.is_ended = True
            self.recorder.end(message.message_id, message.actor_name, **outcome)
        return True

    def _holding(self, message: Any) -> _Held | None:
        held = self._held.get()
        return None if held is None or held.message.message_id != message.message_id else held

    def _let_go(self) -> None:
        self._held.set(None)
        self.recorder.left()

    def _ttl(self, broker: Any, message: Any) -> int | None:
        """In milliseconds, of a result that is to be kept; None: it is not."""
        own = [
            each for each in broker.middleware if isinstance(each, Results) and each.backend is self._backend
        ]
        is_kept, ttl = own[0]._lookup_options(broker, message) if own else (False, 0)
        return int(ttl) if is_kept else None


@dataclass
class _Held:
    """The message that a worker thread is at, from before it is processed until it is acknowledged."""

    message: Any
    is_kept: bool
    is_ended: bool = False


def _told(message: Any) -> TrackOptions:
    meta = {QUEUE: q_name(message.queue_name)}
    if options := {name: each for name, each in message.options.items() if name not in _PASSING}:
        text = json.dumps(to_jsonable(options))
        meta |= {OPTIONS: text} if len(text) <= 8_192 else {SHOWN: "shown"}
    return TrackOptions(
        name=message.actor_name,
        args=message.args,
        kwargs=message.kwargs,
        meta=meta,
        submitted_at=from_timestamp(message.message_timestamp / 1_000),
    )


def _for_dramatiq(task: TaskResult) -> tuple[Any, BaseException | None]:
    """What ``unwrap_result`` takes, the value or a description of the exception; and where that is from.

    A message that was skipped has the result None, as dramatiq has it.
    """
    if task.status is TaskStatus.CANCELLED and task.cancel_request is None:
        return None, None
    try:
        return task.unwrap(), None
    except RuntimeError as error:  # TaskFailed or TaskCancelled
        told = task.error
        name, text = (type(error).__name__, str(error)) if told is None else (told.type, told.message)
        return wrap_exception(type(name.rpartition(".")[2], (Exception,), {})(text)), error
