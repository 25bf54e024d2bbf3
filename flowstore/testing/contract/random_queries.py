"""Strategies of hypothesis for queries: their texts, and what the property tests of search compare."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from flowstore import InvalidQuery, parse_query

TEXTS: Final = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
"""What a query may look for."""

WORDS: Final = (
    "a",
    "b",
    "mail.send",
    "two words",
    'quo"ted',
    "back\\slash",
    "x:y",
    "c,d",
    "*",
    "-",
    "\N{SNAKE}",
)
"""Names, labels, workers and ids."""

_MOMENTS: Final = ("0s", "90s", "2h", "3d", "1w", "today", "yesterday", "2026-11-25", "2026-11-26T10:00Z")


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _listed(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values, min_size=1, max_size=3, unique=True).map(",".join)


def _ranges(ends: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    between = st.tuples(ends | st.just(""), ends | st.just("")).map("..".join)
    return between | st.tuples(st.sampled_from("<>"), ends).map("".join) | ends


_WORDS: Final = st.sampled_from(WORDS).map(quoted)
_IDS: Final = _WORDS | st.tuples(_WORDS, st.just("*")).map("".join)
_TIMES: Final = _ranges(st.sampled_from(_MOMENTS))
_DURATIONS: Final = _ranges(st.sampled_from(["0ms", "500ms", "1s", "2m", "1h", "3d"]))

TERMS: Final = {
    "status": _listed(st.sampled_from(["pending", "running", "retrying", "success", "failed", "cancelled"])),
    "name": _listed(_WORDS),
    "label": _listed(_WORDS),
    "worker": _listed(_WORDS),
    "parent": _listed(_WORDS),
    "root": _listed(_WORDS),
    "error": _listed(st.sampled_from(["5d0c1b7e", "e02f", "0123456789abcdef"])),
    "id": _listed(_IDS),
    "submitted": _TIMES,
    "started": _TIMES,
    "finished": _TIMES,
    "updated": _TIMES,
    "since": st.sampled_from(_MOMENTS),
    "until": st.sampled_from(_MOMENTS),
    "run": _DURATIONS,
    "wait": _DURATIONS,
    "tries": _ranges(st.sampled_from("123")),
    "is": st.sampled_from(["root", "child"]),
    "sort": st.sampled_from(["submitted", "-submitted", "finished", "-finished"]),
}
"""The values of each term."""

_SIGNS: Final = st.sampled_from(["", "", "-"])


def _is_query(text: str) -> bool:
    try:
        parse_query(text)
    except InvalidQuery:
        return False
    return True


def queries_of(
    terms: dict[str, st.SearchStrategy[str]], texts: st.SearchStrategy[str], most: int = 4
) -> st.SearchStrategy[str]:
    """Queries of some of these terms, and of text to look for."""
    named = [
        st.builds("{}{}:{}".format, st.just("") if name == "sort" else _SIGNS, st.just(name), values)
        for name, values in terms.items()
    ]
    said = st.builds("{}{}".format, _SIGNS, texts.map(quoted))
    pieces = st.one_of(*named, said)
    return st.lists(pieces, max_size=most).map(" ".join).filter(_is_query)


QUERIES: Final = queries_of(TERMS, TEXTS)
"""Of all terms."""
