"""pynenc's own apps and runners with PynencStateBackend: states, errors, workflows, killed runners, zombies.

pynenc needs Python 3.12. Where it is not installed nothing here is collected; ``nox -s suites`` runs it, with
pynenc's own suites.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pynenc", reason="pynenc needs Python 3.12, and is installed by nox -s suites")

from pynenc import Pynenc, context
from pynenc.exceptions import RetryError
from pynenc.identifiers.invocation_id import InvocationId
from pynenc.invocation.status import InvocationStatus, InvocationStatusRecord
from pynenc.runner.runner_context import RunnerContext
from pynenc.state_backend.base_state_backend import InvocationHistory

import flowstore.sync
from flowstore import TaskCancelled, TaskStatus
from flowstore.integrations.pynenc import PynencStateBackend
from tests.hosts.pynenc_app import app_on, hang
from tests.servers import ONE_KIND

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*jsonpickle 5.0.0:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Running in a secondary thread:UserWarning"),  # as tests run it
    # its threads end with the exceptions of the tasks that they run
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
    # CPython before 3.12.4 takes ?1 in SQL for a name
    pytest.mark.filterwarnings("ignore:Binding [0-9]+ :DeprecationWarning"),
]

BOUND = 20.0
ROOT = Path(__file__).parents[2]


def grind(kilos: int, fine: bool = False) -> dict[str, int]:
    return {"flour": kilos}


def fail(number: int) -> None:
    raise ValueError(f"sack {number}")


def fail_once() -> int:
    retries = int(_running().num_retries)
    if retries == 0:
        raise RetryError("the mill is busy")
    return retries


def sack(number: int) -> int:
    return number


def fill(sacks: int) -> int:
    """A workflow of several tasks."""
    _running().task.wf.set_data("sacks", sacks)
    filled = [_task(sack)(number) for number in range(sacks)]
    return sum(each.result for each in filled)


async def fill_slowly() -> int:
    """It calls pynenc, and so its backend, in an event loop."""
    return int(await _task(sack)(7).async_result())


def _app() -> Pynenc:
    app = context.get_current_app()
    assert app is not None
    return app


def _running() -> Any:
    return context.get_dist_invocation_context(_app().app_id)


def _task(func: Callable[..., Any]) -> Any:
    return next(task for task in _app().tasks.values() if task.func is func)


@pytest.fixture
def app(url: str) -> Iterator[Pynenc]:
    with _opened(app_on(url)) as made:
        yield made


@contextmanager
def _opened(app: Pynenc) -> Iterator[Pynenc]:
    try:
        yield app
    finally:
        app.state_backend.close()
        Pynenc._clear_instances()


@contextmanager
def running(app: Pynenc) -> Iterator[PynencStateBackend]:
    """A runner in a thread of its own."""
    thread = threading.Thread(target=app.runner.run)
    thread.start()
    try:
        yield app.state_backend
    finally:
        app.runner.stop_runner_loop()
        thread.join()


def test_success(app: Pynenc) -> None:
    """pynenc has its result and history, and flowstore the arguments, the runner and every step."""
    invocation = app.task(grind)(7, fine=True)
    with running(app) as states:
        assert states.wait_for(invocation.invocation_id, BOUND) == {"flour": 7} == invocation.result
    task = states.backend.get(invocation.invocation_id)
    assert task is not None
    assert (task.task_name, task.kwargs) == (f"{grind.__module__}.grind", {"kilos": "7", "fine": "true"})
    history = states.get_history(invocation.invocation_id)
    assert [each.status_record.status.value for each in history] == [
        *("registered", "pending", "running", "success")
    ]
    assert task.worker_id == history[2].runner_context_id
    steps = states.backend.history.of(invocation.invocation_id, events=())
    assert [step.status for step in steps] == [TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.SUCCESS]


def test_failure(app: Pynenc) -> None:
    """The exception itself for pynenc, and its class and traceback for others; a page of them by name."""
    task = app.task(fail)
    invocations = [task(number) for number in range(3)]
    with running(app) as states:
        for number, invocation in enumerate(invocations):
            with pytest.raises(ValueError, match=f"sack {number}"):
                states.wait_for(invocation.invocation_id, BOUND)
    page = states.backend.page("failed", name=f"{fail.__module__}.fail", limit=2)
    assert [found.task_id for found in page.items] == [each.invocation_id for each in invocations[:0:-1]]
    assert page.next_cursor is not None
    error = page.items[0].error
    assert error is not None
    assert (error.type, error.message) == ("ValueError", "sack 2")
    assert "in fail" in (error.traceback or "")
    [group] = states.backend.errors.groups()
    assert group.total == 3


def test_a_retry_has_its_error(app: Pynenc) -> None:
    """pynenc keeps nothing of an attempt that is tried again."""
    invocation = app.task(max_retries=1)(fail_once)()
    with running(app) as states:
        assert states.wait_for(invocation.invocation_id, BOUND) == 1
    steps = states.backend.history.of(invocation.invocation_id, events=())
    assert [(step.retries, step.status.value) for step in steps] == [
        (0, "pending"),
        (0, "running"),
        (0, "retrying"),
        (1, "running"),
        (1, "success"),
    ]
    assert steps[2].error is not None
    assert steps[2].error.type.endswith("RetryError")


def test_waits_are_pushed(url: str) -> None:
    """With a minute between two looks of pynenc the result is there at once."""
    with _opened(app_on(url, poll=60)) as app, ThreadPoolExecutor(1) as pool:
        invocation = app.task(grind)(7)
        waiting = pool.submit(app.state_backend.wait_for, invocation.invocation_id, BOUND)
        with running(app):
            assert waiting.result() == {"flour": 7}
        with pytest.raises(TimeoutError):
            app.state_backend.wait_for(app.task(grind)(8).invocation_id, 0.01)


def test_coroutines(app: Pynenc) -> None:
    """In an event loop pynenc's calls block it, as they do with its own backends."""
    app.task(sack)
    invocation = app.task(fill_slowly)()
    with running(app) as states:
        assert states.wait_for(invocation.invocation_id, BOUND) == 7


def test_cancelled(app: Pynenc) -> None:
    """Who waits has an end at once; what a runner stores of it afterwards is refused."""
    invocation = app.task(grind)(7)
    states = app.state_backend
    assert states.backend.cancel(invocation.invocation_id, "no grain")
    with pytest.raises(TaskCancelled, match="no grain"):
        states.wait_for(invocation.invocation_id, BOUND)
    with running(app):
        states.wait_for(app.task(sack)(1).invocation_id, BOUND)
    with pytest.raises(TaskCancelled):
        states.wait_for(invocation.invocation_id, 0)


def test_a_cancelled_task_is_not_tried_again(app: Pynenc) -> None:
    """One that runs when it is to be cancelled ends with its attempt."""
    invocation = app.task(grind)(7)
    states = app.state_backend
    _report(states, invocation.invocation_id, InvocationStatus.RUNNING)
    assert states.backend.cancel(invocation.invocation_id)
    _report(states, invocation.invocation_id, InvocationStatus.KILLED)
    with pytest.raises(TaskCancelled):
        states.wait_for(invocation.invocation_id, 0)


def test_concurrency_control(app: Pynenc) -> None:
    """What pynenc does not let run is cancelled, and nobody waits for it for ever."""
    invocation = app.task(grind)(7)
    _report(app.state_backend, invocation.invocation_id, InvocationStatus.CONCURRENCY_CONTROLLED_FINAL)
    with pytest.raises(TaskCancelled, match="concurrency control"):
        app.state_backend.wait_for(invocation.invocation_id, BOUND)


@pytest.mark.parametrize("url", ["sqlite", *ONE_KIND], indirect=True)
def test_a_killed_runner(url: str, tmp_path: Path) -> None:
    """pynenc finds that it is dead, another one runs its task, and who has waited for it has the result.

    The lost attempt is one of those of the task.
    """
    database = str(tmp_path / "queue.db")
    program = f"from tests.hosts.pynenc_app import main; main({url!r}, {database!r})"
    with (
        subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT
        ) as killed,
        _opened(app_on(url, database)) as app,
        ThreadPoolExecutor(1) as pool,
    ):
        assert killed.stdout is not None
        invocation_id = InvocationId(killed.stdout.readline().strip())
        states = app.state_backend
        waiting = pool.submit(states.wait_for, invocation_id, BOUND)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        app.task(hang)
        dead: list[str] = []
        while not dead:
            dead = [*app.orchestrator.get_running_invocations_for_recovery()]
        recovering = RunnerContext("Recovery")
        app.orchestrator.set_invocation_status(invocation_id, InvocationStatus.RUNNING_RECOVERY, recovering)
        app.orchestrator.reroute_invocations({invocation_id}, recovering)
        with running(app):
            assert waiting.result() == "7 kilos"
        task = states.backend.get(invocation_id)
        assert task is not None
        assert task.retries == 1
        statuses = [each.status_record.status.value for each in states.get_history(invocation_id)]
        assert statuses[2:5] == ["running", "running_recovery", "rerouted"]


def test_a_late_outcome_is_refused(app: Pynenc, caplog: pytest.LogCaptureFixture) -> None:
    """A runner that was silent has lost its task to another one, and cannot replace the result of that."""
    begun, go_on = threading.Event(), threading.Event()
    task = app.task(grind)
    invocation = task(7)
    orchestrator, states, slow, fast = app.orchestrator, app.state_backend, *map(RunnerContext, ("A", "B"))

    def stopped(kilos: int, fine: bool = False) -> str:
        begun.set()
        go_on.wait(BOUND)
        return "too late"

    orchestrator.set_invocation_status(invocation.invocation_id, InvocationStatus.PENDING, slow)
    task.func = stopped
    with ThreadPoolExecutor(1) as pool:
        zombie = pool.submit(invocation.run, slow)
        assert begun.wait(BOUND)
        orchestrator.set_invocation_status(invocation.invocation_id, InvocationStatus.RUNNING_RECOVERY, fast)
        orchestrator.reroute_invocations({invocation.invocation_id}, fast)
        task.func = grind
        again = states.get_invocation(invocation.invocation_id)
        orchestrator.set_invocation_status(invocation.invocation_id, InvocationStatus.PENDING, fast)
        again.run(fast)
        go_on.set()
        zombie.result(BOUND)
    assert states.wait_for(invocation.invocation_id, 0) == {"flour": 7} == invocation.result
    assert "comes too late" in caplog.text


def test_workflows(app: Pynenc) -> None:
    """A run is the root of its family, its data belong to it, and what runs inside of it is found."""
    app.task(sack)
    invocation = app.workflow(fill)(3)
    with running(app) as states:
        assert states.wait_for(invocation.invocation_id, BOUND) == 3
    run_id, workflow = invocation.invocation_id, invocation.workflow
    runs = states.get_all_workflow_runs(), states.get_workflow_runs(workflow.workflow_type)
    inside = [*states.get_workflow_sub_invocations(run_id)]
    assert len(inside) == 3
    assert [*states.get_child_invocations(run_id)] == inside
    assert [*states.get_all_workflow_types()] == [workflow.workflow_type]
    assert [*map(list, runs)] == [[workflow], [workflow]]
    assert [*states.get_invocation_ids_by_workflow(workflow_id=run_id)] == [run_id, *inside]
    assert [*states.get_invocation_ids_by_workflow()] == [run_id, *inside]
    assert states.get_workflow_data(workflow, "sacks") == 3
    family = states.backend.workflows.get(run_id)
    assert family is not None
    assert (family.counts[TaskStatus.SUCCESS], [*family.data]) == (4, ["sacks"])
    assert states.backend.workflows.types() == [workflow.workflow_type.key]


def test_what_is_known_before_an_invocation(app: Pynenc) -> None:
    """A history and labels that come first are kept when the invocation is stored."""
    states = app.state_backend
    invocation = app.task(grind)(7)
    known = states._get_invocation(invocation.invocation_id)
    states.purge()
    assert states._get_invocation(invocation.invocation_id) is None
    _report(states, invocation.invocation_id, InvocationStatus.RUNNING)
    states.store_workflow_sub_invocation(InvocationId("run"), invocation.invocation_id)
    assert states._get_invocation(invocation.invocation_id) is None
    states._upsert_invocations([known])
    assert states._get_invocation(invocation.invocation_id) == known
    assert [*states.get_workflow_sub_invocations(InvocationId("run"))] == [invocation.invocation_id]
    assert len(states.get_history(invocation.invocation_id)) == 1


def test_histories_of_a_time(app: Pynenc) -> None:
    """In the order of their own times and in batches, however late they are recorded, each once."""
    states = app.state_backend
    begin = datetime(2025, 1, 15, tzinfo=UTC)
    for n in (3, 1, 4, 0, 5, 2):
        at = begin + timedelta(hours=n)
        _report(states, InvocationId(f"i{n % 3}"), InvocationStatus.RUNNING, at=at)
    found = [*states.iter_history_in_timerange(begin + timedelta(hours=1), begin + timedelta(hours=4), 3)]
    assert [[each.timestamp.hour for each in batch] for batch in found] == [[1, 2, 3], [4]]
    ids = [*states.iter_invocations_in_timerange(begin, begin + timedelta(hours=4), 2)]
    assert ids == [["i0", "i1"], ["i2"]]


def test_contexts_of_runners(app: Pynenc) -> None:
    """They are workers, one in the other, as pynenc nests them; found by a part of an id."""
    states = app.state_backend
    outer = RunnerContext("MultiThreadRunner", "outer-1", None, 1, "mill", 5)
    inner = RunnerContext("ThreadRunner", "inner-1", outer, 2, "mill", 6)
    states.store_runner_context(inner)
    states._runner_context_cache.clear()
    assert states.get_runner_context("inner-1") == inner
    assert [*states.get_matching_runner_contexts("ner-1")] == [inner]
    assert states.get_runner_contexts(["outer-1", "nobody"]) == [outer]
    worker = states.backend.workers.get("inner-1")
    assert worker is not None
    assert (worker.host, worker.pid, worker.parent_id) == ("mill", 2, "outer-1")


def test_apps_are_namespaces(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pynenc discovers them at the storage that the environment names; a URL may come from there, too."""
    path = f"sqlite:///{tmp_path / 'apps.db'}"
    monkeypatch.setenv("PYNENC__FLOWSTORE_URL", path)
    with _opened(app_on("")) as app:
        info = app.state_backend.get_app_info()
        assert info.app_id == "mill" == app.state_backend.backend.namespace
        assert PynencStateBackend.discover_app_infos() == {"mill": info}


def test_a_store_that_was_given_stays_open(tmp_path: Path) -> None:
    with flowstore.sync.connect("memory://", namespace="mill") as store, _opened(app_on("memory://")) as app:
        states = PynencStateBackend(app, store)
        states._set_result(InvocationId("i1"), "1")
        states.close()
        assert store.exists("i1")
        with pytest.raises(KeyError):
            states.get_app_info()


def _report(
    states: PynencStateBackend,
    invocation_id: InvocationId,
    status: InvocationStatus,
    *,
    at: datetime | None = None,
) -> None:
    history = InvocationHistory(
        invocation_id=invocation_id,
        status_record=InvocationStatusRecord(status=status),
        runner_context_id="runner",
    )
    history._timestamp = at or datetime.now(UTC)
    states._add_histories([invocation_id], history)
