"""Copies from one store into another: each has a backend in an event loop of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

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
    """The receiver of another store, as an asynchronous archive asks for it."""

    def __init__(self, other: Face[Archive] | Face[RunsArchive]) -> None:
        self._other = other

    @property
    def archive(self) -> _Across:
        return self

    @property
    def _receiver(self) -> Receiver:
        return self

    async def receive(self, batch: Sequence[Dumped], on_conflict: OnConflict) -> Received:
        receiver = self._other._its._receiver
        work = receiver.receive(batch, on_conflict)
        return await to_thread.run_sync(self._other._link.run, work)


def across(other: Destination) -> AsyncDestination:
    """Where an asynchronous archive copies to instead: what it sends hops to the loop of the other store."""
    return cast(AsyncDestination, _across(other, "a store"))


def runs_across(other: RunsDestination) -> AsyncRunsDestination:
    """The same for runs."""
    return cast(AsyncRunsDestination, _across(other, "the runs of a store"))


def _across(other: object, expected: str) -> _Across:
    archive = getattr(other, "archive", None)
    if not isinstance(archive, Face):
        raise TypeError(f"other: expected {expected} of flowstore.sync, got {type(other).__name__}")
    return _Across(archive)
