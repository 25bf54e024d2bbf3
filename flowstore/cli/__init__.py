"""The command line: ``flowstore COMMAND``, or ``python -m flowstore COMMAND``."""

from __future__ import annotations

from collections.abc import Sequence


def run(arguments: Sequence[str]) -> int:
    """Carry out one command and return its exit code. Nothing is loaded that it does not need."""
    from flowstore.cli._running import run

    return run(arguments)
