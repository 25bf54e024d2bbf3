"""How many bytes runs take: the lengths of what is stored, summed over indexes. No payload is read."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import replace

from flowstore._core.keeping import Keeping
from flowstore._core.listing import walk
from flowstore.engine import Entry, Section
from flowstore.fields import Record
from flowstore.runs.belongings import Belongings, children_of
from flowstore.runs.ids import blob_id, claim_of, datasets_of, evaluations_of
from flowstore.runs.payloads import claims


class RunSize(Record):
    """Bytes as stored, compressed where they are: of the values, without errors, indexes and ids.

    ``config``: configs and results of the runs themselves. ``payloads``: chunks of datasets and shared
    values; one that several runs share is counted once.
    """

    config: int = 0
    records: int = 0
    evaluations: int = 0
    checkpoints: int = 0
    payloads: int = 0

    @property
    def total(self) -> int:
        return self.config + self.records + self.evaluations + self.checkpoints + self.payloads


async def size_of(belongings: Belongings, run_ids: AsyncIterable[str]) -> RunSize:
    config = records = evaluations = checkpoints = payloads = 0
    counted: set[str] = set()
    async for run_id in run_ids:
        config += await _sum_of(belongings, [run_id])
        records += await _sum_below(belongings, run_id)
        evaluations += await _evaluations(belongings, run_id)
        checkpoints += sum(
            len(item.value) for item in await Keeping(belongings.core, Section.CHECKPOINT).kept(run_id)
        )
        payloads += await _sum_below(belongings, datasets_of(run_id))
        async for found in claims(belongings, run_id):
            new = {claim_of(each.id)[1] for each in found} - counted
            counted |= new
            payloads += await _sum_of(belongings, [blob_id(digest) for digest in new])
    return RunSize(
        config=config, records=records, evaluations=evaluations, checkpoints=checkpoints, payloads=payloads
    )


async def _evaluations(belongings: Belongings, run_id: str) -> int:
    size = 0
    async for entries in _measured(belongings, evaluations_of(run_id)):
        size += _size(belongings, entries)
        for entry in entries:
            size += await _sum_below(belongings, entry.id)
    return size


async def _sum_below(belongings: Belongings, parent: str) -> int:
    return sum([_size(belongings, entries) async for entries in _measured(belongings, parent)])


def _measured(belongings: Belongings, parent: str) -> AsyncIterator[list[Entry]]:
    return walk(belongings.core, replace(children_of(parent), max_body=0))


async def _sum_of(belongings: Belongings, ids: list[str]) -> int:
    core = belongings.core
    async with core.life:
        entries = await core.engine.read(ids, max_body=0)
    return _size(belongings, core.live(entries))


def _size(belongings: Belongings, entries: list[Entry]) -> int:
    """Of heads and bodies, an empty one of which is two bytes."""
    cut = belongings.core.records.cut
    size = 0
    for entry in entries:
        entry = cut(entry, 0)
        body = entry.body or b""
        size += (len(body) if entry.body_size is None else entry.body_size) - len(b"{}")
    return size
