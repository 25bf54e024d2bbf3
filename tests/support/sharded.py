"""A backend over several engines in memory, each a shard with trips of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack
from zlib import crc32

from flowstore import BaseResultBackend
from flowstore._core.options import BackendOptions, op_timeout
from flowstore._trips.sharding import ShardedEngine, as_one
from flowstore._trips.shared import SharedTrips
from flowstore.backends.memory.engine import MemoryEngine
from flowstore.engine import Engine

SHARDS = 3


def place_among(count: int, task_id: str) -> int:
    return crc32(task_id.encode()) % count


def sharded(*engines: Engine) -> ShardedEngine:
    return ShardedEngine(engines, lambda task_id: place_among(len(engines), task_id))


class ShardedBackend(BaseResultBackend):
    """``engines``: the shards, without trips; None: some in memory."""

    def __init__(self, engines: Sequence[Engine] | None = None, **options: Unpack[BackendOptions]) -> None:
        if engines is None:
            engines = [MemoryEngine(options.get("namespace", "default")) for _ in range(SHARDS)]
        timeout = op_timeout(options)
        shards = [SharedTrips(engine, timeout, has_families=False) for engine in engines]
        super().__init__(as_one(shards, lambda task_id: place_among(len(shards), task_id)), **options)

    def _beside(self, options: BackendOptions) -> ShardedBackend:
        return ShardedBackend(**options)
