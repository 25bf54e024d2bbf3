"""Ids among the arguments of a command: whole, by their beginning as in git, or from another command."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated, Final, TypeAlias

from cyclopts import Parameter

from flowstore import BaseResultBackend
from flowstore.cli._exits import CommandError, Exit, usage
from flowstore.cli._options import no_option

Id: TypeAlias = Annotated[str, Parameter(allow_leading_hyphen=True)]
"""An argument that may be ``-``, for stdin, or an id that begins like an option."""
MOST_CANDIDATES: Final = 10
LEAST_PREFIX: Final = 4
BATCH: Final = 100
"""Ids that are taken from stdin at once."""


async def resolved(backend: BaseResultBackend, words: Sequence[str]) -> list[str]:
    """The id that each word says: itself, if there is such a task, or the only one that begins so.

    Raises CommandError for one that several ids begin with, and names them, and for one that none does.
    """
    return [await _resolved(backend, word) for word in words]


async def _resolved(backend: BaseResultBackend, word: str) -> str:
    if await backend.exists(word):
        return word
    found: list[str] = []
    if len(word) >= LEAST_PREFIX and "*" not in word and '"' not in word and "," not in word:
        quoted = word.replace("\\", "\\\\")
        search = await backend.search(f'id:"{quoted}"*', limit=MOST_CANDIDATES + 1, seconds=5)
        found = [task.task_id for task in search.items] + [each.task_id for each in search.unreadable]
    if len(found) == 1:
        return found[0]
    if not found and word.startswith("--"):
        raise no_option(word)
    if not found:
        raise CommandError(Exit.UNKNOWN, f"there is no task {word!r}")
    shown = ", ".join(found[:MOST_CANDIDATES]) + (" and others" if len(found) > MOST_CANDIDATES else "")
    raise usage(f"{word!r} is ambiguous: {shown}", "type more of it")


def from_stdin() -> Iterator[list[str]]:
    """What another command has printed, ids or JSON lines, in batches; nothing is waited for to its end."""
    lines = (line.strip() for line in sys.stdin)
    ids = (_id_in(number, line) for number, line in enumerate(lines, 1) if line)
    while batch := list(islice(ids, BATCH)):
        yield batch


def _id_in(number: int, line: str) -> str:
    if not line.startswith("{"):
        return line
    try:
        task_id = json.loads(line)["task_id"]
    except (ValueError, KeyError, TypeError):
        task_id = None
    if not isinstance(task_id, str):
        raise usage(f"line {number} of stdin: expected an id, or JSON with a task_id, got {line[:60]!r}")
    return task_id


async def ids_of(backend: BaseResultBackend, words: Sequence[str]) -> list[str]:
    """Those of the arguments, in order, each once; a ``-`` among them stands for all that stdin has."""
    found: dict[str, None] = {}
    for word in words:
        if word == "-":
            for batch in from_stdin():
                found.update(dict.fromkeys(batch))
        else:
            found[await _resolved(backend, word)] = None
    if not found and not words:
        raise usage("which task? expected ids, or - to read them from stdin")
    return [*found]
