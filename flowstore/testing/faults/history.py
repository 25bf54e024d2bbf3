"""Checks that the calls of concurrent clients are linearizable, while things break.

A ``Recorder`` around the backend of each client records every call: when it began, and when and how it ended.
The outcome of a call that raised, or whose process died, is unknown: it may have taken effect at any time
after it began, or never. ``History.check`` searches for an order of the calls of each id, one after the
other, in which every call returns what it did return (the algorithm of Wing and Gong).

    history = History()
    client = Recorder(backend, history.note)
    ...
    history.check()
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from itertools import count
from math import inf
from secrets import token_hex
from typing import Any, NamedTuple, TypeVar

from flowstore import BaseResultBackend, TaskResult
from flowstore.testing.faults.ordering import Call, Verb, explains

T = TypeVar("T")


class Began(NamedTuple):
    """A call that begins. ``client`` and ``number`` identify it; ``at`` is monotonic, in nanoseconds."""

    client: str
    number: int
    at: int
    verb: Verb
    task_id: str
    result: TaskResult | None = None
    overwrite: bool = False


class Ended(NamedTuple):
    """A call that returned ``outcome``."""

    client: str
    number: int
    at: int
    outcome: Any


Note = Callable[[Began | Ended], object]


class Recorder:
    """A client of ``backend`` that reports its calls to ``note``: ``History.note``, or a pipe's ``send``."""

    def __init__(self, backend: BaseResultBackend, note: Note) -> None:
        self._backend = backend
        self._note = note
        self._client = token_hex(8)
        self._numbers = count()

    async def store(self, result: TaskResult, *, overwrite: bool = False) -> bool:
        call = self._backend.store(result.task_id, result, overwrite=overwrite)
        return await self._made(call, "store", result.task_id, result, overwrite)

    async def get(self, task_id: str) -> TaskResult | None:
        return await self._made(self._backend.get(task_id), "get", task_id)

    async def wait_for(self, task_id: str, timeout: float) -> TaskResult:
        return await self._made(self._backend.wait_for(task_id, timeout), "wait_for", task_id)

    async def delete(self, task_id: str) -> bool:
        return await self._made(self._backend.delete(task_id), "delete", task_id)

    async def _made(
        self,
        call: Awaitable[T],
        verb: Verb,
        task_id: str,
        result: TaskResult | None = None,
        overwrite: bool = False,
    ) -> T:
        number = next(self._numbers)
        self._tell(Began(self._client, number, time.monotonic_ns(), verb, task_id, result, overwrite))
        outcome = await call
        self._tell(Ended(self._client, number, time.monotonic_ns(), outcome))
        return outcome

    def _tell(self, event: Began | Ended) -> None:
        self._note(event)  # may block on a pipe


class NotExplained(AssertionError):
    """The calls of ``task_id`` are not linearizable: no order of them explains their outcomes."""

    def __init__(self, task_id: str, calls: list[Call]) -> None:
        lines = "\n".join(map(str, calls))
        super().__init__(f"no order of these calls of {task_id!r} explains their outcomes:\n{lines}")


class History:
    """The calls of all clients, in one or in several processes of one machine."""

    def __init__(self) -> None:
        self._began: dict[tuple[str, int], Began] = {}
        self._ended: dict[tuple[str, int], Ended] = {}

    def note(self, event: Began | Ended) -> None:
        noted: dict[tuple[str, int], Any] = self._began if isinstance(event, Began) else self._ended
        noted[event.client, event.number] = event

    def __len__(self) -> int:
        """The number of calls that returned."""
        return len(self._ended)

    @property
    def ids(self) -> list[str]:
        """The ids of all tasks in any call."""
        return list({began.task_id: None for began in self._began.values()})

    def check(self) -> None:
        """Raise NotExplained with the calls of an id that are not linearizable."""
        for task_id, calls in self._by_id().items():
            if not explains(calls):
                raise NotExplained(task_id, calls)

    def _by_id(self) -> dict[str, list[Call]]:
        first = min((began.at for began in self._began.values()), default=0)
        by_id: defaultdict[str, list[Call]] = defaultdict(list)
        for name, began in sorted(self._began.items(), key=lambda item: item[1].at):
            ended = self._ended.get(name)
            call = Call(
                began.verb,
                (began.at - first) / 1_000,
                inf if ended is None else (ended.at - first) / 1_000,
                None if ended is None else ended.outcome,
                began.result,
                began.overwrite,
            )
            if call.is_known or call.verb in ("store", "delete"):  # a read without an outcome says nothing
                by_id[began.task_id].append(call)
        return by_id
