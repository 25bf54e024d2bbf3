"""The contract of a write that needs another record: its owner."""

from __future__ import annotations

import asyncio
from typing import Any

from flowstore.engine import (
    ANY_STAGE,
    APPLIED,
    Engine,
    Entry,
    Expiry,
    Logged,
    Outcome,
    Owner,
    Section,
    Verdict,
    Write,
)
from flowstore.testing.engine_contract.base import (
    EngineContractBase,
    expiring,
    found,
    items_of,
    listed,
    read_one,
    store,
    stored,
)
from flowstore.testing.samples import NOW, sample_write

OPEN = Owner("run", is_open=True)


def owned(task_id: str, owner: Owner = OPEN, **changes: Any) -> Write:
    return sample_write(task_id, owner=owner, **changes)


def ownerless(version: int = 0) -> Outcome:
    return Outcome(Verdict.OWNERLESS, version)


async def write_one(engine: Engine, write: Write, now: int = NOW) -> Outcome:
    [outcome] = await engine.write([write], now)
    return outcome


class OwnedContract(EngineContractBase):
    async def test_an_owner_has_to_be_there(self, engine: Engine) -> None:
        """Otherwise nothing is written; in whatever state it is, if nothing else is asked for."""
        write = owned("t", Owner("run"), facets=("f",), logged=Logged(b"v", 1))
        assert await write_one(engine, write) == ownerless()
        assert await read_one(engine, "t") is None
        assert await listed(engine, ["f"]) == []
        for n, status in enumerate(("pending", "running", "success", "cancelled"), 1):
            await stored(engine, sample_write("run", status, ceiling=ANY_STAGE))
            await stored(engine, owned("t", Owner("run"), facets=("f",)))
            assert (await found(engine, "t")).version == n
        await engine.remove(["run"], NOW)
        assert await write_one(engine, owned("t", Owner("run"))) == ownerless()
        assert (await found(engine, "t")).version == 4
        assert await listed(engine, ["f"]) == ["t"]

    async def test_an_owner_that_has_to_be_open(self, engine: Engine) -> None:
        """One that has finished is none, whichever way; its version is told."""
        for n, status in enumerate(("pending", "running", "retrying"), 1):
            await stored(engine, sample_write("run", status, ceiling=ANY_STAGE))
            await stored(engine, owned(f"t{n}"))
        for n, status in enumerate(("success", "failed", "cancelled"), 4):
            await stored(engine, sample_write("run", status, ceiling=ANY_STAGE))
            assert await write_one(engine, owned("t")) == ownerless(n)
        assert await read_one(engine, "t") is None
        await stored(engine, sample_write("run", "running", ceiling=ANY_STAGE), owned("t"))

    async def test_the_stage_of_an_owner(self, engine: Engine) -> None:
        """Both bounds are included, up to the highest stage there is."""
        for stage in (0, 5, ANY_STAGE):
            await stored(engine, sample_write("run", stage=stage, ceiling=ANY_STAGE))
            version = (await found(engine, "run")).version
            for lowest, highest in ((stage, stage), (0, stage), (stage, ANY_STAGE), (0, ANY_STAGE)):
                await stored(engine, owned("t", Owner("run", lowest, highest)))
            wrong = [(stage + 1, stage + 9)] * (stage < ANY_STAGE) + [(0, stage - 1)] * (stage > 0)
            for lowest, highest in wrong:
                lost = owned("t", Owner("run", lowest, highest))
                assert await write_one(engine, lost) == ownerless(version)

    async def test_an_expired_owner_is_absent(self, engine: Engine) -> None:
        """From the very moment of its expiry, which may have been put off; before that it is not."""
        await stored(engine, expiring("run", NOW + 2), expiring("other", NOW + 2))
        await engine.expire([Expiry("other", NOW + 3, 1, 1, 1234)], NOW)
        await stored(engine, owned("t"), owned("u", Owner("other")), now=NOW + 1)
        assert await write_one(engine, owned("t"), NOW + 2) == ownerless()
        await stored(engine, owned("u", Owner("other")), now=NOW + 2)
        await store(engine, "run", now=NOW + 2)
        await stored(engine, owned("t"), now=NOW + 2)

    async def test_the_owner_is_judged_before_the_guard(self, engine: Engine) -> None:
        """And before fixed facets; one that stands takes nothing from either."""
        await stored(engine, sample_write("t", "success", fixed=("x",)))
        lost = [owned("t"), owned("t", if_version=7), owned("t", if_version=1, fixed=("y",))]
        assert await engine.write(lost, NOW) == [ownerless()] * 3
        await store(engine, "run")
        assert await engine.write([write._replace(token=f"{n}") for n, write in enumerate(lost)], NOW) == [
            Outcome(Verdict.STANDING, 1),
            Outcome(Verdict.STANDING, 1),
            Outcome(Verdict.FIXED, 1, fixed=("x",)),
        ]
        before = await found(engine, "t")
        patch = owned("t", if_version=1, fixed=("x",))
        patch = patch._replace(entry=patch.entry._replace(body=None), standing=before.check)
        assert await write_one(engine, patch) == APPLIED
        assert await found(engine, "t") == patch.entry._replace(version=2, body=before.body)

    async def test_an_owner_that_is_written_in_the_same_call(self, engine: Engine) -> None:
        """What the items before have left counts: made, finished, reopened, expired, refused."""
        writes = [
            owned("a"),
            sample_write("run"),
            owned("b"),
            sample_write("run", "success"),
            owned("c"),
            sample_write("run", "running"),
            owned("d"),
            sample_write("run", "running", stage=5, ceiling=4),
            owned("e", Owner("run", 5, 5)),
            owned("f", Owner("run", 0, 4)),
            expiring("run", NOW, stage=6),
            owned("g"),
        ]
        expected = [ownerless(), APPLIED, APPLIED, APPLIED, ownerless(2), Outcome(Verdict.STANDING, 2)]
        expected += [ownerless(2), APPLIED, APPLIED, ownerless(3), APPLIED, ownerless()]
        assert await engine.write(writes, NOW) == expected
        assert [entry and entry.version for entry in await engine.read([*"abcdefg"])] == [
            *(None, 1, None, None, 1, None, None)
        ]

    async def test_owners_among_the_owned(self, engine: Engine) -> None:
        """An owner may have an owner, and a record be its own: it is judged by what stood before."""
        chain = [sample_write("0"), *(owned(f"{n}", Owner(f"{n - 1}")) for n in range(1, 5))]
        assert await engine.write([*reversed(chain[1:]), chain[0]], NOW) == [ownerless()] * 4 + [APPLIED]
        await stored(engine, *(write._replace(token=f"again {n}") for n, write in enumerate(chain)))
        own = Owner("own", 0, 0, is_open=True)
        assert await write_one(engine, owned("own", own)) == ownerless()
        await stored(engine, sample_write("own"), owned("own", own, status="success"))
        assert await write_one(engine, owned("own", own, status="success", ceiling=9)) == ownerless(2)

    async def test_many_owned_in_one_call(self, engine: Engine) -> None:
        """By one owner or by one each, of several states, with all that comes with a write."""
        await stored(engine, sample_write("run"), *(sample_write(f"run{n}") for n in range(0, 200, 2)))
        writes = []
        for n in range(200):
            changes: dict[str, Any] = {"facets": ("f",), "fixed": ("p",), "logged": Logged(b"v", 1)}
            at = NOW + 5 + n if n % 3 else None
            writes += [owned(f"a{n}", expires_at=at, **changes), owned(f"b{n}", Owner(f"run{n}"), **changes)]
        outcomes = await engine.write(writes, NOW)
        assert outcomes[::2] == [APPLIED] * 200
        assert outcomes[1::2] == [APPLIED, ownerless()] * 100
        assert await listed(engine, ["f"], limit=500) == await listed(engine, ["p"], limit=500)
        assert len(await listed(engine, ["f"], limit=500)) == 300
        assert (await found(engine, "a7")).expires_at == NOW + 12
        assert [item.value for item in await items_of(engine, "b8", Section.HISTORY)] == [b"v"]

    async def test_nothing_is_stored_for_an_owner_that_has_finished(
        self, engine: Engine, other: Engine
    ) -> None:
        """Whoever finishes it meanwhile: once that has returned, no write on its way is applied any more."""

        async def finished(run: str) -> list[Entry | None]:
            await stored(other, sample_write(run, "success"))
            return await other.read(ids_of(run))

        def ids_of(run: str) -> list[str]:
            return [f"{run}{self.separator}{name}" for name in "ab"]

        for n in range(20):
            run = f"run{n}"
            await store(engine, run)
            writes = [owned(each, Owner(run, is_open=True)) for each in ids_of(run)]
            outcomes, seen = await asyncio.gather(engine.write(writes, NOW), finished(run))
            assert [each is not None for each in seen] == [each.is_applied for each in outcomes]
            assert await engine.read(ids_of(run)) == seen
            assert await write_one(engine, owned("late", Owner(run, is_open=True))) == ownerless(2)
