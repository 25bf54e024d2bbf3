"""TaskError: an exception as data, however the exception itself behaves."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from operator import is_
from typing import Annotated, Any, Final, Self, cast

from pydantic import AfterValidator, FailFast, Field, Strict, model_validator

from flowstore._errors.fingerprints import fingerprint
from flowstore._errors.raised import (
    MAX_ERROR_ARGS,
    MAX_NOTES,
    args_of,
    chain_of,
    frames_of,
    full_name,
    is_group,
    members_of,
    message_of,
    module_of,
    notes_of,
)
from flowstore._errors.rebuilding import Classes, named, rebuilt
from flowstore._errors.showing import in_short
from flowstore.fields import Plain, Record, Text
from flowstore.text import cut

MAX_TRACEBACK_CHARS: Final = 16_384
MAX_MESSAGE_CHARS: Final = 4_096
MAX_MODULE_CHARS: Final = 512
MAX_CAUSES: Final = 16
MAX_GROUP_MEMBERS: Final = 16
MAX_GROUP_DEPTH: Final = 16
MAX_EXCEPTIONS: Final = 128
"""How many are described in the groups of an exception and its causes, all together."""
MAX_GROUP_BYTES: Final = 184 * 1024
"""How long they may be, all together, as JSON. With the rest at its bounds a head is below MAX_HEAD_BYTES."""

_MEMBER_LEVELS: Final = MAX_GROUP_DEPTH + 1
_SHORTER_CHARS: Final = (4_096, 1_024, 256)
_MOST: Final = 2**63 - 1


class _Shortened(str):
    """A text that was cut. The model makes a plain str of it, and says that it was."""

    __slots__ = ()


def _shortened(text: str, limit: int) -> str:
    kept = cut(text, limit)
    return kept if len(text) <= limit else _Shortened(kept)


def _fitting_module(module: str) -> str | None:
    return module if module == cut(module, MAX_MODULE_CHARS) else None


# A text that fits takes the first branch, which calls no Python. That halves the time to read an error.
_FIRST_THAT_FITS: Final = Field(union_mode="left_to_right")
_Message = Annotated[
    Annotated[Text, Field(max_length=MAX_MESSAGE_CHARS)]
    | Annotated[Text, AfterValidator(partial(_shortened, limit=MAX_MESSAGE_CHARS))],
    _FIRST_THAT_FITS,
]
_Traceback = Annotated[
    Annotated[Text, Field(max_length=MAX_TRACEBACK_CHARS)]
    | Annotated[Text, AfterValidator(partial(_shortened, limit=MAX_TRACEBACK_CHARS))],
    _FIRST_THAT_FITS,
]
_Module = Annotated[
    Annotated[Text, Field(max_length=MAX_MODULE_CHARS)] | Annotated[Text, AfterValidator(_fitting_module)],
    _FIRST_THAT_FITS,
]


class TaskError(Record):
    """An exception as data. Reading one never imports or calls anything that it names.

    ``type`` is the full name of the class, ``module`` the module in it; None if that is not known, as of an
    error that was stored by an older flowstore. ``args`` are the exception's arguments if all of them are
    None, bool, int, float or str, else empty. ``notes`` are what ``add_note`` added. ``traceback`` is text
    without local variables. ``exceptions`` are those in an exception group, and ``exceptions_left_out`` says
    how many more there were; the traceback of a group names them, each with the last of its own frames.
    ``cause`` is the exception from which, or during which, this one was raised.

    All of it is bounded. Of a longer text the head and the tail are kept, of a longer chain the first links,
    of more or longer notes and exceptions the first ones, and shorter; of more or longer arguments none.
    ``is_cut`` says that something was left out, here, in a cause or in an exception of a group.
    """

    type: _Message
    message: _Message
    args: Annotated[tuple[Plain, ...], FailFast()] = ()
    traceback: _Traceback | None = None
    module: _Module | None = None
    notes: Annotated[tuple[_Message, ...], FailFast()] = ()
    exceptions: Annotated[tuple[TaskError, ...], FailFast()] = ()
    exceptions_left_out: Annotated[int, Strict(), Field(ge=0, le=_MOST)] = 0
    cause: TaskError | None = None
    is_cut: Annotated[bool, Strict()] = False

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that all errors of its group have: see ``backend.errors``."""
        return fingerprint(self)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        """Within the bounds. It runs for each error that is read, most of which have nothing to cut."""
        fields = self.__dict__
        is_cut = False
        texts = type(fields["message"]), type(fields["traceback"]), type(fields["type"])
        if _Shortened in texts:
            for name in ("type", "message", "traceback"):
                fields[name] = fields[name] and fields[name][:]
            is_cut = True
        if fields["args"] and not _are_short(fields["args"]):
            fields["args"] = ()
            is_cut = True
        if notes := fields["notes"]:
            fields["notes"] = _first_notes(notes)
            is_cut |= fields["notes"] != notes or _Shortened in map(type, notes)
        if fields["cause"] is not None:
            fields["cause"] = _first_causes(fields["cause"])
            is_cut |= fields["cause"].is_cut
        if fields["exceptions"] or fields["exceptions_left_out"]:
            is_cut |= self._bound_group(fields)
        if is_cut:
            fields["is_cut"] = True
        return self

    def _bound_group(self, fields: dict[str, Any]) -> bool:
        """Whether something of the group is left out. Causes come first; a group takes half of the room."""
        causes = () if self.cause is None else self.cause.chain()
        taken = sum(_size(member) for link in causes for member in link.exceptions)
        kept = _fitting(self.exceptions, (MAX_GROUP_BYTES - taken) // 2)
        left_out = self.exceptions_left_out + len(self.exceptions) - len(kept)
        fields["exceptions"], fields["exceptions_left_out"] = kept, min(left_out, _MOST)
        return left_out > 0 or any(member.is_cut for member in kept)

    @property
    def qualname(self) -> str:
        """The name of the class inside of its module; the full name if the module is not known."""
        return self.type if self.module is None else self.type.removeprefix(f"{self.module}.")

    @classmethod
    def from_exception(cls, error: BaseException) -> Self:
        """Describe ``error`` and its chain of causes, whatever the exception's own methods do.

        Only its ``__str__`` is called. If that raises an Exception, this is described in place of the
        message; anything else, such as KeyboardInterrupt, propagates. Raises TypeError for anything but an
        exception.
        """
        if not isinstance(error, BaseException):
            raise TypeError(f"error: expected an exception, got {full_name(type(error))}")
        links, is_longer = chain_of(error, frozenset(), MAX_CAUSES)
        return cls._described(links, is_longer, frozenset(), MAX_EXCEPTIONS)

    @classmethod
    def _described(
        cls,
        links: list[BaseException],
        is_longer: bool,
        above: frozenset[int],
        room: int,
        levels: int | None = None,
    ) -> Self:
        """An exception and its causes, with ``room`` for so many others in their groups.

        ``levels``: of how many, this one included, one may be below the other; None outside of groups, where
        the causes do not count.
        """
        groups = sum(map(is_group, links))
        described: Self | None = None
        for n, link in reversed([*enumerate(links)]):
            members: list[TaskError] = []
            if groups and is_group(link):
                below = _MEMBER_LEVELS if levels is None else levels - n - 1
                members = cls._members(link, above.union(map(id, links[: n + 1])), room // groups, below)
            described = cls._of_one(link, members, described, is_longer and described is None)
        return cast(Self, described)

    @classmethod
    def _members(cls, group: BaseException, above: frozenset[int], room: int, levels: int) -> list[TaskError]:
        """The first exceptions of a group. Each has the same room for its causes and for those below it."""
        members = members_of(group)[: min(MAX_GROUP_MEMBERS, room if levels else 0)]
        described: list[TaskError] = []
        for member in members:
            below = (room - len(members)) // len(members)
            links, is_longer = chain_of(member, above, min(MAX_CAUSES, levels, 1 + below))
            if links:  # else it is one that is being described
                described.append(cls._described(links, is_longer, above, below - len(links) + 1, levels))
        return described

    @classmethod
    def _of_one(
        cls, error: BaseException, members: list[TaskError], cause: TaskError | None, is_cut: bool
    ) -> Self:
        kind, args = type(error), args_of(error)
        notes, are_cut = notes_of(error)
        fields: dict[str, Any] = {}  # those that most exceptions have not, which saves a validation of them
        trace = frames_of(error)
        if is_group(error):  # its arguments are its text and its members
            fields["exceptions"] = tuple(members)
            fields["exceptions_left_out"] = len(members_of(error)) - len(members)
            trace += "".join(islice(in_short(members), MAX_GROUP_MEMBERS))
        elif args is None:
            is_cut = True
        if notes:
            fields["notes"] = tuple(notes)
        if is_cut or are_cut:
            fields["is_cut"] = True
        return cls(
            type=full_name(kind),
            message=message_of(error),
            args=args or (),
            traceback=trace or None,
            module=module_of(kind),
            cause=cause,
            **fields,
        )

    def chain(self) -> Iterator[TaskError]:
        """This error, then its cause, then the cause of that, and so on."""
        link: TaskError | None = self
        while link is not None:
            yield link
            link = link.cause

    def rebuild(self, types: Classes) -> BaseException:
        """The exception itself, with its causes, its notes, and the exceptions of a group.

        ``types``: the classes that may be made, found by module and qualified name, or by the full names in
        a mapping. One is called with ``args``, or if there are none with the message. In place of any other,
        or if that raises, there is a RemoteError, with the reason as a note; in place of a group that was not
        named a plain one. Nothing is imported or looked up. Raises TypeError for anything but exception
        classes.
        """
        return rebuilt(self, named("types", types))


def _are_short(args: tuple[Plain, ...]) -> bool:
    """Whether all arguments fit together, and can be stored."""
    room = MAX_MESSAGE_CHARS
    for arg in args:
        if isinstance(arg, str):
            room -= len(arg)
            if not arg.isascii() and arg != cut(arg, MAX_MESSAGE_CHARS):
                return False
    return room >= 0 and len(args) <= MAX_ERROR_ARGS


def _first_notes(notes: tuple[str, ...]) -> tuple[str, ...]:
    kept: list[str] = []
    room = MAX_MESSAGE_CHARS
    for note in notes[:MAX_NOTES]:
        if len(note) > room:
            if room >= _SHORTER_CHARS[-1]:
                kept.append(cut(note, room))
            break
        kept.append(note[:])
        room -= len(note)
    return tuple(kept)


def _first_causes(cause: TaskError) -> TaskError:
    if sum(1 for _ in cause.chain()) < MAX_CAUSES:
        return cause
    first = list(islice(cause.chain(), MAX_CAUSES - 1))
    cause = _less(first.pop(), cause=None)
    for link in reversed(first):
        cause = _less(link, cause=cause)
    return cause


def _less(error: TaskError, **fields: Any) -> TaskError:
    """A copy with less in these fields. It is not validated again: what is less is within the bounds."""
    copy = error.model_copy()
    copy.__dict__.update(fields, is_cut=True)
    return copy


def _fitting(members: tuple[TaskError, ...], room: int) -> tuple[TaskError, ...]:
    """Those that fit, if need be shorter: each in an equal part of what the ones before it have left."""
    first = tuple(_within_levels(member, _MEMBER_LEVELS) for member in members[:MAX_GROUP_MEMBERS])
    sizes = [*map(_size, first)]
    if sum(sizes) <= room:
        return first
    kept: list[TaskError] = []
    for n, (member, size) in enumerate(zip(first, sizes, strict=True)):
        part = room // (len(first) - n)
        shorter = member if size <= part else _shorter(member, part)
        if shorter is not None:
            kept.append(shorter)
            room -= size if shorter is member else _size(shorter)
    return tuple(kept)


def _size(error: TaskError) -> int:
    """Bytes of JSON, and a comma."""
    return 1 + len(error.model_dump_json(exclude_defaults=True, warnings=False))


def _shorter(error: TaskError, room: int) -> TaskError | None:
    """With texts that are short enough, or else without what is below it; None if that does not fit."""
    for chars in _SHORTER_CHARS:
        error = _with_texts_of(error, chars)
        if _size(error) <= room:
            return error
    alone = _alone(error)
    return alone if _size(alone) <= room else None


def _with_texts_of(error: TaskError, chars: int) -> TaskError:
    """The error and all below it, with texts of at most so many characters, a traceback of twice as many."""
    fields: dict[str, Any] = {
        "type": cut(error.type, chars),
        "message": cut(error.message, chars),
        "args": error.args if sum(len(arg) for arg in error.args if isinstance(arg, str)) <= chars else (),
        "traceback": None if error.traceback is None else cut(error.traceback, 2 * chars),
        "notes": error.notes if sum(map(len, error.notes)) <= chars else (),
        "exceptions": tuple(_with_texts_of(member, chars) for member in error.exceptions),
        "cause": None if error.cause is None else _with_texts_of(error.cause, chars),
    }
    is_same = all(fields[name] == getattr(error, name) for name in fields)
    return error if is_same else _less(error, **fields)


def _within_levels(error: TaskError, levels: int) -> TaskError:
    """Without what is further below."""
    if not error.exceptions and error.cause is None:
        return error
    if levels == 1:
        return _alone(error)
    exceptions = tuple(_within_levels(member, levels - 1) for member in error.exceptions)
    cause = None if error.cause is None else _within_levels(error.cause, levels - 1)
    is_same = cause is error.cause and all(map(is_, exceptions, error.exceptions))
    return error if is_same else _less(error, exceptions=exceptions, cause=cause)


def _alone(error: TaskError) -> TaskError:
    left_out = min(_MOST, error.exceptions_left_out + len(error.exceptions))
    return _less(error, exceptions=(), exceptions_left_out=left_out, cause=None)
