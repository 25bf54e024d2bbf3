"""flowstore.sync is the asynchronous face without ``await``: generated, and the same to whoever calls it."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import flowstore
from flowstore import features, runs, sync, typed
from flowstore._lazily import OnFirstUse
from flowstore.runs.archive import RunsArchive
from flowstore.runs.retaining import RunsRetention
from scripts import make_sync, sync_words

PAIRS: dict[str, tuple[type, type]] = {
    "backend": (flowstore.BaseResultBackend, sync.ResultBackend),
    "track": (flowstore.TrackedTask, sync.TrackedTask),
    "worker": (flowstore.RunningWorker, sync.RunningWorker),
    "data": (features.Data, sync.Data),
    "checkpoints": (features.Checkpoints, sync.Checkpoints),
    "history": (features.History, sync.History),
    "families": (features.Families, sync.Families),
    "workflows": (features.Workflows, sync.Workflows),
    "retention": (features.Retention, sync.Retention),
    "workers": (features.Workers, sync.Workers),
    "integrity": (features.Integrity, sync.Integrity),
    "app": (features.App, sync.App),
    "runs": (runs.Runs, sync.Runs),
    "actions": (features.Actions, sync.Actions),
    "datasets": (runs.Datasets, sync.Datasets),
    "retention of runs": (RunsRetention, sync.RunsRetention),
    "archive of runs": (RunsArchive, sync.RunsArchive),
    "run": (runs.RunningRun, sync.RunningRun),
    "typed results": (typed.AsyncResultsManager, typed.ResultsManager),
}


def public(kind: type) -> dict[str, Any]:
    """Without the features, which the script makes attributes of: the types of these are other pairs."""
    members = inspect.getmembers(kind, lambda value: not isinstance(value, OnFirstUse))
    return {name: value for name, value in members if make_sync.is_public(name)}


@pytest.mark.parametrize("target", make_sync.TARGETS)
def test_written_by_the_script(target: str) -> None:
    """What is checked in is what the script makes of the asynchronous classes as they are now."""
    written = (make_sync.PACKAGE / target).read_text("utf-8")
    assert written == make_sync.generated(target), "run python -m scripts.make_sync"


@pytest.mark.parametrize("pair", PAIRS)
def test_same_methods(pair: str) -> None:
    """Each public method and property of the one is one of the other, with the same parameters."""
    theirs, ours = map(public, PAIRS[pair])
    attributes = {*make_sync.ATTRIBUTES.get(PAIRS[pair][0].__name__, ())}
    assert ours.keys() - attributes == theirs.keys() - attributes
    for name, method in theirs.items():
        if inspect.isfunction(method):
            parameters = inspect.signature(method).parameters
            assert parameters == inspect.signature(ours[name]).parameters, name
            assert not inspect.iscoroutinefunction(ours[name])
            assert ours[name].__doc__
        elif isinstance(method, property):
            assert (method.fset is None) == (ours[name].fset is None), name


@pytest.mark.parametrize("pair", PAIRS)
def test_iterators_are_generators(pair: str) -> None:
    """What yields here yields there."""
    theirs, ours = map(public, PAIRS[pair])
    for name, method in theirs.items():
        if inspect.isfunction(method):
            is_iterator = method.__annotations__["return"].startswith("AsyncGenerator[")
            assert is_iterator == ours[name].__annotations__["return"].startswith("Generator["), name


def test_a_stale_phrase_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replacement whose phrase is gone from the docstring stops the script, and so does a missing one."""
    monkeypatch.setitem(sync_words.WORDS, "Data.get", (("no such phrase", "x"),))
    with pytest.raises(SystemExit, match=r"Data\.get"):
        make_sync.generated("sync/generated.py")
    monkeypatch.delitem(sync_words.WORDS, "Data.get")
    monkeypatch.delitem(sync_words.WORDS, "BaseResultBackend.worker")
    with pytest.raises(SystemExit, match=r"BaseResultBackend\.worker: its docstring says 'async'"):
        make_sync.generated("sync/generated.py")
