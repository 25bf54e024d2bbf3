"""From one storage into another, without a file between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from hashlib import sha256
from typing import NamedTuple, Protocol

from flowstore._core.core import Core
from flowstore._dumping.exporting import Progress
from flowstore._dumping.lines import Dumped, line_of
from flowstore._dumping.outcomes import Copied, OnConflict, Tally
from flowstore._dumping.reading import Source, read_again, records_of
from flowstore._dumping.restoring import Restore, restore


class Received(NamedTuple):
    """``tally``: of one batch. ``lines``: those of its records that are there now, by their ids."""

    tally: Tally
    lines: dict[str, bytes]


class Receiver(Protocol):
    """Where copies go, in whatever event loop that is."""

    async def receive(self, batch: Sequence[Dumped], on_conflict: OnConflict) -> Received:
        """Restore the records, and read again those that are there then."""


class CoreReceiver:
    """A storage of the same event loop. ``shown``: as in Source."""

    def __init__(
        self,
        core: Core,
        restoring: Restore = restore,
        shown: Callable[[Dumped], Dumped] = lambda dumped: dumped,
    ) -> None:
        self._core = core
        self._restore = restoring
        self._shown = shown

    async def receive(self, batch: Sequence[Dumped], on_conflict: OnConflict) -> Received:
        tally = Tally()
        there = await self._restore(self._core, batch, on_conflict, tally)
        found = await read_again(self._core, there)
        read = {each: self._shown(dumped) for each, dumped in found.items()}
        return Received(tally, {each: line_of(read[each]) if each in read else b"" for each in there})


async def copy(
    core: Core, source: Source, to: Receiver, on_conflict: OnConflict, progress: Progress | None = None
) -> Copied:
    """Copy the records of ``source``, in its order. What was copied is read again, and compared.

    A copy that was interrupted is completed by another one: what is there already is left alone.
    """
    tally, done = Tally(), 0
    read, copied = sha256(), sha256()
    async with aclosing(records_of(core, source)) as batches:
        async for batch in batches:
            received = await to.receive(batch, on_conflict)
            tally.add(received.tally)
            for each in batch:
                if (line := received.lines.get(each.id)) is not None:
                    read.update(line_of(each._replace(unreadable=())))
                    copied.update(line)
            done += len(batch)
            if progress is not None:
                progress(done)
    return tally.copied(read.hexdigest(), copied.hexdigest())
