"""When a class can take the place of another one: what of their structure counts, and what does not."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, create_model

from flowstore.errors import ModelConflict
from flowstore.typed.registry import ModelRegistry
from flowstore.typed.storage import Kind
from flowstore.typed.structure import differences
from tests.support.modules import Modules, written_modules


@pytest.fixture
def modules(tmp_path: Path) -> Iterator[Modules]:
    with written_modules(tmp_path) as modules:
        yield modules


def model(**fields: Any) -> type[BaseModel]:
    """A class called Report with these fields."""
    made: type[BaseModel] = create_model("Report", __module__=__name__, **fields)
    return made


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"a": (int, ...), "b": (str, ""), "c": (int, ...)}, "field 'c' is added"),
        ({"a": (int, ...)}, "field 'b' is removed"),
        ({"a": (str, ...), "b": (str, "")}, r"field 'a' is str \(required\), and was int \(required\)"),
        ({"a": (int, 0), "b": (str, "")}, r"field 'a' is int \(optional\), and was int \(required\)"),
        ({"a": (int | None, ...), "b": (str, "")}, r"field 'a' is int \| None"),
        ({"a": (list[int], ...), "c": (str, "")}, "field 'c' is added, field 'a' is list"),
    ],
)
def test_another_structure_is_refused(fields: dict[str, Any], said: str) -> None:
    """With what differs, and what was registered stays."""
    registry = ModelRegistry()
    first = registry.register_model(model(a=(int, ...), b=(str, "")))
    with pytest.raises(ModelConflict, match=f"^model 'Report' .* its structure is another: {said}.*name="):
        registry.register_model(model(**fields))
    assert registry.get_model_class("Report") is first


MODEL = "class Report(BaseModel): a: "
DATACLASS = "@dataclasses.dataclass\nclass X: "
PARTS = [
    (MODEL + "X", "class X(BaseModel): b: str", "class X(BaseModel): b: int"),
    (MODEL + "list[dict[str, X]]", "class X(BaseModel): b: int", "class X(BaseModel): c: int"),
    (MODEL + "X | None", "class X(enum.Enum): A = 1", "class X(enum.Enum): B = 1"),
    (MODEL + "Union[X, None]", "class X(enum.Enum): A = 1", "class X(enum.Enum): A = 1; B = 2"),
    (MODEL + "X", "class X(NamedTuple): b: int", "class X(NamedTuple): b: str"),
    (MODEL + "X", "class X(NamedTuple): b: int", "class X(NamedTuple): b: int = 1"),
    (MODEL + "X", DATACLASS + "b: int", DATACLASS + "b: int = 1"),
    (MODEL + "X", DATACLASS + "b: 'list[X]'", DATACLASS + "b: 'tuple[X, ...]'"),
    (MODEL + "X", "class X(BaseModel): b: int", "class X(NamedTuple): b: int"),
    (MODEL + "X", "X = NewType('X', int)", "X = NewType('X', str)"),
    (MODEL + "X", "X = te.TypeAliasType('X', list[int])", "X = te.TypeAliasType('X', list[str])"),
    (MODEL + "X", "X = te.TypeAliasType('X', 'list[X] | int')", "X = te.TypeAliasType('X', 'list[X]')"),
    (MODEL + "X", "class X(te.TypedDict): b: int", "class X(te.TypedDict): b: te.NotRequired[int]"),
    (MODEL + "X", "X = Literal[1, 'a']", "X = Literal[1, 'b']"),
    (MODEL + "X", "X = Callable[[int], str]", "X = Callable[[str], str]"),
    (MODEL + "list[X]", "X = Annotated[int, Field(gt=1)]", "X = Annotated[int, Field(gt=2)]"),
    (MODEL + "X", "X = Annotated[str, Field(pattern='a')]", "X = Annotated[str, Field(pattern='b')]"),
    (MODEL + "Annotated[str, AfterValidator(X)]", "def f(x): return x\nX = f", "def g(x): return x\nX = g"),
    (MODEL + "int = Field(**X)", "X = dict(alias='b')", "X = dict(alias='c')"),
    (MODEL + "int = Field(**X)", "X = dict(exclude=True)", "X = dict(frozen=True)"),
    ("class Report(BaseModel): model_config = X", "X = dict(extra='allow')", "X = dict(extra='forbid')"),
    ("class Report(BaseModel): model_config = X", "X = dict(frozen=True)", "X = dict(frozen=False)"),
    ("class Report(BaseModel):\n exec(X)", "X = '_a: int = 1'", "X = '_b: int = 1'"),
    (MODEL + "'Tree'\nclass Tree(BaseModel):\n trees: list['Tree']\n leaf: X", "X = int", "X = str"),
    (MODEL + "'Page'\nclass Page(BaseModel):\n report: Report | None\n text: X", "X = int", "X = str"),
    (
        "U = TypeVar('U')\nclass Box(BaseModel, Generic[U]): held: U\n" + MODEL + "Box[X]",
        "class X(BaseModel): b: int",
        "class X(BaseModel): b: str",
    ),
    ("class Report(RootModel[list[X]]): pass", "class X(BaseModel): b: int", "class X(BaseModel): b: str"),
]


@pytest.mark.parametrize(("report", "before", "after"), PARTS)
def test_parts_of_the_structure(modules: Modules, report: str, before: str, after: str) -> None:
    """Each counts, wherever it is, and is the same in a reloaded module, where all classes are others."""
    registry = ModelRegistry()
    first = registry.register_model(modules.run("parts", f"{before}\n{report}").Report)
    again = modules.run("parts", f"{before}\n{report}").Report
    with pytest.warns(UserWarning, match="in place of parts.Report"):
        registry.register_model(again)
    assert registry.get_model_class("Report") is again is not first
    assert registry.kind_of(first) == Kind("default", "Report")
    other = modules.run("parts", f"{after}\n{report}", anew=True).Report
    with pytest.raises(ModelConflict, match="its structure is another: "):
        registry.register_model(other)
    assert registry.find_model_namespace(other) is None


@pytest.mark.parametrize(
    "later",
    [
        "class Report(BaseModel):\n b: str = ''\n a: int",
        "class Report(BaseModel):\n a: int = Field(title='A', description='B')\n b: str = 'x'",
        "class Report(BaseModel):\n 'B.'\n a: int\n b: str = uuid.uuid4().hex\n def f(self): return 1",
    ],
)
def test_what_is_no_part_of_the_structure(modules: Modules, later: str) -> None:
    """Order, words, methods, and the value of a default, which may be another each time."""
    first = modules.run("words", "class Report(BaseModel):\n a: int\n b: str = ''").Report
    assert differences(first, modules.run("words", later).Report) == []


def test_a_copy_in_another_module_is_the_same(modules: Modules) -> None:
    """With all that it is made of, as when a program is also imported."""
    text = "class Line(BaseModel): text: str\nclass Report(BaseModel): lines: list[Line]"
    one, two = modules.run("copy_one", text).Report, modules.run("copy_two", text).Report
    assert differences(one, two) == []
    other = modules.run("copy_three", text.replace("text: str", "text: int")).Report
    assert differences(one, other) == ["field 'text' of Line is int (required), and was str (required)"]


def test_what_cannot_be_resolved_yet_is_equal_to_anything(modules: Modules) -> None:
    """Until it can: a decorator runs before what stands further down is there."""
    text = (
        "@register_model('modules')\nclass Report(BaseModel): a: 'Line'\nclass Line(BaseModel): b: {} = None"
    )
    old = modules.run("further_down", text.format("str | None")).Report
    assert old(a={}).a.b is None
    with pytest.warns(UserWarning, match="from now on"):
        new = modules.run("further_down", text.format("int | None"), anew=True).Report
    assert differences(old, new) == [
        "field 'b' of Line is int | None (optional), and was str | None (optional)"
    ]


def test_a_class_that_was_compared_can_go() -> None:
    """What is remembered of it does not keep it, though it mentions itself. (pydantic 2.11 keeps models.)"""

    def node() -> Any:
        made = dataclasses.make_dataclass("Node", [("value", int)])
        made.__annotations__["value"] = list[made]  # type: ignore[valid-type]
        return made

    old = weakref.ref(node())
    gc.collect()
    assert old() is None
    kept, going = node(), node()
    old = weakref.ref(going)
    assert differences(kept, going) == []
    del going
    gc.collect()
    assert old() is None
