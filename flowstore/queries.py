"""The query language: what tasks are asked for in, by programs, command lines, pages and saved views.

A query is text, such as ``status:failed name:mail.send since:1h "timed out"``. docs/queries.md has its terms.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Generic

from pydantic import Field

from flowstore._queries.checking import BY_FINISH, check, statuses_of
from flowstore._queries.scanning import Part, Piece, scan
from flowstore._queries.terms import KINDS, TEXT, Kind, Refusal, Term, Value
from flowstore.errors import InvalidQuery
from flowstore.fields import Record, Timestamp
from flowstore.models import T, TaskResult, Unreadable
from flowstore.statuses import TaskStatus
from flowstore.tables import Tabular

MAX_QUERY_BYTES: Final = 2_048
MAX_TERMS: Final = 20
MAX_VALUES: Final = 100
"""Of one term."""


@dataclass(frozen=True, slots=True)
class TaskQuery:
    """A query that was read by ``parse_query``: equal to others that say the same in the same order.

    ``str`` of it is its text, which ``parse_query`` reads as an equal query. What is relative, such as
    ``since:1h``, is so in the query as well: it is resolved when the query is run, by the clock of the
    backend.
    """

    terms: tuple[Term, ...] = ()
    places: tuple[int, ...] = field(default=(), compare=False, repr=False)
    """Where each term began in the text that was read, if this is as it was read."""

    def __post_init__(self) -> None:
        if not isinstance(self.terms, tuple) or not all(isinstance(term, Term) for term in self.terms):
            raise TypeError(f"terms: expected those of a query, got {self.terms!r:.80}; use parse_query")

    def __str__(self) -> str:
        return " ".join(map(str, self.terms))

    @property
    def statuses(self) -> tuple[TaskStatus, ...]:
        """The statuses that a task may have which satisfies it, by all that its terms say of them."""
        return statuses_of(self.terms)

    @property
    def has_text(self) -> bool:
        """Whether it looks for text, for which the values of tasks must be read."""
        return any(term.name == TEXT for term in self.terms)

    @property
    def is_by_finish(self) -> bool:
        """Whether it lists tasks by the time of their finish, and not of their submission."""
        return self._sort in BY_FINISH

    @property
    def newest_first(self) -> bool:
        return self._sort.startswith("-")

    @property
    def _sort(self) -> str:
        return next((str(term.values[0]) for term in self.terms if term.name == "sort"), "-submitted")

    def place(self, term: Term) -> int:
        """Where one of its terms begins in the text that was read; without one, in its own."""
        number = self.terms.index(term)
        if number < len(self.places):
            return self.places[number]
        return sum(len(str(each)) + 1 for each in self.terms[:number])


class Found(Tabular, Record, Generic[T]):
    """What one call of ``search`` has found, in the order of the query.

    ``next_cursor`` goes on behind the last record that was looked at; None: all were, and this is all.
    ``prev_cursor`` leads back to what is before the first of them, found in the same order up to there; None
    at the start. ``unreadable``: those that the query may want, but cannot be read. ``looked_at``: at how
    many records this call has looked, and ``looked_back_to`` the time of the last of them in the order of the
    query, of its submission, or with ``sort:finished`` of its finish; None if it has none. ``cut``: how many
    of them have values of which only the first MiB was searched.
    """

    items: list[TaskResult[T]]
    next_cursor: str | None
    prev_cursor: str | None = None
    unreadable: list[Unreadable] = Field(default_factory=list)
    looked_at: int = 0
    looked_back_to: Timestamp | None = None
    cut: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to look at."""
        return self.next_cursor is None


def parse_query(text: str) -> TaskQuery:
    """The query that ``text`` says: at most 2,048 UTF-8 bytes and 20 terms. Raises InvalidQuery."""
    if not isinstance(text, str):
        raise TypeError(f"query: expected str, got {type(text).__name__}")
    _check_size(text)
    terms: list[Term] = []
    places: list[int] = []
    for piece in scan(text, KINDS):
        if len(terms) == MAX_TERMS:
            raise _refused(text, piece, f"expected at most {MAX_TERMS} terms")
        terms.append(_term(text, piece, terms))
        places.append(piece.place)
    return TaskQuery(tuple(terms), tuple(places))


def format_query(query: TaskQuery) -> str:
    """The text of a query: ``parse_query`` reads it as an equal one, and formatted again it is the same."""
    if not isinstance(query, TaskQuery):
        raise TypeError(f"query: expected TaskQuery, got {type(query).__name__}")
    return str(query)


def query_of(query: str | TaskQuery) -> TaskQuery:
    """The query that is given either way. Raises InvalidQuery or TypeError."""
    return query if isinstance(query, TaskQuery) else parse_query(query)


def _check_size(text: str) -> None:
    if len(text) <= MAX_QUERY_BYTES:  # a character takes a byte at least
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            surrogate = text[error.start]
            raise InvalidQuery(surrogate, error.start, "a lone surrogate; expected valid Unicode") from None
        if size <= MAX_QUERY_BYTES:
            return
    raise InvalidQuery(text[:80], 0, f"expected at most {MAX_QUERY_BYTES} UTF-8 bytes")


def _term(text: str, piece: Piece, before: list[Term]) -> Term:
    if piece.name is None:
        term = _text(text, piece)
    else:
        if piece.is_negated and piece.name == "sort":
            raise _refused(text, piece, "sort: is not to be negated; sort:-finished is the reverse order")
        term = Term(piece.name, _values(text, piece, KINDS[piece.name]), piece.is_negated)
    try:
        check(term, before)
    except Refusal as refusal:
        raise _refused(text, piece, refusal.reason) from None
    return term


def _text(text: str, piece: Piece) -> Term:
    [part] = piece.parts
    if not part.text:
        raise _refused(text, piece, "expected text to look for in the quotes")
    return Term(TEXT, (part.text,), piece.is_negated)


def _values(text: str, piece: Piece, kind: Kind) -> tuple[Value, ...]:
    most = MAX_VALUES if kind.is_list else 1
    if len(piece.parts) > most:
        expected = f"expected at most {most} values" if kind.is_list else "expected one value, without commas"
        raise _refused(text, piece, expected)
    values: list[Value] = []
    for part in piece.parts:
        value = _value(text, piece, part, kind)
        if value in values:
            raise _refused(text, piece, "it was said before", part)
        values.append(value)
    return tuple(values)


def _value(text: str, piece: Piece, part: Part, kind: Kind) -> Value:
    try:
        return kind.read(part)
    except Refusal as refusal:
        raise _refused(text, piece, refusal.reason, part, refusal.nearest) from None


def _refused(
    text: str, piece: Piece, reason: str, part: Part | None = None, nearest: str | None = None
) -> InvalidQuery:
    whole = text[piece.place : piece.end]
    return InvalidQuery(whole, piece.place if part is None else part.place, reason, nearest)
