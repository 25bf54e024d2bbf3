"""Results in the memory of one process."""

from flowstore.backends.memory.backend import InMemoryBackend
from flowstore.backends.memory.engine import MemoryEngine

__all__ = ["InMemoryBackend", "MemoryEngine"]
