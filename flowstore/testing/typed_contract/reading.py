"""What ``get`` returns and raises: typed, as it went in, and each trouble with a name of its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, PrivateAttr

from flowstore import (
    DamagedEntry,
    EntryExists,
    EntryMismatch,
    EntryMissing,
    ForeignEntry,
    InvalidEntry,
    ModelNotRegistered,
)
from flowstore.testing.typed_contract.base import Loss, Place, Report, Summary, TypedContractBase, walked
from flowstore.typed import ModelRegistry, WriteBehavior

OVERWRITE = WriteBehavior.OVERWRITE


class Part(BaseModel):
    name: str


class Whole(BaseModel):
    model_config = {"extra": "allow"}

    when: datetime
    took: timedelta
    price: Decimal
    key: UUID
    data: bytes
    parts: list[Part]
    pair: tuple[int, Part]
    tags: frozenset[str]
    anything: Any = None
    _seen: int = PrivateAttr(default=0)


def whole() -> Whole:
    made = Whole(
        when=datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC),
        took=timedelta(microseconds=1),
        price=Decimal("1.10"),
        key=UUID(int=7),
        data=b"\x00\xff",
        parts=[Part(name="a"), Part(name="\N{SNOWMAN}")],
        pair=(2**70, Part(name="")),
        tags=frozenset({"x", "y"}),
        anything={"nan": float("inf"), "keys": {1: (None,)}, "when": datetime(2026, 1, 1)},
        more=[1, (2,)],  # type: ignore[call-arg]  # extra
    )
    made._seen = 3
    return made


def registry(**models: type[BaseModel]) -> ModelRegistry:
    made = ModelRegistry()
    for name, model in models.items():
        made.register_model(model, name=name)
    return made


class EntryReadingContract(TypedContractBase):
    async def test_it_comes_back_as_it_went_in(self, place: Place) -> None:
        """Each value with its type, private attributes, extra fields and the names of those that were set."""
        async with place.manager(registry(Whole=Whole, Part=Part)) as manager:
            await manager.set("a", whole())
            found = await manager.get("a", Whole)
            assert found == whole()
            assert found._seen == 3
            assert found.model_fields_set == whole().model_fields_set
            assert type(found.pair) is tuple
            assert found.model_extra == {"more": [1, (2,)]}

    async def test_models_and_their_bases(self, place: Place) -> None:
        """Of the model, of a base of it, or of any; others are refused by name."""
        async with place.manager() as manager:
            await manager.set(["a", "b/c"], Loss(value=1))
            for asked in (Loss, BaseModel, None):
                assert await manager.get(["a", "b/c"], asked) == Loss(value=1)
            assert await manager.get(r"a/b\/c", Loss, "metrics") == Loss(value=1)
            with pytest.raises(
                EntryMismatch, match="holds a Loss of namespace 'metrics', not of model Report"
            ):
                await manager.get(["a", "b/c"], Report)
            with pytest.raises(EntryMismatch, match="not of namespace 'default'"):
                await manager.get(["a", "b/c"], namespace="default")
            with pytest.raises(TypeError, match=r"^model_class: expected a pydantic model, got 7"):
                await manager.get(["a", "b/c"], 7)  # type: ignore[call-overload]  # on purpose

    async def test_there_is_nothing(self, place: Place) -> None:
        """FileNotFoundError by get, and None or False by the others."""
        async with place.manager() as manager:
            await manager.set("a/b", Report(score=1))
            for id in ("a", "a/b/c", "A/B", "a/ b"):
                with pytest.raises(EntryMissing, match="there is no entry under id") as caught:
                    await manager.get(id)
                assert isinstance(caught.value, FileNotFoundError)
                assert await manager.entry(id) is None
                assert await manager.exists(id) is False
                assert await manager.delete(id) is False
            assert await manager.get_many(["x", "a/b", "y"], Report) == {"a/b": Report(score=1)}

    async def test_get_many(self, place: Place) -> None:
        """By id, in the order asked for, in either form, each once."""
        async with place.manager() as manager:
            await manager.set_many({f"n/{n}": Report(score=n) for n in range(30)})
            found = await manager.get_many([["n", "20"], "n/3", "n/20", "n/4"], Report)
            assert [*found] == ["n/20", "n/3", "n/4"]
            assert [model.score for model in found.values()] == [20, 3, 4]
            with pytest.raises(TypeError, match=r"^ids: expected several ids such as \['n/3'\], got a str"):
                await manager.get_many("n/3")

    async def test_a_reader_without_the_model(self, place: Place) -> None:
        """It is told which one is missing; what is known of the entry needs no model."""
        async with place.manager() as writer, place.manager(ModelRegistry()) as reader:
            await writer.set("a", Loss(value=1))
            with pytest.raises(
                ModelNotRegistered, match=r"^id 'a': model Loss is not registered in .*'metrics'"
            ):
                await reader.get("a")
            info = await reader.entry("a")
            assert info == await writer.entry("a")
            assert info is not None
            assert (info.model_type, info.namespace) == ("Loss", "metrics")
            assert await reader.list_ids() == ["a"]
            assert await reader.delete("a") is True

    async def test_a_model_that_changed(self, place: Place) -> None:
        """A new field with a default is filled; what no longer fits is named, and stays."""

        class Grown(BaseModel):
            score: float
            notes: dict[str, Any] = {}
            more: int = 7

        class Other(BaseModel):
            score: datetime
            notes: dict[str, Any] = {}

        async with (
            place.manager() as writer,
            place.manager(registry(Report=Grown)) as newer,
            place.manager(registry(Report=Other)) as other,
        ):
            await writer.set("a", Report(score=float("inf")))
            assert (await newer.get("a", Grown)).more == 7
            with pytest.raises(InvalidEntry, match=r"^id 'a': what is stored is no valid Report of .*score"):
                await other.get("a")
            assert await writer.get("a", Report) == Report(score=float("inf"))
            with pytest.raises(EntryExists):
                await other.set("a", Other(score=datetime.now(UTC)), WriteBehavior.RAISE_IF_DIFFERENT)

    async def test_former_names_and_versions(self, place: Place) -> None:
        """Aliases are read as the model, and ``upgrade`` brings it up to date."""

        class Points(BaseModel):
            points: int

        def upgrade(version: int, stored: dict[str, Any]) -> Points:
            return Points(points=round(100 * stored["score"]))

        renamed = ModelRegistry()
        renamed.register_model(Points, aliases=["Report"], version=2, upgrade=upgrade)
        async with place.manager() as writer, place.manager(renamed) as reader:
            await writer.set("a", Report(score=0.5))
            assert await reader.get("a", Points) == Points(points=50)
            assert [entry.id for entry in (await reader.list(Points)).items] == ["a"]
            assert await reader.set("a", Points(points=50), WriteBehavior.OVERWRITE_IF_DIFFERENT) is False
            assert await reader.set("b", Points(points=1)) is True
            assert [entry.model_type for entry in (await reader.list(Points)).items] == ["Points", "Report"]

    async def test_an_upgrade_that_fails(self, place: Place) -> None:
        """What it did not bring up to date is not returned."""

        class Metres(BaseModel):
            score: float

        def upgrade(version: int, stored: dict[str, Any]) -> Metres:
            raise KeyError("furlong")

        newer = ModelRegistry()
        newer.register_model(Metres, name="Report", version=2, upgrade=upgrade)
        async with place.manager() as writer, place.manager(newer) as reader:
            await writer.set("a", Report(score=1))
            with pytest.raises(InvalidEntry, match="upgrade raised KeyError"):
                await reader.get("a", Metres)
            assert await reader.set("a", Metres(score=1), WriteBehavior.OVERWRITE_IF_DIFFERENT) is True

    async def test_lists_pass_damaged_entries(self, place: Place) -> None:
        """However many there are in a row."""
        async with place.manager() as manager:
            for n in range(8):
                await manager.set(f"k{n}", Report(score=n))
            for n in (3, 4, 5):
                await place.damage(manager, f"k{n}")
            for limit in (1, 2, 50):
                found = await walked(manager, limit=limit)
                assert {entry.id for entry in found} == {"k0", "k1", "k2", "k6", "k7"}

    async def test_a_damaged_entry(self, place: Place) -> None:
        """It is named, hides no other, is never replaced unasked, and can be removed."""
        async with place.manager() as manager:
            await manager.set_many({id: Report(score=1) for id in ("a", "b", "c")})
            await place.damage(manager, "b")
            for call in (
                manager.get("b"),
                manager.get_many(["a", "b"]),
                manager.entry("b"),
                manager.wait_for("b", Report, 5),
                manager.set("b", Report(score=1)),
                manager.set("b", Report(score=1), OVERWRITE),
                manager.set("b", Report(score=1), if_version=1),
            ):
                with pytest.raises(
                    DamagedEntry, match=r"^id 'b'.* cannot be read: .*; restore it, or delete it"
                ):
                    await call
            assert await manager.exists("b")
            assert await manager.list_ids() == ["a", "b", "c"]
            assert {entry.id for entry in (await manager.list()).items} == {"a", "c"}
            assert await manager.delete("b") is True
            assert await manager.set("b", Report(score=2)) is True
            await place.damage(manager, "b")
            assert await manager.clear() == 3
            assert await manager.list_ids() == []

    async def test_what_is_no_entry_is_left_alone(self, place: Place) -> None:
        """Something else that has the id: named by each call, listed by none, and there after ``clear``."""
        async with place.manager() as manager:
            await manager.set_many({id: Report(score=1) for id in ("a", "c")})
            await place.intrude(manager, "b")
            for call in (
                manager.get("b"),
                manager.set("b", Summary(score=1)),
                manager.set("b", Summary(score=1), OVERWRITE),
                manager.delete("b"),
            ):
                with pytest.raises(ForeignEntry, match=r"^id 'b' is taken by "):
                    await call
            assert await manager.exists("b") is False
            assert await manager.list_ids() == ["a", "c"]
            assert await manager.clear() == 2
            with pytest.raises(ForeignEntry):
                await manager.get("b")
