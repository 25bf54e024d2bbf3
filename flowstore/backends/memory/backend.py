"""The memory backend: results in this process, lost when it ends."""

from __future__ import annotations

from typing import Unpack

from flowstore._core.options import BackendOptions
from flowstore._values.arguments import check_int
from flowstore._values.copies import CopiedRecords
from flowstore.backends.memory.engine import MemoryEngine
from flowstore.base import BaseResultBackend


class InMemoryBackend(BaseResultBackend):
    """Results in the memory of this process. Values are copied; what other backends refuse is refused, too.

    ``max_results``: how many finished results to keep; the one that finished first is dropped first. None:
    all.
    """

    _records = CopiedRecords

    def __init__(self, *, max_results: int | None = None, **options: Unpack[BackendOptions]) -> None:
        if max_results is not None:
            check_int("max_results", max_results, 1)
        super().__init__(MemoryEngine(options.get("namespace", "default"), max_results), **options)

    def _beside(self, options: BackendOptions) -> InMemoryBackend:
        return InMemoryBackend(**options)
