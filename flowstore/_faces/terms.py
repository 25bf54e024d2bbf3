"""Terms of the query language, out of names and values that may have any characters."""

from __future__ import annotations

from typing import Final

TERMS: Final = (
    *("status", "name", "label", "worker", "parent", "root", "error", "id", "submitted", "started"),
    *("finished", "updated", "since", "until", "run", "wait", "tries", "is", "sort"),
)
"""The names that a term may have before its colon."""


def term(name: str, *values: str) -> str:
    """``name:"value"``, which finds exactly that value; of several values any."""
    said = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return f"{name}:" + ",".join(f'"{value}"' for value in said)
