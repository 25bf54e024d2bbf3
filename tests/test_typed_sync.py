"""ResultsManager: typed results without ``await``, from any thread, over every storage."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import flowstore.sync
from flowstore import BackendClosed, EntryConflict, EntryExists, EntryMissing, EntryTimeout, LoopIsRunning
from flowstore.testing.typed_contract.base import MODELS, Loss, Report
from flowstore.typed import ResultsManager, WriteBehavior
from tests.conftest import KINDS

SKIP, OVERWRITE = WriteBehavior.SKIP_IF_EXISTS, WriteBehavior.OVERWRITE
THREADS = 16


@pytest.fixture(params=["memory", "sqlite", "tree", *KINDS[:1]])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """The arguments of managers of one place."""
    if request.param == "memory":
        return {"target": "memory://"}
    if request.param == "sqlite":
        return {"target": f"sqlite:///{tmp_path}/x.db"}
    if request.param == "tree":
        return {"base_dir": tmp_path / "tree"}
    empty_database: Callable[[str], str] = request.getfixturevalue("empty_database")
    return {"target": empty_database(request.param)}


@pytest.fixture
def manager(place: dict[str, Any]) -> Iterator[ResultsManager]:
    with ResultsManager(**place, registry=MODELS) as manager:
        yield manager


def test_every_verb(manager: ResultsManager) -> None:
    """Each returns what the asynchronous one does."""
    assert manager.set("a/1", Report(score=1)) is True
    assert manager.set("a/1", Report(score=2), SKIP) is False
    with pytest.raises(EntryExists):
        manager.set("a/1", Report(score=2))
    with pytest.raises(EntryConflict):
        manager.set("a/1", Report(score=2), if_version=2)
    assert manager.set_many({"a/2": Report(score=2), "b": Loss(value=3)}) == {"a/2": True, "b": True}
    assert manager.get("a/1", Report).score == 1
    assert manager.get_many(["a/2", "none"], Report) == {"a/2": Report(score=2)}
    assert manager.wait_for("b", Loss, 5).value == 3
    assert manager.exists("a/1")
    assert manager.list_ids("a") == [*manager.iter_ids("a")] == ["a/1", "a/2"]
    assert {entry.id for entry in manager.list(Report).items} == {"a/1", "a/2"}
    entry = manager.entry(["a", "1"])
    assert entry is not None
    assert (entry.model_type, entry.version) == ("Report", 1)
    assert manager.delete("a/1") is True
    assert manager.clear() == 2
    with pytest.raises(EntryMissing):
        manager.get("b")
    with pytest.raises(EntryTimeout):
        manager.wait_for("b", Loss, 0.01)


def test_threads(manager: ResultsManager) -> None:
    """Of sixteen that create one id one gets True; each of those that wait is woken."""
    with ThreadPoolExecutor(2 * THREADS) as pool:
        waits = [pool.submit(manager.wait_for, "race", Report, 30) for _ in range(THREADS)]
        attempts = [pool.submit(manager.set, "race", Report(score=n), SKIP) for n in range(THREADS)]
        won = [attempt.result() for attempt in attempts]
        assert won.count(True) == 1
        assert {wait.result().score for wait in waits} == {won.index(True)}


def test_watching(manager: ResultsManager) -> None:
    """A generator that yields what another thread sets."""
    with ThreadPoolExecutor(1) as pool:
        ids = manager.watch("a")
        first = pool.submit(next, ids)
        number = 0
        while not first.done():
            manager.set(f"a/{number}", Report(score=1))
            number += 1
        assert first.result() in manager.list_ids("a")
        pool.submit(ids.close).result()


def test_closing_ends_waits(place: dict[str, Any]) -> None:
    """Those of all threads, with BackendClosed, as calls that come later."""
    manager = ResultsManager(**place, registry=MODELS)
    with ThreadPoolExecutor(THREADS) as pool:
        waits = [pool.submit(manager.wait_for, "never", Report, 30) for _ in range(THREADS)]
        manager.exists("a")
        manager.close()
        for wait in waits:
            with pytest.raises(BackendClosed):
                wait.result()
    with pytest.raises(BackendClosed):
        manager.get("a")
    manager.close()


def test_a_given_store(tmp_path: Path) -> None:
    """Its loop is shared, it stays open, and a store can have any number of managers."""
    with flowstore.sync.connect(f"sqlite:///{tmp_path}/x.db") as store:
        with ResultsManager(store, registry=MODELS) as one, ResultsManager(store, registry=MODELS) as other:
            one.set("a", Report(score=1))
            assert other.get("a") == Report(score=1)
        assert store.exists("a")
        for bad in ({"ttl": 5}, {"base_dir": tmp_path}):
            with pytest.raises(TypeError, match="expected none of it beside a backend"):
                ResultsManager(store, **bad)
    with pytest.raises(TypeError, match=r"^target: expected a URL, a backend of flowstore\.sync, or None"):
        ResultsManager(flowstore.connect("memory://"))  # type: ignore[arg-type]  # on purpose


def test_another_place(manager: ResultsManager, tmp_path: Path) -> None:
    """``use`` moves on, and a place that cannot be opened changes nothing."""
    manager.set("a", Report(score=1))
    (tmp_path / "file").touch()
    for bad in (
        {"target": f"sqlite:///{tmp_path}/none/x.db"},
        {"base_dir": tmp_path / "file"},
        {"target": 7},
    ):
        with pytest.raises((flowstore.StorageError, TypeError)):
            manager.use(**bad)
        assert manager.get("a") == Report(score=1)
    manager.use("memory://")
    assert manager.list_ids() == []
    manager.set("b", Report(score=1))
    with flowstore.sync.connect("memory://") as store:
        manager.use(store)
        assert manager.list_ids() == []
        manager.use(base_dir=tmp_path / "other")
        assert manager.set("c", Report(score=1)) is True
        assert store.ping() > 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_after_a_fork(tmp_path: Path) -> None:
    """The child has an open place of its own; the parent goes on."""
    for place in ({"target": f"sqlite:///{tmp_path}/x.db"}, {"base_dir": tmp_path / "tree"}):
        with ResultsManager(**place, registry=MODELS) as manager:
            manager.set("a", Report(score=1))
            if (child := os.fork()) == 0:
                try:
                    manager.set("child", manager.get("a", Report))
                    os._exit(0)
                finally:
                    os._exit(1)
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 0
            assert manager.list_ids() == ["a", "child"]
            assert manager.set("a", Report(score=2), OVERWRITE) is True


async def test_in_a_running_loop(tmp_path: Path) -> None:
    """A clear error in place of a loop that stands still."""
    manager = ResultsManager(base_dir=tmp_path)
    with pytest.raises(LoopIsRunning):
        manager.get("a")
