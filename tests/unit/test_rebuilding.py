"""Exceptions that are made again from what was stored of them, and those that unwrap raises."""

from __future__ import annotations

import copy
import pickle
import traceback
from typing import Any

import pytest

from flowstore import RemoteError, RemoteTraceback, TaskError, TaskFailed, TaskResult


class Mine(Exception):
    class Inner(Exception):
        pass


class Picky(Exception):
    def __init__(self, number: int) -> None:
        if not isinstance(number, int):
            raise LookupError(f"no number: {number}")
        super().__init__(str(number))


class Sparse(Exception):
    """Its arguments are not those of its constructor."""

    def __init__(self) -> None:
        super().__init__("one", 2)


class Other(Exception):
    def __new__(cls, *args: object) -> Any:
        return 7 if args else super().__new__(cls)


class Sealed(Exception):
    """Lets nobody set anything."""

    __cause__ = property(lambda self: None)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


class Group(ExceptionGroup[Exception]):
    pass


class PickyGroup(ExceptionGroup[Exception]):
    def __new__(cls, text: str, members: list[Exception]) -> PickyGroup:
        if len(members) != 2:
            raise ValueError("two, please")
        return super().__new__(cls, text, members)


def told(error: BaseException) -> tuple[type, tuple[object, ...], list[str]]:
    return type(error), error.args, getattr(error, "__notes__", [])


def stored(error: BaseException) -> TaskError:
    """As it is read again."""
    return TaskError.model_validate_json(
        TaskError.from_exception(error).model_dump_json(exclude_defaults=True)
    )


def test_the_exception_its_causes_and_notes() -> None:
    """Each of a class that was named, with the arguments it had, or else with its message."""
    error = Mine("x", 2, None)
    error.__cause__ = Mine.Inner([1])
    error.__cause__.add_note("first")
    error.__cause__.add_note("second")
    error.__cause__.__context__ = KeyError()
    rebuilt = stored(error).rebuild([Mine, Mine.Inner, KeyError])
    assert told(rebuilt) == (Mine, ("x", 2, None), [])
    assert rebuilt.__cause__ is not None
    assert told(rebuilt.__cause__) == (Mine.Inner, ("[1]",), ["first", "second"])
    assert rebuilt.__cause__.__cause__ is not None
    assert told(rebuilt.__cause__.__cause__) == (KeyError, (), [])


def test_what_was_not_named_is_stood_for() -> None:
    """Builtins too; type and message are shown, and classes derived from a named one are not it."""
    for error in (KeyError("k"), Mine.Inner(), SystemExit(2)):
        described = stored(error)
        rebuilt = described.rebuild([LookupError, Exception, BaseException, Mine])
        assert isinstance(rebuilt, RemoteError)
        assert (rebuilt.type, rebuilt.message) == (described.type, described.message)
        assert str(pickle.loads(pickle.dumps(rebuilt))) == str(rebuilt)
    assert str(stored(KeyError("k")).rebuild([])) == "KeyError: 'k'"
    assert str(stored(Mine.Inner()).rebuild([])) == f"{__name__}.Mine.Inner"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            TaskError(type=f"{__name__}.Picky", message="m"),
            "its constructor raised LookupError: no number: m",
        ),
        (TaskError.from_exception(Sparse()), "its constructor raised TypeError: Sparse.__init__() takes 1"),
        (TaskError(type=f"{__name__}.Other", message="m"), "its constructor returned an object of type int"),
    ],
)
def test_a_constructor_that_raises_loses_nothing(error: TaskError, reason: str) -> None:
    """A stand-in has the reason as a note, behind those that there were."""
    noted = error.model_copy(update={"notes": ("noted",), "cause": TaskError(type="KeyError", message="k")})
    rebuilt = noted.rebuild([Picky, Sparse, Other, KeyError])
    assert told(rebuilt)[:2] == (RemoteError, (error.type, error.message))
    first, second = rebuilt.__notes__
    assert first == "noted"
    assert second.startswith(f"{error.type} was not made again: {reason}")
    assert rebuilt.__cause__ is not None
    assert told(rebuilt.__cause__) == (KeyError, ("k",), [])


def test_a_class_that_lets_nobody_set_anything() -> None:
    """It is made, with its cause and notes."""
    described = TaskError(
        type=f"{__name__}.Sealed", message="x", notes=("n",), cause=TaskError(type="KeyError", message="")
    )
    rebuilt = described.rebuild([Sealed])
    assert told(rebuilt) == (Sealed, ("x",), ["n"])
    assert isinstance(vars(BaseException)["__cause__"].__get__(rebuilt), RemoteError)


def test_module_and_name_have_to_agree() -> None:
    """A nested class is not one in a module of that name; without a module the full name is what counts."""
    twin = type("c", (Exception,), {"__module__": "a.b"})
    nested = type("b.c", (Exception,), {"__module__": "a", "__qualname__": "b.c"})
    for kind, other in ((twin, nested), (nested, twin)):
        described = stored(kind("x"))
        assert type(described.rebuild([kind])) is type(described.rebuild([other, kind])) is kind
        assert type(described.rebuild([other])) is RemoteError
        assert type(described.model_copy(update={"module": None}).rebuild([other])) is other
    assert type(TaskError(type="ValueError", message="", module="evil").rebuild([ValueError])) is RemoteError


def test_classes_by_name() -> None:
    """For those that were renamed or moved; the names are full ones, as in ``type``."""
    names = {"app.old.Mine": Mine, "KeyError": LookupError}
    assert told(TaskError(type="app.old.Mine", message="m").rebuild(names)) == (Mine, ("m",), [])
    known = TaskError(type="app.old.Mine", message="m", module="app.old")
    assert told(known.rebuild(names)) == (Mine, ("m",), [])
    assert told(stored(KeyError("k")).rebuild(names)) == (LookupError, ("k",), [])
    assert type(stored(Mine()).rebuild(names)) is RemoteError


def test_groups() -> None:
    """Plain ones whether named or not; others if they are named, or else in the shape of a plain one."""
    inner = BaseExceptionGroup("inner (2 sub-exceptions)", [SystemExit(3), Mine("m")])
    inner.add_note("noted")
    members = [KeyError("k"), Group("own", [ValueError("v")]), PickyGroup("p", [Mine(), Mine()])]
    members[0].__cause__ = Mine("cause")
    described = stored(BaseExceptionGroup("outer", [inner, *members]))
    rebuilt = described.rebuild([Mine, SystemExit, Group, PickyGroup])
    assert isinstance(rebuilt, BaseExceptionGroup)
    assert (type(rebuilt), rebuilt.message) == (BaseExceptionGroup, "outer")
    first, second, third, fourth = rebuilt.exceptions
    assert isinstance(first, BaseExceptionGroup)
    assert (first.message, first.__notes__) == ("inner (2 sub-exceptions)", ["noted"])
    assert list(map(told, first.exceptions)) == [(SystemExit, (3,), []), (Mine, ("m",), [])]
    assert (type(second), type(second.__cause__)) == (RemoteError, Mine)
    assert (type(third), str(third)) == (Group, "own (1 sub-exception)")
    assert type(fourth) is PickyGroup
    plain = stored(members[1]).rebuild([])
    assert (type(plain), plain.__notes__) == (ExceptionGroup, [f"stands for {__name__}.Group"])
    with pytest.raises(ExceptionGroup) as caught:
        raise rebuilt.split(SystemExit)[1] or rebuilt
    assert caught.group_contains(RemoteError, match="KeyError: 'k'")


def test_groups_that_are_not_as_they_were() -> None:
    """Some exceptions of it, or all, were left out; or the class refuses what is left."""
    short = stored(ExceptionGroup("g", [ValueError()] * 20)).rebuild([PickyGroup])
    assert isinstance(short, ExceptionGroup)
    assert len(short.exceptions) == 16
    assert short.__notes__ == ["4 exceptions of this group were left out"]
    refused = TaskError(type="PickyGroup", message="g", exceptions=(TaskError(type="x", message="y"),))
    rebuilt = refused.rebuild({"PickyGroup": PickyGroup})
    assert type(rebuilt) is ExceptionGroup
    assert rebuilt.__notes__ == [
        "PickyGroup was not made again: its constructor raised ValueError: two, please"
    ]
    empty = TaskError(type="ExceptionGroup", message="g (3 sub-exceptions)", exceptions_left_out=3)
    assert type(empty.rebuild([])) is type(empty.rebuild([ExceptionGroup])) is RemoteError
    odd = TaskError(type="KeyError", message="g", exceptions=(TaskError(type="x", message="y"),))
    assert type(odd.rebuild([KeyError])) is KeyError


@pytest.mark.parametrize(
    "wrong", [ValueError, 7, "KeyError", [int], [KeyError()], {"x": int}, {1: KeyError}, None]
)
def test_only_exception_classes_are_taken(wrong: Any) -> None:
    """Anything else is a TypeError that names the argument, also where the task succeeded."""
    with pytest.raises(TypeError, match=r"^types: expected"):
        TaskError(type="x", message="").rebuild(wrong)
    if wrong is not ValueError:
        for task in (TaskResult.failed("t", ValueError()), TaskResult.success("t")):
            with pytest.raises(TypeError, match=r"^reraise: expected exception classes, got"):
                task.unwrap(reraise=wrong)
            with pytest.raises(TypeError, match=r"^reraise: expected exception classes, got"):
                task.unwrap(reraise=(KeyError, wrong))


def failed() -> TaskResult:
    """Of a group in a cause."""
    try:
        try:
            raise ExceptionGroup("several", [Mine("inner")])
        except ExceptionGroup as group:
            group.exceptions[0].add_note("note of the member")
            raise Mine("outer") from group
    except Mine as error:
        error.add_note("note of the error")
        return TaskResult.failed("t", error)


IN_ORDER = [
    "several (1 sub-exception)",
    "Mine: inner",
    "note of the member",
    "in failed",
    "outer",
    "note of the e",
]


def places(text: str, parts: list[str]) -> list[int]:
    """Where the parts are, each behind the one before."""
    found = [0]
    for part in parts:
        found.append(text.index(part, found[-1]))
    return found


def test_a_traceback_shows_where_the_task_failed() -> None:
    """With causes, members and notes; the same of copies and of one that was pickled."""
    with pytest.raises(TaskFailed) as caught:
        failed().unwrap()
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value)), copy.copy(caught.value)):
        assert type(error.__cause__) is RemoteTraceback
        assert places(str(error.__cause__), IN_ORDER)
        assert str(error.__cause__).count("Mine: inner") == 1
        printed = "".join(traceback.format_exception(error))
        assert places(printed, ["RemoteTraceback", *IN_ORDER, "direct cause", "TaskFailed: task 't' failed"])
        assert (error.task_id, error.error) == ("t", caught.value.error)
    assert TaskFailed("t", None).__cause__ is None
    text = RemoteTraceback("text\n")
    assert str(pickle.loads(pickle.dumps(text))) == str(copy.deepcopy(text)) == '\n"""\ntext\n"""'


def test_what_a_remote_traceback_says_of_a_group() -> None:
    """Each exception once, numbered, with its own causes, and how many were left out."""
    member = ValueError("v")
    member.__cause__ = KeyError("k")
    group = ExceptionGroup("g", [member] * 18)
    text = str(TaskFailed("t", TaskError.from_exception(group)).__cause__)
    lines = text.splitlines()[2:-1]
    assert lines[:7] == [
        "ExceptionGroup: g (18 sub-exceptions)",
        "  +---------------- 1 of 18 ----------------",
        "  | KeyError: 'k'",
        "  | ",
        "  | The above exception led to the following one:",
        "  | ",
        "  | ValueError: v",
    ]
    assert lines[-1] == "  +---------------- 2 left out ----------------"
    old = TaskError(type="ExceptionGroup", message="g", traceback="  File x\n1: ValueError: v")
    assert str(TaskFailed("t", old).__cause__).splitlines()[2:-1] == [
        "Traceback (most recent call last):",
        "  File x",
        "1: ValueError: v",
        "ExceptionGroup: g",
    ]


def test_unwrap_raises_what_the_caller_names() -> None:
    """One class or several; the remote traceback is its cause, and the notes are there."""
    for named in (Mine, (KeyError, Mine)):
        with pytest.raises(Mine, match=r"^outer\nnote of the error$") as caught:
            failed().unwrap(reraise=named)
        assert type(caught.value.__cause__) is RemoteTraceback
        assert places(str(caught.value.__cause__), IN_ORDER)
        assert caught.value.__notes__ == ["note of the error"]
    assert TaskResult.success("t", 1).unwrap(reraise=Mine) == 1


def test_unwrap_raises_nothing_else() -> None:
    """Not a class derived from a named one, nor one of another module; nor where the class cannot be made."""
    for kinds in (
        (),
        Exception,
        (ValueError, Mine.Inner),
        type("Mine", (Exception,), {"__module__": "other"}),
    ):
        with pytest.raises(TaskFailed):
            failed().unwrap(reraise=kinds)
    with pytest.raises(TaskFailed) as caught:
        TaskResult.failed("t", Sparse()).unwrap(reraise=Sparse)
    assert caught.value.__notes__[0].startswith(
        f"{__name__}.Sparse was not made again: its constructor raised"
    )
    with pytest.raises(TaskFailed):
        TaskResult.failed("t", Group("g", [ValueError()])).unwrap(reraise=ExceptionGroup)
    old = TaskError(type=f"{__name__}.Mine", message="m")
    with pytest.raises(Mine, match=r"^m$"):
        TaskResult.failed("t", old).unwrap(reraise=Mine)
    with pytest.raises(TaskFailed):
        TaskResult.failed("t", old.model_copy(update={"module": "other"})).unwrap(reraise=Mine)
    with pytest.raises(ExceptionGroup) as group:
        TaskResult.failed("t", ExceptionGroup("g", [Mine("m")])).unwrap(reraise=(ExceptionGroup, Mine))
    assert list(map(told, group.value.exceptions)) == [(Mine, ("m",), [])]
