"""cache_key: the same for the same parts, whoever asks, and another one for all others."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal, localcontext
from enum import Enum, Flag, auto
from hashlib import sha256
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, PrivateAttr, SecretStr, create_model

from flowstore import NotSerializable, PayloadTooLarge, cache_key
from flowstore._values.cache_keys import key_text
from flowstore.testing.support import EFFORT


class Colour(Enum):
    RED = 1
    BLUE = 2
    ROUGE = RED  # another name of the same


class Rights(Flag):
    READ = auto()
    WRITE = auto()


@dataclass
class Point:
    x: Any
    y: Any = 0


class Pair(NamedTuple):
    x: Any
    y: Any


class Model(BaseModel):
    x: Any
    y: Any = 0


class Open(BaseModel, extra="allow"):
    x: Any
    _note: str = PrivateAttr("")


@dataclass
class Odd(dict[str, int]):
    x: int = 1


# What follows must be the same in ten years: whoever has kept keys would miss all that is stored under them.
PINNED: dict[str, tuple[tuple[Any, ...], str, str]] = {
    "nothing": ((), "[]", "820485d9658fc5c30f1e49d4ff0e47029a4958a21524e6027a069c2e52a141de"),
    "texts": (
        ("a", "bc"),
        '["a","bc"]',
        "b2f6868513d5990c30584eb403fa856c85bd0cd26a37880c1e95be235a19f168",
    ),
    "scalars": (
        (None, True, 1, 1.0, -0.0, 1e22, 0.1, math.nan, -math.inf, 2**63, '1\n"é\ud800', b"\x00"),
        '[null,true,1,1.0,-0.0,1e+22,0.1,{"$float":"nan"},{"$float":"-inf"},{"$int":"0x8000000000000000"},'
        '{"$str":"1%0A%22%C3%A9%ED%A0%80"},{"$bytes":"AA=="}]',
        "8b36b1e12ba243aecd5c039071f839841af56a62c79923bd4b45b15dae7e0b65",
    ),
    "numbers and ids": (
        (Decimal("1.50"), Decimal("1E+5"), Decimal("-0"), Decimal("sNaN7"), UUID(int=7)),
        '[{"$decimal":"1.50"},{"$decimal":"1E+5"},{"$decimal":"-0"},{"$decimal":"sNaN7"},'
        '{"$uuid":"00000000-0000-0000-0000-000000000007"}]',
        "77f1407ba6b6084a2e289a39ece9e9d12f2ea2e5eec001898ea23cd2b08599cb",
    ),
    "times": (
        (
            datetime(2026, 1, 2, 3, 4, 5, 6),
            datetime(2026, 1, 2, tzinfo=UTC),
            datetime(2026, 1, 2, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
            date(2026, 1, 2),
            time(3, 4, tzinfo=timezone(timedelta(hours=1))),
            timedelta(-1, 2, 3),
        ),
        '[{"$datetime":"2026-01-02T03:04:05.000006"},{"$datetime":"2026-01-02T00:00:00+00:00"},'
        '{"$datetime":["2026-01-02T00:00:00",{"$zoneinfo":"Europe/Berlin"},1]},{"$date":"2026-01-02"},'
        '{"$time":"03:04:00+01:00"},{"$timedelta":[-1,2,3]}]',
        "f7ccf794839d77fa9877f18abca1053d716342c7a380bfbb76c44557cbd1f6b6",
    ),
    "containers": (
        ([1, "a"], (1, "a"), {"b": 1, 2: {"d": 1, "c": [2]}}, {"x", 10, 9}, deque([1], 3)),
        '[[1,"a"],{"$tuple":[1,"a"]},{"$dict":[["b",1],[2,{"$dict":[["c",[2]],["d",1]]}]]},'
        '{"$set":["x",10,9]},{"$deque":[3,[1]]}]',
        "d6ebc699096c9acc21a05d1b62d0ff120666b123552177294b36649e58f31fa3",
    ),
    "classes": (
        (
            Colour.ROUGE,
            Rights.READ | Rights.WRITE,
            Point(1),
            Pair(1, 2),
            Model(x=1),
            Open.model_validate({"x": 1, "more": 2}),
        ),
        '[{"$enum":["tests.unit.test_cache_keys:Colour","RED"]},'
        '{"$enum":["tests.unit.test_cache_keys:Rights",3]},'
        '{"$dataclass":["tests.unit.test_cache_keys:Point",{"$dict":[["x",1],["y",0]]}]},'
        '{"$namedtuple":["tests.unit.test_cache_keys:Pair",{"$dict":[["x",1],["y",2]]}]},'
        '{"$model":["tests.unit.test_cache_keys:Model",{"$dict":[["x",1],["y",0]]},null,null]},'
        '{"$model":["tests.unit.test_cache_keys:Open",{"$dict":[["x",1]]},{"$dict":[["more",2]]},'
        '{"$dict":[["_note",""]]}]}]',
        "48c13ea5e8a2f721d42235ca03c496016143c61745155a6c3326e5e769498a60",
    ),
}


@pytest.mark.parametrize("name", PINNED)
def test_pinned(name: str) -> None:
    """The text that is hashed, and its digest."""
    parts, text, digest = PINNED[name]
    assert key_text(parts) == f"flowstore-key-1:{text}"
    assert cache_key(*parts) == digest == sha256(f"flowstore-key-1:{text}".encode()).hexdigest()


def known(value: Any) -> Any:
    """What a value is to a key, found in another way: two are the same if these are equal."""
    if isinstance(value, float):
        return "float", "nan" if math.isnan(value) else struct.pack(">d", value)
    if isinstance(value, dict):
        return "mapping", sorted(((known(key), known(item)) for key, item in value.items()), key=repr)
    if isinstance(value, set | frozenset):
        return "set", sorted(map(known, value), key=repr)
    if isinstance(value, list | tuple) and not isinstance(value, Pair):
        return type(value).__name__, tuple(map(known, value))
    if isinstance(value, Point | Model | Pair):
        return type(value).__name__, known(value.x), known(value.y)
    return type(value).__name__, repr(value)


HASHABLE = st.one_of(
    st.sampled_from([None, True, False, 0, 1, 2, 0.0, -0.0, 1.0, math.inf]),
    st.sampled_from(["", "1", "a", "ab", "b", b"", b"a"]),
    st.sampled_from([Decimal(1), Decimal("1.0"), UUID(int=1), date(2026, 1, 1), *Colour]),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
)


def holders(inner: Any) -> Any:
    few = st.lists(inner, max_size=3)
    return st.one_of(
        few,
        few.map(tuple),
        st.frozensets(HASHABLE, max_size=3),
        st.dictionaries(HASHABLE, inner, max_size=3),
        *(st.builds(kind, inner, inner) for kind in (Point, Pair)),
        st.builds(Model, x=inner, y=inner),
    )


PARTS = st.lists(st.recursive(HASHABLE, holders, max_leaves=6), max_size=3).map(tuple)


@settings(max_examples=300 * EFFORT)
@given(PARTS, PARTS)
@example(("a", "bc"), ("ab", "c"))
@example(("a",), (("a",),))
@example((), ([],))
@example((1,), (True,))
@example((1,), (1.0,))
@example((1,), ("1",))
@example((0.0,), (-0.0,))
@example(([1],), ((1,),))
@example(({},), (set(),))
@example(({"$tuple": [1]},), ((1,),))
@example((['"a","b"'],), (["a", "b"],))
@example((Point(1, 2),), (Model(x=1, y=2),))
@example((b"a",), ("a",))
def test_other_parts_have_other_keys(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    """Two keys are equal exactly where the parts are the same."""
    assert (cache_key(*one) == cache_key(*other)) is (known(one) == known(other))


def otherwise(value: Any) -> Any:
    """The same value, made in another way: in another order, of another class where that does not count."""
    if isinstance(value, dict):
        return OrderedDict((key, otherwise(item)) for key, item in reversed(value.items()))
    if isinstance(value, frozenset):
        return set(value)
    if isinstance(value, Pair | Point):
        return type(value)(otherwise(value.x), otherwise(value.y))
    if isinstance(value, Model):
        return Model.model_construct({"y"}, y=otherwise(value.y), x=otherwise(value.x))
    if isinstance(value, list | tuple):
        return type(value)(map(otherwise, value))
    return value


@settings(max_examples=100 * EFFORT)
@given(PARTS)
def test_same_parts_have_the_same_key(parts: tuple[Any, ...]) -> None:
    """However they were made; and it is one of 64 digits, which an id can be."""
    key = cache_key(*parts)
    assert key == cache_key(*otherwise(parts))
    assert len(key) == 64
    assert int(key, 16) >= 0


def test_classes_of_mappings_and_sets_do_not_count() -> None:
    """Nor does the order of an OrderedDict, or what makes the defaults of another."""
    pairs = [("b", 1), ("a", 2)]
    mappings: list[Any] = [
        *(dict(pairs), OrderedDict(pairs), Counter(dict(pairs)), MappingProxyType(dict(pairs))),
        defaultdict(lambda: 7, pairs),
    ]
    assert len({cache_key(mapping) for mapping in mappings}) == 1
    assert cache_key({1, 2}) == cache_key(frozenset([2, 1]))


def test_context_of_decimals_does_not_count() -> None:
    """A program that spells exponents in small letters, or rounds, has the keys of all others."""
    parts = (Decimal("1.23456E+5000"), Decimal("NaN"))
    key = cache_key(*parts)
    with localcontext() as context:
        context.capitals, context.prec = 0, 1
        assert cache_key(*parts) == key


def test_subclass_of_a_scalar_is_what_it_equals() -> None:
    """As for the codec: that of a driver is no other key, one with attributes of its own has none."""

    class Name(str):
        __slots__ = ()

    class Noted(str):
        note = "x"

        def __init__(self, _: str) -> None:
            self.note = "y"

    assert cache_key(Name("a")) == cache_key("a")
    with pytest.raises(NotSerializable, match=r"^parts\[0\]: "):
        cache_key(Noted("a"))


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.unit.test_cache_keys import STABLE
from flowstore import cache_key
print(cache_key(*STABLE))
"""
STABLE = (
    {f"k{n}": {f"k{n}", n} for n in range(50)},
    frozenset({"a", "b", "c", 1, None, Colour.BLUE, ("x", 2)}),
    Point({"z": 1, "a": {2, 3}}),
    Model(x={"b", "a"}),
)


@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_other_processes_have_the_same_keys(seed: str) -> None:
    """Whatever their hashes are."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, os.getcwd()],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == cache_key(*STABLE)


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@dataclass
class Late:
    x: int
    y: int = field(init=False)


REFUSED: dict[str, tuple[Any, str]] = {
    "object": (object(), r"parts\[1\]: object has no stable form; pass what it is made of"),
    "function": ([{"a": print}], r"parts\[1\]\[0\]\['a'\]: builtin_function_or_method has no stable form"),
    "class": (int, r"parts\[1\]: type has no stable form"),
    "bytearray": (bytearray(b"x"), r"parts\[1\]: bytearray has no stable form"),
    "generator": ((n for n in range(3)), r"parts\[1\]: generator has no stable form"),
    "secret": (SecretStr("x"), r"parts\[1\]: pydantic.types.SecretStr has no stable form"),
    "key": ({(1, object()): 2}, r"parts\[1\]\.keys\(\)\[0\]\[1\]: object"),
    "member": ({object()}, r"parts\[1\]\{\.\.\.\}: object"),
    "field": (Point(1, [object()]), r"parts\[1\]\.y\[0\]: object"),
    "field without a value": (Late(1), r"parts\[1\]\.y: the field has no value"),
    "more than its fields": (Odd(), r"parts\[1\]: tests\.unit\.test_cache_keys\.Odd extends a class"),
    "subclass of dict": (type("Config", (dict,), {})(), r"parts\[1\]: .*Config has no stable form"),
    "circle": (CIRCLE, r"parts\[1\]\[0\].*: nested deeper than 100 levels, or contains itself"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_path(name: str) -> None:
    """What has no form that is always the same makes no key that would be only sometimes right."""
    value, said = REFUSED[name]
    with pytest.raises(NotSerializable, match=f"^{said}") as caught:
        cache_key("a", value)
    assert isinstance(caught.value, TypeError)


def test_too_large() -> None:
    """One that doubles with each level ends with an error, not with the memory."""
    value: Any = ["x" * 1_000]
    for _ in range(60):
        value = [value, value]
    with pytest.raises(PayloadTooLarge, match=r"^parts: "):
        cache_key(value)


def test_classes_of_one_name_in_two_modules() -> None:
    """Are two: the module counts. What was given and what is a default makes no difference."""
    one, other = (create_model("Same", __module__=module, x=(int, 1)) for module in ("a", "b"))
    assert cache_key(one()) == cache_key(one(x=1)) != cache_key(other())


def test_key_text_is_json() -> None:
    """So any language can write it."""
    for parts, text, _ in PINNED.values():
        assert len(json.loads(text)) == len(parts)
