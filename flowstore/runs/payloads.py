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

import asyncio
import hashlib
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import replace
from typing import Any, Final

from flowstore._core.core import steps
from flowstore._core.viewing import View
from flowstore.engine import Entry, Owner, Query, Standing, Verdict, Write, every
from flowstore.errors import NotSerializable, UnknownDataset
from flowstore.models import TaskStatus
from flowstore.runs.belongings import BATCH, Belongings, standing_run
from flowstore.runs.ids import (
    BLOBS,
    as_said,
    blob_id,
    check_run,
    claim_id,
    claim_of,
    claims_of,
    group_of,
    run_of,
)
from flowstore.runs.life import refusal
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
        raise await refusal(belongings.core, run_id)
    payloads = [
        belongings.written(blob_id(digest), None, None, owner=None, facets=(BLOBS,), body=body)
        for digest, body in zip(digests, bodies, strict=True)
    ]
    await belongings.write(payloads)
    return digests


def _claim(
    belongings: Belongings, claim: str, status: TaskStatus, owner: Owner, if_version: int | None = None
) -> Write:
    _, digest = claim_of(claim)
    facets = (claims_of(run_of(claim)),)
    return belongings.written(
        claim,
        blob_id(digest),
        None,
        owner=owner,
        status=status,
        if_version=if_version,
        facets=facets,
        body=b"{}",
    )


async def claim_again(belongings: Belongings, claim: str) -> None:
    """Write a claim that was lost, of a payload that is there. Nothing if its run is not."""
    await belongings.write([_claim(belongings, claim, _HELD, standing_run(run_of(claim)))])


async def share(belongings: Belongings, run_id: str, value: Any) -> str:
    check_run(run_id)
    codec = belongings.core.records.codec
    try:
        body = codec.encode_fields({"result": value})
    except NotSerializable as error:
        raise as_said(error, "value", "result") from None
    [digest] = await claim(belongings, run_id, SHARED, [body])
    return digest


async def shared(belongings: Belongings, digest: str, view: View) -> Any:
    [entry] = await belongings.read([blob_id(check_text("digest", digest))])
    if entry is None:
        raise UnknownDataset(digest)
    return view.decoded(belongings.core, entry).result


async def claims(
    belongings: Belongings, run_id: str, tokens: Collection[str] | None = None
) -> AsyncIterator[list[Entry]]:
    """The claims of a run, or of those with a token, in steps."""
    query = Query((_HELD, _GIVEN_UP), BATCH, ((claims_of(run_id),),), with_body=False)
    async for entries in scanned(belongings, query):
        yield [entry for entry in entries if tokens is None or claim_of(entry.id)[0] in tokens]


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
        await asyncio.sleep(0)  # as in ``walk``


async def release(
    belongings: Belongings,
    run_id: str,
    tokens: Collection[str] | None = None,
    owner: Owner | None = None,
) -> None:
    """Give up the claims of a run, or of those with a token, and the payloads that nobody else claims.

    ``owner``: the state in which the run has to stand; None: any. It ends once no such claim is left, or the
    run is not there any more.
    """
    owner = Owner(run_id) if owner is None else owner
    is_done = False
    while not is_done:
        is_done = True
        async for found in claims(belongings, run_id, tokens):
            given_up = await _give_up(belongings, found, owner)
            if given_up is None:
                return
            is_done &= len(given_up) == len(found)
            await remove_unclaimed(belongings, {claim_of(each)[1] for each in given_up})
            await belongings.remove([*given_up], [*given_up.values()])


async def _give_up(
    belongings: Belongings, found: Sequence[Entry], owner: Owner
) -> dict[str, Standing] | None:
    """Those that are given up now, and as what they stand; None: their owner is gone.

    Left out are those that somebody else has changed since they were read. Nothing else may be done to a
    claim: it may be one of the next run of that id by now.
    """
    given_up = {
        entry.id: Standing(entry.version, entry.check) for entry in found if entry.status == _GIVEN_UP
    }
    held = [entry for entry in found if entry.id not in given_up]
    writes = [_claim(belongings, entry.id, _GIVEN_UP, owner, entry.version) for entry in held]
    for entry, write, outcome in zip(held, writes, await belongings.write(writes), strict=True):
        if outcome.verdict is Verdict.OWNERLESS:
            return None
        if outcome.is_applied:
            given_up[entry.id] = Standing(entry.version + 1, write.entry.check)
    return given_up


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
            counts = await core.engine.count([every(group_of(entry.id)) for entry in entries])
        free = [entry for entry, each in zip(entries, counts, strict=True) if not each.counts.get(_HELD)]
        standing = [Standing(entry.version, entry.check) for entry in free]
        removed += await belongings.remove([entry.id for entry in free], standing)
    return removed
