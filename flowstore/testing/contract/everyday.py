"""The contract of the values of web applications: parsed times, generics, paths, subclasses of drivers."""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pydantic import AnyUrl, BaseModel, HttpUrl, PostgresDsn, SecretStr, TypeAdapter
from pydantic.dataclasses import dataclass as pydantic_dataclass

from flowstore import BaseResultBackend, NotSerializable, StoredType, TaskResult
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.support import stored as read

T = TypeVar("T")


class Booking(BaseModel):
    at: datetime
    opens: time


@pydantic_dataclass
class Trip:
    leaves: datetime


class Line(BaseModel):
    price: Decimal


class Box(BaseModel, Generic[T]):
    content: T


class Crate(BaseModel):
    box: Box[Line]
    lines: list[Line] = []


@dataclass
class Pair(Generic[T]):
    left: T
    right: T


class Row(NamedTuple):
    key: str
    at: datetime | None = None


class Site(BaseModel):
    url: HttpUrl
    database: PostgresDsn
    home: Path
    address: ipaddress.IPv4Address
    network: ipaddress.IPv6Network
    queue: deque[int]
    counts: defaultdict[str, int]
    order: OrderedDict[str, int]
    row: Row


PARSED = (
    '"2026-03-01T10:00:00Z"',
    '"2026-03-01T10:00:00+05:30"',
    '"2026-03-01T10:00:00.25-03:00"',
    "36000",
    '"2026-03-01T10:00:00"',
)


class Zone(tzinfo):
    """A zone with a fixed offset, as that of a database driver."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=2)

    def dst(self, moment: datetime | None) -> None:
        return None

    def tzname(self, moment: datetime | None) -> str:
        return "driver"


class Summer(Zone):
    """A zone whose offset depends on the time."""

    def utcoffset(self, moment: datetime | None) -> Any:
        return None if moment is None else timedelta(hours=2 if moment.month in range(4, 11) else 1)


class OwnZone(ZoneInfo):
    """A zone as pendulum makes it."""


# Loaded before a loop runs, in which nobody may read files.
BERLIN, OWN_BERLIN = ZoneInfo("Europe/Berlin"), OwnZone("Europe/Berlin")


class FakeDatetime(datetime):
    """As a library that stops the clock makes it."""


class DriverUUID(UUID):
    """As a database driver makes it."""


class Safe(str):
    """As a template engine makes it."""

    __slots__ = ()


class Long(int):
    """As a database driver makes it."""


class Real(float):
    """As an array library makes it."""


class Marked(str):
    """With an attribute of its own."""

    mark: str


SUBCLASSES: list[tuple[Any, type]] = [
    (FakeDatetime(2026, 3, 1, 10, tzinfo=UTC, fold=1), datetime),
    (FakeDatetime(2026, 3, 1, 10, tzinfo=Zone()), datetime),
    (DriverUUID(int=7), UUID),
    (Safe("a\ud800"), str),
    (Long(2**70), int),
    (Real(0.1), float),
]
KNOWN: tuple[Any, ...] = (Booking, Trip, Box, Crate, Pair[int], Row, Site)


def site() -> Site:
    return Site.model_validate(
        {
            "url": "http://localhost/a?b=c",
            "database": "postgresql://user@host/db",
            "home": "/srv/x",
            "address": "127.0.0.1",
            "network": "fe80::/64",
            "queue": [1, 2],
            "counts": {"a": 1},
            "order": {"b": 1, "a": 2},
            "row": ("k", "2026-03-01T10:00:00Z"),
        }
    )


async def returned(backend: BaseResultBackend, value: Any) -> Any:
    """What comes back where ``value`` was stored: equal in the result, an argument and data."""
    await backend.store("t", TaskResult.success("t", value, args=(value,)), overwrite=True)
    await backend.data.set("t", "k", value)
    found = await read(backend, "t")
    assert found.args == (value,)
    assert await backend.data.get("t", "k") == value
    assert found.result == value
    assert value == found.result
    return found.result


class EverydayContract(Contract):
    @pytest.mark.parametrize("text", PARSED)
    async def test_times_that_pydantic_parsed(self, make_backend: MakeBackend, text: str) -> None:
        """From text and from numbers: bare, in models, dataclasses and containers, and as keys."""
        at = TypeAdapter(datetime).validate_json(text)
        moment = TypeAdapter(time).validate_json(text.replace("2026-03-01T", ""))
        async with make_backend(types=KNOWN) as backend:
            for value in (
                at,
                moment,
                Booking(at=at, opens=moment),
                Trip(leaves=at),
                Row("k", at),
                [at, (moment,), {at}],
                {at: moment, (moment, "x"): at},
            ):
                again = await returned(backend, value)
                assert type(again) is type(value)
            again = await returned(backend, at)
            assert (again.isoformat(), again.utcoffset()) == (at.isoformat(), at.utcoffset())
            table = await returned(backend, {at: 1})
            assert table[at] == 1

    async def test_zones_of_other_libraries(self, backend: BaseResultBackend) -> None:
        """One with a fixed offset comes back as a timezone, a subclass of ZoneInfo as a ZoneInfo."""

        again = await returned(backend, datetime(2026, 3, 1, 10, fold=1, tzinfo=Zone()))
        assert again.tzinfo == timezone(timedelta(hours=2))
        again = await returned(backend, datetime(2026, 7, 1, 10, tzinfo=OWN_BERLIN))
        assert type(again.tzinfo) is ZoneInfo
        again = await returned(backend, time(10, tzinfo=Zone()))
        assert again.utcoffset() == timedelta(hours=2)

    async def test_zones_that_cannot_come_back(self, backend: BaseResultBackend) -> None:
        """One whose offset changes would come back as one that stays; the error says what to use."""
        refused = [
            datetime(2026, 7, 1, tzinfo=Summer()),
            # 2026-10-25 02:30 is twice in Berlin, and no time of another zone is equal to either.
            datetime(2026, 10, 25, 2, 30, tzinfo=OWN_BERLIN),
        ]
        for value in refused:
            with pytest.raises(NotSerializable, match=r"result\[0\]\.tzinfo: .*zoneinfo\.ZoneInfo"):
                await backend.store("t", TaskResult.success("t", [value]))

    @pytest.mark.parametrize(("value", "base"), SUBCLASSES, ids=lambda each: type(each).__name__)
    async def test_subclasses_of_scalars(self, backend: BaseResultBackend, value: Any, base: type) -> None:
        """They come back as what they are equal to, also as a key and in a set."""
        assert type(await returned(backend, value)) is base
        assert await returned(backend, {value: [value, {value}]}) == {value: [value, {value}]}

    async def test_subclasses_that_would_lose_something(self, backend: BaseResultBackend) -> None:
        """Attributes of their own, or what makes them unequal: refused, with the module in the name."""

        class Pair2(Long):
            def __eq__(self, other: object) -> bool:
                return isinstance(other, Pair2) and int(self) == int(other)

            __hash__ = int.__hash__

        marked = Marked("x")
        marked.mark = "y"
        for value, name in ((marked, "Marked"), (Pair2(1), "Pair2"), (Counter("a"), "collections.Counter")):
            with pytest.raises(NotSerializable, match=rf"result: (\w+\.)*.*{name} .*StoredType\("):
                await backend.store("t", TaskResult.success("t", value))

    async def test_generic_models_and_dataclasses(self, make_backend: MakeBackend) -> None:
        """Each parametrization with its model, and classes that fields mention with the one that has them."""
        line = Line(price=Decimal("1.50"))
        values = [
            Box[int](content=1),
            Box[Line](content=line),
            Box[list[Line]](content=[line]),
            Box[Box[str]](content=Box[str](content="x")),
            Box(content=3),
            Crate(box=Box[Line](content=line), lines=[line]),
            Pair[int](1, 2),
            Pair("a", "b"),
        ]
        async with make_backend(types=KNOWN) as backend:
            for value in values:
                again = await returned(backend, value)
                assert type(again) is type(value)

    async def test_a_parametrization_that_the_reader_does_not_have(self, make_backend: MakeBackend) -> None:
        """It is read as the model itself, which pydantic calls equal."""
        async with make_backend(types=[Box]) as backend:
            await backend.store("t", TaskResult.success("t", Box[tuple[int, str]](content=(1, "a"))))
            made: Any = next(cls for cls in Box.__subclasses__() if "tuple" in cls.__name__)
            made.__pydantic_generic_metadata__["origin"] = None  # as if no such class had been made here
            try:
                again = (await read(backend, "t")).result
            finally:
                made.__pydantic_generic_metadata__["origin"] = Box
            assert type(again) is Box
            assert again == made(content=(1, "a"))

    async def test_fields_of_every_kind(self, make_backend: MakeBackend) -> None:
        """Paths, addresses, URLs, queues, tables with defaults, tuples with names."""
        async with make_backend(types=KNOWN) as backend:
            value = site()
            again = await returned(backend, value)
            for name in Site.model_fields:
                assert type(getattr(again, name)) is type(getattr(value, name))
            assert again.counts.default_factory is int
            assert list(again.order) == ["b", "a"]

    async def test_what_needs_no_registration(self, backend: BaseResultBackend) -> None:
        """The same bare, nested, and as keys."""
        url = AnyUrl("https://example.org/x")
        addresses = (ipaddress.ip_address("::1"), ipaddress.ip_interface("10.0.0.1/8"))
        for value in (
            PurePosixPath("a/b"),
            PureWindowsPath("c:\\x"),
            deque([1, (2,)], maxlen=3),
            OrderedDict([(1, "x"), ((2,), "y")]),
            defaultdict(None, {"a": 1}),
            defaultdict(list, {"$a": [1]}),
            {url: [addresses], addresses[0]: url},
        ):
            again = await returned(backend, value)
            assert type(again) is type(value)
            assert repr(again) == repr(value)

    async def test_what_is_refused(self, make_backend: MakeBackend) -> None:
        """With the path, the name with its module, and what to do about it."""
        factory: Callable[[], int] = lambda: 7  # noqa: E731
        refused: list[tuple[Any, str]] = [
            (Row("a"), r"result: .*everyday\.Row is not a registered type; pass types=\[Row\]"),
            (Box[int](content=1), r"result: .*everyday\.Box\[int\] is not .*pass types=\[Box\]"),
            ({"d": defaultdict(factory)}, r"result\['d'\]\.default_factory: .*use None or one of list"),
            ([SecretStr("x")], r"result\[0\]: .*SecretStr cannot be stored; .*StoredType\(SecretStr"),
            (ValueError("x"), r"result: ValueError cannot be stored"),
        ]
        async with make_backend() as backend:
            for value, message in refused:
                with pytest.raises(NotSerializable, match=message):
                    await backend.store("t", TaskResult.success("t", value))
            assert not await backend.exists("t")

    async def test_secrets_where_they_are_registered(self, make_backend: MakeBackend) -> None:
        """Only then, as they are stored in the clear."""
        async with make_backend(types=[SecretStr]) as backend:
            again = await returned(backend, SecretStr("x"))
            assert again.get_secret_value() == "x"

    async def test_a_class_with_functions_of_its_own(self, make_backend: MakeBackend) -> None:
        """It comes back as ``load`` makes it, also inside of others; what ``dump`` raises is told."""

        class Money:
            def __init__(self, cents: int) -> None:
                self.cents = cents

            def __eq__(self, other: object) -> bool:
                return isinstance(other, Money) and self.cents == other.cents

            def __hash__(self) -> int:
                return self.cents

        stored = StoredType(
            Money, name="money", dump=lambda money: (money.cents,), load=lambda it: Money(*it)
        )
        async with make_backend(types=[stored, Row]) as backend:
            for value in (Money(5), {Money(1): [Money(2)]}, Row("k", Money(3))):  # type: ignore[arg-type]
                await returned(backend, value)
            broken: Any = Money(1)
            del broken.cents
            with pytest.raises(NotSerializable, match=r"result\[0\]: its dump raised AttributeError"):
                await backend.store("u", TaskResult.success("u", [broken]))
