"""What an action is about: tasks that match a query, tasks by their ids, or ids that are piped in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from flowstore import BaseResultBackend, format_query
from flowstore._faces.terms import term
from flowstore.cli._exits import usage
from flowstore.cli._ids import BATCH, from_stdin, resolved
from flowstore.cli._queries import query_in

_TERM: Final = re.compile(r"-?[a-z]+:.*", re.DOTALL)
_MOST_QUERY: Final = 1_900


@dataclass(frozen=True)
class Targets:
    """``query`` None: ids, of which ``batches`` has all."""

    query: str | None
    ids: tuple[str, ...] = ()
    is_stdin: bool = False

    def queries(self) -> Iterator[str]:
        """Queries that find all of it, one after the other; each is short enough to be one."""
        if self.query is not None:
            yield self.query
            return
        for batch in from_stdin() if self.is_stdin else [[*self.ids]]:
            yield from _of_ids(batch)


async def targets_in(backend: BaseResultBackend, words: Sequence[str], ids: Sequence[str] = ()) -> Targets:
    """A word with the name of a term in front, such as ``name:mail.send``, belongs to a query.

    Raises CommandError where both are mixed, as it is not clear what is meant.
    """
    terms = [word for word in words if _TERM.fullmatch(word) or (word.startswith("-") and word != "-")]
    plain = [word for word in words if word not in terms and word != "-"]
    is_stdin = "-" in words
    if sum((bool(terms), bool(plain or ids), is_stdin)) > 1:
        raise usage(
            f"{' '.join(words)}: expected a query, or ids, or - for ids from stdin, and not several of these",
            'to look for text: flowstore ls "some text" -o ids | flowstore requeue -',
        )
    if terms:
        return Targets(format_query(query_in(terms)))
    if is_stdin:
        return Targets(None, is_stdin=True)
    found = [*ids, *await resolved(backend, plain)]
    if not found:
        raise usage("which tasks? expected a query, ids, or - to read ids from stdin")
    return Targets(None, tuple(dict.fromkeys(found)))


def _of_ids(ids: Sequence[str]) -> Iterator[str]:
    chosen: list[str] = []
    for task_id in ids:
        longer = term("id", *chosen, task_id)
        if chosen and (len(longer.encode()) > _MOST_QUERY or len(chosen) == BATCH):
            yield term("id", *chosen)
            chosen = []
        chosen.append(task_id)
    if chosen:
        yield term("id", *chosen)
