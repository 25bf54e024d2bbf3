"""What PynencStateBackend asks of its storage, in the words of flowstore."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Any, Final, TypeVar, Unpack

from flowstore import ConnectOptions, HistoryPage, Selection, TaskResult, Transition
from flowstore.integrations._stores import attached_sync
from flowstore.sync import ResultBackend

T = TypeVar("T")

_MOST_LATE: Final = "pynenc: most late"
"""The key of the app's data for the longest time, in seconds, from an event to its recording."""
_USUAL: Final = 60.0
_PAGE: Final = 1_000


class Store:
    """One namespace. Any thread may call, also one that runs an event loop, which then stands still:

    that is how pynenc's tasks that are coroutines call it.
    """

    def __init__(self, backend: ResultBackend | str | None, options: ConnectOptions) -> None:
        self._attached = attached_sync(backend, options)
        self.backend = self._attached.backend
        self._most_late = _USUAL

    def close(self) -> None:
        if self._attached.is_own:
            self.call(ResultBackend.close)

    def call(self, step: Callable[[ResultBackend], T]) -> T:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return step(self.backend)
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(step, self.backend).result()

    def ids(self, **selection: Unpack[Selection]) -> list[str]:
        """The oldest submission first."""
        return self.call(lambda store: list(store.iter_ids(newest_first=False, **selection)))

    def records(self, label: str) -> list[TaskResult]:
        """Without their values, the oldest submission first."""
        return self.call(
            lambda store: list(store.iter_by_status(label=label, newest_first=False, load_result=False))
        )

    def labels(self, prefix: str) -> list[str]:
        """What stands behind the prefix in labels, however many there are."""
        return self.call(lambda store: [label[len(prefix) :] for label in _labels(store, prefix)])

    def changed(self, task_id: str, step: Callable[[TaskResult | None], TaskResult | None]) -> None:
        """The step gets a record without values, and leaves them out; or makes one from the id."""
        self.call(lambda store: store.update(task_id, step, load_result=False))

    def settled(self, task_id: str, step: Callable[[TaskResult | None], TaskResult | None]) -> None:
        self.call(lambda store: store.update(task_id, step))

    def created(self, given: list[TaskResult]) -> list[TaskResult]:
        """Store those of which there is no record; returns the others."""
        are_new = self.call(lambda store: store.store_many(given, create=True))
        return [record for record, is_new in zip(given, are_new, strict=True) if not is_new]

    def note(self, task_id: str, event: str, detail: dict[str, Any], at: datetime) -> None:
        """Add an event to the history of a task, which is made if there is none."""
        late = (datetime.now(at.tzinfo) - at).total_seconds()
        if late > self._most_late:
            self._learn_late(late)
        if not self.call(lambda store: store.history.record(task_id, event, detail, at=at)):
            self.created([TaskResult.pending(task_id)])
            self.call(lambda store: store.history.record(task_id, event, detail, at=at))

    def noted(
        self, start: datetime, end: datetime, events: tuple[str, ...], size: int
    ) -> Iterator[list[Transition]]:
        """The events of that time, both ends included, in the order of their times, so many at a time.

        The history is read by the time of recording: to behind ``end`` by as much as any record was late. An
        event is shown once no earlier one can come. So what is kept meanwhile is as long as that, a minute.
        """
        late = timedelta(seconds=self._known_late())
        ready: list[Transition] = []
        for step in self._in_order(start, end, events, late):
            ready.append(step)
            if len(ready) == size:
                yield ready
                ready = []
        if ready:
            yield ready

    def _in_order(
        self, start: datetime, end: datetime, events: tuple[str, ...], late: timedelta
    ) -> Iterator[Transition]:
        kept: list[tuple[datetime, int, Transition]] = []
        numbers, cursor = count(), None
        while True:
            read = partial(_page, start=start, end=end + late, cursor=cursor, events=events)
            page = self.call(read)
            for step in page.items:
                while kept and kept[0][0] <= step.at - late:
                    yield heappop(kept)[2]
                if start <= (at := step.event_at or step.at) <= end:
                    heappush(kept, (at, next(numbers), step))
            cursor = page.next_cursor
            if cursor is None:
                break
        while kept:
            yield heappop(kept)[2]

    def _known_late(self) -> float:
        return float(self.call(lambda store: store.app.data.get(_MOST_LATE, _USUAL)))

    def _learn_late(self, late: float) -> None:
        """Told before the event is stored, so that whoever finds the event has looked far enough."""
        known = self._known_late()
        if late > known:
            self.call(lambda store: store.app.data.set(_MOST_LATE, 2 * late))
            known = 2 * late
        self._most_late = known


def _page(
    store: ResultBackend, *, start: datetime, end: datetime, cursor: str | None, events: tuple[str, ...]
) -> HistoryPage:
    return store.history.page(start, end, limit=_PAGE, cursor=cursor, newest_first=False, events=events)


def _labels(store: ResultBackend, prefix: str) -> Iterator[str]:
    after = None
    while found := store.facets.labels(prefix, limit=1_000, after=after, at_most=1):
        yield from (each.value for each in found if any(each.counts.values()))
        after = found[-1].value
