"""Whether runs are still what was written: each record by itself, and what they say of one another.

The first is what every verification of a namespace does. The rest is about runs: that what belongs to one has
a run, that a dataset has its payloads and claims them, and that somebody claims every payload.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final

from flowstore._core.findings import Finding
from flowstore._core.listing import walk
from flowstore._core.verifying import Progress, Verifier
from flowstore._values.reading import stages_of_attempt
from flowstore.engine import STATUSES, Entry, FlawKind, Query, every
from flowstore.errors import UnreadableRecord
from flowstore.models import MAX_RETRIES
from flowstore.runs.belongings import BATCH, Belongings, children_of
from flowstore.runs.datasets import DatasetInfo, info_of
from flowstore.runs.ids import (
    BLOBS,
    blob_id,
    claim_id,
    claim_of,
    dataset_id,
    datasets_of,
    digest_of,
    group_of,
    kind_of,
    run_of,
)
from flowstore.runs.listing import ids_of_runs
from flowstore.runs.payloads import (
    SHARED,
    claim_again,
    claims,
    is_held,
    release,
    remove_unclaimed,
    scanned,
)

_READ_AT_ONCE: Final = 8
"""Payloads, of a quarter of a MiB each as a rule."""
_SETTLED_AFTER: Final = 60_000_000
"""Microseconds: a claim is written before what it claims."""
_ABANDONED_AFTER: Final = 3_600_000_000
"""Microseconds: a dataset that is still being saved has claims, and no manifest yet."""


class RunVerifier(Verifier):
    """One verification of a run, or of all runs (``run_id`` None)."""

    def __init__(
        self,
        belongings: Belongings,
        run_id: str | None = None,
        *,
        repair: bool = False,
        progress: Progress | None = None,
    ) -> None:
        # Ids of other runs may begin like this one
        is_meant = None if run_id is None else lambda entry_id: run_of(entry_id) == run_id
        super().__init__(belongings.core, run_id or "", repair=repair, progress=progress, is_meant=is_meant)
        self._belongings = belongings
        self._run_id = run_id

    async def findings(self) -> AsyncGenerator[Finding, None]:
        async for finding in super().findings():
            yield finding
        if self._run_id is not None:
            async for finding in self._of_run(self._run_id):
                yield finding
            return
        async for run_ids in ids_of_runs(self._belongings.core, None):
            for run_id in run_ids:
                async for finding in self._of_run(run_id):
                    yield finding
        async for finding in self._of_no_run():
            yield finding
        async for finding in self._unclaimed():
            yield finding

    async def _of_run(self, run_id: str) -> AsyncIterator[Finding]:
        """What its datasets and claims say of one another; nothing if it is being removed meanwhile."""
        found = [finding async for finding in self._found_in(run_id)]
        if found and await self._is_staying(run_id):
            for finding in found:
                yield finding

    async def _is_staying(self, run_id: str) -> bool:
        [entry] = await self._belongings.read([run_id], with_body=False)
        return entry is not None and entry.stage < stages_of_attempt(MAX_RETRIES)[0]

    async def _found_in(self, run_id: str) -> AsyncIterator[Finding]:
        datasets = {dataset.token: dataset async for dataset in self._datasets(run_id)}
        abandoned: set[str] = set()
        claimed: set[tuple[str, str]] = set()
        async for entries in claims(self._belongings, run_id):
            there = await self._are_there([blob_id(claim_of(entry.id)[1]) for entry in entries])
            for entry, is_there in zip(entries, there, strict=True):
                token, digest = claim_of(entry.id)
                if is_held(entry):
                    claimed.add((token, digest))
                if not is_held(entry) or (token not in datasets and token != SHARED):
                    if not self._is_fresh(entry, _ABANDONED_AFTER):
                        abandoned.add(token)
                elif not is_there and not self._is_fresh(entry, _SETTLED_AFTER):
                    yield _finding(FlawKind.MISSING, entry.id, "payload", f"{digest} is not there")
            if self._run_id is not None:  # else payloads are read like all records
                async for finding in self._damaged([claim_of(entry.id)[1] for entry in entries]):
                    yield finding
        for token in abandoned:
            if self._is_repairing:
                await release(self._belongings, run_id, [token])
            reason = "they claim payloads for what was never saved to its end, or was given up"
            yield _finding(FlawKind.ORPHANED, run_id, f"claims {token}", reason, self._is_repairing)
        for dataset in datasets.values():
            lost = [digest for digest, _ in dataset.chunks if (dataset.token, digest) not in claimed]
            if lost and await self._still_stands(run_id, dataset):
                for digest in dict.fromkeys(lost):
                    yield await self._not_claimed(run_id, dataset, digest)

    async def _damaged(self, digests: Sequence[str]) -> AsyncIterator[Finding]:
        """Those of the payloads that are not what was written."""
        for start in range(0, len(digests), _READ_AT_ONCE):
            some = [blob_id(digest) for digest in digests[start : start + _READ_AT_ONCE]]
            found = await self._belongings.read(some)
            for entry in filter(None, found):
                try:
                    self._belongings.core.records.decode(entry)
                except UnreadableRecord as error:
                    yield _finding(FlawKind.DAMAGED, entry.id, "payload", error.reason)

    def _is_fresh(self, entry: Entry, age: int) -> bool:
        return entry.updated_at + age > self._belongings.core.clock()

    async def _still_stands(self, run_id: str, dataset: DatasetInfo) -> bool:
        """Not if another one has been saved in its place meanwhile."""
        return dataset.token in {each.token async for each in self._datasets(run_id)}

    async def _datasets(self, run_id: str) -> AsyncIterator[DatasetInfo]:
        """Those that can be read; the others are findings already."""
        core = self._belongings.core
        async for entries in walk(core, children_of(datasets_of(run_id))):
            for entry in entries:
                try:
                    yield info_of(core.records.decode(entry))
                except UnreadableRecord:
                    continue

    async def _not_claimed(self, run_id: str, dataset: DatasetInfo, digest: str) -> Finding:
        entry_id = dataset_id(run_id, dataset.name)
        if not (await self._are_there([blob_id(digest)]))[0]:
            return _finding(FlawKind.MISSING, entry_id, "payload", f"{digest} is not there")
        if self._is_repairing:
            await claim_again(self._belongings, claim_id(run_id, dataset.token, digest))
        reason = f"nothing claims {digest} for this dataset"
        return _finding(FlawKind.MISSING, entry_id, "claim", reason, self._is_repairing)

    async def _are_there(self, ids: Sequence[str]) -> list[bool]:
        return [entry is not None for entry in await self._belongings.read(ids, with_body=False)]

    async def _of_no_run(self) -> AsyncIterator[Finding]:
        """Nobody knows what became of the run; so what is left of it stays, for whoever wants to look."""
        async for entries in self._everything():
            owners = {
                entry.id: run_of(entry.id) for entry in entries if kind_of(entry.id) not in ("", "blob")
            }
            runs = sorted(set(owners.values()))
            there = dict(zip(runs, await self._are_there(runs), strict=True))
            lost = [entry_id for entry_id, run_id in owners.items() if not there[run_id]]
            # Its run may have been removed after it was listed, and it with it
            for entry_id, is_left in zip(lost, await self._are_there(lost), strict=True):
                if is_left:
                    run_id = owners[entry_id]
                    yield _finding(FlawKind.ORPHANED, entry_id, "run", f"there is no run {run_id!r}")

    def _everything(self) -> AsyncIterator[list[Entry]]:
        return scanned(self._belongings, Query(STATUSES, BATCH, with_body=False))

    async def _unclaimed(self) -> AsyncIterator[Finding]:
        core = self._belongings.core
        async for entries in scanned(self._belongings, Query(STATUSES, BATCH, ((BLOBS,),), with_body=False)):
            async with core.life:
                counts = await core.engine.count([every(group_of(entry.id)) for entry in entries])
            for entry, count in zip(entries, counts, strict=True):
                if not count.total and not self._is_fresh(entry, _ABANDONED_AFTER):
                    is_gone = self._is_repairing and await remove_unclaimed(
                        self._belongings, [digest_of(entry.id)]
                    )
                    yield _finding(FlawKind.ORPHANED, entry.id, "payload", "no run has it", bool(is_gone))


def _finding(kind: FlawKind, entry_id: str, where: str, reason: str, is_repaired: bool = False) -> Finding:
    return Finding(kind=kind, task_id=entry_id, where=where, reason=reason, is_repaired=is_repaired)
