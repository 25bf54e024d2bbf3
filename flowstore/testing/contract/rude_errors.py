"""Exceptions that do their best not to be described."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from flowstore import TaskError


def _raise(*_: object) -> Any:
    raise RuntimeError("no")


class _Text(str):
    __slots__ = ()
    __str__ = __repr__ = __getitem__ = encode = _raise  # type: ignore[assignment]  # on purpose

    def __len__(self) -> int:
        return 1


class _Methods(Exception):
    __str__ = __repr__ = __reduce__ = __reduce_ex__ = __eq__ = __bool__ = _raise
    __hash__ = _raise


class _Attributes(Exception):
    __getattribute__ = _raise


class _Properties(Exception):
    args = property(_raise)
    __cause__ = property(_raise)
    __context__ = property(_raise)
    __suppress_context__ = property(_raise)
    __traceback__ = property(_raise)
    __class__ = property(_raise)


class _Meta(type):
    __getattribute__ = _raise


class _Typeless(Exception, metaclass=_Meta):
    pass


class _Stop(BaseException):
    pass


class _Odd(Exception):
    def __str__(self) -> str:
        return _Text("x" * 10**6)


class _UnreadableFailure(Exception):
    def __str__(self) -> str:
        raise _Typeless


class _Notes(list[Any]):
    __iter__ = __len__ = __getitem__ = __bool__ = __eq__ = _raise


class _NotesProperty(Exception):
    __notes__ = property(_raise)


class _Fields(dict[str, Any]):
    __iter__ = __len__ = __getitem__ = __bool__ = get = items = keys = _raise


class _SlyName:
    """As a key beside ``__notes__``, it is what a look for that key would be compared with."""

    __eq__ = _raise

    def __hash__(self) -> int:
        return hash("__notes__")


class _Loader:
    get_source = _raise


def _chain(length: int) -> BaseException:
    chain = ValueError("root")
    for n in range(length):
        link = ValueError(n)
        link.__cause__ = chain
        chain = link
    return chain


def _circle() -> BaseException:
    one, two, three = ValueError("one"), _Methods("two"), ValueError("three")
    one.__cause__, two.__context__, three.__cause__ = two, three, one
    return one


def _raised(program: str, **names: object) -> BaseException:
    try:
        exec(compile(program, "\ud800" * 9_000, "exec"), {"__name__": "odd", **names})
    except BaseException as error:
        return error
    raise AssertionError("expected an exception")


def _groups(depth: int) -> BaseException:
    group: BaseException = KeyboardInterrupt("inner")
    for _ in range(depth):
        group = BaseExceptionGroup("\ud800" * 9_000, [group, _Methods()])
    return group


def _noted(notes: object) -> BaseException:
    """With these in place of the list of notes."""
    error = ValueError("x")
    error.__cause__ = KeyError("k")
    for each in (error, error.__cause__):
        vars(each)["__notes__"] = notes
    return BaseExceptionGroup("noted", [error])


def _slyly_noted() -> BaseException:
    error = ValueError("x")
    names: dict[object, object] = vars(error)  # type: ignore[assignment]  # any key, on purpose
    names[_SlyName()] = 1
    names["x"] = 2
    return error


def _with_fields_that_raise() -> BaseException:
    error = ValueError("x")
    error.__dict__ = _Fields(__notes__=["note"])
    return error


def _oddly_named() -> BaseException:
    class Odd(Exception):
        pass

    Odd.__qualname__ = _Text("Odd")
    return Odd("x")


def _tree(depth: int) -> BaseException:
    """A group of sixteen that are one and the same group of sixteen, and so on: 16 to the power of depth."""
    tree: BaseException = ValueError("\1" * 10_000)
    tree.add_note("\1" * 10_000)
    for n in range(depth):
        group = BaseExceptionGroup("\1" * 10_000, [tree] * 16)
        group.__cause__ = BaseExceptionGroup(f"cause {n}", [tree])
        tree = group
    return tree


def _in_a_circle_of_groups() -> BaseException:
    inner = BaseExceptionGroup("inner", [ValueError("v")])
    outer = BaseExceptionGroup("outer", [KeyError("k"), inner])
    circle = BaseExceptionGroup("circle", [outer])
    inner.exceptions[0].__cause__ = outer
    outer.exceptions[0].__context__ = circle
    return outer


def _chain_of_groups() -> BaseException:
    """Sixteen groups, each the cause of the next, with texts that are at their bounds in every character."""
    chain: BaseException | None = None
    for _ in range(17):
        kind = type("\1" * 4_096, (BaseExceptionGroup,), {"__module__": "\1" * 512})
        members = [_raised("raise error", error=_noted(["\1" * 256] * 16)) for _ in range(16)]
        group = kind("\1" * 9_000, members)
        for note in ["\1" * 256] * 20:
            group.add_note(note)
        group.__cause__ = chain
        chain = group
    assert chain is not None
    return chain


def _groups_made_by_hand(depth: int) -> TaskError:
    error = TaskError(type="root", message="\1" * 4_096, notes=("\1" * 4_096,), traceback="\1" * 16_384)
    for _ in range(depth):
        error = TaskError(type="x", message="", exceptions=(error,) * 20, cause=error)
    return error


def _errors_in_a_row(length: int) -> TaskError:
    error = TaskError(type="root", message="")
    for n in range(length):
        error = TaskError(type="x", message=str(n), cause=error)
    return error


def _cyclic() -> list[Any]:
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    return cyclic


RUDE_ERRORS: dict[str, Callable[[], BaseException | TaskError]] = {
    "methods raise": lambda: _Methods("x"),
    "attributes raise": lambda: _Attributes("x"),
    "properties raise": lambda: _Properties("x"),
    "metaclass raises": lambda: _Typeless("x"),
    "str() raises such a one": lambda: _UnreadableFailure("x"),
    "message is no plain str": _Odd,
    "args are no plain str": lambda: ValueError(_Text("x")),
    "args that cannot be printed": lambda: ValueError(_Methods("x")),
    "args that are huge": lambda: ValueError(*["x" * 10**6] * 16),
    "args that are many": lambda: ValueError(*range(10**5)),
    "args that are large together": lambda: ValueError(*["x" * 4_000] * 16),
    "args that are not finite": lambda: ValueError(float("nan"), float("inf")),
    "args that are cyclic": lambda: ValueError(_cyclic()),
    "args of 10,000 digits": lambda: ValueError(10**10_000),
    "args with lone surrogates": lambda: ValueError("\ud800", "\udfff"),
    "message of 10 million characters": lambda: ValueError("\N{SNAKE}" * 10**7),
    "type name of a million characters": lambda: type("x" * 10**6, (Exception,), {})("x"),
    "type name with lone surrogates": lambda: type("E", (Exception,), {"__module__": "\ud800" * 9_000})(),
    "module that is no str": lambda: type("E", (Exception,), {"__module__": _Methods()})(),
    "5,000 causes": lambda: _chain(5_000),
    "causes in a circle": _circle,
    "cancelled": lambda: asyncio.CancelledError("x"),
    "exit": lambda: SystemExit(2),
    "no Exception": lambda: _Stop("x"),
    "groups in groups": lambda: _groups(500),
    "groups in very many groups": lambda: _groups(50_000),
    "a group of a million": lambda: BaseExceptionGroup("wide", [_Odd(), _Properties()] * 500_000),
    "groups that are one another, very often": lambda: _tree(40),
    "groups in a circle": _in_a_circle_of_groups,
    "causes that are large groups": _chain_of_groups,
    "notes that are no list": lambda: _noted(7),
    "notes that are a text": lambda: _noted("note"),
    "notes that are no text": lambda: _noted([1, b"x", _Methods(), _Text("x"), None, _cyclic()]),
    "notes in a list that raises": lambda: _noted(_Notes(["x", "\ud800"])),
    "notes of a property that raises": lambda: _NotesProperty("x"),
    "a million notes": lambda: _noted(["\N{SNAKE}"] * 10**6),
    "notes of 10 million characters": lambda: _noted(["x", "\N{SNAKE}" * 10**7, "y"]),
    "attributes with names that raise": _slyly_noted,
    "attributes in a dict that raises": _with_fields_that_raise,
    "type name that is no plain str": _oddly_named,
    "traceback of 1,000 frames": lambda: _raised("f = lambda: g() + 1\ng = lambda: f() + 2\nf()"),
    "traceback without a source": lambda: _raised("1 / 0", __loader__=_Loader()),
    "huge texts made by hand": lambda: TaskError(
        type="x" * 10**6, message="\ud800" * 10**6, traceback="\1" * 10**6, args=("x" * 10**6,)
    ),
    "1,000 causes made by hand": lambda: _errors_in_a_row(1_000),
    "groups in groups made by hand": lambda: _groups_made_by_hand(24),
}
"""By what is wrong with them; TaskErrors made by hand as well."""
