"""Text that a query looks for: in the name of a task, in its error, and in its arguments and result.

It is compared without regard to case, with each text by itself: nothing is found that begins in one string
and ends in another. Values are compared as they are stored, see _values/shown.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from flowstore._core.core import Core
from flowstore._queries.terms import TEXT
from flowstore._values.codec import Codec
from flowstore._values.compression import decompress
from flowstore._values.reading import DAMAGED, decode, values_of
from flowstore._values.shown import may_say, texts_of
from flowstore.engine import Entry
from flowstore.errors import CorruptRecord
from flowstore.queries import TaskQuery
from flowstore.task_error import TaskError

MOST_SEARCHED: Final = 2**20
"""So many bytes of the encoded values of a record are searched: its beginning, if there are more."""

_APART: Final = "\ud800"
"""Stands between two texts, and in none that a query looks for, as these are valid Unicode."""
_AT_ONCE: Final = 1_000


class Wanted(NamedTuple):
    """A text to look for, without regard to case; ``is_negated``: it must not be there."""

    folded: str
    is_negated: bool


class Verdict(NamedTuple):
    """Whether values say what they have to; unless ``is_sure`` what was not searched of them could decide."""

    is_wanted: bool
    is_sure: bool


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

    def searched(self, entry: Entry) -> Entry:
        """The part of a record that was read with its body in which ``said_in`` looks."""
        if not self._core.records.is_whole(entry):
            raise CorruptRecord(entry.id, DAMAGED)
        return self._core.records.cut(entry, MOST_SEARCHED)

    def said_in(self, entry: Entry, left: Sequence[Wanted]) -> Verdict:
        """Whether the values say what is left to look for. Raises UnreadableRecord."""
        return decode(entry, self._raw, lambda cut, raw: self._said(cut, raw, left))

    def _said(self, entry: Entry, raw: Codec, left: Sequence[Wanted]) -> Verdict:
        is_cut = entry.body_size is not None
        if entry.body is not None and not is_cut:
            plain = decompress(entry.body, raw.max_bytes)
            told = [each for each in left if not may_say(plain, each.folded)]
            if not all(each.is_negated for each in told):
                return Verdict(False, True)
            if len(told) == len(left):
                return Verdict(True, True)
            entry = entry._replace(body=plain)
        return _verdict(left, texts_of(values_of(entry, raw).values()), is_cut)


def _beside_values(name: str | None, error: TaskError | None) -> Iterator[str]:
    """The name, and the type and message of the error and of its causes."""
    if name is not None:
        yield name
    if error is not None:
        for link in error.chain():
            yield link.type
            yield link.message


def _verdict(left: Sequence[Wanted], texts: Iterator[str], is_cut: bool) -> Verdict:
    """Of the texts as far as they are needed; ``is_cut``: there are others."""
    absent = [*left]
    while absent and (some := [*islice(texts, _AT_ONCE)]):
        said = _APART.join(some).casefold()
        for wanted in [each for each in absent if each.folded in said]:
            if wanted.is_negated:
                return Verdict(False, True)
            absent.remove(wanted)
    return Verdict(all(each.is_negated for each in absent), not (is_cut and absent))
