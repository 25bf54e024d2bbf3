"""Where a thread may block: not in a running event loop, whose tasks would stand still, but in a notebook's.

In a notebook every cell runs inside of the kernel's event loop, and what blocks is what a cell is for.
"""

from __future__ import annotations

import asyncio
import sys

from flowstore._trips.lifecycle import running_loop
from flowstore.errors import LoopIsRunning


def check_may_block() -> None:
    """Raise LoopIsRunning where to wait would stop an event loop."""
    loop = running_loop()
    if loop is not None and not _is_of_kernel(loop):
        raise LoopIsRunning


def _is_of_kernel(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether Jupyter runs its cells in this loop. Loops that a program in a cell runs are others."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    io_loop = getattr(getattr(shell, "kernel", None), "io_loop", None)
    return getattr(io_loop, "asyncio_loop", None) is loop
