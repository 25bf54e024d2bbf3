"""Copies from one store into another: each has a backend in an event loop of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from anyio import to_thread

from flowstore._dumping.copying import Received, Receiver
from flowstore._dumping.lines import Dumped
from flowstore._dumping.outcomes import OnConflict
from flowstore.features.archive import Archive
from flowstore.features.archive import Destination as AsyncDestination
from flowstore.runs.archive import RunsArchive
from flowstore.runs.archive import RunsDestination as AsyncRunsDestination
from flowstore.sync.faces import Face


class Destination(Protocol):
    """A store to copy into."""

    @property
    def archive(self) -> Face[Archive]: ...


class RunsDestination(Protocol):
    """The runs of a store to copy into."""

    @property
    def archive(self) -> Face[RunsArchive]: ...


class _Across:
    """What receives for another store, as an asynchronous archive asks for it. It is its own archive."""

    def __init__(self, other: Face[Any], receiver: Callable[[], Receiver]) -> None:
        self._other = other
        self._its = receiver

    @property
    def archive(self) -> _Across:
        return self

    async def receive(self, batch: Sequence[Dumped], on_conflict: OnConflict) -> Received:
        async def work() -> Received:  # all of it in the loop of the other store
            return await self._its().receive(batch, on_conflict)

        return await to_thread.run_sync(lambda: self._other._link.run(work()))


class _Tasks(_Across):
    @property
    def _receiver(self) -> Receiver:
        return self


class _Runs(_Across):
    @property
    def _runs_receiver(self) -> Receiver:
        return self


def across(other: Destination) -> AsyncDestination:
    """Where an asynchronous archive copies to instead: what it sends hops to the loop of the other store."""
    archive = getattr(other, "archive", None)
    if not isinstance(archive, Face) or not isinstance(archive._its, Archive):
        raise TypeError(f"other: expected a store of flowstore.sync, got {type(other).__name__}")
    return cast(AsyncDestination, _Tasks(archive, lambda: archive._its._receiver))


def runs_across(other: RunsDestination) -> AsyncRunsDestination:
    """The same for runs."""
    archive = getattr(other, "archive", None)
    if not isinstance(archive, Face) or not isinstance(archive._its, RunsArchive):
        raise TypeError(f"other: expected the runs of a store of flowstore.sync, got {type(other).__name__}")
    return cast(AsyncRunsDestination, _Runs(archive, lambda: archive._its._runs_receiver))
