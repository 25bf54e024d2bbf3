"""Terms of the query language, out of names and values that may have any characters."""

from __future__ import annotations


def term(name: str, *values: str) -> str:
    """``name:"value"``, which finds exactly that value; of several values any."""
    said = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return f"{name}:" + ",".join(f'"{value}"' for value in said)
