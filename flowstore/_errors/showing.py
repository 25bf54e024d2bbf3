"""The text of a stored error, as Python prints an exception."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from textwrap import indent
from typing import Final, Protocol

from flowstore._errors.raised import Scalar
from flowstore.text import cut

_SHORT_CHARS: Final = 256
_LAST_FRAME: Final = '  File "'
_FIRST_IN_SHORT: Final = re.compile(r"^1(\.1)*: ", re.MULTILINE)


class Described(Protocol):
    """What a TaskError says; its docstring has the meaning."""

    @property
    def type(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def args(self) -> tuple[Scalar, ...]: ...
    @property
    def module(self) -> str | None: ...
    @property
    def qualname(self) -> str: ...
    @property
    def traceback(self) -> str | None: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def exceptions(self) -> tuple[Described, ...]: ...
    @property
    def exceptions_left_out(self) -> int: ...
    @property
    def cause(self) -> Described | None: ...


def in_short(members: Iterable[Described], above: str = "") -> Iterator[str]:
    """The exceptions in a group that are no groups, each with its place, such as 2.1, and its last frame."""
    for n, member in enumerate(members, 1):
        if member.exceptions:
            yield from in_short(member.exceptions, f"{above}{n}.")
        else:
            trace = member.traceback or ""
            last = trace[max(trace.rfind(_LAST_FRAME), 0) :]
            yield f"{above}{n}: {member.type}: {cut(member.message, _SHORT_CHARS)}\n{last}"


def frames_alone(error: Described) -> str:
    """The traceback, without the exceptions of a group, which it has in short."""
    frames = error.traceback or ""
    found = _FIRST_IN_SHORT.search(frames) if error.exceptions else None
    return frames[: found.start()] if found else frames


def shown(error: Described) -> str:
    """The causes first, then the error; each with its frames, its notes, and the exceptions of its group."""
    texts: list[str] = []
    link: Described | None = error
    while link is not None:
        texts.append("".join(_lines(link)))
        link = link.cause
    return "\nThe above exception led to the following one:\n\n".join(reversed(texts))


def _lines(error: Described) -> Iterator[str]:
    frames = frames_alone(error)  # the exceptions of a group come in full below
    if frames:
        yield f"Traceback (most recent call last):\n{frames}"
        yield "" if frames.endswith("\n") else "\n"
    yield f"{error.type}: {error.message}\n" if error.message else f"{error.type}\n"
    for note in error.notes:
        yield f"{note}\n"
    total = len(error.exceptions) + error.exceptions_left_out
    for n, member in enumerate(error.exceptions, 1):
        yield f"  +---------------- {n} of {total} ----------------\n"
        yield indent(shown(member), "  | ", lambda line: True)
    if error.exceptions_left_out:
        yield f"  +---------------- {error.exceptions_left_out} left out ----------------\n"
