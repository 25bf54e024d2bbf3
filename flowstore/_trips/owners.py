"""Writes whose owners are in other shards: looked at first, in a trip before that of the writes."""

from __future__ import annotations

from collections.abc import Sequence

from flowstore._trips.shards import Shards
from flowstore.engine import ANY_STAGE, Entry, Outcome, Owner, Verdict, Write


async def write_step(shards: Shards, writes: Sequence[Write], now: int) -> list[Outcome]:
    """Carry out writes of which none depends on how another one ends."""
    ids = [write.entry.id for write in writes]
    refused = await _ownerless(shards, writes, now)
    decided = [
        _decided(shards, write, is_refused=refusal is not None)
        for write, refusal in zip(writes, refused, strict=True)
    ]
    outcomes = await shards.written(decided, ids, lambda shard, some: shard.write(some, now))
    return [
        refusal if refusal is not None and outcome.verdict is Verdict.STANDING else outcome
        for refusal, outcome in zip(refused, outcomes, strict=True)
    ]


def _foreign_owner(shards: Shards, write: Write) -> Owner | None:
    owner = write.owner
    return None if owner is None or shards.place(owner.id) == shards.place(write.entry.id) else owner


def _decided(shards: Shards, write: Write, *, is_refused: bool) -> Write:
    """The write as its own shard decides it.

    One that is refused is sent all the same, in a way that it cannot be applied: only its shard knows whether
    it has been applied before.
    """
    if is_refused:
        return write._replace(owner=None, if_version=ANY_STAGE)
    return write if _foreign_owner(shards, write) is None else write._replace(owner=None)


async def _ownerless(shards: Shards, writes: Sequence[Write], now: int) -> list[Outcome | None]:
    """For each write whose owner is in another shard, and not as it has to be, why it is refused."""
    owners = [_foreign_owner(shards, write) for write in writes]
    ids = list({owner.id for owner in owners if owner is not None})
    if not ids:
        return [None] * len(writes)
    found = await shards.divided(ids, ids, lambda shard, some: shard.read(some, with_body=False))
    standing = dict(zip(ids, found, strict=True))
    return [None if owner is None else _refusal(owner, standing[owner.id], now) for owner in owners]


def _refusal(owner: Owner, standing: Entry | None, now: int) -> Outcome | None:
    if standing is None or not standing.status or standing.is_expired(now):
        return Outcome(Verdict.OWNERLESS)
    is_met = owner.admits(standing.status, standing.stage)
    return None if is_met else Outcome(Verdict.OWNERLESS, standing.version)
