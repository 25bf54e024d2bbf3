"""flowstore.sync on each storage: threads, blocks, iterators, closing."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import flowstore
import flowstore.sync
from flowstore import (
    BackendClosed,
    BaseResultBackend,
    LoopIsRunning,
    TaskChange,
    TaskResult,
    TaskStatus,
    WaitTimeout,
)
from flowstore.observing import Event
from flowstore.sync import ResultBackend
from flowstore.testing.calls import CALLS
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.observing_blocks import AROUND, Around
from flowstore.testing.contract.sharing import count_trips
from flowstore.testing.support import START
from tests.conftest import STORAGES

ITERATORS: dict[str, Callable[[Any], Any]] = {
    "as_completed": lambda store: store.as_completed(["t0", "t1"], 30),
    "iter_by_status": lambda store: store.iter_by_status(TaskStatus.SUCCESS, batch_size=3),
    "iter_ids": lambda store: store.iter_ids(TaskStatus.SUCCESS, batch_size=3),
    "workers.running_tasks": lambda store: store.workers.running_tasks("w"),
    "families.children": lambda store: store.families.children("t0"),
    "families.descendants": lambda store: store.families.descendants("t0"),
    "history.of_family": lambda store: store.history.of_family("t0"),
    "history.iter": lambda store: store.history.iter(batch_size=3),
    "history.iter_ids": lambda store: store.history.iter_ids(batch_size=3),
    "watch": lambda store: store.watch("t0"),
    "watch_status": lambda store: store.watch_status([]),
}


@pytest.fixture
def store(url: str) -> Iterator[ResultBackend]:
    with flowstore.sync.connect(url) as opened:
        yield opened


class Recorder:
    """An observer that keeps in which threads it is told."""

    def __init__(self) -> None:
        self.threads: set[str] = set()

    def on_event(self, event: Event) -> None:
        self.threads.add(threading.current_thread().name)


def fill(store: Any) -> list[Any]:
    return [
        store.store(f"t{n}", TaskResult.success(f"t{n}", n, at=START, parent_id=f"t{n - 1}" if n else None))
        for n in range(10)
    ]


@pytest.mark.parametrize("name", [name for name in CALLS if name not in ("ping", "facts", "update")])
async def test_verbs_return_the_same(name: str, tmp_path: Path) -> None:
    """Each call returns what the asynchronous one returns, an iterator its items in their order."""
    clock = ManualClock()
    async with flowstore.connect(f"sqlite:///{tmp_path / 'async.db'}", clock=clock) as backend:
        for write in fill(backend):
            await write
        expected = await CALLS[name](backend)
    found = await asyncio.to_thread(_called, name, f"sqlite:///{tmp_path / 'sync.db'}", clock)
    assert found in ("a helper of asynchronous code", expected)


def _called(name: str, url: str, clock: ManualClock) -> Any:
    with flowstore.sync.connect(url, clock=clock) as store:
        fill(store)
        if name in ITERATORS:
            return list(ITERATORS[name](store))
        call: Any = CALLS[name](store)  # type: ignore[arg-type]  # it has the same names
        if inspect.iscoroutine(call):  # of those that enter a block, which have tests of their own
            call.close()
            return "a helper of asynchronous code"
        return call


def test_facts(store: ResultBackend) -> None:
    """Those of the same store; times and free room differ from call to call."""
    store.store("t", TaskResult.pending("t"))
    facts = store.facts(silent_after=5)
    assert facts.counts[TaskStatus.PENDING] == 1
    assert facts.oldest_pending is not None
    assert facts.oldest_pending.task_id == "t"


def test_calls_of_many_threads(store: ResultBackend) -> None:
    """Sixteen threads at once, each with its own answers; one of them opens the store."""

    def work(number: int) -> list[bool]:
        names = [f"{number}-{n}" for n in range(25)]
        stored = [store.store(name, TaskResult.success(name, number)) for name in names]
        return stored + [store.wait_for(name, 30).unwrap() == number for name in names]

    with ThreadPoolExecutor(16) as pool:
        assert all(all(answers) for answers in pool.map(work, range(16)))
    assert store.count_by_status()[TaskStatus.SUCCESS] == 400


@pytest.mark.parametrize("url", [kind for kind in STORAGES if kind != "memory"], indirect=True)
def test_threads_share_trips(url: str) -> None:
    """What sixteen threads ask for while the loop is busy leaves in a few trips."""
    made: list[BaseResultBackend] = []
    is_busy = threading.Event()

    def make() -> BaseResultBackend:
        made.append(flowstore.connect(url))
        return made[0]

    def step(_: TaskResult | None) -> None:
        """Keep the loop busy until all have asked. Nothing may sleep there."""
        is_busy.set()
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]  # the calls that wait for it
        while len(ready) < 16:
            pass

    with ResultBackend(make) as store, ThreadPoolExecutor(17) as pool:
        trips = count_trips(made[0])
        blocking = pool.submit(store.update, "none", step)
        assert is_busy.wait(30)
        gets: list[Future[Any]] = [pool.submit(store.get, f"t{n}") for n in range(16)]
        assert [each.result(30) for each in [*gets, blocking]] == [None] * 17
        assert trips["read"] <= 6  # one of them for the update; a late thread makes one more


def test_parents_across_blocks(store: ResultBackend) -> None:
    """A block inside of another one finds its parent, one beside it in another thread does not."""

    def beside() -> None:
        with store.track("beside"):
            pass

    with store.track("root"):
        with store.track("child"), store.track("grandchild"):
            assert flowstore.sync.current_task(store) == "grandchild"
        thread = threading.Thread(target=beside)
        thread.start()
        thread.join()
        with store.track("second child"):
            pass
    assert flowstore.sync.current_task(store) is None
    with store.track("later"):
        pass
    parents = {task.task_id: task.parent_id for task in store.iter_by_status()}
    assert parents == {
        "root": None,
        "child": "root",
        "grandchild": "child",
        "second child": "root",
        "beside": None,
        "later": None,
    }
    grandchild = store.get("grandchild")
    assert grandchild is not None
    assert grandchild.root_id == "root"


def test_blocks_that_end_in_another_order(store: ResultBackend) -> None:
    """As in generators: what begins then is a child of the one that is still open."""
    first, second = store.track("first"), store.track("second")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    with store.track("child of second"):
        pass
    second.__exit__(None, None, None)
    with store.track("child of none"):
        pass
    parents = {task.task_id: task.parent_id for task in store.iter_by_status()}
    assert parents["child of second"] == "second"
    assert parents["child of none"] is None


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
    """The exception propagates, and says what is stored. Ctrl-C cancels, as it does in asyncio."""
    with pytest.raises(type(error)) as raised, store.track("t") as task:
        raise error
    assert raised.value is error
    assert store.wait_for("t", 30).status is status
    assert task.outcome is not None
    assert task.outcome.status is status


def test_what_a_block_knows(store: ResultBackend) -> None:
    """Result, progress, retries, whether it is stored; and it is entered once."""
    with store.track("t", result_type=int, name="count", retry_on=OSError) as task:
        assert (task.task_id, task.retries, task.is_stored, task.outcome) == ("t", 0, True, None)
        assert task.progress(1, 4, "a quarter") is True
        progress = flowstore.Progress(done=1, total=4, note="a quarter")
        assert store.get_many(["t"])["t"].progress == progress
        task.result = 4
    done = store.wait_for("t", 0)
    assert (done.unwrap(), done.task_name, done.progress) == (4, "count", progress)
    assert task.result == 4
    with pytest.raises(RuntimeError, match="entered twice"), task:
        pass
    with store.track("again") as again:
        assert again.retry(OSError("busy"), delay=timedelta(seconds=5)) is True
    stands = store.get("again")
    assert stands is not None
    assert stands.status is TaskStatus.RETRYING
    with pytest.raises(flowstore.UnexpectedValue), store.track("typed", result_type=int) as typed:
        typed.result = "four"  # type: ignore[assignment]  # on purpose


def test_a_closed_generator_in_a_block(store: ResultBackend) -> None:
    """Its block is stored as cancelled by the time that ``close`` returns."""

    def numbers() -> Iterator[int]:
        with store.track("t"):
            yield 1
            yield 2

    generator = numbers()
    next(generator)
    generator.close()  # type: ignore[attr-defined]  # it is a generator
    assert store.wait_for("t", 0).status is TaskStatus.CANCELLED


def test_a_block_that_is_cancelled(store: ResultBackend) -> None:
    """It sees the request, and ``raise_if_cancelled`` ends it without an exception outside of it."""
    with store.track("t") as task:
        assert not task.cancel_requested
        task.raise_if_cancelled()
        assert store.cancel("t", "not wanted") is True
        while not task.cancel_requested:
            time.sleep(0.001)
        assert task.cancel_request is not None
        assert task.cancel_request.reason == "not wanted"
        task.raise_if_cancelled()
        raise AssertionError("not reached")
    done = store.wait_for("t", 0)
    assert done.status is TaskStatus.CANCELLED


def test_a_thread_cannot_be_interrupted(store: ResultBackend) -> None:
    """What asks for it is refused, and nothing is stored."""
    with pytest.raises(ValueError, match="interrupt"):
        store.track("t", interrupt=True)
    with pytest.raises(TypeError, match="interrupt"):
        store.track("t", interrupt="yes")  # type: ignore[arg-type]  # on purpose
    with store.worker("w") as worker, pytest.raises(ValueError, match="interrupt"):
        worker.track("t", interrupt=True)
    assert not store.exists("t")


def test_worker(store: ResultBackend) -> None:
    """It is registered inside of the block, beats, and belongs to what it tracks."""
    with store.worker("w", slots=2, info={"version": 1}) as worker:
        assert worker.worker_id == "w"
        with worker.track("t") as task:
            assert worker.tasks == ["t"]
            worker.info = {"version": 2}
            worker.beat()
            registered = store.workers.get("w")
            assert registered is not None
            assert registered.tasks == ("t",)
            assert registered.info == {"version": 2}
            task.result = 1
        assert not worker.is_lost
    assert store.workers.get("w") is None
    assert store.wait_for("t", 0).worker_id == "w"
    assert "w" in repr(worker)


def test_drain_asks_the_threads(store: ResultBackend) -> None:
    """After the grace a block is told, ends by ``raise_if_cancelled``, and drain returns once it has."""
    begun = threading.Event()

    def work() -> None:
        with worker.track("t", on_cancel="requeue") as task:
            begun.set()
            while True:
                task.raise_if_cancelled()
                time.sleep(0.001)

    with store.worker("w") as worker:
        thread = threading.Thread(target=work)
        thread.start()
        assert begun.wait(30)
        assert worker.drain(0.01) == ["t"]
        assert worker.is_draining
        with pytest.raises(flowstore.WorkerStopped):
            worker.track("u")
        thread.join()
    stands = store.get("t")
    assert stands is not None
    assert (stands.status, stands.retries) == (TaskStatus.PENDING, 1)


def test_generators(store: ResultBackend) -> None:
    """Bad arguments raise at the call; closing ends the wait behind it; items of others come one by one."""
    with pytest.raises(ValueError, match="batch_size"):
        store.iter_ids(batch_size=0)
    with pytest.raises(TypeError, match="task_ids"):
        store.as_completed("t")
    with pytest.raises(TypeError, match="task_id"):
        store.watch(7)  # type: ignore[arg-type]  # on purpose
    watching = store.watch("t")
    store.store("t", TaskResult.running("t"))
    assert next(watching).status is TaskStatus.RUNNING
    assert store.waiting == 1
    watching.close()
    assert store.waiting == 0
    entering = store.watch_status("success")
    thread = threading.Thread(target=lambda: store.store("t", TaskResult.success("t")))
    thread.start()
    assert next(entering) == "t"
    entering.close()
    thread.join()
    changes = store.watch_changes("status:pending")
    store.store("u", TaskResult.pending("u", task_name="n"))
    change = next(changes)
    assert isinstance(change, TaskChange)
    assert (change.task_id, change.name) == ("u", "n")
    changes.close()
    ended = store.as_completed(["t", "never"], 0.01)
    first = next(ended)
    assert isinstance(first, TaskResult)
    assert first.task_id == "t"
    with pytest.raises(WaitTimeout, match="never"):
        next(ended)
    assert store.waiting == 0


def test_walks(store: ResultBackend) -> None:
    """Items come once each, in order, however many are read at a time, also when it is left early."""
    names = [f"t{n:03}" for n in range(350)]
    store.store_many(TaskResult.success(name) for name in names)
    assert list(store.iter_ids()) == names
    walk = store.iter_by_status(batch_size=7)
    assert [next(walk).task_id for _ in range(9)] == names[:9]
    del walk
    gc.collect()
    assert store.exists("t000")


def test_waits_end_when_the_store_closes(url: str) -> None:
    """In whatever thread they are. Later calls raise the same; closing again does nothing."""
    with ThreadPoolExecutor(4) as pool, flowstore.sync.connect(url) as store:
        waits: list[Future[Any]] = [pool.submit(store.wait_for, "never") for _ in range(3)]
        watching = pool.submit(lambda: next(store.watch("never")))
        while store.waiting < 1:
            time.sleep(0.001)
    for each in [*waits, watching]:
        with pytest.raises(BackendClosed):
            each.result(30)
    store.close()
    for call in (store.open, lambda: store.get("t"), lambda: next(store.iter_ids()), store.ping):
        with pytest.raises(BackendClosed):
            call()
    store.end_waits()


def test_closed_before_it_was_opened(url: str) -> None:
    """It stays closed, and has started no thread."""
    store = flowstore.sync.connect(url)
    store.close()
    with pytest.raises(BackendClosed):
        store.open()


def test_end_waits(store: ResultBackend) -> None:
    """A wait of another thread ends with WaitsEnded, and everything else goes on."""
    with ThreadPoolExecutor() as pool:
        waiting: Future[Any] = pool.submit(store.wait_for, "never")
        while store.waiting < 1:
            time.sleep(0.001)
        store.end_waits()
        with pytest.raises(flowstore.WaitsEnded):
            waiting.result(30)
    assert store.store("t", TaskResult.success("t"))
    with pytest.raises(flowstore.WaitsEnded):
        store.wait_for("never")


def test_calls_while_it_closes(url: str) -> None:
    """Threads that call on and on get answers, then BackendClosed, and never hang."""
    store = flowstore.sync.connect(url)
    begun = threading.Barrier(9)

    def work() -> type[BaseException]:
        begun.wait(30)
        try:
            while True:
                store.get("t")
        except BaseException as error:
            return type(error)

    with ThreadPoolExecutor(8) as pool:
        working = [pool.submit(work) for _ in range(8)]
        begun.wait(30)
        store.get("t")
        store.close()
        assert {each.result(30) for each in working} == {BackendClosed}


def test_dropped_without_close(url: str) -> None:
    """It closes by itself, without a warning: no thread is left (see the fixture)."""
    store = flowstore.sync.connect(url)
    store.store("t", TaskResult.success("t"))
    data = store.data
    del store
    gc.collect()
    assert data.all("t") == {}  # which keeps it
    del data
    gc.collect()


async def test_in_a_running_loop(url: str) -> None:
    """Every call is refused that would block the loop; in a thread it works."""
    store = flowstore.sync.connect(url)
    for call in (
        store.open,
        store.close,
        lambda: store.get("t"),
        lambda: store.wait_for("t"),
        lambda: next(store.iter_ids()),
        lambda: store.data.all("t"),
        lambda: store.track("t").__enter__(),
        lambda: store.worker("w").__enter__(),
        lambda: flowstore.sync.discover_apps(url),
    ):
        with pytest.raises(LoopIsRunning, match="to_thread"):
            call()
    assert await asyncio.to_thread(store.store, "t", TaskResult.success("t", 1))
    assert (await asyncio.to_thread(store.wait_for, "t", 30)).unwrap() == 1
    await asyncio.to_thread(store.close)


def test_functions_that_are_called_in_the_loop(store: ResultBackend) -> None:
    """One that calls the store gets an error instead of waiting for itself for ever."""
    with pytest.raises(LoopIsRunning):
        store.update("t", lambda _: store.get("t"))
    assert store.update("t", lambda _: TaskResult.success("t", 1)) is not None
    with pytest.raises(SystemExit):  # raised here, and not in the loop, which it would end
        store.update("t", lambda _: _exit())
    assert store.exists("t")


def _exit() -> None:
    raise SystemExit(3)


def test_an_error_is_freed_at_once(store: ResultBackend) -> None:
    """With its traceback, and what the frames in it hold: no cycle is left to the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        with suppress(WaitTimeout):
            store.wait_for("never", 0)
        left = [each for each in gc.get_objects() if type(each) is WaitTimeout]
    finally:
        gc.enable()
    assert left == []


def test_bad_arguments_of_connect() -> None:
    """They are named at once, not at the first call."""
    with pytest.raises(ValueError, match="scheme"):
        flowstore.sync.connect("mysql://x")
    with pytest.raises(TypeError, match="ttl"):
        flowstore.sync.connect("memory://", ttl="1 hour")  # type: ignore[arg-type]  # on purpose
    assert repr(flowstore.sync.connect("memory://")).startswith(
        "flowstore.sync.ResultBackend(InMemoryBackend("
    )


def test_a_backend_of_ones_own(tmp_path: Path) -> None:
    """The face stands before whatever backend the function makes."""
    with ResultBackend(lambda: flowstore.SQLiteBackend(tmp_path / "x.db", namespace="mine")) as store:
        assert store.namespace == "mine"
        store.app.register({"name": "mine"})
        store.app.data.set("k", 1)
        assert store.app.data.get("k") == 1
    [default, mine] = flowstore.sync.discover_apps(f"sqlite:///{tmp_path / 'x.db'}")
    assert (default.namespace, mine.namespace, mine.info) == ("default", "mine", {"name": "mine"})


def test_what_observers_set_is_around_the_block(url: str) -> None:
    """Observers are told in the loop, and a context variable is seen by the thread, until the block ends."""
    around = Around()

    def work(name: str) -> str:
        with opened.track(name):
            outer = around_of_here()
            with opened.track(f"{name}.child"):
                inner = around_of_here()
        return f"{outer} {inner}"

    with flowstore.sync.connect(url, observers=[around]) as opened:
        with opened.track("all"):
            assert work("a") == "a a.child"
            with ThreadPoolExecutor(2) as pool:
                assert [*pool.map(work, ["b", "c"])] == ["b b.child", "c c.child"]
            assert around_of_here() == "all"
            with suppress(KeyboardInterrupt), opened.track("d"):
                raise KeyboardInterrupt
            assert around_of_here() == "all"
        assert around_of_here() == "nothing"
    assert (around.tokens, around.strangers) == ({}, [])


def around_of_here() -> str:
    return AROUND.get()


def test_observers_are_those_of_the_backend(url: str) -> None:
    """Told in the thread of the loop, where functions are called that are given to the store."""
    observer = Recorder()
    with flowstore.sync.connect(url, observers=[observer]) as store:
        store.get("t")
    assert observer.threads == {"flowstore.sync"}
