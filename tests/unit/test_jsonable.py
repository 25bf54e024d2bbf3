"""Values as JSON for people: every value has a form that any writer can write; nothing is lost silently."""

from __future__ import annotations

import enum
import json
import math
from collections import OrderedDict, deque, namedtuple
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import ip_address
from pathlib import PurePosixPath
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AnyUrl,
    BaseModel,
    Field,
    PlainSerializer,
    PostgresDsn,
    RootModel,
    SecretStr,
    TypeAdapter,
    computed_field,
    field_serializer,
    model_serializer,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass

from flowstore import NOT_LOADED, Excerpt, Page, Progress, TaskError, TaskResult, Unresolved, to_jsonable
from flowstore.jsonable import FORMS, MAX_REPR_CHARS
from flowstore.testing.contract.rude_errors import RUDE_ERRORS
from flowstore.testing.contract.values import Access, Colour, Order, Point, native_values

BERLIN = ZoneInfo("Europe/Berlin")


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    NO = "no"


class Text(str):
    __slots__ = ()


Pair = namedtuple("Pair", "left right")  # as others have them


FORM_OF: list[tuple[Any, Any]] = [
    (None, None),
    (True, True),
    (2**80, 2**80),
    (7**12_000, hex(7**12_000)),
    (-0.5, -0.5),
    (math.nan, "nan"),
    (-math.inf, "-inf"),
    ("\N{SNAKE}\0", "\N{SNAKE}\0"),
    ("caf\udce9", "caf\\udce9"),
    (b"\0\xff", "AP8="),
    (bytearray(b"text"), "dGV4dA=="),
    (Decimal("1.50"), "1.50"),
    (Decimal("sNaN"), "sNaN"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (datetime(2026, 1, 2, 3, 4, 5, 6, UTC), "2026-01-02T03:04:05.000006+00:00"),
    (datetime(2026, 7, 2, tzinfo=BERLIN), "2026-07-02T00:00:00+02:00"),
    (datetime(2026, 1, 2), "2026-01-02T00:00:00"),
    (date(2026, 1, 2), "2026-01-02"),
    (time(1, 2, tzinfo=UTC), "01:02:00+00:00"),
    (timedelta(days=400, hours=5, microseconds=500), "P400DT5H0.0005S"),
    (timedelta(seconds=-90), "-PT1M30S"),
    (timedelta(0), "P0D"),
    (BERLIN, "Europe/Berlin"),
    (UTC, "UTC"),
    (timezone(timedelta(hours=1), "X"), "X"),
    (Colour.BLUE, 2),
    (Access.READ | Access.WRITE, 3),
    (Level.LOW, 1),
    (Word.NO, "no"),
    (Text("x"), "x"),
    ((1, [2, ()]), [1, [2, []]]),
    (Pair(1, 2), [1, 2]),
    ({10, 9, -1}, [-1, 9, 10]),
    (frozenset({"b", "a"}), ["a", "b"]),
    ({1, "a", None}, ["a", 1, None]),
    (OrderedDict(a={1}), {"a": [1]}),
    ({1: "a", None: "b", (1, b"x"): "c", 0.5: "d"}, {"1": "a", "null": "b", '[1, "eA=="]': "c", "0.5": "d"}),
    ({1: "a", "1": "b"}, [[1, "a"], ["1", "b"]]),
    ({"\udc80": 1, "\\udc80": 2}, [["\\udc80", 1], ["\\udc80", 2]]),
    (Point(b"", (1,)), {"x": "", "y": [1]}),
    (Order(number=1, lines={"a": math.inf}), {"number": 1, "lines": {"a": "inf"}}),
    (ValueError("no"), "ValueError: no"),
    (deque([1, (b"",)]), [1, [""]]),
    (PurePosixPath("a/b"), "a/b"),
    (ip_address("::1"), "::1"),
    (AnyUrl("http://host/x"), "http://host/x"),
    (PostgresDsn("postgresql://user@host/db"), "postgresql://user@host/db"),
    (Unresolved("app:Order", "why", {"at": (1,)}), {"unresolved": "app:Order", "data": {"at": [1]}}),
    (Excerpt({"rows": [1]}, 9_000), {"excerpt": {"rows": [1]}, "size": 9_000}),
    (print, "<built-in function print>"),
    (int, "<class 'int'>"),
    (NOT_LOADED, "<not loaded>"),
]


@pytest.mark.parametrize(("value", "form"), FORM_OF, ids=[str(n) for n in range(len(FORM_OF))])
def test_forms(value: Any, form: Any) -> None:
    """The table in docs/values.md, with types; and the same within a result, in both modes of pydantic."""
    assert repr(to_jsonable(value)) == repr(form)
    result: TaskResult = TaskResult.success("t", value, args=(value,), kwargs={"k": value})
    for dumped in (result.model_dump(mode="json"), json.loads(result.model_dump_json())):
        if value is not NOT_LOADED:
            assert dumped["result"] == form
        assert (dumped["args"], dumped["kwargs"]) == ([form], {"k": form})


@given(native_values())
def test_every_value_has_a_form(value: Any) -> None:
    """Any writer of JSON takes it, it is its own form, and a result with the value can be dumped."""
    form = to_jsonable(value)
    written = json.dumps(form, allow_nan=False, ensure_ascii=False).encode()
    assert json.loads(written) == to_jsonable(form) == form
    result: TaskResult = TaskResult.success("t", value, args=(value,))
    dumped = json.loads(result.model_dump_json())
    assert (dumped["result"], dumped["args"]) == (form, [form])
    assert result.model_dump(mode="json")["result"] == form


@given(st.timedeltas())
def test_durations_are_those_of_iso_8601(duration: timedelta) -> None:
    """Without years, which are of no fixed length; pydantic reads the same back."""
    text = to_jsonable(duration)
    assert "Y" not in text
    assert TypeAdapter(timedelta).validate_python(text) == duration


@pytest.mark.parametrize("name", RUDE_ERRORS)
def test_what_breaks_whoever_looks_at_it(name: str) -> None:
    """It has a short form all the same, and does not hide what is around it."""
    form = to_jsonable({"rude": [RUDE_ERRORS[name]()], "x": 1})
    assert form["x"] == 1
    assert len(json.dumps(form, allow_nan=False)) < 2 * 10**6


def test_long_reprs_are_shortened() -> None:
    """With a mark that says how much is missing."""
    [form] = to_jsonable([ValueError("x" * 10**6)])
    assert len(form) <= MAX_REPR_CHARS
    assert "characters left out" in form


HOLD: dict[str, Callable[[Any], Any]] = {
    "list": lambda value: [value],
    "tuple": lambda value: (value,),
    "dict": lambda value: {"a": value},
    "odd dict": lambda value: {1: value, "1": 0},
    "dataclass": lambda value: Point(value, 0),
    "model": lambda value: Order(number=1, lines=value),
    "broken model": lambda value: Broken(value=value, number=object()),
}


class Broken(BaseModel):
    value: Any
    number: object
    raw: bytes = b"\xff"


@pytest.mark.parametrize("hold", HOLD)
def test_deep_values(hold: str) -> None:
    """100 levels, which can be stored, can be written, within a page as well."""
    value: Any = "leaf"
    for _ in range(100):
        value = HOLD[hold](value)
    page: Page = Page(items=[TaskResult.success("t", value)], next_cursor=None)
    for written in (json.dumps(to_jsonable(value)), page.model_dump_json(), json.dumps(to_jsonable(page))):
        assert written.count("leaf") == 1


@pytest.mark.parametrize("hold", HOLD)
def test_values_that_contain_themselves(hold: str) -> None:
    """They cannot be stored, but a result that is made by hand can have one: a clear error."""
    box: list[Any] = []
    box.append(HOLD[hold](box))
    result: TaskResult = TaskResult.success("t", box)
    with pytest.raises(ValueError, match="value: nested deeper than 255 levels, or contains itself"):
        to_jsonable(box)
    for dump in (result.model_dump_json, lambda: result.model_dump(mode="json")):
        with pytest.raises(ValueError, match="contains itself"):
            dump()


class Masked(BaseModel):
    """Serializers of every kind, for JSON alone, so that the value itself would be too much."""

    field: Any = "secret"
    annotated: Annotated[Any, PlainSerializer(lambda _: "***", when_used="json")] = "secret"
    excluded: Any = Field(default="secret", exclude=True)
    secret: SecretStr = SecretStr("secret")
    other: Any = math.nan
    raw: bytes = b"\xff"

    @field_serializer("field", when_used="json")
    def mask(self, value: object) -> str:
        return "***"


class MaskedWhole(BaseModel):
    token: Any = "secret"
    raw: bytes = b""

    @model_serializer(mode="plain", when_used="json")
    def mask(self) -> dict[str, Any]:
        return {"token": "***", "raw": self.raw.decode()}


class Failing(BaseModel):
    token: Any = "secret"

    @computed_field  # type: ignore[prop-decorator]  # as pydantic has it
    @property
    def bad(self) -> int:
        raise RuntimeError("no value")

    @field_serializer("token")
    def mask(self, value: object) -> str:
        raise RuntimeError("no mask")


def test_serializers_of_models_are_honoured() -> None:
    """Also where another field cannot be serialized; one that fails shows its error, never the value."""
    shown = {"field": "***", "annotated": "***", "secret": "**********", "other": "nan", "raw": "/w=="}
    assert to_jsonable(Masked()) == shown
    assert to_jsonable(Masked(raw=b"ok")) == {**shown, "raw": "ok"}
    assert to_jsonable(MaskedWhole()) == {"token": "***", "raw": ""}
    for failing in (MaskedWhole(raw=b"\xff"), Failing()):
        written = json.dumps(to_jsonable(failing))
        assert "secret" not in written
        assert "Error" in written


def test_what_pydantic_cannot_serialize() -> None:
    """It has the form that it has elsewhere, in models, root models and pydantic's dataclasses."""

    class Loose(BaseModel, extra="allow"):
        number: object
        alias: int = Field(default=1, serialization_alias="as")

    @pydantic_dataclass(slots=True)
    class Given:
        number: Any
        raw: bytes

    loose = Loose.model_validate({"number": len, "more": b"\xff"})
    roots = [RootModel[bytes](b"\xff"), RootModel[Any]([math.nan])]
    name = "<built-in function len>"
    assert to_jsonable(loose) == {"number": name, "alias": 1, "more": "/w=="}
    assert to_jsonable(roots) == ["/w==", ["nan"]]
    assert to_jsonable(Given(len, b"\xff")) == {"number": name, "raw": "/w=="}


def test_a_type_can_be_added(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that returns something simpler, for it and its subclasses."""

    class Money:
        def __init__(self, cents: int) -> None:
            self.cents = cents

    class Euro(Money):
        pass

    monkeypatch.setitem(FORMS, Money, lambda money: {Decimal("0.01"): money.cents})
    assert to_jsonable([Euro(5)]) == [{"0.01": 5}]


LISTED = {"task_id": "t", "status": "failed", "result": NOT_LOADED, "args": NOT_LOADED, "kwargs": NOT_LOADED}
"""As reading without values makes it."""


def test_what_was_not_loaded_is_left_out() -> None:
    """In JSON, also of a page; in Python NOT_LOADED stays. The schema says that it need not be there."""
    listed = TaskResult.model_validate(LISTED)
    names = {"result", "args", "kwargs"}
    page: Page = Page(items=[listed], next_cursor=None)
    for dumped in (listed.model_dump(mode="json"), json.loads(listed.model_dump_json())):
        assert dumped.keys() == TaskResult.model_fields.keys() - names
        assert json.loads(page.model_dump_json())["items"] == [dumped]
        assert to_jsonable(page)["items"] == [dumped]
    assert listed.model_dump()["args"] is NOT_LOADED
    for kind in (TaskResult, TaskResult[Order]):
        schema = kind.model_json_schema(mode="serialization")
        assert {*schema["required"]} == TaskResult.model_fields.keys() - names
        for name in names:
            assert schema["properties"][name]["description"] == "Left out where it was not loaded."
    assert "$ref" in json.dumps(
        TaskResult[Order].model_json_schema(mode="serialization")["properties"]["result"]
    )


@pytest.mark.parametrize("kind", [Page[int], Page[Any], TypeAdapter(list[Page[Order]])])
def test_pages_without_values_are_pages_of_any_type(kind: Any) -> None:
    """They validate as such, as a response model does."""
    page = {"items": [LISTED], "next_cursor": None}
    read = kind.validate_python([page]) if isinstance(kind, TypeAdapter) else kind.model_validate(page)
    written = kind.dump_json(read) if isinstance(kind, TypeAdapter) else read.model_dump_json()
    assert b"args" not in (written if isinstance(written, bytes) else written.encode())


def test_python_mode_keeps_values() -> None:
    """``model_dump()`` gives what is there, as it does for any model."""
    result: TaskResult = TaskResult.success("t", {1: {b"x"}}, args=[math.inf, (1,)], labels={"a"})
    dumped = result.model_dump()
    assert (dumped["result"], dumped["args"], dumped["labels"]) == ({1: {b"x"}}, (math.inf, (1,)), {"a"})


def test_small_fields() -> None:
    """Labels are sorted; error, progress and times are as pydantic writes them."""
    error = TaskError(type="E", message="m", args=(1, None))
    result: TaskResult = TaskResult.failed(
        "t",
        error,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        labels=["b", "a"],
        progress=Progress(done=1),
        meta={"a": 1.0},
    )
    assert json.loads(result.model_dump_json(exclude_none=True)) == {
        "task_id": "t",
        "status": "failed",
        "error": {
            "type": "E",
            "message": "m",
            "args": [1, None],
            "notes": [],
            "exceptions": [],
            "exceptions_left_out": 0,
            "is_cut": False,
        },
        "args": [],
        "kwargs": {},
        "finished_at": "2026-01-01T00:00:00Z",
        "retries": 0,
        "labels": ["a", "b"],
        "meta": {"a": 1.0},
        "progress": {"done": 1},
        "version": 0,
    }
