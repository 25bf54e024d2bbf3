"""Payloads: values that several runs have in common, stored once under the hash of their content.

Who uses a payload has a claim on it: an entry of its own, a child of the payload, so that counting claims is
counting the children. There is no counter that a crash could leave wrong. Two rules keep a payload that is
needed, whoever else comes and goes at the same time:

- A claim is written before its payload is, and the payload always is, even where it stands already. So its
  version changes after the claim is there.
- A payload is removed only in the version that was read before its claims were counted, as none.

A claim that is late for the count is thus followed by a write that either keeps the removal from happening or
stores the payload anew.

A claim is given up before it is removed, which comes after the payload: whoever was interrupted in between,
and tries again, finds it.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import replace
from typing import Any, Final

from flowstore._core.core import steps
from flowstore._core.viewing import View
from flowstore.engine import Entry, Owner, Query, Standing, Verdict, Write
from flowstore.errors import UnknownDataset, UnknownRun
from flowstore.models import TaskStatus
from flowstore.runs.belongings import BATCH, Belongings, standing_run
from flowstore.runs.ids import BLOBS, blob_id, check_run, claim_id, claim_of, claims_of, group_of, run_of
from flowstore.text import check_text

SHARED: Final = "shared"
"""The token of the claims that ``share`` makes."""
_HELD: Final = TaskStatus.SUCCESS
_GIVEN_UP: Final = TaskStatus.CANCELLED


async def claim(belongings: Belongings, run_id: str, token: str, bodies: Sequence[bytes]) -> list[str]:
    """Store encoded values for a run; their digests. Raises UnknownRun."""
    digests = [hashlib.sha256(body).hexdigest() for body in bodies]
    owner = standing_run(run_id)
    ids = [claim_id(run_id, token, digest) for digest in digests]
    outcomes = await belongings.write([_claim(belongings, each, _HELD, owner) for each in ids])
    if any(outcome.verdict is Verdict.OWNERLESS for outcome in outcomes):
        raise UnknownRun(run_id)
    payloads = [
        belongings.written(blob_id(digest), None, None, owner=None, facets=(BLOBS,), body=body)
        for digest, body in zip(digests, bodies, strict=True)
    ]
    await belongings.write(payloads)
    return digests


def _claim(belongings: Belongings, claim: str, status: TaskStatus, owner: Owner) -> Write:
    _, digest = claim_of(claim)
    facets = (claims_of(run_of(claim)),)
    return belongings.written(
        claim, blob_id(digest), None, owner=owner, status=status, facets=facets, body=b"{}"
    )


async def claim_again(belongings: Belongings, claim: str) -> None:
    """Write a claim that was lost, of a payload that is there. Nothing if its run is not."""
    await belongings.write([_claim(belongings, claim, _HELD, standing_run(run_of(claim)))])


async def share(belongings: Belongings, run_id: str, value: Any) -> str:
    check_run(run_id)
    codec = belongings.core.records.codec
    [digest] = await claim(belongings, run_id, SHARED, [codec.encode_fields({"result": value})])
    return digest


async def shared(belongings: Belongings, digest: str, view: View) -> Any:
    [entry] = await belongings.read([blob_id(check_text("digest", digest))])
    if entry is None:
        raise UnknownDataset(digest)
    return view.decoded(belongings.core, entry).result


async def claims(belongings: Belongings, run_id: str, token: str | None = None) -> AsyncIterator[list[str]]:
    """The ids of the claims of a run, or of those with a token, in steps."""
    async for entries in all_claims(belongings, run_id):
        found = [entry.id for entry in entries]
        yield [each for each in found if token is None or claim_of(each)[0] == token]


async def all_claims(belongings: Belongings, run_id: str) -> AsyncIterator[list[Entry]]:
    """Those that were given up as well, and should be gone."""
    query = Query((_HELD, _GIVEN_UP), BATCH, ((claims_of(run_id),),), with_body=False)
    async for entries in scanned(belongings, query):
        yield entries


def is_held(claim: Entry) -> bool:
    return claim.status == _HELD


async def held(belongings: Belongings, run_id: str) -> AsyncIterator[tuple[list[Entry], list[str]]]:
    """The claims of a run that were not given up, in steps, and the digests of what they claim."""
    query = Query((_HELD,), BATCH, ((claims_of(run_id),),), newest_first=False)
    async for entries in scanned(belongings, query):
        yield entries, [claim_of(entry.id)[1] for entry in entries]


async def scanned(belongings: Belongings, query: Query) -> AsyncIterator[list[Entry]]:
    """The entries of a query in steps, each a call of its own."""
    core = belongings.core
    while True:
        async with core.life:
            entries = await core.engine.scan(query, core.clock())
        if entries:
            yield entries
        if len(entries) < query.limit:
            return
        query = replace(query, after=entries[-1].position)


async def release(belongings: Belongings, run_id: str, token: str | None = None) -> None:
    """Give up the claims of a run, or of those with a token, and the payloads that nobody else claims."""
    core = belongings.core
    owner = Owner(run_id)  # in whatever state, but somebody else may have removed it together with the claims
    async for found in claims(belongings, run_id, token):
        await belongings.write([_claim(belongings, each, _GIVEN_UP, owner) for each in found])
        await remove_unclaimed(belongings, {claim_of(each)[1] for each in found})
        async with core.life:
            for step in steps(found):
                await core.engine.remove(step, core.clock())


async def remove_unclaimed(belongings: Belongings, digests: Collection[str]) -> int:
    """Remove those of the payloads that nobody claims; how many."""
    removed = 0
    core = belongings.core
    for step in steps([blob_id(digest) for digest in digests]):
        # The order matters: see above.
        entries = [entry for entry in await belongings.read(step, with_body=False) if entry is not None]
        if not entries:
            continue
        async with core.life:
            counts = await core.engine.count([group_of(entry.id) for entry in entries])
            free = [entry for entry, each in zip(entries, counts, strict=True) if not each.get(_HELD)]
            if free:
                standing = [Standing(entry.version, entry.check) for entry in free]
                ids = [entry.id for entry in free]
                removed += sum(await core.engine.remove(ids, core.clock(), standing))
    return removed
