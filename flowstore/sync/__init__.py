"""flowstore without ``await``, for scripts, threads, notebooks, Django and Celery. See docs/sync.md."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import Unpack

from flowstore import connecting, current
from flowstore.connecting import ConnectOptions
from flowstore.features.app import AppInfo
from flowstore.sync.generated import (
    Actions,
    App,
    AppData,
    Archive,
    Checkpoints,
    Data,
    Datasets,
    Families,
    History,
    Integrity,
    ResultBackend,
    Retention,
    RunningRun,
    RunningWorker,
    Runs,
    RunsArchive,
    RunsRetention,
    TrackedTask,
    Workers,
    Workflows,
)
from flowstore.sync.notebooks import check_may_block
from flowstore.sync.portal import Portal

__all__ = [
    "Actions",
    "App",
    "AppData",
    "Archive",
    "Checkpoints",
    "Data",
    "Datasets",
    "Families",
    "History",
    "Integrity",
    "ResultBackend",
    "Retention",
    "RunningRun",
    "RunningWorker",
    "Runs",
    "RunsArchive",
    "RunsRetention",
    "TrackedTask",
    "Workers",
    "Workflows",
    "connect",
    "current_task",
    "discover_apps",
]


def connect(url: str | None = None, **options: Unpack[ConnectOptions]) -> ResultBackend:
    """The backend that ``url`` names. Arguments and errors are those of ``flowstore.connect``.

    It opens with ``with`` or at its first call, from any thread. ``ResultBackend(make)`` stands before any
    other backend, which the function ``make`` returns: a new one each time.
    """
    return ResultBackend(partial(connecting.connect, url, **options))


def current_task(store: ResultBackend) -> str | None:
    """``flowstore.current_task``: the id of the innermost tracked block of ``store`` around the caller."""
    return current.current_task(store._its)


def discover_apps(url: str | None = None, **options: Unpack[ConnectOptions]) -> list[AppInfo]:
    """``flowstore.discover_apps``: the apps of a storage, in the order of their namespaces."""
    check_may_block()
    with closing(Portal()) as portal:
        return portal.run(connecting.discover_apps(url, **options))
