"""Two programs share a store, and each has its own version of a class: both read what the other wrote.

What is expected is told by ``Version.expects``, from the fields that are stored, in the words of the promise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstore import StoredType, Unresolved
from flowstore._values.codec import Codec
from flowstore.stored_type import UnknownFields
from flowstore.testing.contract.values import SAMPLE_TYPES, Colour, Point, native_values
from flowstore.testing.support import EFFORT
from tests.support.random_fields import like_a_statement
from tests.support.strict import difference, state

FORMS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, st.integers()),
    (str, st.text(max_size=3)),
    (Any, native_values()),
    (list[int], st.lists(st.integers(), max_size=2)),
    (datetime | None, st.none() | st.datetimes(timezones=st.just(UTC))),
    (Decimal, st.decimals(allow_nan=False, places=2, min_value=0, max_value=9)),
    (Colour, st.sampled_from(Colour)),
    (Point, st.builds(Point, st.integers(), st.none())),
]
NAMES = ("a", "b", "c", "d", "e")
DEFAULTS = {
    "model": ("none", "value", "value", "factory", "of the others", "raising"),
    "dataclass": ("none", "value", "value", "factory", "raising"),
    "pydantic dataclass": ("none", "value", "value", "factory", "raising"),
    "namedtuple": ("none", "value", "value"),
}
"""What the fields of each kind of class may have for a default."""
KINDS = tuple(DEFAULTS)


class Refusal(NamedTuple):
    """Nothing can be made of what is stored; the reason has one of these words."""

    words: tuple[str, ...]


class Stored(NamedTuple):
    """What a version wrote: under which name, which fields, and which of them are extra ones of a model."""

    name: str
    fields: dict[str, Any]
    extra: frozenset[str]
    version: int


def fail() -> object:
    raise LookupError("no default today")


@dataclasses.dataclass
class Version:
    """One version of a class. ``fields`` has the kind of default of each."""

    kind: str
    fields: dict[str, str]
    forms: dict[str, Any]
    extra: Any
    unknown_fields: UnknownFields | None
    name: str
    aliases: list[str]
    version: int
    upgrades: bool

    def __post_init__(self) -> None:
        makers: dict[str, Callable[[], Any]] = {
            "model": self._model,
            "dataclass": self._dataclass,
            "pydantic dataclass": self._pydantic_dataclass,
            "namedtuple": self._named_tuple,
        }
        self.cls = makers[self.kind]()
        self.codec = Codec(
            [
                StoredType(
                    self.cls,
                    name=self.name,
                    aliases=self.aliases,
                    version=self.version,
                    unknown_fields=self.unknown_fields,
                    upgrade=self._upgrade if self.upgrades else None,
                ),
                *SAMPLE_TYPES,
            ]
        )

    def _model(self) -> Any:
        fields: dict[str, Any] = {}
        for name, default in self.fields.items():
            options: dict[str, dict[str, Any]] = {
                "none": {},
                "value": {"default": name},
                "factory": {"default_factory": lambda name=name: [name]},
                "of the others": {"default_factory": lambda data: sorted(data)},
                "raising": {"default_factory": fail},
            }
            fields[name] = self.forms[name], pydantic.Field(**options[default])
        return pydantic.create_model("Model", __cls_kwargs__={"extra": self.extra}, **fields)

    def _dataclass_fields(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "none": lambda name: dataclasses.field(),
            "value": lambda name: dataclasses.field(default=name),
            "factory": lambda name: dataclasses.field(default_factory=lambda: [name]),
            "raising": lambda name: dataclasses.field(default_factory=fail),
        }
        return {name: options[default](name) for name, default in self.fields.items()}

    def _dataclass(self) -> Any:
        rows = [(name, self.forms[name], field) for name, field in self._dataclass_fields().items()]
        return dataclasses.make_dataclass("Data", rows, kw_only=True)

    def _pydantic_dataclass(self) -> Any:
        plain = like_a_statement("Checked", (), self.forms_of_fields(), self._dataclass_fields())
        return pydantic.dataclasses.dataclass(config={"extra": self.extra}, kw_only=True)(plain)

    def _named_tuple(self) -> Any:
        body = {name: name for name, default in self.fields.items() if default == "value"}
        return like_a_statement("Row", (NamedTuple,), self.forms_of_fields(), body)

    def forms_of_fields(self) -> dict[str, Any]:
        return {name: self.forms[name] for name in self.fields}

    def _upgrade(self, version: int, stored: Any) -> Any:
        assert version < self.version
        fields: dict[str, Any] = {}
        for name in self.fields:
            fields[name] = stored[name] if name in stored else self.default(name, fields)
            if isinstance(fields[name], Refusal):
                raise LookupError(f"upgrade has no {name!r}")
        return self.made(fields, {})

    def made(self, fields: dict[str, Any], extra: dict[str, Any]) -> Any:
        """An instance that is not validated, as the values of a field may be of another version's type."""
        if self.kind == "model":
            return self.cls.model_construct(None, **fields, **extra)
        value = self.cls(**fields) if self.kind in ("dataclass", "namedtuple") else object.__new__(self.cls)
        if self.kind == "pydantic dataclass":
            value.__dict__.update(fields | extra)
        return value

    def is_open(self) -> bool:
        return bool(self.extra == "allow")

    def policy(self) -> str:
        """What becomes of fields that it does not know."""
        by_extra = {"forbid": "refuse", "allow": "keep"}.get(self.extra, "ignore")
        return self.unknown_fields or by_extra

    def default(self, name: str, before: Iterable[str]) -> Any:
        defaults: dict[str, Any] = {
            "none": Refusal((repr(name),)),
            "value": name,
            "factory": [name],
            "of the others": sorted(before),
            "raising": Refusal((repr(name),)),
        }
        return defaults[self.fields[name]]

    def writes(self, fields: dict[str, Any], extra: dict[str, Any]) -> Stored:
        names = frozenset(extra) if self.kind == "model" else frozenset[str]()
        return Stored(self.name, fields | extra, names, self.version)

    def expects(self, stored: Stored) -> Refusal | tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """The fields, the extra ones, and those that it only keeps for others."""
        if stored.name not in (self.name, *self.aliases):
            return Refusal(("is not registered",))
        fields: dict[str, Any] = {}
        is_upgraded = self.upgrades and stored.version < self.version
        for name in self.fields:
            fields[name] = stored.fields[name] if name in stored.fields else self.default(name, fields)
            if isinstance(fields[name], Refusal):
                return fields[name]  # type: ignore[no-any-return]
        unknown = {name: value for name, value in stored.fields.items() if name not in fields}
        if is_upgraded:
            return fields, {}, {}
        own = {name: value for name, value in unknown.items() if self.is_open() and name in stored.extra}
        if self.policy() == "refuse" and unknown.keys() - own.keys():
            return Refusal(tuple(map(repr, unknown)))
        if self.policy() == "keep":
            own = unknown
        return (fields, own, {}) if self.is_open() else (fields, {}, own if self.policy() == "keep" else {})


@st.composite
def versions(draw: st.DrawFn, forms: dict[str, Any], other: str) -> Version:
    """``other``: a name that the other program does not know."""
    kind = draw(st.sampled_from(KINDS))
    has_extra = kind in ("model", "pydantic dataclass")
    extra = draw(st.sampled_from(["ignore", "allow", "forbid"])) if has_extra else "ignore"
    fields = draw(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(DEFAULTS[kind]), max_size=4))
    if kind == "namedtuple":
        fields = dict(sorted(fields.items(), key=lambda pair: pair[1] != "none"))
    choices: list[UnknownFields | None] = [None, "ignore", "keep", "refuse"]
    unknown_fields = draw(st.sampled_from(choices))
    if kind == "namedtuple" and unknown_fields == "keep":
        unknown_fields = None
    elif kind == "pydantic dataclass" and extra == "allow" and unknown_fields in ("ignore", "refuse"):
        unknown_fields = "keep"
    name, aliases = draw(st.sampled_from([("T", [])] * 5 + [("T", [other]), (other, ["T"])]))
    version, upgrades = draw(st.sampled_from([(1, False), (1, True), (2, False), (2, True)]))
    return Version(kind, fields, forms, extra, unknown_fields, name, aliases, version, upgrades)


@st.composite
def keeping(draw: st.DrawFn, forms: dict[str, Any]) -> Version:
    """A version that loses nothing, and has a default for all that it misses."""
    kind = draw(st.sampled_from(KINDS[:-1]))
    defaults = ["value", "factory"]
    fields = draw(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(defaults), max_size=4))
    extra = "ignore" if kind == "dataclass" else draw(st.sampled_from(["ignore", "allow", "forbid"]))
    return Version(kind, fields, forms, extra, "keep", "T", [], draw(st.integers(1, 2)), False)


Pair = tuple[Version, Version, dict[str, Any], dict[str, Any]]


@st.composite
def pairs(draw: st.DrawFn, *, is_keeping: bool = False) -> Pair:
    """Two versions; and the fields, and the extra ones, of a value of the first."""
    drawn = {name: draw(st.sampled_from(FORMS)) for name in NAMES}
    forms = {name: form for name, (form, _) in drawn.items()}
    one, other = [
        draw(keeping(forms) if is_keeping else versions(forms, unknown)) for unknown in ("new", "newer")
    ]
    fields = {name: draw(drawn[name][1]) for name in one.fields}
    extra = {}
    if one.is_open():
        names = st.sampled_from([name for name in (*NAMES, "$x") if name not in fields])
        extra = {name: draw(native_values()) for name in draw(st.sets(names, max_size=2))}
    return one, other, fields, extra


def held_by(value: Any, version: Version) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Its fields, its extra ones, and those that it only keeps."""
    held = state(value)
    kept = held.pop("_flowstore_unknown_fields", {})
    extra = held.pop("__pydantic_extra__", None) or {}
    for name in [name for name in held if name.startswith("__pydantic")]:
        del held[name]
    if version.kind == "model":
        extra = value.__pydantic_extra__ or {}
    fields = {name: held.pop(name) for name in version.fields}
    return fields, {**extra, **held}, kept


def check(version: Version, value: Any, stored: Stored) -> Stored | None:
    """What was read is as expected. Return what is stored of it when it is written again; None: nothing."""
    expected = version.expects(stored)
    if isinstance(expected, Refusal):
        assert isinstance(value, Unresolved), (expected, value)
        assert any(word in value.reason for word in expected.words), (expected, value.reason)
        assert difference(stored.fields, {name: value.data[name] for name in stored.fields}) is None
        return None
    assert type(value) is version.cls, value
    for want, found in zip(expected, held_by(value, version), strict=True):
        assert want.keys() == found.keys()
        assert all(difference(want[name], found[name], name) is None for name in want)
    fields, extra, kept = expected
    return version.writes(fields | kept, extra)


@settings(max_examples=300 * EFFORT, deadline=None, database=None)
@given(pairs())
def test_one_version_reads_what_another_wrote(drawn: Pair) -> None:
    """And writes it again, for the first to read: the deployment may roll forwards and back."""
    old, new, fields, extra = drawn
    data = old.codec.encode_fields({"v": old.made(fields, extra)})
    read = new.codec.decode_fields(data)["v"]
    again = check(new, read, old.writes(fields, extra))
    if again is not None:
        check(old, old.codec.decode_fields(new.codec.encode_fields({"v": read}))["v"], again)


@settings(max_examples=200 * EFFORT, deadline=None, database=None)
@given(pairs(is_keeping=True))
def test_what_is_kept_comes_back_to_its_program(drawn: Pair) -> None:
    """Nothing is lost on the way through a version that does not know it, not even which fields were set."""
    old, new, fields, extra = drawn
    value = old.made(fields, extra)
    read = new.codec.decode_fields(old.codec.encode_fields({"v": value}))["v"]
    check(new, read, old.writes(fields, extra))
    back = old.codec.decode_fields(new.codec.encode_fields({"v": read}))["v"]
    for want, found in zip((fields, extra), held_by(back, old), strict=False):
        assert all(difference(want[name], found[name], name) is None for name in want)
    if old.kind == "model":
        assert value.model_fields_set <= back.model_fields_set


def test_a_dataclass_that_is_open_cannot_tell_what_it_does_not_know() -> None:
    """Its extra fields are stored among the others, so any other choice than to keep them is refused."""

    @pydantic.dataclasses.dataclass(config={"extra": "allow"})
    class Loose:
        x: int

    for choice in ("ignore", "refuse"):
        with pytest.raises(TypeError, match=r"^unknown_fields: .*Loose has extra='allow', so it keeps them"):
            Codec([StoredType(Loose, unknown_fields=choice)])
    value = Loose(1, more=2)  # type: ignore[call-arg]
    codec = Codec([StoredType(Loose, unknown_fields="keep")])
    assert difference(value, codec.decode_fields(codec.encode_fields({"v": value}))["v"]) is None
