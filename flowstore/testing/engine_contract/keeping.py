"""The contract of put and items: values under keys, of a record or of the namespace."""

from __future__ import annotations

from flowstore.engine import NAMESPACE, Asked, Engine, Item, Put, Section, Stamp, Verdict
from flowstore.testing.engine_contract.base import (
    EngineContractBase,
    expiring,
    items_of,
    put_one,
    store,
    stored,
)
from flowstore.testing.samples import NOW, sample_write

APPLIED, STANDING, OWNERLESS = Verdict.APPLIED, Verdict.STANDING, Verdict.OWNERLESS


def keys(items: list[Item]) -> list[str]:
    return [item.key for item in items]


class ItemsContract(EngineContractBase):
    async def test_an_item_is_read_as_it_was_put(self, engine: Engine) -> None:
        """With the number of its writes, the time of the last one, and any bytes."""
        await store(engine, "t")
        for version, value in ((1, b"\0"), (2, bytes(range(256)))):
            put = Put(Section.DATA, "t", "k", value, check=-(2**63))
            [outcome] = await engine.put([put], NOW + version)
            assert (outcome.verdict, outcome.key, outcome.version) == (APPLIED, "k", version)
            assert await items_of(engine, "t") == [Item("t", "k", version, NOW + version, -(2**63), value)]

    async def test_an_item_is_put_as_it_was_elsewhere(self, engine: Engine) -> None:
        """With the version and the time of its stamp, whatever stood there; the next put counts on."""
        await store(engine, "t")
        await put_one(engine, "t", "k")
        for version, key in ((7, "k"), (1, "k"), (2**40, "new"), (3, f"{9:016}")):
            put = Put(Section.DATA, "t", key, b"w", check=5, stamp=Stamp(version, NOW - version))
            [outcome] = await engine.put([put], NOW)
            assert (outcome.verdict, outcome.key, outcome.version) == (APPLIED, key, version)
            assert await items_of(engine, "t", keys=[key]) == [
                Item("t", key, version, NOW - version, 5, b"w")
            ]
        assert await put_one(engine, "t", "new") == (APPLIED, "new", 2**40 + 1)
        assert await put_one(engine, "t", "k", if_version=2) == (STANDING, "k", 1)

    async def test_keys_are_in_the_order_of_code_points(self, engine: Engine) -> None:
        """Whatever the order of writing; any text is a key."""
        await store(engine, "t")
        names = ["\U0001f600", "\uffff", "é", "b", "a\0", "a", "A", "k%", "k*", "k'", "10", "9", " "]
        for key in names:
            assert await put_one(engine, "t", key) == (APPLIED, key, 1)
        assert keys(await items_of(engine, "t")) == sorted(names)
        for key in names:
            assert keys(await items_of(engine, "t", keys=[key])) == [key]

    async def test_items_at_some_keys(self, engine: Engine) -> None:
        """In the order of keys, not of asking; unknown ones are left out."""
        await store(engine, "t")
        for key in "abcde":
            await put_one(engine, "t", key)
        assert keys(await items_of(engine, "t", keys=["d", "nothing", "a"])) == ["a", "d"]
        assert await items_of(engine, "t", keys=[]) == []
        assert await items_of(engine, "t", keys=["nothing"]) == []

    async def test_the_last_items(self, engine: Engine) -> None:
        """Those with the highest keys, among those asked for, still in the order of keys."""
        await store(engine, "t")
        for key in "bdace":
            await put_one(engine, "t", key)
        assert keys(await items_of(engine, "t", last=2)) == ["d", "e"]
        assert keys(await items_of(engine, "t", last=9)) == ["a", "b", "c", "d", "e"]
        assert keys(await items_of(engine, "t", keys=["a", "b", "c"], last=2)) == ["b", "c"]

    async def test_each_question_has_its_answer(self, engine: Engine) -> None:
        """In order, also one that is asked twice; nothing for an owner that is absent."""
        await store(engine, "t", "u")
        await put_one(engine, "t", "k")
        await put_one(engine, "u", "k")
        owners = ["u", "nobody", "t", "u", NAMESPACE]
        found = await engine.items([Asked(Section.DATA, owner) for owner in owners], NOW)
        assert [[item.owner for item in items] for items in found] == [["u"], [], ["t"], ["u"], []]

    async def test_owners_and_sections_are_apart(self, engine: Engine) -> None:
        """One key is another item in each; owners that look alike are not confused."""
        owners = ["t", "t:", "t\0", "t/data", "T"]
        await store(engine, *owners)
        for owner in owners:
            await put_one(engine, owner, "k", owner.encode(), section=Section.DATA)
            await put_one(engine, owner, "k", b"c", section=Section.CHECKPOINT)
        await put_one(engine, NAMESPACE, "k", b"w", section=Section.WORKER)
        await put_one(engine, NAMESPACE, "k", b"a", section=Section.APP)
        for owner in owners:
            assert [item.value for item in await items_of(engine, owner)] == [owner.encode()]
            assert [item.value for item in await items_of(engine, owner, Section.CHECKPOINT)] == [b"c"]
        assert [item.value for item in await items_of(engine, NAMESPACE, Section.WORKER)] == [b"w"]
        assert [item.value for item in await items_of(engine, NAMESPACE, Section.APP)] == [b"a"]

    async def test_items_stay_when_their_owner_is_written(self, engine: Engine) -> None:
        """They belong to the record, not to its state; and a put changes nothing of the record."""
        await store(engine, "t")
        before = await engine.read(["t"])
        await put_one(engine, "t", "k")
        assert await engine.read(["t"]) == before
        await stored(engine, sample_write("t", "success"))
        assert keys(await items_of(engine, "t")) == ["k"]


class PuttingContract(EngineContractBase):
    async def test_an_owner_must_be_a_live_record(self, engine: Engine) -> None:
        """Neither absent, nor expired, nor removed; other puts of the call are carried out."""
        await stored(engine, sample_write("t"), expiring("expired", NOW + 1), sample_write("removed"))
        await engine.remove(["removed"], NOW)
        puts = [Put(Section.DATA, owner, "k", b"v") for owner in ("nobody", "expired", "t", "removed")]
        outcomes = await engine.put(puts, NOW + 1)
        assert [outcome.verdict for outcome in outcomes] == [OWNERLESS, OWNERLESS, APPLIED, OWNERLESS]
        assert {outcome.version for outcome in outcomes if outcome.verdict is OWNERLESS} == {0}
        assert await put_one(engine, "nobody", "k", None) == (OWNERLESS, "k", 0)
        await store(engine, "nobody", "expired", now=NOW + 1)
        assert await items_of(engine, "nobody") == await items_of(engine, "expired") == []

    async def test_if_version_of_a_put(self, engine: Engine) -> None:
        """Exactly the version of the key, 0 meaning absent; STANDING says which one is there."""
        await store(engine, "t")
        assert await put_one(engine, "t", "k", if_version=1) == (STANDING, "k", 0)
        assert await put_one(engine, "t", "k", if_version=0) == (APPLIED, "k", 1)
        assert await put_one(engine, "t", "k", if_version=0) == (STANDING, "k", 1)
        assert await put_one(engine, "t", "k", if_version=1) == (APPLIED, "k", 2)
        assert await put_one(engine, "t", "k", b"late", if_version=1) == (STANDING, "k", 2)
        assert [item.value for item in await items_of(engine, "t")] == [b"v"]

    async def test_a_key_is_removed(self, engine: Engine) -> None:
        """The next value there has version 1 again."""
        await store(engine, "t")
        await put_one(engine, "t", "k")
        await put_one(engine, "t", "k")
        assert await put_one(engine, "t", "k", None) == (APPLIED, "k", 0)
        assert await items_of(engine, "t") == []
        assert await put_one(engine, "t", "k") == (APPLIED, "k", 1)

    async def test_an_absent_key_is_removed_in_vain(self, engine: Engine) -> None:
        """STANDING, version 0, whatever the version it was to have."""
        await store(engine, "t")
        for if_version in (None, 0, 1):
            assert await put_one(engine, "t", "k", None, if_version=if_version) == (STANDING, "k", 0)

    async def test_a_key_is_removed_at_its_version_only(self, engine: Engine) -> None:
        """As with a value."""
        await store(engine, "t")
        await put_one(engine, "t", "k")
        assert await put_one(engine, "t", "k", None, if_version=2) == (STANDING, "k", 1)
        assert await put_one(engine, "t", "k", None, if_version=1) == (APPLIED, "k", 0)

    async def test_numbered_keys(self, engine: Engine) -> None:
        """From 1, in 16 digits; a number goes on from the highest there is, per section and owner."""
        await store(engine, "t", "u")
        for number in range(1, 12):
            assert await put_one(engine, "t", None) == (APPLIED, f"{number:016}", 1)
        assert (await put_one(engine, "u", None))[1] == "0000000000000001"
        assert (await put_one(engine, "t", None, section=Section.CHECKPOINT))[1] == "0000000000000001"
        assert (await put_one(engine, NAMESPACE, None, section=Section.APP))[1] == "0000000000000001"
        assert len(await items_of(engine, "t")) == 11

    async def test_numbers_after_a_removal(self, engine: Engine) -> None:
        """The number of the last one is given anew once it was removed; that of an earlier one is not."""
        await store(engine, "t")
        for _ in range(3):
            await put_one(engine, "t", None)
        await put_one(engine, "t", f"{1:016}", None)
        assert (await put_one(engine, "t", None))[1] == f"{4:016}"
        await put_one(engine, "t", f"{4:016}", None)
        assert await put_one(engine, "t", None) == (APPLIED, f"{4:016}", 1)

    async def test_numbers_begin_again_with_a_new_record(self, engine: Engine) -> None:
        """What the old one had is gone."""
        await store(engine, "t")
        await put_one(engine, "t", None)
        await engine.remove(["t"], NOW)
        await store(engine, "t")
        assert (await put_one(engine, "t", None))[1] == f"{1:016}"

    async def test_keep_the_highest_keys(self, engine: Engine) -> None:
        """So many of the section of this owner, whatever was written last; others lose nothing."""
        await store(engine, "t", "u")
        for key in "cab":
            await put_one(engine, "t", key)
            await put_one(engine, "u", key)
            await put_one(engine, "t", key, section=Section.CHECKPOINT)
        await put_one(engine, "t", "b", keep=2)
        assert keys(await items_of(engine, "t")) == ["b", "c"]
        await put_one(engine, "t", "d", keep=1)
        assert keys(await items_of(engine, "t")) == ["d"]
        assert len(await items_of(engine, "u")) == len(await items_of(engine, "t", Section.CHECKPOINT)) == 3

    async def test_keep_numbered_keys(self, engine: Engine) -> None:
        """The newest stay, and their numbers go on."""
        await store(engine, "t")
        for number in range(1, 13):
            await put_one(engine, "t", None, keep=3)
            kept = range(max(1, number - 2), number + 1)
            assert keys(await items_of(engine, "t")) == [f"{n:016}" for n in kept]

    async def test_a_key_twice_in_one_call(self, engine: Engine) -> None:
        """In order, each on what the one before has left."""
        await store(engine, "t")
        fields = ((b"1", 0), (b"2", 0), (b"3", 1), (None, 2), (None, None), (b"4", 0))
        puts = [Put(Section.DATA, "t", "k", value, if_version=version) for value, version in fields]
        outcomes = [(outcome.verdict, outcome.version) for outcome in await engine.put(puts, NOW)]
        assert outcomes == [
            (APPLIED, 1),
            (STANDING, 1),
            (APPLIED, 2),
            (APPLIED, 0),
            (STANDING, 0),
            (APPLIED, 1),
        ]
        assert [item.value for item in await items_of(engine, "t")] == [b"4"]
        numbered = await engine.put([Put(Section.CHECKPOINT, "t", None, b"v")] * 3, NOW)
        assert [outcome.key for outcome in numbered] == [f"{n:016}" for n in (1, 2, 3)]


class BelongingContract(EngineContractBase):
    async def test_items_go_with_their_record(self, engine: Engine) -> None:
        """When it is removed, or purged as expired or with everything: a new record has none of them."""
        await stored(engine, sample_write("a"), expiring("b", NOW + 1), sample_write("c"))
        for owner in "abc":
            for section in (Section.DATA, Section.CHECKPOINT):
                await put_one(engine, owner, "k", section=section)
        await engine.remove(["a"], NOW)
        await engine.purge(10, NOW + 1)
        await engine.purge(10, NOW + 1, everything=True)
        await store(engine, "a", "b", "c")
        for owner in "abc":
            for section in (Section.DATA, Section.CHECKPOINT, Section.HISTORY):
                assert await items_of(engine, owner, section) == []

    async def test_items_of_an_expired_record_are_not_shown(self, engine: Engine) -> None:
        """From the moment of its expiry on."""
        await stored(engine, expiring("t", NOW + 2))
        await put_one(engine, "t", "k")
        assert len(await items_of(engine, "t", now=NOW + 1)) == 1
        assert await items_of(engine, "t", now=NOW + 2) == []

    async def test_items_of_an_expired_predecessor(self, engine: Engine) -> None:
        """A write over an expired record leaves none of them, and numbers begin again."""
        await stored(engine, expiring("t", NOW + 1))
        await put_one(engine, "t", "k")
        await put_one(engine, "t", None, section=Section.CHECKPOINT)
        await store(engine, "t", now=NOW + 1)
        assert await items_of(engine, "t", now=NOW + 1) == []
        assert await put_one(engine, "t", None, section=Section.CHECKPOINT) == (APPLIED, f"{1:016}", 1)

    async def test_items_of_the_namespace_stay(self, engine: Engine) -> None:
        """Whatever is removed."""
        await store(engine, "t")
        sections = (Section.WORKER, Section.APP, Section.DATA)
        for section in sections:
            await put_one(engine, NAMESPACE, section, section=section)
        await engine.remove(["t"], NOW)
        await engine.purge(10, NOW, everything=True)
        for section in sections:
            assert keys(await items_of(engine, NAMESPACE, section)) == [section]
