"""TaskError: an exception as data, however the exception itself behaves."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Annotated, Any, Final, Self, cast

from pydantic import AfterValidator, FailFast, Field

from flowstore.fields import Plain, Record, Text
from flowstore.text import cut

MAX_TRACEBACK_CHARS: Final = 16_384
MAX_MESSAGE_CHARS: Final = 4_096
MAX_CAUSES: Final = 16
MAX_ERROR_ARGS: Final = 16
MAX_GROUP_MEMBERS: Final = 16
MAX_GROUP_DEPTH: Final = 16

_module_of: Final[Callable[[type], object]] = vars(type)["__module__"].__get__
_qualname_of: Final[Callable[[type], str]] = vars(type)["__qualname__"].__get__


def _bounded_args(args: tuple[Plain, ...]) -> tuple[Plain, ...]:
    text = "".join(arg for arg in args if isinstance(arg, str))
    fits = len(args) <= MAX_ERROR_ARGS and text == cut(text, MAX_MESSAGE_CHARS)
    return args if fits else ()


def _bounded_chain(cause: TaskError | None) -> TaskError | None:
    links = [] if cause is None else list(islice(cause.chain(), MAX_CAUSES))
    if len(links) < MAX_CAUSES:
        return cause
    cause = None
    for link in reversed(links[:-1]):
        cause = link.model_copy(update={"cause": cause})
    return cause


# A text that fits takes the first branch, which calls no Python. That halves the time to read an error.
_FIRST_THAT_FITS: Final = Field(union_mode="left_to_right")
_Message = Annotated[
    Annotated[Text, Field(max_length=MAX_MESSAGE_CHARS)]
    | Annotated[Text, AfterValidator(partial(cut, limit=MAX_MESSAGE_CHARS))],
    _FIRST_THAT_FITS,
]
_Traceback = Annotated[
    Annotated[Text, Field(max_length=MAX_TRACEBACK_CHARS)]
    | Annotated[Text, AfterValidator(partial(cut, limit=MAX_TRACEBACK_CHARS))],
    _FIRST_THAT_FITS,
]


class TaskError(Record):
    """An exception as data. Reading one never imports or calls anything that it names.

    ``type`` is the qualified name of the class. ``args`` are the exception's arguments if all of them are
    None, bool, int, float or str, else empty. ``traceback`` is text without local variables; for an exception
    group it includes the first exceptions of the group, without their causes. ``cause`` is the exception from
    which, or during which, this one was raised. Text, arguments and chain are bounded: of a longer text the
    head and the tail are kept, of a longer chain the first links, of more or longer arguments none.
    """

    type: _Message
    message: _Message
    args: Annotated[tuple[Plain, ...], FailFast(), AfterValidator(_bounded_args)] = ()
    traceback: _Traceback | None = None
    cause: Annotated[TaskError | None, AfterValidator(_bounded_chain)] = None

    @classmethod
    def from_exception(cls, error: BaseException) -> Self:
        """Describe ``error`` and its chain of causes, whatever the exception's own methods do.

        Only its ``__str__`` is called. If that raises an Exception, this is described in place of the
        message; anything else, such as KeyboardInterrupt, propagates. Raises TypeError for anything but an
        exception.
        """
        if not isinstance(error, BaseException):
            raise TypeError(f"error: expected an exception, got {_qualname_of(type(error))}")
        described: Self | None = None
        for link in reversed(list(_chain(error))):
            described = cls(
                type=_type_name(link),
                message=_described("message", partial(str, link)),
                args=_plain_args(link),
                traceback=_traceback_text(link),
                cause=described,
            )
        return cast(Self, described)

    def chain(self) -> Iterator[TaskError]:
        """This error, then its cause, then the cause of that, and so on."""
        link: TaskError | None = self
        while link is not None:
            yield link
            link = link.cause


def _own(error: BaseException, name: str) -> Any:
    """An attribute that Python keeps on every exception, even if its class has a property of that name."""
    return vars(BaseException)[name].__get__(error)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen and len(seen) < MAX_CAUSES:
        seen.add(id(link))
        yield link
        cause = _own(link, "__cause__")
        if cause is None and not _own(link, "__suppress_context__"):
            cause = _own(link, "__context__")
        link = cause


def _type_name(error: BaseException) -> str:
    module, name = _module_of(type(error)), _qualname_of(type(error))
    return f"{module}.{name}" if type(module) is str and module != "builtins" else name


def _described(what: str, describe: Callable[[], str]) -> str:
    try:
        return describe()
    except Exception as failure:
        return f"<no {what}: reading it raised {_type_name(failure)}>"


def _plain_args(error: BaseException) -> tuple[Plain, ...]:
    args: tuple[Any, ...] = _own(error, "args")
    return args if len(args) <= MAX_ERROR_ARGS and all(map(_is_plain, args)) else ()


def _is_plain(value: object) -> bool:
    if type(value) is int:
        return value.bit_length() <= 63
    if type(value) is float:
        return value - value == 0
    return value is None or type(value) in (bool, str)


def _traceback_text(error: BaseException) -> str | None:
    """The frames, then the exceptions of a group, each with its place in the group, such as 2.1."""
    texts = [_frames(error)]
    for place, member in islice(_members(error), MAX_GROUP_MEMBERS):
        message = _described("message", partial(str, member))
        texts += [place, ": ", _type_name(member), ": ", message, "\n", _frames(member)]
    return "".join(texts) or None


def _members(error: BaseException) -> Iterator[tuple[str, BaseException]]:
    """The exceptions of a group with their places, nested groups flattened; none if it is no group."""
    ahead = [("", error)]
    while ahead:
        place, member = ahead.pop()
        if issubclass(type(member), BaseExceptionGroup) and place.count(".") < MAX_GROUP_DEPTH:
            inner = vars(BaseExceptionGroup)["exceptions"].__get__(member)[:MAX_GROUP_MEMBERS]
            prefix = place and f"{place}."
            ahead += reversed([(f"{prefix}{n}", each) for n, each in enumerate(inner, 1)])
        elif place:
            yield place, member


def _frames(error: BaseException) -> str:
    trace = _own(error, "__traceback__")
    return _described("traceback", lambda: "".join(traceback.format_tb(trace))) if trace else ""
