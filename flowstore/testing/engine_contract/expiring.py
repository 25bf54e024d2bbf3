"""The contract of expire: the expiry of a record changes, and nothing else."""

from __future__ import annotations

from flowstore.engine import STATUSES, Change, Engine, Expiry, Logged, Purged, Section
from flowstore.testing.engine_contract.base import (
    EngineContractBase,
    expiring,
    found,
    items_of,
    listed,
    put_one,
    read_one,
    store,
    stored,
    timeline,
)
from flowstore.testing.samples import NOW, SECOND, KeptHints, sample_write

UNTIL = NOW + 3_600 * SECOND
CHECK = 1234
"""Of a sample entry."""


def changed(task_id: str, expires_at: int | None, check: int = CHECK, version: int = 1) -> Expiry:
    """The expiry of a sample record whose check stays as it is."""
    return Expiry(task_id, expires_at, check, version, check)


class ExpiryContract(EngineContractBase):
    async def test_expire_changes_nothing_else(self, engine: Engine) -> None:
        """In any status: version, times, values, listings, items and history are those from before."""
        for status in STATUSES:
            write = sample_write(
                status, status, facets=("x",), fixed=("y",), progress=b"p", logged=Logged(b"v", 1)
            )
            await stored(engine, write)
            await put_one(engine, status, "k")
            before = await found(engine, status)
            for expires_at, check, standing in ((NOW + 9, -(2**63), CHECK), (None, 2**63 - 1, -(2**63))):
                expiry = Expiry(status, expires_at, check, 1, standing)
                assert await engine.expire([expiry], NOW + 5) == [True]
                assert await found(engine, status) == before._replace(expires_at=expires_at, check=check)
            assert len(await items_of(engine, status)) == 1
            assert len(await items_of(engine, status, Section.HISTORY)) == 1
        assert sorted(await listed(engine, ["x"], ["y"])) == sorted(STATUSES)
        assert len(await timeline(engine)) == len(STATUSES)

    async def test_the_new_expiry_holds(self, engine: Engine) -> None:
        """Sooner, later, for the first time and never: for reads, writes and purges alike."""
        await stored(engine, *(expiring(name, NOW + 5) for name in ("sooner", "later", "never")))
        await store(engine, "first")
        expiries = {"sooner": NOW + 2, "later": NOW + 8, "never": None, "first": NOW + 2}
        assert await engine.expire([changed(*each) for each in expiries.items()], NOW) == [True] * 4
        assert await listed(engine, now=NOW + 1) == ["first", "later", "never", "sooner"]
        assert await listed(engine, now=NOW + 2) == ["later", "never"]
        assert await engine.purge(9, NOW + 2) == Purged(0, 2, True)
        assert await engine.purge(9, NOW + 7) == Purged(0, 0, True)
        assert await engine.purge(9, NOW + 8) == Purged(0, 1, True)
        assert await engine.read(["sooner", "later", "first"]) == [None] * 3
        assert await read_one(engine, "never", NOW + 1_000_000) is not None

    async def test_expire_only_what_was_read(self, engine: Engine) -> None:
        """Not another version, nor one with another check; nor what is absent, expired or removed."""
        await stored(engine, sample_write("t"), sample_write("t"), expiring("expired", NOW + 1))
        await store(engine, "removed")
        await engine.remove(["removed"], NOW)
        before = await found(engine, "t")
        wrong = [
            changed("t", NOW + 9, version=1),
            changed("t", NOW + 9, version=3),
            changed("t", NOW + 9, CHECK + 1, version=2),
            changed("expired", NOW + 9),
            changed("removed", NOW + 9),
            changed("nobody", NOW + 9),
            changed("nobody", NOW + 9, 0, 0),
        ]
        assert await engine.expire(wrong, NOW + 1) == [False] * len(wrong)
        assert await found(engine, "t") == before
        assert await engine.purge(9, NOW + 9) == Purged(0, 1, True)

    async def test_expire_twice_in_one_call(self, engine: Engine) -> None:
        """The second is judged by the check that the first has left."""
        await store(engine, "t", "u")
        expiries = [
            Expiry("t", NOW + 5, 1, 1, CHECK),
            Expiry("t", NOW + 6, 2, 1, CHECK),
            changed("u", NOW + 9),
            Expiry("t", NOW + 7, 3, 1, 1),
        ]
        assert await engine.expire(expiries, NOW) == [True, False, True, True]
        entry = await found(engine, "t")
        assert (entry.expires_at, entry.check) == (NOW + 7, 3)

    async def test_a_write_sets_the_expiry_anew(self, engine: Engine) -> None:
        """What an earlier one was changed to is forgotten, in the order of expiries as well."""
        await store(engine, "t")
        await engine.expire([changed("t", NOW + 5)], NOW)
        await store(engine, "t")
        assert (await found(engine, "t")).expires_at is None
        assert await engine.purge(9, NOW + 5) == Purged(0, 0, True)
        await stored(engine, expiring("t", NOW + 7))
        await engine.expire([changed("t", NOW + 9, version=3)], NOW)
        await stored(engine, expiring("t", NOW + 8))
        assert await engine.purge(9, NOW + 8) == Purged(0, 1, True)
        assert await engine.purge(9, NOW + 9) == Purged(0, 0, True)

    async def test_another_expiry_is_told(self, engine: Engine, other: Engine, hints: KeptHints) -> None:
        """As EXPIRED, since whoever waits has to look again; and the watch goes on."""
        await stored(other, sample_write("t", "running"))
        await engine.watch(["t"], UNTIL)
        for expires_at in (NOW + 9 * SECOND, NOW + 5 * SECOND, None):
            hints.clear()
            await other.expire([changed("t", expires_at)], NOW)
            await hints.heard("t", Change.EXPIRED, within=self.patience)
            await engine.watch(["t"], UNTIL)
        hints.clear()
        await other.expire([changed("t", NOW + 9, CHECK + 1)], NOW)
        await stored(other, sample_write("t", "success"))
        await hints.heard("t", Change.SUCCESS, within=self.patience)
        assert ("t", Change.EXPIRED) not in hints.told, "nothing was changed"
