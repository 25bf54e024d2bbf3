"""What an engine over shards does with each of them: opening, purging, facts, owners elsewhere."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from flowstore import StorageUnavailable
from flowstore.backends.memory.engine import MemoryEngine
from flowstore.engine import (
    ANY_ID,
    EngineWrapper,
    Hints,
    Outcome,
    Owner,
    Query,
    StorageFacts,
    Verdict,
    Write,
    every,
)
from flowstore.testing.faults import EngineFaults
from flowstore.testing.samples import NOW, KeptHints, sample_write
from flowstore.testing.support import EFFORT
from tests.support.sharded import place_among, sharded


class Shard(EngineWrapper):
    """Knows whether it is open, and takes no write that no core makes."""

    def __init__(self, inner: EngineFaults, writable: bool | None = True) -> None:
        super().__init__(inner)
        self.faults = inner
        self.is_open = False
        self._writable = writable

    async def open(self, hints: Hints) -> None:
        await super().open(hints)
        assert not self.is_open
        self.is_open = True

    async def close(self) -> None:
        assert self.is_open
        self.is_open = False
        await super().close()

    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        for write in writes:
            assert (write.entry.body is None) is (write.standing is not None)
            assert write.standing is None or write.if_version
        return await super().write(writes, now)

    async def facts(self) -> StorageFacts:
        return StorageFacts("shard", size=None if self._writable is None else 7, is_writable=self._writable)


def shards(count: int = 4) -> list[Shard]:
    return [Shard(EngineFaults(MemoryEngine())) for _ in range(count)]


async def test_an_open_that_fails_in_one_shard() -> None:
    """The others are closed again, and the next attempt can succeed."""
    some = shards()
    some[2].faults.fail("open", error=StorageUnavailable("away"))
    many = sharded(*some)
    with pytest.raises(StorageUnavailable):
        await many.open(KeptHints())
    assert [shard.is_open for shard in some] == [False] * 4
    await many.open(KeptHints())
    assert [shard.is_open for shard in some] == [True] * 4
    await many.close()


async def test_an_open_that_is_cancelled() -> None:
    """What is open by then is closed, and what is not is not opened later."""
    some = shards()
    some[2].faults.slow("open", delay=3_600)
    many = sharded(*some)
    opening = asyncio.ensure_future(many.open(KeptHints()))
    while not some[3].is_open:  # noqa: ASYNC110  # it is no event of ours
        await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait([opening])
    assert opening.cancelled()
    assert [shard.is_open for shard in some] == [False] * 4


@pytest.mark.parametrize("everything", [True, False])
@pytest.mark.parametrize("seed", range(3 * EFFORT))
async def test_purges_of_any_limit(seed: int, everything: bool) -> None:
    """However the records are spread: never more than the limit, each counted once, and an end."""
    choose = random.Random(seed)
    many = sharded(*shards(choose.choice([1, 3, 16])))
    await many.open(KeptHints())
    kept = 0
    for n in range(choose.randrange(150)):
        expires_at = choose.choice([None, NOW + 5])
        await many.write(
            [sample_write(f"t{n if choose.random() < 0.5 else n // 20}", expires_at=expires_at)], NOW
        )
    kept = sum(entry.expires_at is None for entry in await many.scan(Query(("pending",), 999), NOW))
    total = len(await many.scan(Query(("pending",), 999), NOW))
    removed = steps = 0
    while True:
        limit = choose.choice([1, 2, 5, 50])
        step = await many.purge(limit, NOW + 5, everything=everything)
        assert step.live + step.expired <= limit
        removed += step.live + step.expired
        steps += 1
        if step.is_done:
            break
        assert step.live + step.expired
    assert removed == (total if everything else total - kept)
    assert (await many.count([every()]))[0].total == total - removed
    assert steps <= total + 1


@pytest.mark.parametrize(
    ("writable", "expected"),
    [([True, True], True), ([True, False], False), ([True, None], None), ([None, False], None)],
)
async def test_facts_of_all(writable: list[bool | None], expected: bool | None) -> None:
    """Writable are all or none; what one does not say is not known of all."""
    facts = await sharded(*(Shard(EngineFaults(MemoryEngine()), each) for each in writable)).facts()
    assert facts.is_writable is expected
    assert facts.size == (None if None in writable else 14)


async def test_a_patch_whose_owner_is_elsewhere_and_gone() -> None:
    """It is refused for its owner, and the record stays as it is; one that was applied before is told so."""
    some = shards()
    many = sharded(*some)
    await many.open(KeptHints())
    owner = next(f"o{n}" for n in range(99) if place_among(4, f"o{n}") != place_among(4, "t"))
    await many.write([sample_write("t", token="first")], NOW)
    [standing] = await many.read(["t"])
    assert standing is not None
    patch = sample_write("t", "running", if_version=1, owner=Owner(owner), body=None)
    patch = patch._replace(standing=standing.check)
    assert await many.write([patch], NOW) == [Outcome(Verdict.OWNERLESS)]
    assert await many.read(["t"]) == [standing]
    again = sample_write("t", token="first", owner=Owner(owner))
    assert [outcome.verdict for outcome in await many.write([again], NOW)] == [Verdict.APPLIED]
    assert await many.read(["t"]) == [standing]


async def test_each_store_is_told_once_to_who_watches_all() -> None:
    """Of whichever shard."""
    hints = KeptHints()
    many = sharded(*shards())
    await many.open(hints)
    assert await many.watch([ANY_ID, "t1"], NOW) == [None, None]
    for n in range(20):
        await many.write([sample_write(f"t{n}")], NOW)
    assert sorted(task_id for task_id, _ in hints.told) == sorted(f"t{n}" for n in range(20))
