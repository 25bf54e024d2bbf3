"""Values as trees, to be folded: stored JSON with the tags of its types, of a bounded size."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

MOST_NODES: Final = 1_000
MOST_DEPTH: Final = 40
MOST_TEXT: Final = 4_000


class Node(NamedTuple):
    """A value. ``kind``: object, array, text, number, word, or the name of the type that a tag says.

    ``text``: what is shown of it; of one that has ``children`` how many they are. ``key``: its name, or its
    place, in what it is a part of.
    """

    key: str
    kind: str
    text: str
    children: tuple[Node, ...] = ()
    left_out: int = 0


def tree_of(value: Any, most: int = MOST_NODES) -> Node:
    """At most ``most`` nodes; ``left_out`` says how many children of one are not there."""
    return _Builder(most).node("", value, 0)


class _Builder:
    def __init__(self, left: int) -> None:
        self._left = left

    def node(self, key: str, value: Any, depth: int) -> Node:
        self._left -= 1
        tag, inner = _untagged(value)
        if isinstance(inner, dict):
            return self._parts(key, tag or "object", inner.items(), len(inner), depth)
        if isinstance(inner, list):
            numbered = ((str(place), each) for place, each in enumerate(inner))
            return self._parts(key, tag or "array", numbered, len(inner), depth)
        return Node(key, tag or _kind(inner), _shown(inner))

    def _parts(self, key: str, kind: str, parts: Any, count: int, depth: int) -> Node:
        found: list[Node] = []
        for name, each in parts:
            if self._left <= 0 or depth >= MOST_DEPTH:
                break
            found.append(self.node(str(name), each, depth + 1))
        return Node(key, kind, f"{count:,}", tuple(found), count - len(found))


def _untagged(value: Any) -> tuple[str | None, Any]:
    """``{"$tuple": [...]}`` is a tuple; a class is named by its tag: ``{"$dataclass": ["Point", {...}]}``."""
    if isinstance(value, dict) and len(value) == 1:
        [(name, inner)] = value.items()
        if isinstance(name, str) and name.startswith("$"):
            if isinstance(inner, list) and len(inner) == 2 and isinstance(inner[0], str):
                return inner[0], inner[1]
            return name[1:], inner
    return None, value


def _kind(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "word"
    return "number" if isinstance(value, int | float) else "text"


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = value if isinstance(value, str) else str(value)
    if len(text) <= MOST_TEXT:
        return text
    return f"{text[:MOST_TEXT]}… ({len(text) - MOST_TEXT:,} characters more)"
