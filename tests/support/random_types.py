"""Random classes, made at run time of all that pydantic, dataclasses, enums and NamedTuples offer.

A ``Form`` is an annotation and what makes inputs that validate as it. Fields have random forms, and a random
class is a form itself, so that classes nest.
"""

# mypy: disable-error-code="valid-type, misc, index, call-overload, arg-type, assignment, attr-defined"
# Types that are made at run time are no types to a checker.

from __future__ import annotations

import re
import typing
from collections import OrderedDict, UserDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from random import Random
from typing import Annotated, Any, Literal, NamedTuple, NewType, Union
from uuid import UUID
from zoneinfo import ZoneInfo

import pydantic
from annotated_types import Ge, Len
from typing_extensions import TypeAliasType, TypedDict


class Form(NamedTuple):
    """``make`` returns inputs for a field of this annotation; some of them are what it would be parsed to."""

    annotation: Any
    make: Callable[[Random], Any]
    is_hashable: bool = True


class Opaque:
    """No codec knows it."""


class Text(str):
    """Comes back as the str that it is equal to."""


class Count(int):
    """Comes back as the int that it is equal to."""


class Row(TypedDict, total=False):
    id: int
    when: datetime


Celsius = NewType("Celsius", float)
Names = TypeAliasType("Names", list[str])


def _of(annotation: Any, *inputs: Any) -> Form:
    return Form(annotation, lambda random: random.choice(inputs))


def _url(annotation: Any, *texts: str) -> Form:
    """With the texts that this pydantic takes: the first ones with such types want a host in each."""
    valid = []
    for text in texts:
        with suppress(pydantic.ValidationError):
            pydantic.TypeAdapter(annotation).validate_python(text)
            valid.append(text)
    return Form(annotation, lambda random: random.choice(valid), annotation.__hash__ is not None)


_TEXTS = ("", "a", "$tuple", "caf\u00e9 \N{SNAKE}\0\n", '"$', "1", "x" * 300)
_DAYS = (date(1, 1, 1), date(9999, 12, 31), "2026-02-28", 86_400)
_MOMENTS = (
    datetime(2026, 1, 2, 3, 4, 5, 6),
    datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=-3, seconds=7), "X")),
    "2026-01-01T00:00:00Z",
    "2026-01-01T00:00:00.000001-23:59",
    "2026-01-01T00:00:00",
    1_767_225_600,
    0.5,
)

SCALARS = [
    _of(bool, True, False, 1, "no"),
    _of(int, 0, -1, 2**63, -(2**63), 10**40, "12", True),
    _of(float, 0.0, -0.0, 1.5, 1e300, 5e-324, float("inf"), float("-inf"), 2, "1e3"),
    _of(str, *_TEXTS),
    _of(bytes, b"", b"\x00\xff", "text"),
    _of(Decimal, "1.50", Decimal("-0E-7"), Decimal("1E+999"), 3, "0.1"),
    _of(Annotated[Decimal, pydantic.Field(max_digits=6, decimal_places=2)], "1234.50", 7),
    _of(UUID, UUID(int=7), "7e9b2c3a-1111-4222-8333-444455556666"),
    _of(pydantic.UUID4, "7e9b2c3a-1111-4222-8333-444455556666"),
    _of(date, *_DAYS),
    _of(datetime, *_MOMENTS),
    _of(pydantic.AwareDatetime, "2026-01-01T00:00:00+05:30", datetime(2026, 1, 1, tzinfo=UTC)),
    _of(pydantic.NaiveDatetime, "2026-01-01T00:00:00", datetime(2026, 1, 1, fold=1)),
    _of(time, "10:20:30Z", "10:20:30.5+02:00", "23:59", time(1, 2, fold=1), time(1, tzinfo=UTC), 60),
    _of(timedelta, "P3DT4H5M6.789S", "-P1D", timedelta.max, timedelta.min, 1.5),
    _of(Path, "/tmp/a b", ".", "", Path("x/../y"), "caf\u00e9"),
    _of(PurePath, "a/b", PureWindowsPath("c:\\x"), PurePosixPath("//x")),
    _of(PureWindowsPath, "c:/x/y", "\\\\host\\share\\f"),
    _of(IPv4Address, "1.2.3.4", 0),
    _of(IPv4Interface, "1.2.3.4/24"),
    _of(IPv4Network, "10.0.0.0/8"),
    _of(IPv6Address, "::1", "fe80::1%eth0", "::ffff:1.2.3.4"),
    _of(IPv6Interface, "2001:db8::1/64", "fe80::1%2/64"),
    _of(IPv6Network, "2001:db8::/32"),
    _of(pydantic.IPvAnyAddress, "::", "127.0.0.1"),
    _url(pydantic.HttpUrl, "https://b\u00fccher.example/%7Ea?q=1#f", "http://x.y:80/", "HTTP://A.B"),
    _url(pydantic.AnyUrl, "ftp://u:p%40@h/x", "data:text/plain,x", "mailto:a@b.c", "file:///x"),
    _url(pydantic.FileUrl, "file:///etc/hosts"),
    _url(pydantic.RedisDsn, "redis://:pw@localhost:6379/0", "redis://"),
    _url(pydantic.PostgresDsn, "postgres://u:p@h1:1,h2:2/db?x=1", "postgresql+asyncpg://h/db"),
    _url(pydantic.MongoDsn, "mongodb://a,b:27018/x"),
    _of(pydantic.ByteSize, "1 GiB", 5),
    _of(pydantic.Base64Bytes, b"AGE="),
    _of(Annotated[str, pydantic.StringConstraints(strip_whitespace=True, to_lower=True)], " Ab "),
    _of(Annotated[int, Ge(0)], 0, 5, "7"),
    _of(Celsius, 21.5, float("nan")),
    _of(Literal["a", 1, True, None, b"x"], "a", None, b"x"),
    _of(ZoneInfo, ZoneInfo("Asia/Tokyo"), "UTC"),
    _of(None, None),
    _of(pydantic.InstanceOf[Text], Text("t")),
    _of(pydantic.InstanceOf[Count], Count(7), Count(2**70)),
    _of(typing.Hashable, 1, "x", (1, 2), None),
]
HOLDERS = [
    _of(Any, 1, "x", None, [1, {2: 3}], {"$a": (1,)}, float("nan"), {1, 2}, Decimal("NaN"), 1j, Opaque()),
    _of(pydantic.SkipValidation[int], 1, "no int", [b"x"]),
    _of(Row, {"id": 1, "when": "2026-01-01T00:00:00Z"}, {}),
    _of(Names, ["a", "$b"], []),
    _of(Sequence[int], [1], (1, 2), deque([1, 2], 5), range(3)),
    _of(Mapping[int, str], {1: "a"}, OrderedDict({2: "b"}), UserDict({3: "c"})),
    _of(bytearray, bytearray(b"x")),
    _of(pydantic.SecretStr, "hidden", ""),
    _of(pydantic.SecretBytes, b"hidden"),
    _of(re.Pattern[str], "a+", re.compile("b", re.I)),
    _of(complex, 1j, complex(0, -0.0)),
    _of(Fraction, Fraction(1, 3)),
    _of(Opaque, Opaque()),
    _of(Callable[[], int], int, len),
    _of(type[int], bool, int),
    _of(typing.Counter[str], {"a": 2}),
    _of(Iterable[int], [1, 2]),
    _of(pydantic.ImportString[Any], "math.tau", "math.cos"),
]


def _many(random: Random, form: Form, least: int = 0) -> list[Any]:
    return [form.make(random) for _ in range(random.randint(least, 3))]


def _mapped(random: Random, key: Form, item: Form) -> dict[Any, Any]:
    return {key.make(random): item.make(random) for _ in range(random.randint(0, 3))}


def container(random: Random, inner: Form, key: Form) -> Form:
    """A form that holds ``inner``; ``key`` is hashable."""
    item, keys = inner.annotation, key.annotation
    made = [
        Form(list[item], lambda random: _many(random, inner), False),
        Form(tuple[item, ...], lambda random: tuple(_many(random, inner)), inner.is_hashable),
        Form(tuple[item, int], lambda random: (inner.make(random), 1), inner.is_hashable),
        Form(deque[item], lambda random: deque(_many(random, inner)), False),
        Form(Annotated[deque[item], Len(0, 4)], lambda random: deque(_many(random, inner), 4), False),
        Form(dict[str, item], lambda random: _mapped(random, _of(str, *_TEXTS), inner), False),
        Form(dict[keys, item], lambda random: _mapped(random, key, inner), False),
        Form(OrderedDict[keys, item], lambda random: OrderedDict(_mapped(random, key, inner)), False),
        Form(defaultdict[keys, list[item]], lambda random: {key.make(random): _many(random, inner)}, False),
        Form(set[keys], lambda random: set(_many(random, key)), False),
        Form(frozenset[keys], lambda random: frozenset(_many(random, key))),
        Form(
            Union[item, None],  # noqa: UP007  # None has no |, nor has a str
            lambda random: random.choice([None, inner.make(random)]),
            inner.is_hashable,
        ),
        Form(Union[item, keys], lambda random: random.choice([inner, key]).make(random), False),  # noqa: UP007
        Form(Annotated[list[item], Len(1)], lambda random: _many(random, inner, 1), False),
    ]
    return random.choice(made)


def hashable_form(random: Random, forms: Sequence[Form] = ()) -> Form:
    return random.choice([one for one in (*SCALARS, *forms) if one.is_hashable])


def form(random: Random, classes: Sequence[Form] = (), depth: int = 2) -> Form:
    """A random one, which may hold instances of ``classes``."""
    roll = random.random()
    if roll < 0.35 or depth == 0:
        return random.choice(SCALARS)
    if roll < 0.5:
        return random.choice(HOLDERS)
    if roll < 0.7 and classes:
        return random.choice(classes)
    return container(random, form(random, classes, depth - 1), hashable_form(random, classes))
