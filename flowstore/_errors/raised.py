"""What an exception has to say, read without calling anything of it but ``__str__``.

Exceptions are the work of others, and are read where something has already gone wrong. So their attributes
are taken from where Python keeps them, past all properties and methods of their classes.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Set
from functools import partial
from typing import Any, Final

MAX_ERROR_ARGS: Final = 16
MAX_NOTES: Final = 16

Scalar = None | bool | int | float | str

dict_of: Final[Callable[[BaseException], dict[object, object]]] = vars(BaseException)["__dict__"].__get__
_module_of: Final[Callable[[type], object]] = vars(type)["__module__"].__get__
_qualname_of: Final[Callable[[type], str]] = vars(type)["__qualname__"].__get__
_members_of: Final = vars(BaseExceptionGroup)["exceptions"].__get__


def own(error: BaseException, name: str) -> Any:
    """An attribute that Python keeps on every exception, even if its class has a property of that name."""
    return vars(BaseException)[name].__get__(error)


def chain_of(error: BaseException, above: Set[int], most: int) -> tuple[list[BaseException], bool]:
    """The error and its causes, at most so many, and whether there are more of them.

    It ends before an exception that it has, or that is among the ids ``above``.
    """
    links: list[BaseException] = []
    seen = set(above)
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        if len(links) == most:
            return links, True
        seen.add(id(link))
        links.append(link)
        cause = own(link, "__cause__")
        if cause is None and not own(link, "__suppress_context__"):
            cause = own(link, "__context__")
        link = cause
    return links, False


def module_of(kind: type) -> str | None:
    """None if what is in the place of the name is no text."""
    module = _module_of(kind)
    return module if type(module) is str else None


def qualname_of(kind: type) -> str:
    name = _qualname_of(kind)
    return name if type(name) is str else _plain(name)


def _plain(text: str) -> str:
    """The text of a subclass of str, whatever the methods of that class say."""
    return str.__getitem__(text, slice(None))


def full_name(kind: type) -> str:
    """``module.qualname``; only the latter for builtins."""
    module, name = module_of(kind), qualname_of(kind)
    return name if module is None or module == "builtins" else f"{module}.{name}"


def class_key(kind: type) -> tuple[str | None, str]:
    """Module and qualified name."""
    return module_of(kind), qualname_of(kind)


def message_of(error: BaseException) -> str:
    return _described("message", partial(str, error))


def frames_of(error: BaseException) -> str:
    """Text without local variables; "" if it was not raised."""
    trace = own(error, "__traceback__")
    return _described("traceback", lambda: "".join(traceback.format_tb(trace))) if trace else ""


def _described(what: str, describe: Callable[[], str]) -> str:
    try:
        return describe()
    except Exception as failure:
        return f"<no {what}: reading it raised {full_name(type(failure))}>"


def args_of(error: BaseException) -> tuple[Scalar, ...] | None:
    """None if there are too many of them, or one is not plain."""
    args: tuple[Any, ...] = own(error, "args")
    return args if len(args) <= MAX_ERROR_ARGS and all(map(_is_plain, args)) else None


def _is_plain(value: object) -> bool:
    if type(value) is int:
        return value.bit_length() <= 63
    if type(value) is float:
        return value - value == 0
    return value is None or type(value) in (bool, str)


def notes_of(error: BaseException) -> tuple[list[str], bool]:
    """The first of what ``add_note`` added, and whether there is more, or something that is no note."""
    fields = dict_of(error)
    if not dict.__len__(fields):  # it may be of a subclass of dict, with methods of its own
        return [], False
    # Not by the key, which might be compared with another one that is no str, by the method of that.
    found = (value for key, value in dict.items(fields) if type(key) is str and key == "__notes__")
    notes: Any = next(found, None)
    if notes is None:
        return [], False
    if not issubclass(type(notes), list):
        return [], True
    first: list[Any] = list.__getitem__(notes, slice(MAX_NOTES))
    kept = [_plain(note) for note in first if issubclass(type(note), str)]
    return kept, len(kept) < list.__len__(notes)


def is_group(error: BaseException) -> bool:
    return issubclass(type(error), BaseExceptionGroup)


def members_of(group: BaseException) -> tuple[BaseException, ...]:
    members: tuple[BaseException, ...] = _members_of(group)
    return members
