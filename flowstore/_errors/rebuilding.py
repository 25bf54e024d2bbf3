"""Exceptions made again from what is stored of them, of classes that the caller names.

What is stored may be the work of anybody. It chooses among the classes that are given here, which are called
with plain values; nothing is imported or looked up by its name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final, cast

from flowstore._errors.raised import dict_of, full_name, message_of, module_of, own, qualname_of
from flowstore._errors.root import RemoteError
from flowstore._errors.showing import Described
from flowstore.text import cut

Classes = Iterable[type[BaseException]] | Mapping[str, type[BaseException]]
Named = Mapping[object, type[BaseException]]

_MAX_REASON_CHARS: Final = 300
_COUNTED: Final = re.compile(r" \(\d+ sub-exceptions?\)\Z")
_PLAIN_GROUPS: Final = frozenset({"ExceptionGroup", "BaseExceptionGroup"})


def named(argument: str, kinds: object) -> Named:
    """The classes by (module, qualified name), those of a mapping by the names there. Raises TypeError."""
    if isinstance(kinds, Mapping):
        for name in kinds:
            if not isinstance(name, str):
                raise TypeError(f"{argument}: expected names of type str, got {full_name(type(name))}")
        return {name: _checked(argument, kind) for name, kind in kinds.items()}
    if not isinstance(kinds, Iterable):
        raise TypeError(f"{argument}: expected exception classes, got {_shown(kinds)}")
    found: dict[object, type[BaseException]] = {}
    for each in kinds:
        kind = _checked(argument, each)
        found.setdefault((module_of(kind), qualname_of(kind)), kind)
        found.setdefault((None, full_name(kind)), kind)  # for an error whose module is not known
    return found


def _checked(argument: str, kind: object) -> type[BaseException]:
    if not (isinstance(kind, type) and issubclass(kind, BaseException)):
        raise TypeError(f"{argument}: expected exception classes, got {_shown(kind)}")
    return kind


def _shown(value: object) -> str:
    if isinstance(value, type):
        return f"the class {full_name(value)}"
    return f"an object of type {full_name(type(value))}"


def kind_of(error: Described, kinds: Named) -> type[BaseException] | None:
    kind = kinds.get((error.module, error.qualname))
    return kinds.get(error.type) if kind is None else kind


def rebuilt(error: Described, kinds: Named) -> BaseException:
    """With its causes, which are not more than a chain may have, and the exceptions of groups."""
    links: list[Described] = []
    link: Described | None = error
    while link is not None:
        links.append(link)
        link = link.cause
    cause: BaseException | None = None
    for link in reversed(links):
        made, reasons = _made(link, kinds)
        cause = _completed(made, cause, [*link.notes, *reasons])
    return cast(BaseException, cause)


def rebuilt_or(failed: BaseException, error: Described, kinds: Named) -> BaseException:
    """The exception, with the cause of ``failed``; or that, if the class is not named or cannot be made."""
    kind = kind_of(error, kinds)
    if kind is None:
        return failed
    made = rebuilt(error, kinds)
    if issubclass(type(made), kind):
        return _completed(made, own(failed, "__cause__"), ())
    failed.add_note(made.__notes__[-1])  # the reason why something else stands for it
    return failed


def _made(error: Described, kinds: Named) -> tuple[BaseException, list[str]]:
    """The exception, or what stands for it, and what has to be said of it."""
    kind = kind_of(error, kinds)
    given: tuple[object, ...] = error.args or ((error.message,) if error.message else ())
    stand_in: BaseException = RemoteError(error.type, error.message)
    told: list[str] = []
    if error.exceptions and (kind is None or issubclass(kind, BaseExceptionGroup)):
        members = [rebuilt(member, kinds) for member in error.exceptions]
        given = _COUNTED.sub("", error.message), members
        stand_in = BaseExceptionGroup(_COUNTED.sub("", error.message), members)
        if kind is None and error.type not in _PLAIN_GROUPS:
            told.append(f"stands for {error.type}")
    if error.exceptions_left_out:
        told.append(f"{error.exceptions_left_out} exceptions of this group were left out")
    if kind is None:
        return stand_in, told
    made, reason = _instance(kind, given)
    return (stand_in, [*told, f"{error.type} was not made again: {reason}"]) if made is None else (made, told)


def _instance(kind: type[BaseException], given: tuple[object, ...]) -> tuple[BaseException | None, str]:
    """None, and why, if there is none."""
    try:
        error: object = kind(*given)
    except Exception as failure:
        reason = f"its constructor raised {full_name(type(failure))}: {message_of(failure)}"
        return None, cut(reason, _MAX_REASON_CHARS)
    if not issubclass(type(error), BaseException):
        return None, f"its constructor returned {_shown(error)}"
    return cast(BaseException, error), ""


def _completed(error: BaseException, cause: BaseException | None, notes: Collection[str]) -> BaseException:
    """The error with this cause and these notes, past the methods of its class."""
    if cause is not None:
        vars(BaseException)["__cause__"].__set__(error, cause)
    if notes:
        dict.__setitem__(dict_of(error), "__notes__", [*notes])
    return error
