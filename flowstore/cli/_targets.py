"""What an action is about: tasks that match a query, tasks by their ids, or ids that are piped in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

from flowstore import BaseResultBackend, format_query
from flowstore._faces.selecting import in_parts
from flowstore._faces.terms import TERMS, term
from flowstore.cli._exits import CommandError, Exit, usage
from flowstore.cli._ids import BATCH, from_stdin, resolved
from flowstore.cli._queries import query_in


class Part(NamedTuple):
    """A query that is short enough to be one; ``ids``: how many ids it is made of, None: of none."""

    query: str
    ids: int | None


@dataclass(frozen=True)
class Targets:
    """``query`` None: ids, of which ``parts`` has all."""

    query: str | None
    ids: tuple[str, ...] = ()
    is_stdin: bool = False

    def parts(self) -> Iterator[Part]:
        """What finds all of it, one after the other. Those of stdin are read as they are asked for."""
        if self.query is not None:
            yield Part(self.query, None)
            return
        for batch in from_stdin() if self.is_stdin else [self.ids]:
            yield from _of_ids(dict.fromkeys(batch))


async def targets_in(backend: BaseResultBackend, words: Sequence[str], ids: Sequence[str] = ()) -> Targets:
    """A word with the name of a term in front, such as ``name:mail.send``, belongs to a query.

    ``ids``: what is one, whatever it looks like. Raises CommandError where a query and ids are mixed, as it
    is not clear what is meant, and for an id that no task has.
    """
    terms = [word for word in words if _is_term(word)]
    plain = [word for word in words if word not in terms and word != "-"]
    is_stdin = "-" in words
    if words and not any(word.strip() for word in words):
        return Targets("")  # as a variable of a shell may be, for which the library has a sentence
    if sum((bool(terms), bool(plain or ids), is_stdin)) > 1:
        raise usage(
            f"{' '.join(words)}: expected a query, or ids, or - for ids from stdin, and not several of these",
            'to look for text: flowstore ls "some text" -o ids | flowstore requeue -',
        )
    if terms:
        return Targets(format_query(query_in(terms)))
    if is_stdin:
        return Targets(None, is_stdin=True)
    if not (plain or ids):
        raise usage("which tasks? expected a query, ids, or - to read ids from stdin")
    for task_id in ids:
        if not await backend.exists(task_id):
            raise CommandError(Exit.UNKNOWN, f"there is no task {task_id!r}")
    return Targets(None, tuple(dict.fromkeys([*ids, *await _resolved(backend, plain)])))


def _is_term(word: str) -> bool:
    name, colon, _ = word.removeprefix("-").partition(":")
    return bool(colon and name in TERMS) or (word.startswith("-") and word != "-")


async def _resolved(backend: BaseResultBackend, words: Sequence[str]) -> list[str]:
    """As ``_ids.resolved``; what may be a term that was misspelt is told so."""
    try:
        return await resolved(backend, words)
    except CommandError as error:
        if error.code != Exit.UNKNOWN:
            raise
        for word in words:
            name, colon, _ = word.partition(":")
            near = get_close_matches(name, TERMS, 1) if colon else []
            if near:
                raise CommandError(Exit.UNKNOWN, error.message, f"did you mean {near[0]}: ?") from None
        raise


def _of_ids(ids: Iterable[str]) -> Iterator[Part]:
    for part in in_parts(ids, BATCH):
        yield Part(term("id", *part), len(part))
