"""A Celery app for tests, at ``BROKER`` and ``STORAGE`` of the environment in other processes."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery, signals
from celery.contrib.testing.worker import start_worker
from celery.exceptions import Ignore, Reject

from flowstore import TaskResult, TaskStatus
from flowstore.integrations.celery import FlowstoreObserver


@signals.setup_logging.connect
def leave_logging(**_: Any) -> None:
    """Or Celery raises the level of all loggers, also for the tests that come next in the process."""


class Down(Exception):
    """What is worth another try."""


def connected(broker: str, storage: Any) -> tuple[Celery, FlowstoreObserver]:
    app = Celery("app", broker=broker, set_as_current=False)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        broker_transport_options={"visibility_timeout": 3, "polling_interval": 0.02},
        worker_prefetch_multiplier=1,
        task_publish_retry=False,
        result_backend=broker if broker.startswith("redis") else None,
    )
    observer = FlowstoreObserver(app, storage)

    @app.task(shared=False, name="add")
    def add(*numbers: int) -> int:
        return sum(numbers)

    @app.task(shared=False, name="total")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(shared=False, name="fail")
    def fail(path: str) -> None:
        raise FileNotFoundError(path)

    @app.task(shared=False, name="flaky", bind=True, max_retries=2)
    def flaky(self: Any, times: int, countdown: float = 0) -> str:
        if self.request.retries < times:
            try:
                raise Down(self.request.retries)
            except Down as error:
                raise self.retry(exc=error, countdown=countdown) from error
        return "up"

    @app.task(shared=False, name="hold", bind=True)
    def hold(self: Any) -> str:
        """The first attempt never ends."""
        block = observer.current_task()
        while block is not None and not block.retries:
            time.sleep(60)
        return "held"

    @app.task(shared=False, name="late", acks_late=True, reject_on_worker_lost=True, bind=True)
    def late(self: Any) -> str:
        while not self.request.delivery_info.get("redelivered"):
            time.sleep(60)
        return "delivered again"

    @app.task(shared=False, name="once")
    def once() -> int:
        """It fails until it is sent again."""
        block = observer.current_task()
        assert block is not None
        return 7 // block.retries

    @app.task(shared=False, name="ignored")
    def ignored() -> None:
        raise Ignore("no")

    @app.task(shared=False, name="rejected")
    def rejected() -> None:
        raise Reject("no")

    return app, observer


WAIT = 20


class Host:
    def __init__(self, broker: str, storage: Any) -> None:
        self.app, self.observer = connected(broker, storage)
        self.store = self.observer.store

    def send(self, name: str, *args: Any, **options: Any) -> Any:
        return self.app.tasks[name].apply_async(args, **options)

    def wait(self, result: Any, **options: Any) -> Any:
        return self.observer.wait(result, WAIT, **options)

    def found(self, result: Any) -> TaskResult:
        task = self.store.get(result.id)
        assert task is not None
        return task

    def until(self, result: Any, status: TaskStatus) -> TaskResult:
        return next(state for state in self.store.watch(result.id) if state.status is status)

    def steps(self, result: Any) -> list[str]:
        return [str(step.status) for step in self.store.history.of(result.id)]

    def start_threads(self) -> None:
        """Those that wait for times, and that call hooks: they are not to be the first test's."""
        self.wait(self.send("add", 1, countdown=0.01))
        self.send("add", 1, countdown=60)
        self.store.actions.apply("cancel", "status:pending", dry_run=False)

    @contextmanager
    def working(self) -> Iterator[None]:
        try:
            with start_worker(self.app, pool="solo", perform_ping_check=False, shutdown_timeout=WAIT):
                yield
        finally:
            logging.captureWarnings(False)  # which Celery has turned on


if "BROKER" in os.environ:
    app, observer = connected(os.environ["BROKER"], os.environ["STORAGE"])
