"""Results in a Redis or Valkey Cluster."""

from flowstore.backends.cluster.backend import RedisClusterBackend

__all__ = ["RedisClusterBackend"]
