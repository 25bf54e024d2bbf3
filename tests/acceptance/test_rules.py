"""The tree of errors in docs/rules.md is that of the package."""

from __future__ import annotations

import builtins
import re
from pathlib import Path

import flowstore
from flowstore import FlowstoreError

DOCUMENT = (Path(__file__).parents[2] / "docs" / "rules.md").read_text("utf-8")
LINE = re.compile(r"^([│├└─ ]*)([A-Z]\w+)(?: +([A-Z]\w+(?:Error)))?(?: |$)")


def documented() -> dict[str, tuple[str | None, str | None]]:
    """From the name of each error to its parent in the tree, and the builtin beside it."""
    tree = DOCUMENT.partition("```\nFlowstoreError\n")[2].partition("```")[0]
    path = ["FlowstoreError"]
    found: dict[str, tuple[str | None, str | None]] = {"FlowstoreError": (None, None)}
    for line in tree.splitlines():
        matched = LINE.match(line)
        assert matched, line
        depth = len(matched[1]) // 4
        path[depth:] = [matched[2]]
        found[matched[2]] = (path[depth - 1], matched[3])
    return found


def test_the_tree_has_every_error() -> None:
    """Under the class that it derives from, with the builtin that it is besides."""
    errors = {name: kind for name in flowstore.__all__ if is_error(kind := getattr(flowstore, name))}
    found = documented()
    assert found.keys() == errors.keys()
    for name, (parent, builtin) in found.items():
        bases = {base.__name__ for base in errors[name].__bases__}
        if parent is not None:
            assert bases == {parent, builtin} - {None}, name
            assert builtin is None or hasattr(builtins, builtin)


def is_error(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, FlowstoreError)
