"""From the arguments of a command to its exit code."""

from __future__ import annotations

from collections.abc import Sequence


def run(arguments: Sequence[str]) -> int:
    """Carry out one command."""
    raise NotImplementedError(arguments)
