"""Where runs are kept: in a namespace of their own, on the storage of the backend that they belong to.

So a million records of a run are in no listing and no count of tasks, wake nobody who follows the tasks, and
``clear`` leaves them. A namespace costs connections of its own; it is opened when ``runs`` is first used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol
from weakref import WeakMethod

from flowstore._core.core import Core
from flowstore._core.options import OF_RUNS, BackendOptions
from flowstore._core.removing import drop_namespace
from flowstore.errors import BackendClosed

_NOT_OF_RUNS: Final = ("ttl", "failure_ttl", "unfinished_ttl", "history_limit", "history", "facets", "types")
"""Options about tasks: runs stay until somebody removes them, and are found by group and label."""


class Beside(Protocol):
    """The backend of that namespace."""

    _core: Core

    async def close(self) -> None: ...

    def end_waits(self) -> None: ...


class Place:
    """The core that runs are kept in. It is made at the first use, and closed with its backend."""

    def __init__(
        self, core: Core, options: BackendOptions, beside: Callable[[BackendOptions], Beside]
    ) -> None:
        self.tasks = core
        self._options = options
        # Weakly, or a backend that is dropped would wait for the garbage collector
        self._beside = WeakMethod(beside)
        self._made: Beside | None = None

    @property
    def core(self) -> Core:
        """Raises BackendClosed, WrongLoop or WrongProcess, as calls do."""
        self.tasks.life.check()
        if self._made is None:
            self._made = self._make()
        return self._made._core

    def _make(self) -> Beside:
        options = self._options.copy()
        for name in _NOT_OF_RUNS:
            options.pop(name, None)  # type: ignore[misc]  # they are not required
        options["namespace"] = self.tasks.namespace + OF_RUNS
        options["stats"], options["error_groups"] = None, False  # nobody could ask for them
        beside = self._beside()
        if beside is None:
            raise BackendClosed("the backend of these runs is gone")
        made = beside(options)
        # One set of types for both, so that ``register_types`` is felt here as well
        made._core.records.codec = self.tasks.records.codec
        return made

    async def drop(self) -> None:
        """Remove all runs and their namespace, if there are any."""
        async with self.tasks.life:
            is_there = self.tasks.namespace + OF_RUNS in await self.tasks.engine.namespaces()
        if is_there or self._made is not None:
            await drop_namespace(self.core)

    async def close(self) -> None:
        if self._made is not None:
            await self._made.close()

    def end_waits(self) -> None:
        if self._made is not None:
            self._made.end_waits()
