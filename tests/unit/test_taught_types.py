"""Classes of other libraries, taught by StoredType: those of attrs and of msgspec, which have fields too."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import attrs
import msgspec
import pytest

from flowstore import InMemoryBackend, NotSerializable, StoredType, TaskResult, Unresolved
from flowstore._values.codec import Codec


@attrs.frozen
class Money:
    amount: Decimal
    currency: str = "EUR"


@attrs.define
class Invoice:
    """With what attrs has besides: a private name, a converter, a field that is no argument."""

    number: int
    lines: list[Money] = attrs.field(factory=list)
    _paid: Any = attrs.field(default=None, kw_only=True)
    tags: tuple[str, ...] = attrs.field(converter=tuple[str, ...], default=())
    total: Decimal = attrs.field(init=False, eq=False)

    def __attrs_post_init__(self) -> None:
        self.total = sum([line.amount for line in self.lines], Decimal())


class Place(msgspec.Struct, frozen=True):
    name: str
    at: tuple[float, float] = (0.0, 0.0)


class Trip(msgspec.Struct, kw_only=True, tag="trip", rename="camel"):
    start_place: Place
    stops: dict[date, Place] = {}
    note: str | msgspec.UnsetType | None = None


def attrs_type(cls: type[Any], **more: Any) -> StoredType[Any]:
    """Its fields as the arguments of its class, which computes the others again."""
    arguments = {field.name: field.alias for field in attrs.fields(cls) if field.init}

    def dump(value: Any) -> dict[str, Any]:
        return {alias: getattr(value, name) for name, alias in arguments.items()}

    return StoredType(cls, dump=dump, load=lambda stored: cls(**stored), **more)


def struct_type(cls: type[Any], **more: Any) -> StoredType[Any]:
    return StoredType(cls, dump=msgspec.structs.asdict, load=lambda stored: cls(**stored), **more)


TYPES = [attrs_type(Money), attrs_type(Invoice), struct_type(Place), struct_type(Trip)]

HERE = Place("here", (1.5, -0.0))
VALUES = [
    Money(Decimal("1.50")),
    Invoice(7, [Money(Decimal(1)), Money(Decimal("0.10"), "USD")], paid={"$x": (1,)}, tags=["a", "b"]),
    {Money(Decimal(2)): {Money(Decimal(3), "")}},
    HERE,
    Trip(start_place=HERE, stops={date(2026, 1, 1): Place("there")}, note="x"),
    frozenset({HERE}),
    [Invoice(1), Trip(start_place=HERE)],
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
async def test_they_come_back(value: Any) -> None:
    """Nested in each other and in containers, as keys, with all that they hold; read by another backend."""
    data = Codec(TYPES).encode_fields({"v": value})
    read = Codec(TYPES).decode_fields(data)["v"]
    assert type(read) is type(value)
    assert (read, repr(read)) == (value, repr(value))
    async with InMemoryBackend(types=TYPES) as backend:
        await backend.store("t", TaskResult.success("t", value, args=(value,)))
        found = await backend.get("t")
        assert found is not None
        assert (found.result, repr(found.args)) == (value, repr((value,)))


def test_what_they_hold_is_refused_with_its_path() -> None:
    """By the names that their dump gives to the fields."""
    held: list[tuple[Any, str]] = [
        (Invoice(1, paid=object()), r"^v\.paid: object"),
        ([Trip(start_place=HERE, note=msgspec.UNSET)], r"^v\[0\]\.note: msgspec.UnsetType"),
    ]
    for value, path in held:
        with pytest.raises(NotSerializable, match=path):
            Codec(TYPES).encode_fields({"v": value})


def test_what_teaches_them_is_told_where_they_are_refused() -> None:
    """Unlike dataclasses and models, they need the two functions."""
    for value in (Money(Decimal(1)), HERE):
        cls = type(value)
        with pytest.raises(NotSerializable, match=rf"StoredType\({cls.__name__}, dump=\.\.\., load=\.\.\.\)"):
            Codec().encode_fields({"v": value})
        with pytest.raises(TypeError, match=rf"StoredType\({cls.__name__}, dump=\.\.\., load=\.\.\.\)"):
            Codec([cls])


@attrs.frozen
class Position:
    name: str
    place: tuple[float, float]


def test_a_class_that_has_grown() -> None:
    """A struct has become a class of attrs: what it dumped is upgraded, and it meets a stand-in later."""

    def upgrade(version: int, stored: Any) -> Position:
        assert version == 1
        return Position(stored["name"], stored["at"])

    old = Codec([struct_type(Place, name="T")])
    new = Codec([attrs_type(Position, name="T", version=2, upgrade=upgrade)])
    position = new.decode_fields(old.encode_fields({"v": HERE}))["v"]
    assert position == Position("here", (1.5, -0.0))
    back = old.decode_fields(new.encode_fields({"v": position}))["v"]
    assert isinstance(back, Unresolved)
    assert "T is stored in version 2, this program knows up to 1" in back.reason
    assert back.data == {"name": "here", "place": (1.5, -0.0)}


def test_what_a_class_does_not_take() -> None:
    """A validator that has become stricter makes that value a stand-in, with the reason, and no other."""

    @attrs.frozen
    class Strict:
        amount: Decimal = attrs.field(validator=attrs.validators.lt(Decimal(10)))
        currency: str = "EUR"

    values = [Money(Decimal(1)), Money(Decimal(99))]
    data = Codec([attrs_type(Money, name="T")]).encode_fields({"v": values})
    fine, too_much = Codec([attrs_type(Strict, name="T")]).decode_fields(data)["v"]
    assert fine == Strict(Decimal(1))
    assert isinstance(too_much, Unresolved)
    assert "load raised ValueError" in too_much.reason
    assert too_much.data == {"amount": Decimal(99), "currency": "EUR"}
