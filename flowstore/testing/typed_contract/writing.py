"""What ``set`` does about what stands: each behavior, and nothing half written."""

from __future__ import annotations

import asyncio
import warnings
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel, PrivateAttr, field_validator

from flowstore import EntryConflict, EntryExists, ModelNotRegistered, NotSerializable
from flowstore.testing import ManualClock
from flowstore.testing.typed_contract.base import Loss, Place, Report, Summary, TypedContractBase
from flowstore.typed import AsyncResultsManager, EntryInfo, ModelRegistry, WriteBehavior

RAISE = WriteBehavior.RAISE_IF_EXISTS
SKIP = WriteBehavior.SKIP_IF_EXISTS
RAISE_IF_DIFFERENT = WriteBehavior.RAISE_IF_DIFFERENT
OVERWRITE = WriteBehavior.OVERWRITE
IF_DIFFERENT = WriteBehavior.OVERWRITE_IF_DIFFERENT


class Unknown(BaseModel):
    x: int = 0


async def info(manager: AsyncResultsManager, id: str) -> EntryInfo:
    found = await manager.entry(id)
    assert found is not None, f"there is no entry {id!r}"
    return found


class EntryWritingContract(TypedContractBase):
    @pytest.mark.parametrize("behavior", WriteBehavior)
    async def test_where_there_is_nothing_all_write(self, place: Place, behavior: WriteBehavior) -> None:
        """True, and it is version 1; the name of a behavior does as well."""
        async with place.manager() as manager:
            assert await manager.set("a/b", Report(score=0.5), behavior) is True
            assert await manager.set("a/c", Report(score=0.5), behavior.value) is True
            assert await manager.get("a/b", Report) == Report(score=0.5)
            assert (await info(manager, "a/b")).version == (await info(manager, "a/c")).version == 1

    @pytest.mark.parametrize("other", [Report(score=1), Report(score=2), Loss(value=1)])
    async def test_raise_if_exists(self, place: Place, other: BaseModel) -> None:
        """The default: whatever stands, be it the same, is left alone and named."""
        async with place.manager() as manager:
            await manager.set("a", Report(score=1))
            before = await info(manager, "a")
            with pytest.raises(EntryExists, match=r"^id 'a' has a value already, a Report of") as caught:
                await manager.set("a", other)
            assert isinstance(caught.value, FileExistsError)
            assert (caught.value.version, caught.value.is_different) == (1, False)
            assert await info(manager, "a") == before
            assert await manager.get("a") == Report(score=1)

    @pytest.mark.parametrize("other", [Report(score=1), Report(score=2), Loss(value=1)])
    async def test_skip_if_exists(self, place: Place, other: BaseModel) -> None:
        """False, and really nothing is written."""
        async with place.manager() as manager:
            await manager.set("a", Report(score=1))
            before = await info(manager, "a")
            assert await manager.set("a", other, SKIP) is False
            assert await info(manager, "a") == before
            assert await manager.get("a") == Report(score=1)

    async def test_raise_if_different(self, place: Place) -> None:
        """The same value: True, nothing is rewritten. Another value or another model, though equal: no."""
        async with place.manager() as manager:
            await manager.set("a", Report(score=1))
            before = await info(manager, "a")
            assert await manager.set("a", Report(score=1, notes={}), RAISE_IF_DIFFERENT) is True
            for other in (Report(score=2), Summary(score=1), Loss(value=1)):
                with pytest.raises(EntryExists, match="has another value already") as caught:
                    await manager.set("a", other, RAISE_IF_DIFFERENT)
                assert caught.value.is_different
            assert await info(manager, "a") == before

    async def test_overwrite(self, place: Place) -> None:
        """Always True, and each is a version; the time of creation stays."""
        clock = ManualClock()
        async with place.manager(clock=clock) as manager:
            await manager.set("a", Report(score=1))
            first = await info(manager, "a")
            for number, model in enumerate([Report(score=1), Loss(value=1)], 2):
                clock.advance(10)
                assert await manager.set("a", model, OVERWRITE) is True
                now = await info(manager, "a")
                assert (now.version, now.created_at, now.model_type) == (
                    number,
                    first.created_at,
                    type(model).__name__,
                )
                assert (now.updated_at - first.updated_at).total_seconds() == 10 * (number - 1)
            assert await manager.get("a") == Loss(value=1)

    async def test_overwrite_if_different(self, place: Place) -> None:
        """True only when it wrote."""
        async with place.manager() as manager:
            assert await manager.set("a", Report(score=1), IF_DIFFERENT) is True
            before = await info(manager, "a")
            assert await manager.set("a", Report(score=1), IF_DIFFERENT) is False
            assert await info(manager, "a") == before
            assert await manager.set("a", Report(score=2), IF_DIFFERENT) is True
            assert await manager.set("a", Summary(score=2), IF_DIFFERENT) is True
            assert (await info(manager, "a")).version == 3

    @pytest.mark.parametrize(
        ("one", "other", "is_same"),
        [
            ({"x": 1}, {"x": 1.0}, False),
            ({"x": 1}, {"x": True}, False),
            ({"x": (1,)}, {"x": [1]}, False),
            ({"x": Decimal("1.0")}, {"x": Decimal("1.00")}, False),
            ({"x": 2**53}, {"x": 2**53 + 1}, False),
            ({"x": b"1"}, {"x": "1"}, False),
            ({"x": 1, "y": 2}, {"y": 2, "x": 1}, True),
            ({"x": {1: 2, 3: 4}}, {"x": {3: 4, 1: 2}}, True),
            ({"x": {3, 1}}, {"x": {1, 3}}, True),
            ({"x": Loss(value=1)}, {"x": Loss(value=1)}, True),
            ({"x": Loss(value=1)}, {"x": {"value": 1.0}}, False),
            ({"x": float("nan")}, {"x": float("nan")}, True),
        ],
    )
    async def test_comparison_loses_nothing(
        self, place: Place, one: dict[str, Any], other: dict[str, Any], is_same: bool
    ) -> None:
        """Types count, the order of keys does not."""
        async with place.manager() as manager:
            await manager.set("a", Report(score=1, notes=one))
            assert await manager.set("a", Report(score=1, notes=other), IF_DIFFERENT) is not is_same

    async def test_compare_and_set(self, place: Place) -> None:
        """Over that version only, 0: only if there is none."""
        async with place.manager() as manager:
            with pytest.raises(
                EntryConflict, match=r"^the entry under id 'a' does not exist, expected version 1"
            ):
                await manager.set("a", Report(score=1), if_version=1)
            assert await manager.set("a", Report(score=1), if_version=0) is True
            assert await manager.set("a", Report(score=2), if_version=1) is True
            for version in (0, 1, 3):
                with pytest.raises(EntryConflict, match="has version 2, expected version") as caught:
                    await manager.set("a", Report(score=3), if_version=version)
                assert (caught.value.expected, caught.value.actual) == (version, 2)
            assert await manager.get("a", Report) == Report(score=2)

    async def test_what_has_expired_is_absent(self, place: Place) -> None:
        """For every rule; the id begins again with version 1."""
        clock = ManualClock()
        async with place.manager(clock=clock) as manager:
            await manager.set("a", Report(score=1), OVERWRITE, ttl=10)
            await manager.set("a", Report(score=2), OVERWRITE, ttl=10)
            expires_at = (await info(manager, "a")).expires_at
            assert expires_at is not None
            clock.advance(9)
            assert await manager.exists("a")
            clock.advance(1)
            assert not await manager.exists("a")
            assert await manager.list_ids() == []
            assert (await manager.list()).items == []
            assert await manager.delete("a") is False
            assert await manager.set("a", Report(score=3)) is True
            again = await info(manager, "a")
            assert (again.version, again.created_at, again.expires_at) == (1, expires_at, None)

    async def test_set_many(self, place: Place) -> None:
        """One bool for each, in order; the first error is raised when all others are stored."""
        async with place.manager() as manager:
            await manager.set("b", Report(score=0))
            models = {id: Report(score=1) for id in "abc"}
            assert await manager.set_many(models, SKIP) == {"a": True, "b": False, "c": True}
            assert await manager.set_many([(["d", "e"], Loss(value=1))]) == {"d/e": True}
            with pytest.raises(EntryExists, match="id 'a'"):
                await manager.set_many({id: Report(score=1) for id in "abcxy"})
            assert await manager.list_ids() == [*"abc", "d/e", *"xy"]
            assert await manager.set_many(models, IF_DIFFERENT) == {"a": False, "b": True, "c": False}
            assert await manager.set_many({}) == {}

    async def test_nothing_is_half_written(self, place: Place) -> None:
        """What cannot be stored is named before anything is sent."""
        bad = Report(score=1, notes={"when": [object()]})
        async with place.manager() as manager:
            with pytest.raises(NotSerializable, match=r"notes\['when'\]\[0\]") as caught:
                await manager.set("a", bad)
            assert "in a Report for id 'a'" in caught.value.__notes__[0]
            with pytest.raises(NotSerializable):
                await manager.set_many({"a": Report(score=1), "b": bad})
            with pytest.raises(ModelNotRegistered, match="model Unknown is not registered in any namespace"):
                await manager.set("a", Unknown())
            with pytest.raises(
                ModelNotRegistered, match="model Loss is not registered in namespace 'default'"
            ):
                await manager.set("a", Loss(value=1), namespace="default")
            with pytest.raises(TypeError, match=r"^model: expected an instance of a pydantic model"):
                await manager.set("a", {"score": 1})  # type: ignore[arg-type]  # on purpose
            with pytest.raises(ValueError, match=r"^behavior: expected one of raise.* got 'keep'"):
                await manager.set("a", Report(score=1), "keep")
            with pytest.raises(ValueError, match=r"^behavior: cannot be combined with if_version"):
                await manager.set("a", Report(score=1), OVERWRITE, if_version=1)
            with pytest.raises(ValueError, match=r"^if_version: expected 0 to"):
                await manager.set("a", Report(score=1), if_version=-1)
            with pytest.raises(ValueError, match=r"^ttl: expected seconds above 0"):
                await manager.set("a", Report(score=1), ttl=0)
            with pytest.raises(ValueError, match=r"^id: expected one or more parts"):
                await manager.set("a//b", Report(score=1))
            with pytest.raises(ValueError, match=r"^models: expected each id once"):
                await manager.set_many([("a/b", Report(score=1)), (["a", "b"], Report(score=1))])
            assert await manager.list_ids() == []

    async def test_of_racing_tasks_one_creates(self, place: Place) -> None:
        """Exactly one True of 50, through two managers; what stands is the winner's."""
        async with place.manager() as one, place.manager() as other:
            writes = [(one, other)[number % 2].set("a", Report(score=number), SKIP) for number in range(50)]
            outcomes = await asyncio.gather(*writes)
            assert outcomes.count(True) == 1
            assert await one.get("a", Report) == Report(score=outcomes.index(True))

    async def test_all_who_overwrite_get_their_turn(self, place: Place) -> None:
        """However many come at once, through two managers: each is a version."""
        async with place.manager() as one, place.manager() as other:
            writes = [(one, other)[n % 2].set("a", Report(score=n), OVERWRITE) for n in range(200)]
            assert await asyncio.gather(*writes) == 200 * [True]
            assert (await info(one, "a")).version == 200

    async def test_no_validator_has_a_say(self, place: Place) -> None:
        """Neither in what is compared nor in what comes back."""

        class Loud(BaseModel):
            text: str

            @field_validator("text")
            @classmethod
            def louder(cls, text: str) -> str:
                return f"{text}!"

        registry = ModelRegistry()
        registry.register_model(Loud)
        async with place.manager(registry) as manager:
            assert await manager.set("a", Loud(text="x")) is True
            assert (await manager.get("a", Loud)).text == "x!"
            assert await manager.set("a", Loud(text="x"), IF_DIFFERENT) is False
            with pytest.raises(EntryExists, match="has another value already"):
                await manager.set("a", Loud(text="x!"), RAISE_IF_DIFFERENT)
            assert await manager.set("a", Loud(text="x!"), IF_DIFFERENT) is True

    async def test_instances_of_a_class_that_was_replaced(self, place: Place) -> None:
        """They are stored part for part as those of the class that took its place, subclasses in them too."""
        registry = ModelRegistry()
        made: list[Any] = []
        for _ in range(2):

            class Part(BaseModel):
                name: str = ""

            class Special(Part):
                size: int = 0

            class Whole(BaseModel):
                part: Part
                _seen: int = PrivateAttr(default=0)

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for model in (Part, Special, Whole):
                    registry.register_model(model)
            made.append(Whole(part=Special(name="x", size=5)))
            made[-1]._seen = 3
        old, new = made
        async with place.manager(registry) as manager:
            assert await manager.set("a", old) is True
            found = await manager.get("a")
            assert found == new
            assert type(found) is type(new)
            assert found.part.size == 5  # type: ignore[attr-defined]  # of the class in the loop
            assert found._seen == 3  # type: ignore[attr-defined]
            assert await manager.set("a", old, RAISE_IF_DIFFERENT) is True
            assert await manager.set("a", new, IF_DIFFERENT) is False

    async def test_no_increment_is_lost(self, place: Place) -> None:
        """Compare-and-set in a loop, by 8 tasks of two managers."""

        async def add(manager: AsyncResultsManager) -> None:
            while True:
                found = await info(manager, "a")
                model = await manager.get("a", Report)
                try:
                    await manager.set("a", Report(score=model.score + 1), if_version=found.version)
                except EntryConflict:
                    continue
                return

        async with place.manager() as one, place.manager() as other:
            await one.set("a", Report(score=0))
            await asyncio.gather(*(add((one, other)[number % 2]) for number in range(8)))
            assert await other.get("a", Report) == Report(score=8)
            assert (await info(one, "a")).version == 9
