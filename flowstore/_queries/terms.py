"""The terms of the query language: what each is called, which values it takes, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from flowstore._queries.scanning import Part, as_text, as_value, nearest
from flowstore._queries.values import (
    A_DURATION,
    A_MOMENT,
    Amounts,
    Day,
    Duration,
    Moment,
    Prefix,
    Times,
    duration,
    moment,
)
from flowstore.models import MAX_RETRIES
from flowstore.statuses import TaskStatus
from flowstore.text import MAX_ID_BYTES

Value = str | Prefix | Moment | Times | Amounts

TEXT: Final = "text"
"""The name of a term that is text to look for. No query says it."""

SORTS: Final = ("-submitted", "submitted", "-finished", "finished")
FINGERPRINT_DIGITS: Final = 16
_FINGERPRINT: Final = re.compile(rf"[0-9a-f]{{4,{FINGERPRINT_DIGITS}}}")
_TRIES: Final = re.compile(r"[0-9]{1,10}")
_LAST_ATTEMPT: Final = MAX_RETRIES + 1
_COMPARED: Final = re.compile(r"([<>])(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Term:
    """One condition: the value is one of these, or with ``is_negated`` it is not."""

    name: str
    values: tuple[Value, ...]
    is_negated: bool = False

    def __str__(self) -> str:
        sign = "-" if self.is_negated else ""
        if self.name == TEXT:
            return sign + as_text(str(self.values[0]))
        values = [as_value(value) if isinstance(value, str) else str(value) for value in self.values]
        return f"{sign}{self.name}:{','.join(values)}"


class Refusal(Exception):
    """A value is not what the term takes."""

    def __init__(self, reason: str, nearest: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.nearest = nearest


class Kind(NamedTuple):
    """``is_list``: several values may be given, any of which may hold. ``is_repeatable``: all terms hold."""

    read: Callable[[Part], Value]
    is_list: bool = False
    is_repeatable: bool = False


def _one_of(*known: str) -> Callable[[Part], str]:
    def read(part: Part) -> str:
        if part.is_starred or part.text not in known:
            raise Refusal(f"expected one of {', '.join(known)}", nearest(part.text, known))
        return part.text

    return read


def _identifier(part: Part) -> str:
    if part.is_starred or (not part.is_quoted and "*" in part.text):
        raise Refusal("only id: may end with a star, for all that begin so; put a star itself in quotes")
    if not 1 <= len(part.text.encode()) <= MAX_ID_BYTES:
        raise Refusal(f"expected 1 to {MAX_ID_BYTES} UTF-8 bytes")
    return part.text


def _id(part: Part) -> str | Prefix:
    text = _identifier(part._replace(is_starred=False))
    return Prefix(text) if part.is_starred else text


def _fingerprint(part: Part) -> str:
    text = part.text.lower()
    if part.is_starred or not _FINGERPRINT.fullmatch(text):
        raise Refusal("expected the fingerprint of an error, or its beginning: 4 to 16 hexadecimal digits")
    return text


def _moment(part: Part) -> Moment:
    return _read_moment(part.text + "*" * part.is_starred)


def _read_moment(text: str) -> Moment:
    found = moment(text)
    if found is None:
        raise Refusal(f"expected {A_MOMENT}")
    return found


def _read_duration(text: str) -> Duration:
    found = duration(text)
    if found is None:
        raise Refusal(f"expected {A_DURATION}")
    return found


def _read_tries(text: str) -> int:
    if not _TRIES.fullmatch(text) or not 1 <= int(text) <= _LAST_ATTEMPT:
        raise Refusal(f"expected a number from 1 to {_LAST_ATTEMPT}: the first attempt is 1")
    return int(text)


def _times(part: Part) -> Times:
    text = part.text + "*" * part.is_starred
    if found := _COMPARED.fullmatch(text):
        ago = _read_duration(found[2])
        return Times("<", ago, None) if found[1] == "<" else Times(">", None, ago)
    first, is_range, last = text.partition("..")
    if is_range:
        ends = _read_moment(first) if first else None, _read_moment(last) if last else None
        return _in_order(Times("..", *ends))
    day = _read_moment(text)
    if isinstance(day, Duration):
        raise Refusal(f"expected <{day} for less than that long ago, or >{day} for more")
    return _in_order(Times("..", day, day))


def _in_order(times: Times) -> Times:
    """Refuses what is empty at any time that it may be asked for."""
    if is_empty(times.first, times.last):
        raise Refusal("no time is in this range: its end is not after its beginning, or it is one instant")
    return times


def is_empty(first: Value | None, last: Value | None) -> bool:
    """Whether no time can be between the two moments, whenever that is asked."""
    if not isinstance(first, Moment) or not isinstance(last, Moment) or _kind(first) is not _kind(last):
        return False
    return first.begins(0) >= last.ends(0)


def _kind(moment: Moment) -> type:
    """Moments of one kind have the same order at any time."""
    return type(moment.on) if isinstance(moment, Day) else type(moment)


def _amounts(read: Callable[[str], Duration | int]) -> Callable[[Part], Amounts]:
    def read_range(part: Part) -> Amounts:
        text = part.text + "*" * part.is_starred
        if found := _COMPARED.fullmatch(text):
            amount = read(found[2])
            return Amounts("<", None, amount) if found[1] == "<" else Amounts(">", amount, None)
        first, is_range, last = text.partition("..")
        if not is_range:
            return _exactly(read(text))
        amounts = Amounts("..", read(first) if first else None, read(last) if last else None)
        least, most = amounts.bounds(0)
        if least is not None and most is not None and least > most:
            raise Refusal("nothing is in this range: its end is below its beginning")
        return amounts

    return read_range


def _exactly(amount: Duration | int) -> Amounts:
    if isinstance(amount, Duration):
        raise Refusal(f"expected <{amount} for less, >{amount} for more, or {amount}.. for at least that")
    return Amounts("..", amount, amount)


_DURATIONS: Final = _amounts(_read_duration)
_NUMBERS: Final = _amounts(_read_tries)


def _tries(part: Part) -> Amounts:
    amounts = _NUMBERS(part)
    if amounts.bounds(0) in ((None, 0), (_LAST_ATTEMPT + 1, None)):
        raise Refusal(f"no task is in this range: the first attempt is 1, the last {_LAST_ATTEMPT}")
    return amounts


KINDS: Final[Mapping[str, Kind]] = {
    "status": Kind(_one_of(*(status.value for status in TaskStatus)), is_list=True),
    "name": Kind(_identifier, is_list=True),
    "label": Kind(_identifier, is_list=True, is_repeatable=True),
    "worker": Kind(_identifier, is_list=True),
    "parent": Kind(_identifier, is_list=True),
    "root": Kind(_identifier, is_list=True),
    "error": Kind(_fingerprint, is_list=True),
    "id": Kind(_id, is_list=True),
    "submitted": Kind(_times),
    "started": Kind(_times),
    "finished": Kind(_times),
    "updated": Kind(_times),
    "since": Kind(_moment),
    "until": Kind(_moment),
    "run": Kind(_DURATIONS),
    "wait": Kind(_DURATIONS),
    "tries": Kind(_tries),
    "is": Kind(_one_of("root", "child")),
    "sort": Kind(_one_of(*SORTS)),
}
"""By the name that a query says."""
