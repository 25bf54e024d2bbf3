"""Celery with flowstore as its record, with a worker in this process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import chain, group
from celery.exceptions import TaskRevokedError, TimeoutError

import flowstore.sync
from flowstore import TaskFailed, TaskStatus
from tests.conftest import KINDS
from tests.hosts.celery_app import Down, Host


@pytest.fixture(scope="module", params=["memory", "sqlite", "redis"])
def host(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    empty_database: Callable[[str], str],
) -> Iterator[Host]:
    """One worker for all tests on a storage: Celery takes seconds to end one."""
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path_factory.mktemp('celery') / 'r.db'}"}
    with flowstore.sync.connect(urls.get(request.param) or empty_database(KINDS[0])) as store:
        host = Host("memory://", store)
        with host.working():
            host.start_threads()
            yield host
        host.observer.close()  # the end of such a worker is not signalled
        assert store.workers.all() == []


def test_a_task_from_its_call_to_its_result(host: Host) -> None:
    """Its record has the names of Celery, arguments, queue, worker and all states."""
    result = host.app.tasks["add"].delay(1, 2)
    assert host.wait(result) == 3
    done = host.found(result)
    [worker] = host.store.workers.all()
    assert (done.task_name, done.args, done.kwargs, done.worker_id) == ("add", (1, 2), {}, worker.worker_id)
    assert (done.meta["queue"], worker.info["host"]) == ("celery", "celery")
    assert [step for step in host.steps(result) if step != "pending"] == ["running", "success"]


def test_the_page_of_the_failed(host: Host) -> None:
    """Whoever waits gets TaskFailed, or the exception itself if it asks for that."""
    result = host.send("fail", "a.png")
    with pytest.raises(TaskFailed, match=r"FileNotFoundError: a\.png"):
        host.wait(result)
    with pytest.raises(FileNotFoundError):
        host.wait(result, reraise=FileNotFoundError)
    [failed] = host.store.page("failed", name="fail").items
    assert (failed.task_id, failed.args) == (result.id, ("a.png",))
    assert failed.error is not None
    assert "in fail" in str(failed.error.traceback)


def test_retries(host: Host) -> None:
    """Each attempt leaves its error, and the task is retrying before the next worker can have it."""
    good, bad = host.send("flaky", 2), host.send("flaky", 5)
    assert host.wait(good) == "up"
    with pytest.raises(Down):
        host.wait(bad, reraise=Down)
    steps = [step for step in host.store.history.of(good.id) if step.status is not TaskStatus.PENDING]
    assert [str(step.status) for step in steps] == [*(["running", "retrying"] * 2), "running", "success"]
    assert steps[3].error is not None
    assert (steps[3].error.message, host.found(good).retries, host.found(bad).retries) == ("1", 2, 2)
    assert host.found(good).parent_id is None


def test_a_retry_is_due_when_celery_says(host: Host) -> None:
    result = host.send("flaky", 1, 60)
    waits = host.until(result, TaskStatus.RETRYING)
    assert waits.due_at is not None
    assert 55 < (waits.due_at - datetime.now(UTC)).total_seconds() < 61


def test_chains_and_groups_are_families(host: Host) -> None:
    """As Celery says in its messages; the tasks of a group have its id."""
    add = host.app.tasks["add"]
    first = chain(add.s(1, 1), add.s(10), add.s(100)).apply_async()
    assert host.wait(first) == 112
    last, second = host.found(first), host.found(first.parent)
    assert (last.parent_id, last.root_id) == (second.task_id, first.parent.parent.id)
    assert second.parent_id == last.root_id
    grouped = group(add.s(n, n) for n in range(3)).apply_async()
    assert [host.wait(each) for each in grouped.results] == [0, 2, 4]
    assert {host.found(each).meta["group"] for each in grouped.results} == {grouped.id}


def test_what_does_not_run_is_cancelled(host: Host) -> None:
    """Revoked by an action of flowstore or by Celery, or expired."""
    cancelled = host.send("fail", 1, countdown=1)
    pending = host.found(cancelled)
    assert pending.due_at is not None
    assert timedelta() < pending.due_at - datetime.now(UTC) < timedelta(seconds=1)
    action = host.store.actions.apply("cancel", f"id:{cancelled.id}", reason="typo", dry_run=False)
    assert action.is_host_told
    revoked, expired = host.send("fail", 2, countdown=0.5), host.send("fail", 3, expires=-1)
    revoked.revoke()
    for result, reason in [(cancelled, "typo"), (revoked, "revoked"), (expired, "expired")]:
        with pytest.raises(TaskRevokedError, match=reason):
            host.wait(result)
    assert host.wait(host.send("add", 1, countdown=1)) == 1
    assert host.steps(cancelled) == host.steps(revoked) == ["pending", "cancelled"]


def test_a_task_that_is_requeued_is_sent_again(host: Host) -> None:
    """With what follows it."""
    last = chain(host.app.signature("once"), host.app.tasks["add"].s(1)).apply_async()
    with pytest.raises(TaskFailed, match="ZeroDivisionError"):
        host.wait(last.parent)
    operation = host.store.actions.apply("requeue", "name:once", dry_run=False)
    assert (operation.done, operation.is_host_told) == (1, True)
    assert host.wait(last) == 8
    assert (host.found(last.parent).retries, host.found(last).parent_id) == (1, last.parent.id)


def test_outcomes_that_have_no_signal(host: Host) -> None:
    """Ignored and rejected tasks; results that Celery is not to keep."""
    with pytest.raises(TaskRevokedError):
        host.wait(host.send("ignored"))
    with pytest.raises(TaskFailed, match="Reject"):
        host.wait(host.send("rejected"))
    assert host.wait(host.send("add", 2, ignore_result=True)) is None


def test_calls_in_an_event_loop(host: Host) -> None:
    """They do not block it for the record, which is there soon."""

    async def submit() -> Any:
        return host.send("add", 5, countdown=60)

    result = asyncio.run(submit())
    assert host.until(result, TaskStatus.PENDING).task_name == "add"
    with pytest.raises(TimeoutError):
        host.observer.wait(result, 0)
    host.observer.recorder._helpers.close()


def test_tasks_that_run_at_once() -> None:
    """With ``task_always_eager`` there is no worker; their ends are recorded."""
    with flowstore.sync.connect("memory://") as store:
        host = Host("memory://", store)
        host.app.conf.task_always_eager = True
        result = host.send("add", 1, 2)
        assert (host.wait(result), host.found(result).args) == (3, (1, 2))
        assert host.wait(host.send("flaky", 1)) == "up"
        assert store.workers.all() == []
        host.observer.close()


def test_calls_go_on_without_the_storage(caplog: pytest.LogCaptureFixture) -> None:
    store = flowstore.sync.connect("memory://")
    store.close()
    host = Host("memory://", store)
    with caplog.at_level(logging.WARNING, "flowstore"):
        host.send("add", 1)
    assert "its submission is not recorded: the backend is closed" in caplog.text
    host.observer.close()
