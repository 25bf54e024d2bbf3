"""Values of random classes come back the same, or are refused with their path; nothing is in between."""

from __future__ import annotations

import dataclasses
from pathlib import PureWindowsPath
from random import Random
from typing import Any, NewType

import pytest
from pydantic import BaseModel, Field, PrivateAttr
from typing_extensions import TypeAliasType, TypedDict

from flowstore import InMemoryBackend, NotSerializable, StoredType, TaskResult, Unresolved
from flowstore._values.codec import Codec
from flowstore.testing.support import EFFORT
from tests.support.random_classes import classes
from tests.support.random_fields import Made
from tests.support.strict import difference, field_names, is_record, obstacle, state

POOLS = 500
"""Seeds, with four classes each."""
PARTS = 10


def seeds(part: int) -> range:
    return range(part, POOLS * EFFORT, PARTS)


def codec(made: Made) -> Codec:
    return Codec([*dict.fromkeys([*made.types, *made.hidden])])


def begins_with_a_field(path: str, value: Any) -> bool:
    if not is_record(value):
        return path.startswith("v[")  # an alias of a list, a TypedDict
    names = {*state(value), *field_names(type(value)), *getattr(value, "__private_attributes__", ())}
    names |= {*(getattr(value, "__pydantic_extra__", None) or ())}
    return path.startswith(tuple(f"v.{name}" for name in names))


def written(made: Made, value: Any) -> bytes | NotSerializable:
    try:
        return codec(made).encode_fields({"v": value})
    except NotSerializable as error:
        return error


def check(made: Made, random: Random) -> None:
    """One value, written by one codec and read by another of the same types."""
    value = made.make(random)
    data = written(made, value)
    if isinstance(data, NotSerializable):
        assert obstacle(value), f"refused for no reason: {data}"
        assert begins_with_a_field(data.path, value), data
        return
    assert not obstacle(value)
    reader = codec(made)
    read = reader.decode_fields(data)["v"]
    assert difference(value, read) is None
    again = reader.decode_fields(reader.encode_fields({"v": read}))["v"]
    assert difference(read, again) is None


@pytest.mark.parametrize("part", range(PARTS))
def test_random_types(part: int) -> None:
    """Two instances of each of four classes a seed, which hold each other."""
    for seed in seeds(part):
        random = Random(seed)
        for made in classes(random, f"T{seed}", 4):
            for _ in range(2):
                try:
                    check(made, random)
                except Exception as error:
                    error.add_note(f"seed {seed}: {made.cls}")
                    raise


async def test_random_types_on_a_backend() -> None:
    """The same through a storage, which must refuse and return the same values."""
    for seed in range(0, POOLS * EFFORT, 10):
        random = Random(seed)
        for made in classes(random, f"T{seed}", 2):
            value = made.make(random)
            async with InMemoryBackend(types=[*dict.fromkeys([*made.types, *made.hidden])]) as backend:
                stored = TaskResult.success("t", value, args=(value,))
                if obstacle(value):
                    with pytest.raises(NotSerializable, match=r"^result[.\[]"):
                        await backend.store("t", stored)
                else:
                    await backend.store("t", stored)
                    read = await backend.get("t")
                    assert read is not None
                    assert difference((value, value), (read.result, *read.args)) is None


# --- What these tests found, pinned


def there_and_back(value: Any, *types: Any) -> Any:
    return Codec(types).decode_fields(Codec(types).encode_fields({"v": value}))["v"]


class Open(BaseModel, extra="allow"):
    x: int = Field(7, alias="a")


def test_the_names_of_extra_fields_stay_set() -> None:
    """What is dumped of a model without its defaults is the same after reading."""
    read = there_and_back(Open.model_validate({"more": 1}), Open)
    assert read.model_fields_set == {"more"}
    assert read.model_dump(exclude_unset=True) == {"more": 1}


def test_an_extra_field_with_the_name_of_a_field() -> None:
    """Each keeps its value where the alias of the field leaves its name to others."""
    value = Open.model_validate({"a": 1, "x": 2, "y": 3})
    assert (value.x, value.model_extra) == (1, {"x": 2, "y": 3})
    assert difference(value, there_and_back(value, Open)) is None


def test_extra_fields_for_a_model_that_forbids_them() -> None:
    """They are no less unknown to it for having been extra before."""

    class Closed(BaseModel, extra="forbid"):
        x: int = 7

    data = Codec([StoredType(Open, name="M")]).encode_fields({"v": Open.model_validate({"more": 1})})
    read = Codec([StoredType(Closed, name="M")]).decode_fields(data)["v"]
    assert isinstance(read, Unresolved)
    assert "has no field 'more'" in read.reason


def test_a_private_attribute_that_was_deleted() -> None:
    """It would come back with its default, and the model not be equal. One without default stays away."""

    class Secretive(BaseModel):
        _n: int = PrivateAttr(7)
        _bare: int = PrivateAttr()

    value = Secretive()
    assert there_and_back(value, Secretive) == value
    del value._n
    with pytest.raises(NotSerializable, match=r"^v\._n: has no value, and would come back"):
        Codec([Secretive]).encode_fields({"v": value})


class Inward(BaseModel):
    x: int = 7


@dataclasses.dataclass
class Inner:
    x: int


class Pair(TypedDict):
    left: Inner
    more: list[Pair]


Several = TypeAliasType("Several", list[Inner])
Renamed = NewType("Renamed", Inner)


@pytest.mark.parametrize(
    ("form", "held"),
    [
        (Several, [Inner(1), Inner(2)]),
        (Pair, {"left": Inner(1), "more": []}),
        (list[Renamed], [Renamed(Inner(1))]),
    ],
)
def test_classes_that_are_mentioned_out_of_sight(form: Any, held: Any) -> None:
    """Those behind an alias, in a TypedDict and in a NewType are registered with the class as well."""
    outer = dataclasses.make_dataclass("Outer", [("held", form)])
    assert there_and_back(outer(held), outer) == outer(held)


def test_annotations_that_have_no_value() -> None:
    """A dataclass is stored whatever stands there: nobody but type checkers need understand it."""
    for annotation in ("dict | 'Missing'", "list[", "dataclasses.missing", "Missing"):
        cls = dataclasses.make_dataclass("Loose", [("x", annotation)])
        assert there_and_back(cls(1), cls) == cls(1)


def test_state_that_a_model_has_no_place_for() -> None:
    """It got there behind the back of pydantic, and would be lost."""
    for part, held in [("__pydantic_extra__", {"a": 1}), ("__pydantic_private__", {"_a": 1})]:
        value = Inward()
        object.__setattr__(value, part, held)
        with pytest.raises(NotSerializable, match=r"^v\._?a: not a field of .*Inward, so it would be lost"):
            Codec([Inward]).encode_fields({"v": value})


def test_a_dataclass_that_extends_a_builtin() -> None:
    """Nothing but its own functions make one, as is said when it is registered."""

    @dataclasses.dataclass
    class Refusal(Exception):
        code: int

    with pytest.raises(TypeError, match=r"^types: .*Refusal.* needs StoredType\(Refusal, dump=\.\.\., load="):
        Codec([Refusal])


def test_a_path_whose_text_means_another() -> None:
    """Refused where Python shows it without what sets it apart, kept where it does not."""
    path = PureWindowsPath("./c:x")
    if PureWindowsPath(str(path)) == path:
        assert there_and_back(path) == path
    else:
        with pytest.raises(NotSerializable, match=r"^v: PureWindowsPath\('c:x'\) is another path"):
            there_and_back(path)
