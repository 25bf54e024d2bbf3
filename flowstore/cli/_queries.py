"""Queries among the arguments of a command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeAlias

from cyclopts import Parameter

from flowstore import TaskQuery, parse_query
from flowstore.cli._options import no_option

Words: TypeAlias = Annotated[str, Parameter(allow_leading_hyphen=True)]
"""Of a query: one that is negated, such as ``-label:x``, begins with a hyphen."""


def query_in(words: Sequence[str]) -> TaskQuery:
    """The query that the words are, each of which the shell has freed from its quotes already.

    A word with blanks in it is text to look for, or the value of a term: ``"timed out"``,
    ``name:"two words"``. Raises InvalidQuery, and CommandError for what looks like an option.
    """
    for word in words:
        if word.startswith("--"):
            raise no_option(word)
    return parse_query(" ".join(map(_quoted, words)))


def _quoted(word: str) -> str:
    if not any(character.isspace() for character in word) or '"' in word:
        return word  # a query as a whole, or one that is quoted already
    sign, bare = ("-", word[1:]) if word.startswith("-") else ("", word)
    name, colon, value = bare.partition(":")
    if colon and name.isalpha() and not any(each.isspace() for each in name):
        return word if _is_whole(word) else f'{sign}{name}:"{value}"'
    return word if _is_whole(word) else f'{sign}"{bare}"'


def _is_whole(word: str) -> bool:
    """Whether it is several terms in one argument, as in ``flowstore ls "status:failed since:1h"``."""
    return any(":" in part for part in word.split()[1:])
