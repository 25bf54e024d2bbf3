"""``flowstore workers`` and ``flowstore apps``."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest

import flowstore
from tests.cli.support import NOW, Clock, golden, invoke, seed

pytestmark = pytest.mark.usefixtures("all_at_noon")


def register(url: str) -> None:
    """w1, which is silent for ten minutes, and w2, which is alive and says a lot of itself."""
    asyncio.run(_register(url))


async def _register(url: str) -> None:
    clock = Clock(NOW)
    async with flowstore.connect(url, clock=clock) as backend:
        clock.at = NOW - timedelta(hours=2)
        await backend.workers.register("w2", host="mill", pid=4712, labels=["gpu"], info={"version": "1.4"})
        clock.at = NOW - timedelta(minutes=10)
        await backend.workers.register("w1", host="mill", pid=4711)
        clock.at = NOW - timedelta(seconds=3)
        await backend.workers.heartbeat("w2")


@pytest.mark.parametrize("output", ["table", "json", "jsonl", "csv", "ids"])
def test_formats(own_shop: str, output: str) -> None:
    register(own_shop)
    golden(f"registered/{output}", invoke("workers", "-o", output, url=own_shop))


def test_which_are_silent(own_store: str) -> None:
    register(own_store)
    for words, ids in (
        (["--stale", "1m"], "w1\n"),
        (["--stale", "20m"], ""),
        (["--silent-after", "1h"], "w1\nw2\n"),
    ):
        assert invoke("workers", *words, "-o", "ids", "-q", url=own_store) == (0, ids, "")
    assert invoke("workers", "--stale", "20m", url=own_store).err == "no such workers\n"
    states = json.loads(invoke("workers", "--silent-after", "1h", "-o", "json", url=own_store).out)
    assert [worker["state"] for worker in states] == ["alive", "alive"]


def test_tasks_are_freed(own_store: str) -> None:
    """Those of a worker that is registered, or that only its tasks know."""
    ran = invoke("workers", "requeue", "w1", "-y", "-o", "json", url=own_store)
    assert json.loads(ran.out) == {
        "v": 1,
        "action": "requeue",
        "workers": ["w1"],
        "tasks": ["nightly", "task-4"],
    }
    assert "nothing here puts the tasks back into a queue" in ran.err
    listed = invoke("ls", "status:pending", "-o", "ids", url=own_store).out.split()
    assert sorted(listed) == ["nightly", "task-4", "task-5"]
    register(own_store)
    assert invoke("workers", "requeue", "w1", "-o", "ids", url=own_store) == (0, "", "")


def test_tasks_are_failed(own_store: str) -> None:
    register(own_store)
    ran = invoke("workers", "fail", "w1", "w2", "--error", "the mill is shut", "-y", url=own_store)
    assert (ran.code, ran.out) == (0, "2 tasks failed\n")
    assert ran.err == "w2 was seen 3s ago: what it does for these tasks comes too late\n"
    error = json.loads(invoke("show", "task-4", "-o", "json", url=own_store).out)["error"]
    assert (error["type"], error["message"]) == ("WorkerLost", "the mill is shut")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["requeue"], 2, "which workers?"),
        (["requeue", "w9", "-y"], 3, "there is no worker 'w9'"),
        (["requeue", "w1"], 2, "requeue 2 tasks of w1: nobody can be asked here"),
        (["restart", "w1"], 2, "restart"),
        (["--stale", "soon"], 2, "--stale: expected a duration"),
        (["--silent-after", "soon"], 2, "--silent-after: expected a duration"),
    ],
    ids=str,
)
def test_refused(shop: str, words: list[str], code: int, said: str) -> None:
    ran = invoke("workers", *words, url=shop)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err


def test_there_are_none(shop: str) -> None:
    assert invoke("workers", url=shop) == (0, "", "no workers are registered\n")
    assert invoke("workers", "-o", "json", "-q", url=shop) == (0, "[]\n", "")


@pytest.mark.parametrize("output", ["table", "json", "csv", "ids"])
def test_apps(own_shop: str, output: str) -> None:
    seed(own_shop, "billing")
    asyncio.run(_introduce(own_shop))
    golden(f"two-apps/{output}", invoke("apps", "-o", output, url=own_shop))


async def _introduce(url: str) -> None:
    async with flowstore.connect(url, namespace="billing") as backend:
        await backend.app.register({"version": "2.1", "host": "taskiq 1.0"})


def test_apps_of_each_store(own_store: str) -> None:
    seed(own_store, "billing")
    assert invoke("apps", "-o", "ids", url=own_store).out == "billing\ndefault\n"
