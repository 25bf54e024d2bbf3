"""Runs without ``await``: the same answers, blocks that end their run, rows and walks in any thread."""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import flowstore
import flowstore.sync
from flowstore import (
    LoopIsRunning,
    NotSerializable,
    RetentionPolicy,
    RunExists,
    RunNotOpen,
    TaskStatus,
    UnknownRun,
)
from flowstore.runs import DatasetInfo, Datasets, RunningRun, Runs
from flowstore.runs.retaining import RunsRetention
from flowstore.sync import ResultBackend
from flowstore.testing.clock import ManualClock
from scripts import make_sync

STEPS: list[tuple[str, Callable[[Any], Any]]] = [
    ("start", lambda runs: runs.start("r", group="g", config={"a": (1,)}, labels=iter(["x"]), total=3)),
    ("start", lambda runs: runs.start("r")),
    ("append", lambda runs: runs.append("r", {1, 2}, key="a")),
    ("append", lambda runs: runs.append("r", 7, key="a", keep="first")),
    ("append", lambda runs: runs.append("r", None, key="f", status="failed", error=KeyError("b"))),
    ("append_many", lambda runs: runs.append_many("r", {"b": 1, "c": 2})),
    ("append_many", lambda runs: runs.append_many("r", iter([("d", 3)]), status="cancelled")),
    ("append_many", lambda runs: runs.append_many("r", ["d"])),
    ("exists", lambda runs: runs.exists("r", "a")),
    ("get_by_key", lambda runs: runs.get_by_key("r", "a", as_=set[int])),
    ("records", lambda runs: runs.records("r", batch_size=2)),
    ("records", lambda runs: runs.records("r", batch_size=0)),
    ("page", lambda runs: runs.page("r", limit=2, newest_first=True)),
    ("missing", lambda runs: runs.missing("r", iter("afz"), status="success")),
    ("progress", lambda runs: runs.progress("r")),
    ("progress", lambda runs: runs.progress("no")),
    ("evaluate", lambda runs: runs.evaluate("r", "a", 0.5, eval_id="e", config=[1])),
    ("evaluate_many", lambda runs: runs.evaluate_many("r", {"a": 1, "b": 2})),
    ("evaluations", lambda runs: runs.evaluations("r")),
    ("evaluation", lambda runs: runs.evaluation("r", "a", "e", [1], as_=float)),
    ("all_evaluations", lambda runs: runs.all_evaluations("r")),
    ("checkpoint", lambda runs: runs.checkpoint("r", "one", keep=1)),
    ("latest_checkpoint", lambda runs: runs.latest_checkpoint("r")),
    ("checkpoints", lambda runs: runs.checkpoints("r")),
    ("datasets.save", lambda runs: runs.datasets.save("r", ({"n": n} for n in range(1_200)), "d")),
    ("datasets.save", lambda runs: runs.datasets.save("r", [1, object()])),
    ("datasets.save", lambda runs: runs.datasets.save("r", 7)),
    ("datasets.load", lambda runs: runs.datasets.load("r", "d")),
    ("datasets.info", lambda runs: runs.datasets.info("r", "d")),
    ("datasets.all", lambda runs: runs.datasets.all("r")),
    ("datasets.share", lambda runs: runs.datasets.share("r", "prompt")),
    ("datasets.shared", lambda runs: runs.datasets.shared("no")),
    ("datasets.delete", lambda runs: runs.datasets.delete("r", "d")),
    ("size", lambda runs: runs.size("r")),
    ("verify", lambda runs: runs.verify("r")),
    ("verify", lambda runs: runs.verify("no")),
    ("pin", lambda runs: runs.pin("r")),
    ("unpin", lambda runs: runs.unpin("r")),
    ("complete", lambda runs: runs.complete("r", {"mean": 1.5})),
    ("append", lambda runs: runs.append("r", 1)),
    ("get", lambda runs: runs.get("r")),
    ("wait_for", lambda runs: runs.wait_for("r", 0)),
    ("start", lambda runs: runs.start("r", resume=True)),
    ("fail", lambda runs: runs.fail("r", ValueError("no"), attempt=0)),
    ("fail", lambda runs: runs.fail("r", ValueError("no"), attempt=1)),
    ("start", lambda runs: runs.start("s")),
    ("cancel", lambda runs: runs.cancel("s", "why")),
    ("list", lambda runs: runs.list(limit=1)),
    ("iter", lambda runs: runs.iter(status=["failed", "cancelled"], load_values=False)),
    ("retention.plan", lambda runs: runs.retention.plan(RetentionPolicy(max_per_group=1), group="g")),
    ("retention.apply", lambda runs: runs.retention.apply(RetentionPolicy(max_bytes=1), group="default")),
    ("delete", lambda runs: runs.delete("r")),
    ("list", lambda runs: runs.list(label="x")),
]
"""Calls of all methods, each with what those before have left; some are refused."""


@dataclass
class Config:
    digits: int


def told(outcome: Any) -> Any:
    """An outcome, as far as it is the same in two stores."""
    if isinstance(outcome, BaseException):
        return type(outcome), str(outcome)
    if isinstance(outcome, list):
        return [told(each) for each in outcome]
    return outcome.model_copy(update={"token": ""}) if isinstance(outcome, DatasetInfo) else outcome


async def of_async(call: Callable[[Any], Any], runs: Runs) -> Any:
    try:
        made = call(runs)
        return told([item async for item in made] if isinstance(made, AsyncGenerator) else await made)
    except Exception as error:
        return told(error)


def of_sync(call: Callable[[Any], Any], runs: flowstore.sync.Runs) -> Any:
    try:
        made = call(runs)
        return told([*made] if inspect.isgenerator(made) else made)
    except Exception as error:
        return told(error)


@pytest.fixture
def store(url: str) -> Iterator[ResultBackend]:
    with flowstore.sync.connect(url) as opened:
        yield opened


async def test_methods_return_the_same(tmp_path: Path) -> None:
    """Each call returns, yields or raises what the asynchronous one does."""
    clock = ManualClock()
    async with flowstore.connect(f"sqlite:///{tmp_path / 'async.db'}", clock=clock) as backend:
        expected = [await of_async(call, backend.runs) for _, call in STEPS]

    def all_calls() -> list[Any]:
        with flowstore.sync.connect(f"sqlite:///{tmp_path / 'sync.db'}", clock=clock) as store:
            return [of_sync(call, store.runs) for _, call in STEPS]

    for (name, _), found, wanted in zip(STEPS, await asyncio.to_thread(all_calls), expected, strict=True):
        assert found == wanted, name


def test_every_method_is_among_them() -> None:
    """Of runs, datasets and retention; ``run`` is a block, and has tests of its own below."""
    names = {name for name, _ in vars(Runs).items() if make_sync.is_public(name)}
    names |= {f"datasets.{name}" for name in vars(Datasets) if make_sync.is_public(name)}
    names |= {f"retention.{name}" for name in vars(RunsRetention) if make_sync.is_public(name)}
    assert {name for name, _ in STEPS} == names - {"run"}


def test_what_a_block_knows(store: ResultBackend) -> None:
    """All that a block has, and its run, which it completes with the result."""
    with store.runs.run("r", group="g", config=1, labels=["x"], total=2, checkpoint_every=2, keep=2) as run:
        assert (run.run_id, run.attempt, run.checkpoint) == ("r", 0, None)
        assert (run.run.group, run.run.config, run.run.status) == ("g", 1, TaskStatus.RUNNING)
        run.checkpoint_with(lambda: "state")
        assert run.append(1, key="a")
        assert run.append_many((key, 2) for key in "bc") == [True, True]
        assert run.missing(iter("abz")) == ["z"]
        assert run.save_checkpoint("more") == 2
        run.result = {"n": 3}
    assert {name for name in vars(RunningRun) if make_sync.is_public(name)} <= {*dir(run)}
    done = store.runs.wait_for("r", 0)
    assert (done.status, done.result, run.result) == (TaskStatus.SUCCESS, {"n": 3}, {"n": 3})
    assert [each.value for each in store.runs.checkpoints("r")] == ["state", "more"]
    with store.runs.run("r", resume=True) as again:
        assert again.attempt == 1
        assert again.checkpoint is not None
        assert again.checkpoint.value == "more"
    with pytest.raises(RuntimeError, match="entered twice"), again:
        pass
    with pytest.raises(RunExists), store.runs.run("r"):
        pytest.fail("the block was entered")
    with pytest.raises(NotSerializable), store.runs.run("bad") as bad:
        bad.result = object()
    assert store.runs.wait_for("bad", 0).status is TaskStatus.FAILED


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("no"), TaskStatus.FAILED),
        (SystemExit(3), TaskStatus.FAILED),
        (KeyboardInterrupt(), TaskStatus.CANCELLED),
        (asyncio.CancelledError(), TaskStatus.CANCELLED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_how_a_block_ends(store: ResultBackend, error: BaseException, status: TaskStatus) -> None:
    """The exception propagates, and says how the run ends. Ctrl-C cancels it, as it does in asyncio."""
    with pytest.raises(type(error)) as raised, store.runs.run("r"):
        raise error
    assert raised.value is error
    ended = store.runs.wait_for("r", 30)
    assert ended.status is status
    assert (ended.error is not None) == (status is TaskStatus.FAILED)


def test_a_closed_generator_in_a_block(store: ResultBackend) -> None:
    """Its run is cancelled by the time that ``close`` returns."""

    def numbers() -> Iterator[int]:
        with store.runs.run("r"):
            yield 1
            yield 2

    generator = numbers()
    next(generator)
    generator.close()  # type: ignore[attr-defined]  # it is a generator
    assert store.runs.wait_for("r", 0).status is TaskStatus.CANCELLED


def test_threads(store: ResultBackend) -> None:
    """Sixteen append in one block while others wait and page; the counters are exact."""
    with ThreadPoolExecutor(18) as pool:
        waiting: Future[Any] = pool.submit(store.runs.wait_for, "r", 30)
        with store.runs.run("r", total=400) as run:

            def work(number: int) -> list[bool]:
                return [run.append(n, key=f"{number}-{n}") for n in range(25)]

            working = [pool.submit(work, number) for number in range(16)]
            counts = [store.runs.progress("r").done]
            while not all(each.done() for each in working):
                counts.append(store.runs.progress("r").done)
            assert all(all(each.result()) for each in working)
        assert waiting.result().status is TaskStatus.SUCCESS
    assert counts == sorted(counts)
    assert store.runs.progress("r").done == len([*store.runs.records("r")]) == 400
    with pytest.raises(RunNotOpen):
        run.append(1)


def test_rows_that_the_store_itself_yields(store: ResultBackend) -> None:
    """Iterables are gone through in the thread of the caller, where they may call the store."""
    store.runs.start("a")
    store.runs.start("b")
    saved = store.runs.datasets.save("a", ({"n": n} for n in range(1_300)))
    again = store.runs.datasets.save("b", store.runs.datasets.load("a"))
    assert (again.rows, again.digest) == (1_300, saved.digest)
    assert len(store.runs.append_many("b", ((None, row) for row in store.runs.datasets.load("a")))) == 1_300
    keys = [record.key for record in store.runs.records("b")]
    assert store.runs.missing("b", (record.key for record in store.runs.records("b"))) == []
    assert [*store.get_many(key for key in keys)] == []


def test_rows_that_belong_to_a_thread(store: ResultBackend) -> None:
    """As the cursor of a database does."""
    store.runs.start("a")
    rows = sqlite3.connect(":memory:").execute("VALUES (1), (2), (3)")
    assert store.runs.datasets.save("a", rows).rows == 3
    assert [*store.runs.datasets.load("a")] == [(1,), (2,), (3,)]
    me = threading.current_thread().name
    store.runs.datasets.save("a", (threading.current_thread().name for _ in range(300)))
    assert {*store.runs.datasets.load("a")} == {me}


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("rows", [0, 50, 700])
def test_rows_that_end_in_an_error(store: ResultBackend, error: type[BaseException], rows: int) -> None:
    """It is raised, what was saved before stands, and nothing else is left."""

    def broken() -> Iterator[int]:
        yield from range(rows)
        raise error

    store.runs.start("a")
    store.runs.datasets.save("a", ["good"])
    size = store.runs.size("a")
    with pytest.raises(error):
        store.runs.datasets.save("a", broken())
    assert [*store.runs.datasets.load("a")] == ["good"]
    assert store.runs.size("a") == size


def test_rows_that_nobody_wants(store: ResultBackend) -> None:
    """A call that is refused at once takes no more rows than it was handed."""
    taken = 0

    def rows() -> Iterator[int]:
        nonlocal taken
        for number in range(100_000):
            taken += 1
            yield number

    with pytest.raises(UnknownRun):
        store.runs.datasets.save("no", rows())
    assert taken < 5_000
    store.runs.start("a")
    with pytest.raises(NotSerializable, match=r"rows\[250\]"):
        store.runs.datasets.save("a", ([object()] if n == 250 else n for n in range(1_000)))


def test_walks_that_are_left(store: ResultBackend) -> None:
    """Items come in order, however many are read at a time, and what is left early is closed."""
    store.runs.start("r")
    store.runs.append_many("r", {f"{n:03}": n for n in range(350)})
    walk = store.runs.records("r", batch_size=7)
    assert [next(walk).value for _ in range(9)] == [*range(9)]
    walk.close()
    assert [record.value for record in store.runs.records("r")] == [*range(350)]


async def test_in_a_running_loop(url: str) -> None:
    """Each call is refused that would block the loop, also one that is handed rows."""
    store = flowstore.sync.connect(url)
    for call in (
        lambda: store.runs.get("r"),
        lambda: next(store.runs.records("r")),
        lambda: store.runs.run("r").__enter__(),
        lambda: store.runs.datasets.save("r", iter([1])),
    ):
        with pytest.raises(LoopIsRunning, match="to_thread"):
            call()
    await asyncio.to_thread(store.close)


def test_copies_between_stores(tmp_path: Path) -> None:
    """Each has a loop of its own."""
    with (
        flowstore.sync.connect(f"sqlite:///{tmp_path / 'a.db'}") as source,
        flowstore.sync.connect("memory://") as target,
    ):
        source.runs.start("r")
        source.runs.append_many("r", {"a": 1, "b": 2})
        assert source.runs.archive.copy_to(target.runs).is_verified
        assert target.runs.archive.digest() == source.runs.archive.digest()


def test_completed_by_a_program_without_the_type(tmp_path: Path) -> None:
    """The config stays as it is, whoever ends the run."""
    url = f"sqlite:///{tmp_path / 'a.db'}"
    with flowstore.sync.connect(url, types=[Config]) as store:
        store.runs.start("r", config=Config(3))
    with flowstore.sync.connect(url) as store:
        store.runs.complete("r", 5)
    with flowstore.sync.connect(url, types=[Config]) as store:
        done = store.runs.get("r")
        assert done is not None
        assert (done.config, done.result) == (Config(3), 5)
