"""The result backend's half of the adapter of taskiq: results, progress, and waits by push."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final, Generic, ParamSpec, TypeVar

from flowstore import BaseResultBackend, FlowstoreError, ResultGone, TaskResult, WaitTimeout
from flowstore._packages import needed
from flowstore.integrations._attempts import recordable
from flowstore.integrations._taskiq_records import ResultIsMissing, finished, taskiq_result

with needed("flowstore.integrations.taskiq", "taskiq"):
    from taskiq import AsyncResultBackend, AsyncTaskiqDecoratedTask, AsyncTaskiqTask, TaskiqResult
    from taskiq.compat import parse_obj_as
    from taskiq.depends.progress_tracker import TaskProgress, TaskState
    from taskiq.exceptions import TaskiqResultTimeoutError
    from taskiq.kicker import AsyncKicker

logger: Final = logging.getLogger("flowstore.integrations")

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")

_PROGRESS: Final = "taskiq.progress"
_STATE_CHARS: Final = 200


class Results(AsyncResultBackend[Any]):
    """What taskiq asks of a result backend, on ``backend``."""

    keep_results: bool

    @property
    def backend(self) -> BaseResultBackend:
        raise NotImplementedError

    async def set_result(self, task_id: str, result: TaskiqResult[Any]) -> None:
        """Save the result, whatever stands. Raises StorageError."""
        await self.backend.store(task_id, finished(self.backend, task_id, result), overwrite=True)

    async def is_result_ready(self, task_id: str) -> bool:
        """At once, as callers expect. To be told when it is, there is ``wait``."""
        record = await self.backend.get(task_id, load_result=False)
        return record is not None and record.is_finished

    async def get_result(self, task_id: str, with_logs: bool = False) -> TaskiqResult[Any]:
        """Raises ResultIsMissing. With ``keep_results=False`` one caller gets it, and it is removed."""
        read = self.backend.get if self.keep_results else self.backend.take
        record = await read(task_id)
        if record is None:
            raise ResultIsMissing(task_id=task_id)
        return taskiq_result(record, with_logs)

    async def wait(
        self, task: AsyncTaskiqTask[Any] | str, timeout: float | None = None, *, with_logs: bool = False
    ) -> TaskiqResult[Any]:
        """The result, as soon as it is stored, of a task that was sent or of an id, by whatever process.

        ``timeout`` is in seconds, None: for ever. Raises TaskiqResultTimeoutError, and ResultIsMissing if
        somebody else takes or removes it. Outages of the storage are waited out.
        """
        task_id = task if isinstance(task, str) else task.task_id
        try:
            record = await self.backend.wait_for(task_id, timeout, load_result=self.keep_results)
        except WaitTimeout:
            raise TaskiqResultTimeoutError(timeout=timeout) from None
        except ResultGone as gone:
            raise ResultIsMissing(task_id=task_id) from gone
        if not self.keep_results:
            return await self.get_result(task_id, with_logs)
        return taskiq_result(record, with_logs)

    async def set_progress(self, task_id: str, progress: TaskProgress[Any]) -> None:
        """Keep it beside the task, and as its progress. It is logged, and no error, if that fails."""
        state = progress.state.value if isinstance(progress.state, TaskState) else progress.state
        value = {"state": state, "meta": recordable(self.backend, progress.meta)}
        done, total = _amounts(progress.meta)
        try:
            await asyncio.gather(
                self.backend.data.set(task_id, _PROGRESS, value, or_store=TaskResult.pending(task_id)),
                self.report(task_id, done, total, state[:_STATE_CHARS] or None),
            )
        except FlowstoreError as trouble:
            logger.warning("task %r: its progress is not recorded: %s", task_id, trouble)

    async def report(self, task_id: str, done: float, total: float | None, note: str | None) -> None:
        """The progress that lists of tasks show."""
        await self.backend.set_progress(task_id, done, total, note, or_store=TaskResult.pending(task_id))

    async def get_progress(self, task_id: str) -> TaskProgress[Any] | None:
        """What was set last, also of a task that is finished; None if nothing was."""
        value = await self.backend.data.get(task_id, _PROGRESS)
        return None if value is None else TaskProgress(**value)


class FlowstoreTask(AsyncTaskiqTask[Returned]):
    """A task that was sent, with ``wait_result`` by push; for an id: ``FlowstoreTask(task_id, backend)``."""

    async def wait_result(
        self, check_interval: float = 0.2, timeout: float = -1.0, with_logs: bool = False
    ) -> TaskiqResult[Returned]:
        """As taskiq's, but it returns as soon as the result is stored; nothing is asked at intervals.

        ``timeout``: 0 or less for none. Raises TaskiqResultTimeoutError and ResultGetError.
        """
        results = self.result_backend
        if not isinstance(results, Results):
            return await super().wait_result(check_interval, timeout, with_logs)
        result = await results.wait(self, timeout if timeout > 0 else None, with_logs=with_logs)
        if self.return_type is not None and not result.is_err:
            result.return_value = self._typed(result.return_value)
        return result

    def _typed(self, value: Any) -> Any:
        try:
            return parse_obj_as(self.return_type, value)  # type: ignore[arg-type]
        except ValueError:
            logger.warning("task %r: its result is not of type %s", self.task_id, self.return_type)
            return value


class FlowstoreKicker(AsyncKicker[Parameters, Returned], Generic[Parameters, Returned]):
    """Sends tasks as taskiq does, and returns them as FlowstoreTask."""

    async def kiq(self, *args: Any, **kwargs: Any) -> Any:
        sent = await super().kiq(*args, **kwargs)
        return FlowstoreTask(sent.task_id, sent.result_backend, sent.return_type)


class FlowstoreDecoratedTask(AsyncTaskiqDecoratedTask[Parameters, Returned]):
    """The function of a task, whose ``kiq`` returns a FlowstoreTask."""

    def kicker(self) -> AsyncKicker[Parameters, Returned]:
        plain = super().kicker()
        return FlowstoreKicker(plain.task_name, plain.broker, plain.labels, plain.return_type)


def _amounts(meta: Any) -> tuple[float, float | None]:
    """``done`` and ``total`` as far as the meta says them: a number, or entries of these names."""
    said = meta if isinstance(meta, dict) else {"done": meta}
    done, total = (_amount(said.get(name)) for name in ("done", "total"))
    return done or 0, total


def _amount(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and 0 <= value < 2**63 else None
