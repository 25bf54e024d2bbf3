"""Celery with flowstore as its record, with a worker in a process of its own, whose processes are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chord
from celery.exceptions import WorkerLostError

from flowstore import TaskStatus
from flowstore.testing.support import IS_STRESS
from tests.conftest import KINDS
from tests.hosts.celery_app import Host

ROOT = Path(__file__).parents[2]

# of redis-py 8, for what Celery's own result backend calls
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")


class Prefork:
    """A worker in a process of its own, with a pool of two."""

    def __init__(self, broker: str, storage: str) -> None:
        self.host = Host(broker, storage)
        command = "-A tests.hosts.celery_app worker --pool=prefork -c 2 -l WARNING --without-mingle"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "celery", *command.split(), "--without-gossip"],
            cwd=ROOT,
            env={**os.environ, "BROKER": broker, "STORAGE": storage},
        )

    def kill_child(self, result: Any) -> None:
        """The process that runs the task, once it does."""
        self.host.until(result, TaskStatus.RUNNING)
        worker = self.host.store.workers.get(str(self.host.found(result).worker_id))
        assert worker is not None
        assert worker.pid != self.process.pid
        os.kill(worker.pid, signal.SIGKILL)


@pytest.fixture(scope="module", params=["sqlite", "redis"] if IS_STRESS else ["sqlite"])
def prefork(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    empty_database: Callable[[str], str],
) -> Iterator[Prefork]:
    broker = empty_database(KINDS[0])
    file = f"sqlite:///{tmp_path_factory.mktemp('prefork') / 'results.db'}"
    made = Prefork(broker, broker if request.param == "redis" else file)
    made.host.wait(made.host.send("add", 1))
    yield made
    made.process.kill()
    made.process.wait()
    made.host.observer.close()


def test_forked_workers(prefork: Prefork) -> None:
    """Each child is a worker; the body of a chord gets what was recorded of its header."""
    host = prefork.host
    add, total = host.app.tasks["add"], host.app.tasks["total"]
    body = chord([add.s(n, 1) for n in range(4)])(total.s())
    assert host.wait(body) == 10
    assert {host.found(each).meta.get("arguments") for each in body.parent.results} == {"shown"}
    assert prefork.process.pid not in {worker.pid for worker in host.store.workers.all()}


def test_a_child_that_is_killed(prefork: Prefork) -> None:
    """Its parent notices, and the task has failed at once; with a late acknowledgement it runs again."""
    host = prefork.host
    lost, late = host.send("hold"), host.send("late")
    prefork.kill_child(lost)
    with pytest.raises(WorkerLostError):
        host.wait(lost, reraise=WorkerLostError)
    prefork.kill_child(late)
    assert host.wait(late) == "delivered again"


def test_a_worker_that_is_killed(prefork: Prefork) -> None:
    """With all of its children. A sweep finds the task; sent again it runs in another worker."""
    host = prefork.host
    result = host.send("hold")
    host.until(result, TaskStatus.RUNNING)
    prefork.process.kill()
    prefork.process.wait()
    while result.id not in (swept := host.store.workers.sweep(silent_after=0.3)).requeued:
        pass  # it has not been silent for so long
    host.observer.dispatch([result.id])
    assert swept.workers
    with host.working():
        assert host.wait(result) == "held"
