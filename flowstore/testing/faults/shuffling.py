"""An event loop that runs ready tasks in random order."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from itertools import groupby
from typing import Any


class ShuffleLoop(asyncio.SelectorEventLoop):
    """Shuffles, in each iteration and with a seed, consecutive tasks that are ready to run.

    No program may rely on their order, so it finds lost wake-ups that a plain loop never shows. Other
    callbacks stay before and after the same tasks: transports rely on that.

        asyncio.Runner(loop_factory=lambda: ShuffleLoop(seed)).run(main())
    """

    _ready: deque[asyncio.Handle]

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._shuffler = random.Random(seed)

    def _run_once(self) -> None:
        ready = list(self._ready)
        self._ready.clear()
        for is_of_a_task, handles in groupby(ready, _is_of_a_task):
            group = list(handles)
            if is_of_a_task:
                self._shuffler.shuffle(group)
            self._ready.extend(group)
        super()._run_once()  # type: ignore[misc]  # not in typeshed


def _is_of_a_task(handle: Any) -> bool:
    return isinstance(getattr(handle._callback, "__self__", None), asyncio.Task)
