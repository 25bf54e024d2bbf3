"""Registered types that are at odds with the values, with each other, or with what a newer program stored."""

from __future__ import annotations

import datetime as times
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Flag
from typing import Any, Generic, TypeVar, cast

import pytest
from pydantic import BaseModel

from flowstore import InMemoryBackend, NotSerializable, StoredType, TaskResult, Unresolved
from flowstore._values import bases, copies, leaves
from flowstore._values.codec import Codec
from flowstore._values.types import TypeTable
from flowstore.testing.contract.values import Point


class Old(Flag):
    READ = 1
    WRITE = 2


class New(Flag):
    READ = 1
    WRITE = 2
    RUN = 4


T = TypeVar("T")


class Box(BaseModel, Generic[T]):
    held: T


class Boxed(BaseModel):
    box: Box[int]


class Stem(BaseModel):
    leaf: Leaf


class Leaf(BaseModel):
    size: int = 1


class Tree(BaseModel):
    stem: Stem


class Opaque:
    pass


class bool(int):  # as numpy has one
    more = 0


class Rude(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class Stopped(datetime):
    """As of a test library that stops the clock."""


class StoppedDate(date):
    """The same."""


def through(value: object, written: Any, read: Any) -> Any:
    """The value as a reader with other types gets it."""
    return Codec(read).decode_fields(Codec(written).encode_fields({"result": value}))["result"]


@pytest.mark.parametrize("value", [New.RUN, New.READ | New.RUN], ids=repr)
def test_flags_of_a_newer_program(value: New) -> None:
    """A combination that has an unknown flag in it is no worse than one that is the flag alone."""
    kept, missing = through([1, value], {"Rights": New}, {"Rights": Old})
    assert kept == 1
    assert isinstance(missing, Unresolved)


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        ('{"$zoneinfo":"Mars/Base"}', "'Mars/Base' is not known here; install tzdata"),
        (
            '{"$datetime":["2024-01-01T00:00:00",{"$zoneinfo":"Mars/Base"},0]}',
            "'Mars/Base' is not known here",
        ),
        ('{"$url":["BrandNewDsn","new://ada:hunter2@host"]}', "'BrandNewDsn' is a URL of another version"),
        ('{"$url":["PostgresDsn","new://ada:hunter2@host"]}', "not a PostgresDsn to this version"),
    ],
)
def test_zones_and_urls_that_are_not_known_here(stored: str, reason: str) -> None:
    """Systems have other zones, and versions of pydantic other URLs. All else of the record is read."""
    kept, missing = Codec().decode_fields(f'{{"result":[1,{stored}]}}'.encode())["result"]
    assert kept == 1
    assert isinstance(missing, Unresolved)
    assert reason in missing.reason
    assert "hunter2" not in repr(missing)


def test_a_hook_whose_error_has_no_text() -> None:
    """It is about one value, and not about the record."""

    def fail(_: object) -> Any:
        raise Rude

    taught = StoredType(Opaque, name="O", dump=lambda value: 1, load=fail)
    kept, missing = through([1, Opaque()], [taught], [taught])
    assert kept == 1
    assert "Rude" in missing.reason
    rude = StoredType(Opaque, dump=fail, load=fail)
    with pytest.raises(NotSerializable, match=r"dump raised .*Rude"):
        Codec([rude]).encode_fields({"result": Opaque()})


@pytest.mark.parametrize("cls", [dict, tuple, str, Decimal, datetime])
def test_builtins_cannot_be_registered(cls: type[Any]) -> None:
    """Nobody would ever ask their functions."""
    with pytest.raises(TypeError, match=rf"types: {cls.__name__} is stored as it is"):
        Codec([StoredType(cls, dump=repr, load=cls)])


def test_one_class_twice() -> None:
    """It would be the first that counts, and the upgrade of the second would never be called."""
    upgraded = StoredType(Point, version=2, upgrade=lambda version, fields: Point(**fields))
    with pytest.raises(ValueError, match=r"types: .*Point.* is given twice as"):
        Codec([Point, upgraded])
    assert through(Point(1, 2), [Point, StoredType(Point)], [Point, Point]) == Point(1, 2)
    assert through(Point(1, 2), [StoredType(Point, name="old")], [Point, StoredType(Point, name="old")])


def test_a_parametrization_is_looked_for_once() -> None:
    """There may be many, and a value of it in every row."""
    table = TypeTable([Box])
    name = f"{__name__}:Box[int]"
    held = [Box[int], Box[str]]
    found = table.of_name(name)
    assert found is not None
    assert found.cls is held[0]
    assert table.of_name(name) is found


def test_the_advice_tells_a_class_from_the_builtin() -> None:
    value = bool(1)
    value.more = 2
    with pytest.raises(NotSerializable, match=rf"with StoredType\({__name__}\.bool, dump"):
        Codec().encode_fields({"result": value})


async def test_while_the_clock_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries that stop it put their classes into the place of the real ones, in all modules."""
    for module in (bases, leaves, copies):
        monkeypatch.setattr(module, "datetime", Stopped)
        monkeypatch.setattr(module, "date", StoppedDate)
    value = [Stopped(2024, 2, 29, 1, tzinfo=UTC), StoppedDate(2024, 2, 29), datetime(2024, 1, 1)]
    expected = [datetime(2024, 2, 29, 1, tzinfo=UTC), date(2024, 2, 29), datetime(2024, 1, 1)]
    async with InMemoryBackend() as backend:
        await backend.store("t", TaskResult.success("t", value))
        for found in (through(value, (), ()), (await backend.wait_for("t")).unwrap()):
            assert found == expected
            assert [type(each) for each in found] == [times.datetime, times.date, times.datetime]


class _Private(str):
    __slots__ = ("__mark",)

    def mark(self) -> None:
        self.__mark = "y"


class _Named(str):
    __slots__ = "mark"  # a str names one slot


def test_a_scalar_with_slots_of_its_own_is_refused() -> None:
    """Where they hold something: it would be lost, however the slots are spelled."""
    private, named = _Private("x"), cast(Any, _Named("x"))
    assert Codec().decode_fields(Codec().encode_fields({"v": private, "w": named})) == {"v": "x", "w": "x"}
    private.mark()
    named.mark = "y"
    for value in (private, named):
        with pytest.raises(NotSerializable, match=r"^v: .*cannot be stored"):
            Codec().encode_fields({"v": value})


def test_a_parametrization_that_is_mentioned_is_as_its_model() -> None:
    """Under the same name and in the same version as where no other class mentions it."""
    box = StoredType(Box, name="box", version=2, upgrade=lambda version, fields: Box[int](held=-1))
    value = Boxed(box=Box[int](held=1))
    assert b'["box[int]",{"held":1},["held"],null,null,2]' in Codec([box, Boxed]).encode_fields({"v": value})
    assert through(value, [box, Boxed], [box, Boxed]) == value
    assert through(value, [Boxed], [box, Boxed]).box.held == -1
    unnamed = StoredType(Box, version=2, upgrade=lambda version, fields: Box[int](held=-1))
    assert through(value, [unnamed, Boxed], [unnamed, Boxed]) == value
    assert through(value, [Boxed], [unnamed, Boxed]).box.held == -1


def test_a_class_that_is_mentioned_before_it_is_there() -> None:
    """pydantic finds it when a Stem is made by itself, and here it never is."""
    value = Tree.model_validate({"stem": {"leaf": {"size": 2}}})
    assert through(value, [Tree], [Tree]) == value
