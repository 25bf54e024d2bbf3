"""The registry of models: which class a name means, and under which name values of a class are stored."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from threading import Barrier
from typing import Any, Generic, TypeVar

import pytest
from pydantic import BaseModel, RootModel, SecretStr, create_model

from flowstore import NotSerializable, StoredType, Unresolved
from flowstore.errors import FlowstoreError, ModelConflict, ModelNotRegistered
from flowstore.typed import registry as default
from flowstore.typed.registry import ModelRegistry
from flowstore.typed.storage import Kind
from tests.support.modules import Modules, written_modules

T = TypeVar("T")
LIMIT = 1_000_000


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int


class Line(BaseModel):
    text: str = ""


class Report(BaseModel):
    title: str
    lines: list[Line] = []


class Box(BaseModel, Generic[T]):
    held: T


class Boxes(BaseModel):
    box: Box[int]


class Tree(BaseModel):
    children: list[Tree] = []


class Numbers(RootModel[list[int]]):
    pass


@pytest.fixture
def registry() -> ModelRegistry:
    return ModelRegistry()


@pytest.fixture
def modules(tmp_path: Path) -> Iterator[Modules]:
    with written_modules(tmp_path) as modules:
        yield modules


def model(**fields: Any) -> type[BaseModel]:
    """A class called Report with these fields."""
    made: type[BaseModel] = create_model("Report", __module__=__name__, **fields)
    return made


def through(value: object, written: ModelRegistry, read: ModelRegistry, namespace: str = "default") -> Any:
    """The value as it is read by a program that has other models."""
    data = written.codec(LIMIT, namespace).encode_fields({"v": value})
    return read.codec(LIMIT).decode_fields(data)["v"]


def stored_name(value: object, registry: ModelRegistry, namespace: str = "default") -> str:
    data = registry.codec(LIMIT, namespace).encode_fields({"v": value})
    found = re.match(rb'{"v":{"\$model":\["([^"]*)"', data)
    assert found is not None
    return found[1].decode()


def test_every_way_to_register(registry: ModelRegistry) -> None:
    """Bare, with a keyword, with a positional namespace, and as a call; each returns the class."""

    @registry.register_model
    class Bare(BaseModel):
        pass

    @registry.register_model(namespace="metrics", name="Named", aliases=["Old"])
    class Keyword(BaseModel):
        pass

    @registry.register_model("metrics")
    class Positional(BaseModel):
        pass

    @registry.register_model()
    class Empty(BaseModel):
        pass

    assert registry.register_model(Report) is Report
    assert registry.register_model(Line, namespace="other") is Line
    assert registry.get_namespaces() == ["default", "metrics", "other"]
    in_default = {"Bare": Bare, "Empty": Empty, "Report": Report}
    assert registry.get_models_in_namespace("default") == in_default
    assert list(registry.get_models_in_namespace("default")) == sorted(in_default)
    assert registry.get_models_in_namespace("metrics") == {"Named": Keyword, "Positional": Positional}
    assert registry.get_models_in_namespace("none") == {}
    assert registry.get_model_class("Bare") is Bare
    assert (
        registry.get_model_class("Old", "metrics") is registry.get_model_class("Named", "metrics") is Keyword
    )
    assert registry.class_of(Kind("metrics", "Old")) is Keyword


def test_the_default_registry_has_the_same_as_functions() -> None:
    """And other registries have nothing of it."""
    default.register_model(Report, namespace=__name__)
    try:
        assert default.get_model_class("Report", __name__) is Report
        assert default.find_model_namespace(Report) == __name__
        assert default.find_model_in_all_namespaces("Report")[__name__] is Report
        assert __name__ in default.get_namespaces()
        assert default.get_models_in_namespace(__name__) == {"Report": Report}
        assert default.DEFAULT_REGISTRY.kind_of(Report) == Kind(__name__, "Report")
        assert ModelRegistry().get_namespaces() == []
    finally:
        default.clear_registry(__name__)
    assert default.get_models_in_namespace(__name__) == {}


def test_what_is_not_registered(registry: ModelRegistry) -> None:
    """The error says where it was looked for."""
    registry.register_model(Report, namespace="metrics")
    for name, namespace in [("Report", "default"), ("Line", "metrics"), ("Report", "none")]:
        with pytest.raises(ModelNotRegistered, match=f"model {name} is not .* namespace '{namespace}'"):
            registry.get_model_class(name, namespace)
        with pytest.raises(ModelNotRegistered):
            registry.class_of(Kind(namespace, name))
    with pytest.raises(ModelNotRegistered, match="model Line is not registered in any namespace"):
        registry.kind_of(Line)
    with pytest.raises(ModelNotRegistered, match="model Report is not registered in namespace 'default'"):
        registry.kind_of(Report, "default")
    assert registry.find_model_namespace(Line) is None


def test_clear(registry: ModelRegistry) -> None:
    """One namespace, or all of them; after it another structure may have the name."""
    registry.register_model(Report)
    registry.register_model(Report, namespace="metrics")
    registry.clear_registry("none")
    registry.clear_registry("default")
    assert registry.get_namespaces() == ["metrics"]
    registry.register_model(model(title=(int, 0)))
    registry.clear_registry()
    assert registry.get_namespaces() == []
    assert registry.find_model_namespace(Report) is None


def test_one_class_in_several_namespaces(registry: ModelRegistry) -> None:
    """The default one comes first; without it, whoever wants to write has to say in which."""
    registry.register_model(Report, namespace="b")
    assert registry.kind_of(Report) == Kind("b", "Report")
    registry.register_model(Report, namespace="a", name="Mine")
    assert registry.find_model_namespace(Report) == "a"
    assert registry.find_model_in_all_namespaces("Report") == {"b": Report}
    with pytest.raises(ValueError, match=r"^namespace: Report is registered in 'a', 'b'"):
        registry.kind_of(Report)
    assert registry.kind_of(Report, "a") == Kind("a", "Mine")
    registry.register_model(Report)
    assert registry.kind_of(Report) == Kind("default", "Report")
    assert registry.find_model_namespace(Report) == "default"
    assert list(registry.find_model_in_all_namespaces("Report")) == ["b", "default"]


def test_all_names_of_a_model(registry: ModelRegistry) -> None:
    """By any of them; the first is the one that it is written under."""
    registry.register_model(Report, aliases=["Old", "Older"])
    kinds = tuple(Kind("default", name) for name in ("Report", "Old", "Older"))
    assert {registry.names_of(kind) for kind in kinds} == {kinds}
    unknown = Kind("metrics", "Old")
    assert registry.names_of(unknown) == (unknown,)


def test_the_same_again_changes_nothing(registry: ModelRegistry) -> None:
    """Not even the codec; but a call that says something else is an error."""
    registry.register_model(Report, aliases=["Old"])
    codec = registry.codec(LIMIT)
    registry.register_model(Report, aliases=["Old"])
    assert registry.codec(LIMIT) is codec
    with pytest.raises(ModelConflict, match="is the same class with other options"):
        registry.register_model(Report, version=2)
    assert registry.get_model_class("Old") is Report


def test_a_reloaded_module(modules: Modules) -> None:
    """Its decorators run again: the new class takes the place, with a warning, and old values are known."""
    text = "@register_model('modules', aliases=['Old'])\nclass Report(BaseModel):\n a: int\n"
    old = modules.run("reloaded", text).Report
    registry = default.DEFAULT_REGISTRY
    data = registry.codec(LIMIT).encode_fields({"v": old(a=1)})
    with pytest.warns(UserWarning, match="model 'Report' of namespace 'modules' is reloaded.Report") as told:
        new = modules.run("reloaded", text).Report
    assert Path(told[0].filename).name == "reloaded.py"
    assert registry.get_model_class("Report", "modules") is new is not old
    assert registry.get_model_class("Old", "modules") is new
    assert registry.codec(LIMIT).decode_fields(data) == {"v": new(a=1)}
    assert registry.find_model_namespace(new, strict=True) == "modules"
    assert registry.find_model_namespace(old) == "modules"
    assert registry.find_model_namespace(old, strict=True) is None
    assert registry.kind_of(old) == registry.kind_of(old, "modules") == Kind("modules", "Report")
    with pytest.raises(ModelNotRegistered):
        registry.kind_of(old, "modules", strict=True)
    with pytest.warns(UserWarning, match="from now on") as told:
        default.register_model(old, namespace="modules")
    assert told[0].filename == __file__


def test_a_reloaded_module_may_say_something_else(modules: Modules) -> None:
    """Of the same structure: other aliases, another upgrade."""
    modules.run("otherwise", "@register_model('modules', aliases=['Old'])\nclass Report(BaseModel): a: int")
    with pytest.warns(UserWarning, match="from now on"):
        modules.run("otherwise", "@register_model('modules', version=2)\nclass Report(BaseModel): a: int")
    assert list(default.find_model_in_all_namespaces("Report")) == ["modules"]
    assert default.find_model_in_all_namespaces("Old") == {}
    with pytest.raises(ModelConflict, match="field 'b' is added, field 'a' is removed"):
        modules.run("otherwise", "@register_model('modules')\nclass Report(BaseModel): b: int")


@pytest.mark.parametrize("anew", [False, True])
def test_models_that_mention_each_other(modules: Modules, anew: bool) -> None:
    """Reloaded, the first one still mentions the second one of before, which mentions the first of before."""
    text = (
        "@register_model('modules')\nclass Report(BaseModel):\n line: 'Line'\n"
        "@register_model('modules')\nclass Line(BaseModel):\n report: 'Report | None' = None"
    )
    module = modules.run("circle", text)
    classes = [(module.Report, module.Line)]
    assert module.Report(line={}).line.report is None
    for _ in range(2):
        with pytest.warns(UserWarning, match="from now on"):
            module = modules.run("circle", text, anew=anew)
        value = module.Report.model_validate({"line": {"report": {"line": {}}}})
        assert through(value, default.DEFAULT_REGISTRY, default.DEFAULT_REGISTRY) == value
        classes.append((module.Report, module.Line))
    for report, line in classes:
        assert default.DEFAULT_REGISTRY.kind_of(report) == Kind("modules", "Report")
        assert default.DEFAULT_REGISTRY.kind_of(line) == Kind("modules", "Line")


def test_a_warning_that_is_an_error_changes_nothing(registry: ModelRegistry) -> None:
    """As in a test run that has turned warnings into errors."""
    first = registry.register_model(model(a=(int, ...)))
    with warnings.catch_warnings(action="error"), pytest.raises(UserWarning, match="from now on"):
        registry.register_model(model(a=(int, ...)))
    assert registry.get_model_class("Report") is first


def test_names_and_aliases_of_others(registry: ModelRegistry) -> None:
    """A name leads to one model, and within a namespace a model is written under one name."""
    registry.register_model(Report, aliases=["Old"])
    with pytest.raises(ModelConflict, match=r"model 'Old' .* is an alias of 'Report': .*\.Report"):
        registry.register_model(Line, name="Old")
    with pytest.raises(ModelConflict, match=r"model 'Report' .* is another model: .*\.Report"):
        registry.register_model(Line, aliases=["Report"])
    with pytest.raises(ModelConflict, match="model 'Old'"):
        registry.register_model(Line, aliases=["Old"])
    with pytest.raises(ValueError, match=r"^name: Report is registered as 'Report' .* aliases=\['New'\]"):
        registry.register_model(Report, name="New")
    assert registry.get_models_in_namespace("default") == {"Report": Report}
    registry.register_model(Line, name="Old", namespace="metrics")


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda r: r.register_model(Report(title="")), TypeError, "model: .* an instance of .*Report"),
        (lambda r: r.register_model(BaseModel), TypeError, "model: expected a pydantic model.*BaseModel"),
        (lambda r: r.register_model(RootModel), TypeError, "model: .*RootModel"),
        (lambda r: r.register_model(Point), TypeError, "model: .*Point"),
        (lambda r: r.register_model(7), TypeError, "model: .* got 7"),
        (lambda r: r.register_model("metrics")(Point), TypeError, "model: .*Point"),
        (lambda r: r.register_model("a", namespace="b"), TypeError, "namespace: given twice, 'a' and 'b'"),
        (
            lambda r: r.register_model("a:b"),
            ValueError,
            "namespace: expected text without ':' and '.', got 'a:b'",
        ),
        (lambda r: r.register_model(""), ValueError, "namespace: expected 1 to 512 UTF-8 bytes"),
        (lambda r: r.register_model(Report, namespace=7), TypeError, "namespace: expected str, got int"),
        (lambda r: r.register_model(Report, name="a:b"), ValueError, "name: expected text without ':'"),
        (lambda r: r.register_model("a[b]"), ValueError, "namespace: expected text without ':' and"),
        (lambda r: r.register_model(Report, name=""), ValueError, "name: expected 1 to 512 UTF-8 bytes"),
        (lambda r: r.register_model(Report, name="\ud800"), ValueError, "name: .* lone surrogate"),
        (
            lambda r: r.register_model(Report, namespace="n" * 256, name="m" * 256),
            ValueError,
            "name: .* got 513",
        ),
        (lambda r: r.register_model(Report, aliases="Old"), TypeError, "aliases: expected several names"),
        (lambda r: r.register_model(Report, aliases=["a:b"]), ValueError, "aliases: expected text without"),
        (lambda r: r.register_model(Report, aliases=[7]), TypeError, "aliases: expected str, got int"),
        (lambda r: r.register_model(Report, version=0), ValueError, "version: "),
        (lambda r: r.register_model(Report, upgrade=7), TypeError, "upgrade: expected a function, got 7"),
        (lambda r: r.register_model(Report, unknown_fields="x"), ValueError, "unknown_fields: "),
        (lambda r: r.kind_of(Point), TypeError, "model: .*Point"),
        (lambda r: r.kind_of(Report, "a:b"), ValueError, "namespace: "),
        (lambda r: r.find_model_namespace(Report(title="")), TypeError, "model: .* an instance of"),
        (lambda r: r.get_model_class(7), TypeError, "name: expected str"),
        (lambda r: r.get_model_class("x", None), TypeError, "namespace: expected str"),
        (lambda r: r.find_model_in_all_namespaces([]), TypeError, "name: expected str"),
        (lambda r: r.get_models_in_namespace(None), TypeError, "namespace: expected str"),
        (lambda r: r.clear_registry(""), ValueError, "namespace: "),
    ],
)
def test_misuse(
    registry: ModelRegistry, call: Callable[[Any], Any], error: type[Exception], said: str
) -> None:
    """Each is refused at the call with the name of the argument, and nothing is registered."""
    with pytest.raises(error, match=f"^{said}") as raised:
        call(registry)
    assert not isinstance(raised.value, FlowstoreError)
    assert registry.get_namespaces() == []


def test_values_come_back_in_another_program() -> None:
    """Which has classes of its own under the same names; and under those that they had before."""
    here, there = ModelRegistry(), ModelRegistry()
    here.register_model(Report, name="Old", namespace="metrics")
    there.register_model(model(title=(str, ...)), name="New", namespace="metrics", aliases=["Old"])
    found = through(Report(title="x"), here, there)
    assert type(found) is there.get_model_class("New", "metrics")
    assert dict(found) == {"title": "x"}
    for value in (Tree(children=[Tree()]), Numbers([1, 2])):
        for each in (here, there):
            each.register_model(type(value))
        assert through(value, here, there) == value


def test_versions_and_upgrades() -> None:
    """Those of StoredType, as well as what becomes of fields that are unknown."""
    here, there, strict = ModelRegistry(), ModelRegistry(), ModelRegistry()

    @there.register_model(name="Report", version=2, upgrade=lambda v, fields: New(words=[fields["title"], v]))
    class New(BaseModel):
        words: list[Any]

    here.register_model(Report)
    assert through(Report(title="x"), here, there).words == ["x", 1]
    assert through(New(words=[]), there, there) == New(words=[])
    strict.register_model(model(title=(str, ...)), unknown_fields="refuse")
    assert isinstance(through(Report(title="x"), here, strict), Unresolved)


def test_one_name_in_two_namespaces(registry: ModelRegistry) -> None:
    """With different structures: each value comes back as it was."""
    other = registry.register_model(model(a=(int, ...)), namespace="metrics")
    registry.register_model(Report)
    for value in (other(a=1), Report(title="x", lines=[Line(text="y")])):
        assert through(value, registry, registry) == value


def test_one_class_in_two_namespaces(registry: ModelRegistry) -> None:
    """It is written under its name in the namespace of the codec, in whatever order it got them."""
    reverse, only = ModelRegistry(), ModelRegistry()
    for each, namespaces in [(registry, "bca"), (reverse, "acb")]:
        for namespace in namespaces:
            each.register_model(Report, namespace=namespace)
            each.register_model(Line, namespace=namespace, name="L")
        for namespace, expected in [("a", "a"), ("b", "b"), ("default", "a"), ("none", "a")]:
            assert stored_name(Report(title=""), each, namespace) == f"{expected}:Report"
    value = Report(title="x", lines=[Line()])
    for namespace in "abc":
        encoded = {each.codec(LIMIT, namespace).encode_fields({"v": value}) for each in (registry, reverse)}
        assert len(encoded) == 1
        assert through(value, registry, registry, namespace) == value
    only.register_model(Report, namespace="b")
    only.register_model(Line, namespace="b", name="L")
    assert through(value, registry, only, "b") == value
    assert isinstance(through(value, registry, only, "a"), Unresolved)
    registry.register_model(Report)
    assert stored_name(value, registry) == "default:Report"


def test_a_class_that_was_mentioned_before_it_was_registered() -> None:
    """What was stored of it then is read as the model it has become, in its first version."""
    before, after = ModelRegistry(), ModelRegistry()
    before.register_model(Report)
    after.register_model(Report)
    after.register_model(Line, version=2, upgrade=lambda version, fields: Line(text=f"{fields['text']}!"))
    value = Report(title="x", lines=[Line(text="y")])
    assert through(value, before, after) == Report(title="x", lines=[Line(text="y!")])
    assert through(value, after, after) == value


def test_a_model_that_mentions_a_class_of_before_the_reload(modules: Modules) -> None:
    """Its values can be written and read, here and in a program that has never reloaded."""
    here, elsewhere = ModelRegistry(), ModelRegistry()
    values = []
    for number in range(3):
        line = modules.run("line", "class Line(BaseModel):\n text: str").Line
        user = modules.run("user", "import line\nclass User(BaseModel):\n line: line.Line").User
        here.register_model(user, name=f"User{number}")
        values.append(user(line=line(text=str(number))))
    here.register_model(line)
    with pytest.warns(UserWarning, match="from now on"):
        here.register_model(modules.run("line", "class Line(BaseModel):\n text: str").Line)
    for value in values:
        assert through(value, here, here) == value
    elsewhere.register_model(type(values[0]), name="User0")
    elsewhere.register_model(type(values[0].line))
    assert through(values[0], here, elsewhere) == values[0]


def test_a_namespace_that_is_called_like_a_module(registry: ModelRegistry) -> None:
    """The class of that module, which is only mentioned, makes way for the model."""
    other = registry.register_model(model(a=(int, ...)), namespace=__name__, name="Line")
    registry.register_model(Report)
    for value in (other(a=1), Report(title="x", lines=[Line(text="y")])):
        assert through(value, registry, registry) == value


def test_a_generic_model(registry: ModelRegistry) -> None:
    """It is registered with its parametrizations, and with what they hold, made before or after."""
    registry.register_model(Box, version=2)
    registry.register_model(Boxes)
    kind = Kind("default", "Box")
    assert registry.class_of(kind) is Box
    for cls in (Box, Box[int], Box[Point]):
        assert registry.kind_of(cls) == kind
        assert registry.find_model_namespace(cls, strict=True) == "default"
    values = [Box(held=1), Box[int](held=1), Boxes(box=Box[int](held=1)), Box[Point](held=Point(1))]
    assert through(values[0], registry, registry) == values[0]
    for value in (*values, Box[Colour](held=Colour.RED), Box[dict[str, Report]](held={})):
        found = through(value, registry, registry)
        assert found == value
        assert type(found) is type(value)
    assert stored_name(values[1], registry) == "default:Box[int]"
    assert b'["default:Box[int]",{"held":1},["held"],null,null,2]' in registry.codec(LIMIT).encode_fields(
        {"v": values[2]}
    )
    registry.register_model(Box[str], name="Text")
    assert registry.kind_of(Box[str]) == Kind("default", "Text")
    assert stored_name(Box[str](held=""), registry) == "default:Text"


def test_a_parametrization_by_itself(registry: ModelRegistry) -> None:
    """It needs a name, as its own has a bracket. The other parametrizations are not registered with it."""
    for cls in (Box[int], RootModel[list[int]]):
        with pytest.raises(ValueError, match=r"^name: expected text without ':' and '\[', got '(Box|Root)"):
            registry.register_model(cls)
    registry.register_model(Box[int], name="Whole")
    registry.register_model(RootModel[list[int]], name="List")
    for value, name in [(Box[int](held=1), "Whole"), (RootModel[list[int]]([1]), "List")]:
        assert registry.kind_of(type(value)) == Kind("default", name)
        assert through(value, registry, registry) == value
    for other in (Box, Box[str]):
        with pytest.raises(ModelNotRegistered, match=re.escape(f"model {other.__name__} is not registered")):
            registry.kind_of(other)
    with pytest.raises(NotSerializable):
        registry.codec(LIMIT).encode_fields({"v": Box[str](held="x")})


def test_the_codec_knows_classes_that_are_completed_later(modules: Modules) -> None:
    """A forward reference leads nowhere until the module has run to its end."""
    text = (
        "@register_model('modules')\nclass Report(BaseModel):\n line: 'Line'\n"
        f"codecs = [DEFAULT_REGISTRY.codec({LIMIT}), DEFAULT_REGISTRY.codec({LIMIT})]\n"
        "class Line(BaseModel):\n text: str"
    )
    module = modules.run("completed_later", text)
    assert module.codecs[0] is module.codecs[1]
    registry = default.DEFAULT_REGISTRY
    value = module.Report(line={"text": "x"})
    assert through(value, registry, registry) == value
    assert registry.codec(LIMIT) is registry.codec(LIMIT) is not module.codecs[0]
    assert registry.codec(LIMIT + 1).max_bytes == LIMIT + 1


@pytest.fixture
def hurry() -> Iterator[None]:
    """Threads take turns after a few steps."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hurry")
def test_many_threads(registry: ModelRegistry) -> None:
    """Nothing that is registered gets lost, and no reader sees half of it."""
    threads, each = 8, 25
    start = Barrier(threads)

    def work(number: int) -> None:
        start.wait()
        registry.register_model(Report, namespace="shared")
        for index in range(each):
            cls = create_model(f"M{index}", a=(int, ...))
            registry.register_model(cls, namespace=f"n{number}", aliases=[f"A{index}"])
            assert registry.kind_of(cls) == Kind(f"n{number}", f"M{index}")
            assert registry.get_model_class(f"A{index}", f"n{number}") is cls
            value = cls(a=index)
            assert through(value, registry, registry) == value
            for namespace in registry.get_namespaces():
                models = registry.get_models_in_namespace(namespace)
                if namespace.startswith("n"):
                    assert set(models) == {f"M{index}" for index in range(len(models))}
            registry.clear_registry("none")

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    assert registry.get_namespaces() == [*(f"n{number}" for number in range(threads)), "shared"]
    assert all(len(registry.get_models_in_namespace(f"n{number}")) == each for number in range(threads))


@pytest.mark.usefixtures("hurry")
def test_threads_that_race_for_one_name(registry: ModelRegistry) -> None:
    """With different structures one of them gets it; with the same one all do, and one class stays."""
    threads = 8
    start = Barrier(threads)

    def register(number: int) -> bool:
        same = model(a=(int, ...))
        start.wait()
        registry.register_model(same, name="Same")
        try:
            registry.register_model(model(**{f"a{number}": (int, ...)}))
        except ModelConflict:
            return False
        return True

    with warnings.catch_warnings(record=True) as told, ThreadPoolExecutor(threads) as pool:
        warnings.simplefilter("always")
        assert sorted(pool.map(register, range(threads))) == [False] * (threads - 1) + [True]
    assert threads - 1 <= len(told) <= threads
    assert list(registry.get_models_in_namespace("default")) == ["Report", "Same"]


class Spot:
    """A class that pydantic knows nothing of."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spot) and other.x == self.x

    __hash__ = None  # type: ignore[assignment]


class Login(BaseModel):
    user: str
    password: SecretStr
    anything: Any = None


def test_other_types(registry: ModelRegistry) -> None:
    """What a model holds, and is no model, is taught to the registry as to a backend."""
    registry.register_model(Login)
    value = Login(user="x", password=SecretStr("s"), anything=[Spot(1)])
    with pytest.raises(NotSerializable):
        registry.codec(LIMIT).encode_fields({"result": value})
    registry.register_types([StoredType(Spot, dump=lambda spot: spot.x, load=Spot), SecretStr])
    codec = registry.codec(LIMIT)
    assert codec.decode_fields(codec.encode_fields({"result": value})) == {"result": value}
    with pytest.raises(TypeError, match="Other"):
        registry.register_types([type("Other", (), {})])
    assert registry.codec(LIMIT) is codec
    registry.clear_registry()
    with pytest.raises(NotSerializable):
        registry.codec(LIMIT).encode_fields({"result": Spot(1)})
