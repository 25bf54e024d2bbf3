"""Results in Redis or Valkey."""

from flowstore.backends.redis.backend import RedisBackend
from flowstore.backends.redis.engine import RedisEngine

__all__ = ["RedisBackend", "RedisEngine"]
