"""pynenc with its state in flowstore: a state backend for its apps. See docs/from-pynenc.md.

Invocations are tasks, their histories events of the history of a task, workflows families, the contexts of
runners workers, and the data of a workflow that of its first task. An app is the namespace of its id.

pynenc's orchestrator says who may run what, and finds runners that have died; what it decides is recorded
here. A storage that is away raises StorageError into pynenc, as its own backends do.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Any, Final

from flowstore import TaskError, TaskResult, TaskStatus
from flowstore._packages import needed
from flowstore.integrations import _pynenc_records as states
from flowstore.integrations._pynenc_shared import SharedState

with needed("flowstore.integrations.pynenc", "pynenc"):
    from pynenc import PynencBuilder, context
    from pynenc.identifiers.invocation_id import InvocationId
    from pynenc.invocation.status import InvocationStatus
    from pynenc.state_backend.base_state_backend import InvocationHistory

logger: Final = logging.getLogger("flowstore.integrations.pynenc")


class PynencStateBackend(SharedState):
    """A state backend of pynenc: ``PynencBuilder().sqlite("a.db").flowstore("redis://...")``.

    pynenc makes it from the configuration: ``state_backend_cls = "PynencStateBackend"``, and a URL as
    ``flowstore_url``. By hand it takes a ``flowstore.sync.ResultBackend``, which stays its owner's and whose
    namespace should be the id of the app, or a URL with options of ``flowstore.connect``.
    """

    def close(self) -> None:
        self._store.close()

    def wait_for(self, invocation_id: InvocationId, timeout: float | None = None) -> Any:
        """The result, as soon as it is stored, in whatever process, or the exception is raised.

        It is pushed, where ``invocation.result`` asks again and again. TimeoutError at the deadline;
        TaskCancelled for what concurrency control does not let run.
        """
        record = self._store.call(lambda store: store.wait_for(invocation_id, timeout))
        if record.status is TaskStatus.FAILED:
            raise self.get_exception(invocation_id)
        return self.app.client_data_store.deserialize(record.unwrap())

    def purge(self) -> None:
        """The contexts of runners, and what the app says of itself, stay."""
        self._store.call(lambda store: store.clear())

    # Invocations

    def _upsert_invocations(self, entries: list[states.Entry]) -> None:
        for given in self._store.created([states.record_of(entry) for entry in entries]):
            self._store.settled(given.task_id, partial(states.merged, given))

    def _get_invocation(self, invocation_id: InvocationId) -> states.Entry | None:
        record = self._store.call(lambda store: store.get(invocation_id))
        return None if record is None else states.entry_of(record)

    def get_child_invocations(self, parent_invocation_id: InvocationId) -> Iterator[InvocationId]:
        return map(InvocationId, self._store.ids(parent_id=parent_invocation_id))

    def get_invocations_by_parent_event(self, parent_event_id: str) -> Iterator[InvocationId]:
        return map(InvocationId, self._store.ids(label=states.BY_EVENT + parent_event_id))

    def get_invocation_ids_by_workflow(
        self, workflow_id: str | None = None, workflow_type_key: str | None = None
    ) -> Iterator[InvocationId]:
        labels = [states.OF_WORKFLOW + workflow_id] if workflow_id else []
        labels += [states.OF_TYPE + workflow_type_key] if workflow_type_key else []
        return map(InvocationId, self._store.ids(labels=labels or [states.MEMBER]))

    # Outcomes

    def _set_result(self, invocation_id: InvocationId, serialized_result: str) -> None:
        self._settle(invocation_id, lambda known: TaskResult.success(known, serialized_result))

    def _get_result(self, invocation_id: InvocationId) -> str:
        return self._value(invocation_id, TaskStatus.SUCCESS)

    def set_exception(self, invocation_id: InvocationId, exception: Exception) -> None:
        """Its class and traceback are kept as well, for people and other programs."""
        self._fail(invocation_id, self.serialize_exception(exception), TaskError.from_exception(exception))

    def _set_exception(self, invocation_id: InvocationId, serialized_exception: str) -> None:
        self._fail(invocation_id, serialized_exception, states.error_in(serialized_exception))

    def _get_exception(self, invocation_id: InvocationId) -> str:
        return self._value(invocation_id, TaskStatus.FAILED)

    def _fail(self, invocation_id: InvocationId, serialized: str, error: TaskError) -> None:
        self._settle(invocation_id, lambda known: TaskResult.failed(known, error, result=serialized))

    def _settle(self, invocation_id: InvocationId, end: Callable[[TaskResult], TaskResult]) -> None:
        """Refused to a runner that has lost the invocation that it runs, as after it was silent for too long.

        pynenc refuses its status as well, but only after the outcome was stored. What other code sets
        replaces what there is.
        """
        blank, runner_id = TaskResult.pending(invocation_id), self._running(invocation_id)

        def settled(known: TaskResult | None) -> TaskResult:
            if known is not None and runner_id is not None and known.worker_id != runner_id:
                logger.warning("invocation %s: its outcome comes too late, of %s", invocation_id, runner_id)
                return known
            return end(known or blank)

        self._store.settled(invocation_id, settled)

    def _running(self, invocation_id: InvocationId) -> str | None:
        """The runner that runs this invocation in this thread, if any does."""
        running = context.get_dist_invocation_context(self.app.app_id)
        if running is None or running.invocation_id != invocation_id:
            return None
        runner = context.get_runner_context(self.app.app_id)
        return None if runner is None else str(runner.runner_id)

    def _value(self, invocation_id: InvocationId, status: TaskStatus) -> str:
        record = self._store.call(lambda store: store.get(invocation_id))
        if record is None or record.status is not status or not isinstance(record.result, str):
            raise KeyError(f"invocation {invocation_id} has no outcome of that kind")
        return record.result

    # Histories

    def _add_histories(
        self, invocation_ids: list[InvocationId], invocation_history: InvocationHistory
    ) -> None:
        """First the state of the task, as far as the status changes that, then the event."""
        status, at = invocation_history.status_record.status, states.time_of(invocation_history)
        detail, runner = states.detail_of(invocation_history), invocation_history.runner_context_id
        error = sys.exception() if status is InvocationStatus.RETRY else None
        for invocation_id in invocation_ids:
            if status is not InvocationStatus.REGISTERED:
                blank = TaskResult.pending(invocation_id)
                move = partial(states.moved, blank, status=status, runner_id=runner, error=error, at=at)
                self._store.changed(invocation_id, move)
            self._store.note(invocation_id, status.value, detail, at)

    def _get_history(self, invocation_id: InvocationId) -> list[InvocationHistory]:
        steps = self._store.call(lambda store: store.history.of(invocation_id, events=states.HISTORY))
        return sorted(map(states.history_of, steps), key=lambda history: history.timestamp)

    def iter_history_in_timerange(
        self, start_time: datetime, end_time: datetime, batch_size: int = 100
    ) -> Iterator[list[InvocationHistory]]:
        """In the order of its timestamps."""
        for steps in self._store.noted(start_time, end_time, states.HISTORY, batch_size):
            yield [*map(states.history_of, steps)]

    def iter_invocations_in_timerange(
        self, start_time: datetime, end_time: datetime, batch_size: int = 100
    ) -> Iterator[list[InvocationId]]:
        """In the order of the first event of each in that time. The ids that were shown are remembered."""
        found = self._store.noted(start_time, end_time, states.HISTORY, batch_size)
        ids = [*dict.fromkeys(InvocationId(step.task_id) for steps in found for step in steps)]
        return (ids[first : first + batch_size] for first in range(0, len(ids), batch_size))


def register_builder_methods(builder: type[PynencBuilder]) -> None:
    """``PynencBuilder().flowstore(url)``, which pynenc calls for where flowstore is installed."""
    builder.register_plugin_method("flowstore", _flowstore)


def _flowstore(builder: PynencBuilder, url: str = "") -> PynencBuilder:
    builder._config |= {"state_backend_cls": PynencStateBackend.__name__, "flowstore_url": url}
    return builder


register_builder_methods(PynencBuilder)
