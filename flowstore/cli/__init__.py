"""The command line: ``flowstore COMMAND``, or ``python -m flowstore COMMAND``."""

from __future__ import annotations

import os
from collections.abc import Sequence


def run(arguments: Sequence[str]) -> int:
    """Carry out one command and return its exit code. Nothing is loaded that it does not need."""
    # pydantic looks for plugins in every installed package: none is of use here, and a command is short
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from flowstore.cli._running import run

    return run(arguments)
