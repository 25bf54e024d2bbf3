"""The contract of types that grow: what one version of a program stores, another one reads."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from pydantic.dataclasses import dataclass as pydantic_dataclass

from flowstore import NotSerializable, StoredType, TaskResult, Unresolved, UnresolvedValue
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.insides import know_only
from flowstore.testing.support import stored


class OldModel(BaseModel):
    n: int


class NewModel(BaseModel):
    n: int
    note: str = "none"
    tags: list[str] = Field(default_factory=list)
    _cache: dict[str, int] = PrivateAttr(default_factory=dict)


class StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid")

    n: int


class OpenModel(BaseModel):
    model_config = ConfigDict(extra="allow")

    n: int


@dataclass
class OldClass:
    n: int


@dataclass
class NewClass:
    n: int
    note: str = "none"
    tags: list[str] = field(default_factory=list)


@pydantic_dataclass
class NewPydantic:
    n: int
    note: str = Field(default="none")
    tags: list[str] = Field(default_factory=list)


class OldTuple(NamedTuple):
    n: int


class NewTuple(NamedTuple):
    n: int
    note: str = "none"


class Required(BaseModel):
    n: int
    owner: str


class OldColour(Enum):
    RED = "r"
    GREY = "g"


class NewColour(Enum):
    RED = 1


OLD: list[type[Any]] = [OldModel, OldClass, OldTuple]
NEW: list[type[Any]] = [NewModel, NewClass, NewPydantic, NewTuple]


async def rewritten(make_backend: MakeBackend, value: Any, *steps: Any) -> Any:
    """What is read at the end if ``value`` is stored by a program with the first types, read and stored again
    by one with the next, and so on.
    """
    async with make_backend(types=steps[0]) as backend:
        for types in steps[1:]:
            await backend.store("t", TaskResult.success("t", [value]), overwrite=True)
            know_only(backend, types)
            [value] = (await stored(backend, "t")).unwrap()
        return value


class EvolvingContract(Contract):
    @pytest.mark.parametrize("new", NEW, ids=lambda cls: cls.__name__)
    @pytest.mark.parametrize("old", OLD, ids=lambda cls: cls.__name__)
    async def test_a_field_was_added(self, make_backend: MakeBackend, old: type[Any], new: type[Any]) -> None:
        """It has its default, also where the class has become one of another kind."""
        value = await rewritten(make_backend, old(n=7), {"X": old}, {"X": new})
        assert type(value) is new
        assert value == new(n=7)

    @pytest.mark.parametrize("new", NEW, ids=lambda cls: cls.__name__)
    @pytest.mark.parametrize("old", OLD, ids=lambda cls: cls.__name__)
    async def test_a_program_from_before_reads_on(
        self, make_backend: MakeBackend, old: type[Any], new: type[Any]
    ) -> None:
        """In a rolling deployment both write and both read; the older one passes over what is new."""
        value = await rewritten(make_backend, new(n=7, note="x"), {"X": new}, {"X": old}, {"X": new})
        assert value == new(n=7)
        assert type(value) is new

    async def test_what_is_not_stored_is_not_set(self, make_backend: MakeBackend) -> None:
        """A default that was filled in is not among the fields set; private attributes have theirs, too."""
        value = await rewritten(make_backend, OldModel(n=7), {"X": OldModel}, {"X": NewModel})
        assert value.model_fields_set == {"n"}
        assert value._cache == {}

    @pytest.mark.parametrize(
        ("old", "fields"), [(StoredType(OldClass, unknown_fields="keep"), {"note": "x", "tags": ["a"]})]
    )
    async def test_unknown_fields_are_kept(
        self, make_backend: MakeBackend, old: Any, fields: dict[str, Any]
    ) -> None:
        """By choice: the older program stores them again with the value, which is equal to one without."""
        new = NewClass(7, **fields)
        steps = [{"X": NewClass}, {"X": old}]
        assert await rewritten(make_backend, new, *steps) == OldClass(7)
        assert await rewritten(make_backend, new, *steps, {"X": NewClass}) == new

    async def test_unknown_fields_of_a_model_are_kept(self, make_backend: MakeBackend) -> None:
        """The same of a model, by choice or because of ``extra="allow"``, which alone shows them."""
        new, kept = NewModel(n=7, note="x"), StoredType(OldModel, unknown_fields="keep")
        value = await rewritten(make_backend, new, {"X": NewModel}, {"X": kept})
        assert value == OldModel(n=7)
        assert value.model_dump() == {"n": 7}
        again = await rewritten(make_backend, new, {"X": NewModel}, {"X": kept}, {"X": NewModel})
        assert again == new
        value = await rewritten(make_backend, new, {"X": NewModel}, {"X": OpenModel})
        assert value.model_extra == {"note": "x", "tags": []}

    async def test_unknown_fields_are_refused(self, make_backend: MakeBackend) -> None:
        """By choice or because of ``extra="forbid"``: the value is told apart, the record is read."""
        for cls in (StrictModel, StoredType(OldModel, unknown_fields="refuse")):
            value = await rewritten(make_backend, NewModel(n=7), {"X": NewModel}, {"X": cls})
            assert isinstance(value, Unresolved)
            assert "has no field 'note'" in value.reason
            assert value.data == {"n": 7, "note": "none", "tags": []}

    async def test_extra_that_became_a_field(self, make_backend: MakeBackend) -> None:
        """And a field that became extra."""
        extra: Any = OpenModel.model_validate({"n": 7, "note": "x"})
        value = await rewritten(make_backend, extra, {"X": OpenModel}, {"X": NewModel})
        assert value == NewModel(n=7, note="x")
        assert value.model_fields_set == {"n", "note"}

    async def test_a_field_without_a_default(self, make_backend: MakeBackend) -> None:
        """Such a value cannot be made; whoever looks at it is told which field is missing."""
        async with make_backend(types={"X": OldModel}) as backend:
            await backend.store("t", TaskResult.success("t", OldModel(n=7)))
            know_only(backend, {"X": Required})
            page = await backend.page()
            assert page.unreadable == []
            with pytest.raises(UnresolvedValue, match=r"field 'owner' of .*Required is not stored"):
                page.items[0].unwrap()

    async def test_a_type_under_several_names(self, make_backend: MakeBackend) -> None:
        """A renamed class reads what was stored under its earlier names, and writes its own."""
        renamed = StoredType(NewClass, name="new", aliases=["old", "older"])
        for name in ("old", "older", "new"):
            value = await rewritten(make_backend, OldClass(7), {name: OldClass}, [renamed])
            assert value == NewClass(7)
        value = await rewritten(make_backend, OldClass(7), {"old": OldClass}, [renamed], {"new": OldClass})
        assert value == OldClass(7)

    async def test_upgrade(self, make_backend: MakeBackend) -> None:
        """It gets the stored version and fields, makes a value of each earlier one, and of no other."""
        seen: list[tuple[int, Any]] = []

        def upgrade(version: int, fields: dict[str, Any]) -> Required:
            seen.append((version, fields))
            return Required(n=fields["n"] + 1, owner=f"was version {version}")

        third = StoredType(Required, name="X", version=3, upgrade=upgrade)
        second = StoredType(OldModel, name="X", version=2)
        value = await rewritten(make_backend, OldModel(n=7), {"X": OldModel}, [third], [third])
        assert value == Required(n=8, owner="was version 1")
        value = await rewritten(make_backend, OldModel(n=7), [second], [third])
        assert value == Required(n=8, owner="was version 2")
        value = await rewritten(make_backend, Required(n=1, owner="me"), [third], [third])
        assert value == Required(n=1, owner="me")
        assert seen == [(1, {"n": 7}), (2, {"n": 7})]
        value = await rewritten(make_backend, Required(n=1, owner="me"), [third], [second])
        assert value == OldModel(n=1)

    async def test_upgrade_of_enums_and_of_own_functions(self, make_backend: MakeBackend) -> None:
        """Of an enum it gets the name of the member, of other classes what ``dump`` has returned."""
        colour = StoredType(NewColour, name="X", version=2, upgrade=lambda version, name: NewColour.RED)
        value = await rewritten(make_backend, OldColour.GREY, {"X": OldColour}, [colour])
        assert value is NewColour.RED
        first = StoredType(
            uuid.SafeUUID, name="X", dump=lambda it: it.name, load=lambda it: uuid.SafeUUID[it]
        )
        later = StoredType(
            OldClass,
            name="X",
            version=2,
            dump=lambda it: it.n,
            load=OldClass,
            upgrade=lambda _, it: OldClass(len(it)),
        )
        value = await rewritten(make_backend, uuid.SafeUUID.safe, [first], [later])
        assert value == OldClass(4)
        value = await rewritten(make_backend, OldClass(4), [later], [first])
        assert isinstance(value, Unresolved)
        assert "stored in version 2, this program knows up to 1" in value.reason

    async def test_functions_that_fail(self, make_backend: MakeBackend) -> None:
        """What they raise, or another type than theirs, is told of that value alone."""

        def fails(*_: object) -> Any:
            raise LookupError("no idea")

        broken: list[tuple[StoredType[Any], str]] = [
            (
                StoredType(NewModel, name="X", version=2, upgrade=fails),
                "upgrade raised LookupError: 'no idea'",
            ),
            (StoredType(NewModel, name="X", version=2, upgrade=lambda *_: {}), "upgrade returned dict"),
            (
                StoredType(OldClass, name="X", version=2, dump=fails, load=fails),
                "stored as model, .* as type",
            ),
        ]
        for cls, reason in broken:
            value = await rewritten(make_backend, OldModel(n=7), {"X": OldModel}, [cls])
            assert isinstance(value, Unresolved)
            with pytest.raises(AttributeError, match=f"'n' cannot be read: .*{reason}"):
                _ = value.n

    async def test_a_member_that_is_gone(self, make_backend: MakeBackend) -> None:
        """Of an enum: told of that value alone."""
        value = await rewritten(make_backend, OldColour.GREY, {"X": OldColour}, {"X": NewColour})
        assert isinstance(value, Unresolved)
        assert "has no member 'GREY'" in value.reason

    async def test_a_name_that_differs(self, make_backend: MakeBackend) -> None:
        """The program that wrote was started as the class's own module: the error says how to agree."""
        value = await rewritten(make_backend, OldClass(7), {"__main__:OldClass": OldClass}, [OldClass])
        assert isinstance(value, Unresolved)
        assert "types={'OldClass': OldClass} in both programs" in value.reason

    async def test_a_stand_in(self, make_backend: MakeBackend) -> None:
        """It is equal to nothing else, shows what is stored, and cannot be stored in place of the value."""
        value = await rewritten(make_backend, OldClass(7), [OldClass], [])
        assert value != OldClass(7)
        assert value != (await rewritten(make_backend, OldClass(7), [OldClass], []))
        assert (value.type_name.rpartition(":")[2], value.data) == ("OldClass", {"n": 7})
        async with make_backend() as backend:
            with pytest.raises(NotSerializable, match=r"kwargs\['v'\]: stands for a value"):
                await backend.store("t", TaskResult.pending("t", kwargs={"v": value}))
            assert not await backend.exists("t")
