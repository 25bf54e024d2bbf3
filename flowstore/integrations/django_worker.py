"""A worker for what Django has enqueued: ``python -m flowstore.integrations.django_worker``.

It needs DJANGO_SETTINGS_MODULE, or ``--settings``. Several may run, on one machine or many.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

import flowstore
from flowstore import TaskResult
from flowstore._packages import needed
from flowstore.integrations._attempts import Attempt, Attempts, logger
from flowstore.integrations._stores import attached

with needed("flowstore.integrations.django_worker", "django-tasks", "django"):
    import django
    from django.conf import settings
    from django.utils.module_loading import import_string

from flowstore.integrations._django import FlowstoreTasks, Known, call, prefix_of, tell_finished

T = TypeVar("T")
_LOOKED_AT: Final = 20
"""How many of the oldest tasks of a queue are looked at: others may take some of them meanwhile."""
_MOST_LABELS: Final = 201
_LOOKS_AGAIN: Final = 15.0
"""Seconds, for wake-ups that were lost."""


class DjangoWorker:
    """Runs the tasks of a backend of Django, ``slots`` at the same time, each in a thread.

    The highest priority goes first, and then what may run for longest. It is told of new tasks by push. Tasks
    of workers that have sent no heartbeat for ``silent_after`` seconds are given another attempt, at most
    ``max_retries`` of them. While the storage is away nothing is begun, and outcomes are kept for
    ``op_timeout`` seconds; then they are lost, and the task is run again.
    """

    def __init__(
        self,
        tasks: FlowstoreTasks,
        *,
        queues: Sequence[str] | None = None,
        slots: int = 4,
        heartbeat: float = 5.0,
        silent_after: float = 60.0,
        max_retries: int = 3,
    ) -> None:
        options: Any = dict(tasks.options)
        self._tasks = tasks
        self._attached = attached(options.pop("url", None), options)
        self._backend = self._attached.backend
        self._attempts = Attempts(self._backend)
        self._queues = sorted(tasks.queues if queues is None else queues)
        self._slots = slots
        self._heartbeat = heartbeat
        self._threads = ThreadPoolExecutor(slots, "django-task")
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._free = asyncio.Semaphore(slots)
        self._silent_after = silent_after
        self._max_retries = max_retries

    @property
    def worker_id(self) -> str:
        return self._attempts.worker_id

    def stop(self) -> None:
        """Begin nothing more; ``run`` returns when the tasks under way have ended. For signal handlers."""
        self._stop.set()
        self._wake.set()

    async def run(self) -> None:
        """Until ``stop``, and then until what is under way has ended; if cancelled, a sweep frees that."""
        async with self._opened(), asyncio.TaskGroup() as under_way:
            while not self._stop.is_set():
                await self._free.acquire()
                claimed = await self._next()
                if claimed is None:
                    break
                under_way.create_task(self._execute(claimed))

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        info = {"host": "django", "queues": ",".join(self._queues)}
        await self._attempts.open(every=self._heartbeat, slots=self._slots, info=info)
        helpers = [asyncio.create_task(each()) for each in (self._listen, self._sweep)]
        try:
            yield
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            await self._attempts.close()
            await self._backend.close()
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _listen(self) -> None:
        async for _ in self._backend.watch_status("pending"):
            self._wake.set()

    async def _sweep(self) -> None:
        while True:
            try:
                swept = await self._backend.workers.sweep(
                    silent_after=self._silent_after, max_retries=self._max_retries
                )
                if swept.requeued:
                    logger.warning("put back, as their workers are gone: %s", ", ".join(swept.requeued))
            except flowstore.StorageError as error:
                logger.warning("lost tasks cannot be looked for: %s", error)
            await asyncio.sleep(self._silent_after / 4)

    async def _next(self) -> TaskResult | None:
        """A task that is now this worker's; None once it is to stop."""
        while not self._stop.is_set():
            self._wake.clear()
            try:
                claimed, seconds = await self._look()
            except flowstore.StorageError as error:
                logger.warning("the queues cannot be read: %s", error)
                claimed, seconds = None, 1.0
            if claimed is not None:
                return claimed
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
        return None

    async def _look(self) -> tuple[TaskResult | None, float]:
        """A task, or in how many seconds to look again if nothing is told until then."""
        due = now = datetime.now(UTC)
        due += timedelta(seconds=_LOOKS_AGAIN)
        for label in await self._labels():
            page = await self._backend.page(
                "pending", label=label, newest_first=False, limit=_LOOKED_AT, load_result=False
            )
            for record in page.items:
                if record.submitted_at is not None and record.submitted_at > now:
                    due = min(due, record.submitted_at)
                    break
                if await self._take(record):
                    return record, 0
        return None, max((due - datetime.now(UTC)).total_seconds(), 0.001)

    async def _labels(self) -> list[str]:
        """Those that there are of the queues, the highest priorities first."""
        found: list[tuple[str, str]] = []
        for queue in self._queues:
            prefix = prefix_of(queue)
            known = await self._backend.facets.labels(prefix, limit=_MOST_LABELS, at_most=1)
            found += [(each.value.removeprefix(prefix), each.value) for each in known]
        return [label for priority, label in sorted(found) if priority.isdigit()]

    async def _take(self, seen: TaskResult) -> bool:
        """Whether it is this worker's now: of all that try, one gets it."""

        def step(found: TaskResult | None) -> TaskResult | None:
            if found is None or found.version != seen.version:
                return None
            return TaskResult.running(found, worker_id=self.worker_id)

        stands = await self._backend.update(seen.task_id, step, load_result=False)
        return stands is not None and (stands.worker_id, stands.version) == (self.worker_id, seen.version + 1)

    async def _execute(self, claimed: TaskResult) -> None:
        """All that can fail comes before the beginning: what has begun and does not end looks alive."""
        try:
            known = await self._known(claimed.task_id)
            attempt = await self._attempts.begin(claimed.task_id, retries=claimed.retries, strict=True)
            if attempt is not None:
                await self._run(known, attempt)
        except Exception:  # it is not under way any more, and a sweep finds that; others go on
            logger.exception("task %r has no outcome", claimed.task_id)
        finally:
            self._free.release()

    async def _run(self, known: Known, attempt: Attempt) -> None:
        result, value, error = await self._in_thread(call, self._tasks, known)
        await attempt.end(result=value, error=error)
        if result is not None and attempt.block.is_stored:
            await self._tell_finished(attempt.block.task_id)

    async def _tell_finished(self, task_id: str) -> None:
        try:
            await self._in_thread(tell_finished, self._tasks, await self._known(task_id))
        except Exception:
            logger.exception("task %r: that it has finished was not told to the receivers", task_id)

    async def _known(self, task_id: str) -> Known:
        record = await self._backend.get(task_id)
        if record is None:
            raise flowstore.UnknownTask(task_id)
        return record, await self._backend.history.of(task_id)

    async def _in_thread(self, function: Callable[..., T], *args: Any) -> T:
        in_context = partial(copy_context().run, function, *args)
        return await asyncio.get_running_loop().run_in_executor(self._threads, in_context)


def tasks_of(alias: str = "default") -> FlowstoreTasks:
    """The backend with this alias in the settings. Raises TypeError if it is none of flowstore."""
    params = settings.TASKS[alias]
    tasks = import_string(params["BACKEND"])(alias=alias, params=params)
    if not isinstance(tasks, FlowstoreTasks):
        raise TypeError(f"TASKS[{alias!r}]: expected a FlowstoreBackend, got {params['BACKEND']}")
    return tasks


async def work(tasks: FlowstoreTasks, **options: Any) -> None:
    """Run a DjangoWorker until SIGTERM or SIGINT, and then until what is under way has ended."""
    worker = DjangoWorker(tasks, **options)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, worker.stop)
    await worker.run()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m flowstore.integrations.django_worker")
    parser.add_argument("--settings", help="the settings module, in place of DJANGO_SETTINGS_MODULE")
    parser.add_argument("--backend", default="default", help="the alias in TASKS")
    parser.add_argument("--queue", action="append", dest="queues", help="by default all of the backend")
    parser.add_argument("--slots", type=int, default=4, help="how many tasks at the same time")
    parser.add_argument("--heartbeat", type=float, default=5.0, help="seconds between two heartbeats")
    parser.add_argument(
        "--silent-after", type=float, default=60.0, help="seconds until a worker counts as dead"
    )
    parser.add_argument("--max-retries", type=int, default=3, help="further attempts after dead workers")
    given = vars(parser.parse_args(arguments))
    if (module := given.pop("settings")) is not None:
        os.environ["DJANGO_SETTINGS_MODULE"] = module
    django.setup()
    asyncio.run(work(tasks_of(given.pop("backend")), **given))


if __name__ == "__main__":
    main()
