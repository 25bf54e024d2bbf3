"""Values that a reader takes as a type: what an instance is after pydantic has looked into it."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterable
from dataclasses import InitVar, dataclass, field
from typing import Annotated, Any, NamedTuple

import pytest
from pydantic import BaseModel, Field, InstanceOf, RootModel, SecretStr, TypeAdapter

from flowstore import InMemoryBackend, StoredType, TaskError, TaskResult, UnexpectedValue
from flowstore._values.codec import Codec
from flowstore._values.typed import typed_of


class Tag(BaseModel, frozen=True):
    name: str = ""


class Pair(NamedTuple):
    tag: Tag
    rest: Any = None


class Loose(BaseModel):
    tag: Tag
    anything: Any
    exactly: InstanceOf[Tag]


class Swapped(BaseModel):
    first: int = Field(alias="second")
    second: int = Field(alias="first")


class Names(RootModel[dict[str, int]]):
    pass


@dataclass
class Seeded:
    tag: Tag
    seed: InitVar[int]
    grown: int = field(init=False)

    def __post_init__(self, seed: int) -> None:
        self.grown = seed * 2


@dataclass
class Later:
    number: int
    found: int = field(init=False)


class Left(BaseModel):
    number: int


class Right(BaseModel):
    number: int


class Unfinished(BaseModel):
    other: NotDefinedAnywhere  # type: ignore[name-defined]  # noqa: F821


class Login(BaseModel):
    user: str
    password: SecretStr
    port: int


def read_as(form: Any, value: object, types: Iterable[Any] = ()) -> Any:
    """The value as a reader gets it that was given these types."""
    known = [Tag, Pair, Loose, Swapped, Names, Seeded, Later]
    data = Codec([*known, *types]).encode_fields({"result": value})
    typed = typed_of(form, "as_")
    assert typed is not None
    return typed.checked(Codec([*known, *types]).decode_fields(data)["result"], "t", "result")


def unregistered(form: Any, value: object) -> Any:
    """The value as a reader gets it that was given no types."""
    data = Codec([Tag, Pair, Loose, Swapped, Names]).encode_fields({"result": value})
    typed = typed_of(form, "as_")
    assert typed is not None
    return typed.checked(Codec().decode_fields(data)["result"], "t", "result")


LOOSE = Loose(tag=Tag(name="a"), anything=[Tag(name="b"), {"k": Tag(name="c")}], exactly=Tag(name="d"))


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (Loose, LOOSE),
        (Pair, Pair(Tag(name="a"), Tag(name="b"))),
        (Swapped, Swapped(first=1, second=2)),
        (set[Tag], {Tag(name="a")}),
        (frozenset[Tag], frozenset({Tag(name="a")})),
        (dict[Tag, Tag], {Tag(name="a"): Tag(name="b")}),
        (Names, Names({"root": 1})),
    ],
    ids=repr,
)
def test_instances_stay_what_they_are(form: Any, value: object) -> None:
    """Whatever the place that they are in, and whether the reader has their classes registered or not."""
    for found in (read_as(form, value), unregistered(form, value)):
        assert type(found) is type(value)
        assert found == value


@pytest.mark.parametrize("value", [Seeded(Tag(), 3), [Seeded(Tag(), 3)]], ids=repr)
def test_a_class_that_its_fields_do_not_make(value: Any) -> None:
    """Its instances are taken as they are stored: nothing tells what ``__init__`` was given."""
    assert read_as(Seeded | list[Seeded], value) == value


def test_a_field_that_is_set_later() -> None:
    """It is kept, though pydantic does not know of it."""
    later = Later(1)
    later.found = 5
    assert read_as(Later, later).found == 5


def test_taught_containers_are_left_alone() -> None:
    """A dict of a class with its own ``update`` or ``copy`` is no plain dict."""
    counter = StoredType(Counter, dump=dict, load=Counter)
    assert read_as(list[Any], [Counter(a=3)], [counter]) == [Counter(a=3)]
    assert read_as(Counter[str], Counter(a=3), [counter]) == Counter(a=3)


def test_what_is_inside_of_instances_is_checked_everywhere() -> None:
    """Also in members of sets, with the path to it."""
    bad = Tag.model_construct(name=5)
    for form, value, path in [
        (set[Tag], {bad}, r"result\[0\].name"),
        (Loose, Loose(tag=Tag(), anything=0, exactly=bad), r"result.exactly"),
        (list[Pair], [Pair(bad)], r"result\[0\].*name"),
    ]:
        with pytest.raises(UnexpectedValue, match=path):
            read_as(form, value)


def test_the_order_of_a_union_counts() -> None:
    """A | B equals B | A, and each of them takes the first that fits."""
    assert type(read_as(Left | Right, {"number": 1})) is Left
    assert type(read_as(Right | Left, {"number": 1})) is Right


def test_a_type_that_is_not_fully_defined() -> None:
    for form in (Unfinished, list[Unfinished], TypeAdapter(Unfinished)):
        with pytest.raises(TypeError, match=r"as_: .*not defined|as_: .*not fully defined"):
            typed_of(form, "as_")


async def test_secrets_are_in_no_error() -> None:
    """Neither in what is raised, with its causes, nor in what ``track`` stores of it."""
    held = {"user": "ada", "password": "hunter2"}
    async with InMemoryBackend() as backend:
        await backend.store("t", TaskResult.success("t", held))
        with pytest.raises(UnexpectedValue, match=r"result.port: Field required") as raised:
            await backend.get("t", as_=Login)
        assert "hunter2" not in "".join(traceback.format_exception(raised.value))
        with pytest.raises(UnexpectedValue):
            async with backend.track("u", result_type=Login) as task:
                task.result = held  # type: ignore[assignment]
        failed = await backend.get("u")
        assert failed is not None
        assert isinstance(failed.error, TaskError)
        assert [link.type for link in failed.error.chain()][1:] == [
            "pydantic_core._pydantic_core.ValidationError"
        ]
        assert "hunter2" not in failed.error.model_dump_json()


@pytest.mark.parametrize("fields", ["1", "null", "[]", '{"$other":1}'])
def test_forged_fields(fields: str) -> None:
    """What is no dict of fields is not of the type, whatever the name that it is stored under."""
    data = f'{{"result":{{"$namedtuple":["{__name__}:Later",{fields}]}}}}'.encode()
    typed = typed_of(Later, "as_")
    assert typed is not None
    with pytest.raises(UnexpectedValue):
        typed.checked(Codec().decode_fields(data)["result"], "t", "result")


def test_paths_and_reasons_are_bounded() -> None:
    """The keys of what is stored may be as long as they please."""
    with pytest.raises(UnexpectedValue) as raised:
        read_as(dict[str, Annotated[int, Field(gt=0)]], {"{}k" * 10_000: 0})
    assert len(str(raised.value)) < 1_000
