"""Text that a query looks for: in the name of a task, in its error, and in its arguments and result.

It is compared without regard to case, with each text by itself: nothing is found that begins in one string
and ends in another. Values are compared as they are stored, see _values/shown.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from flowstore._core.core import Core
from flowstore._queries.terms import TEXT
from flowstore._values.codec import Codec
from flowstore._values.compression import decompress
from flowstore._values.encoding import encode_body
from flowstore._values.reading import DAMAGED, decode, values_in, values_of
from flowstore._values.shown import may_say, texts_of
from flowstore.engine import Entry
from flowstore.errors import CorruptRecord, NotSerializable
from flowstore.jsonable import to_jsonable
from flowstore.models import TaskResult
from flowstore.queries import TaskQuery
from flowstore.stand_ins import Excerpt, NotLoaded
from flowstore.task_error import TaskError

MOST_SEARCHED: Final = 2**20
"""So many bytes of the encoded values of a record are searched: its beginning, if there are more."""


class Wanted(NamedTuple):
    """A text to look for, without regard to case; ``is_negated``: it must not be there."""

    folded: str
    is_negated: bool


class Saying:
    """The texts that a query looks for, and must not find, and where."""

    def __init__(self, core: Core, query: TaskQuery) -> None:
        self._core = core
        self._raw = Codec(max_bytes=core.records.codec.max_bytes, raw=True)
        self.wanted = tuple(
            Wanted(str(term.values[0]).casefold(), term.is_negated)
            for term in query.terms
            if term.name == TEXT
        )

    def left(self, name: str | None, error: TaskError | None) -> tuple[Wanted, ...] | None:
        """What is left to look for in the values of a task; None: it is not wanted, whatever they say."""
        left = []
        said = [text.casefold() for text in _beside_values(name, error)] if self.wanted else []
        for wanted in self.wanted:
            if not any(wanted.folded in text for text in said):
                left.append(wanted)
            elif wanted.is_negated:
                return None
        return tuple(left)

    def holds(self, task: TaskResult) -> bool:
        """Of a task with its values. What cannot be encoded is taken as ``to_jsonable`` shows it."""
        left = self.left(task.task_name, task.error)
        if not left:
            return left is not None
        try:
            body = encode_body(task, self._core.records.codec)
            size = len(body) if len(body) > MOST_SEARCHED else None
            values = values_in(body[:MOST_SEARCHED], size, self._raw)
        except NotSerializable:
            values = {name: _shown(getattr(task, name)) for name in ("result", "args", "kwargs")}
            values = {name: value for name, value in values.items() if value is not None}
        return _are_said(left, texts_of(values.values()))

    def searched(self, entry: Entry) -> Entry:
        """The part of a record that was read with its body in which ``are_said_in`` looks."""
        if not self._core.records.is_whole(entry):
            raise CorruptRecord(entry.id, DAMAGED)
        return self._core.records.cut(entry, MOST_SEARCHED)

    def are_said_in(self, entry: Entry, left: Sequence[Wanted]) -> bool:
        """Whether the values say what is left to look for. Raises UnreadableRecord."""
        return decode(entry, self._raw, lambda cut, raw: self._are_said(cut, raw, left))

    def _are_said(self, entry: Entry, raw: Codec, left: Sequence[Wanted]) -> bool:
        if entry.body is not None and entry.body_size is None:
            plain = decompress(entry.body, raw.max_bytes)
            told = [each for each in left if not may_say(plain, each.folded)]
            if not all(each.is_negated for each in told):
                return False
            if len(told) == len(left):
                return True
            entry = entry._replace(body=plain)
        return _are_said(left, texts_of(values_of(entry, raw).values()))


def _shown(value: Any) -> Any:
    return value if isinstance(value, Excerpt | NotLoaded) else to_jsonable(value)


def _beside_values(name: str | None, error: TaskError | None) -> Iterator[str]:
    """The name, and the type and message of the error and of its causes."""
    if name is not None:
        yield name
    if error is not None:
        for link in error.chain():
            yield link.type
            yield link.message


def _are_said(left: Sequence[Wanted], texts: Iterator[str]) -> bool:
    said = [text.casefold() for text in texts]
    return all(any(wanted.folded in text for text in said) is not wanted.is_negated for wanted in left)
