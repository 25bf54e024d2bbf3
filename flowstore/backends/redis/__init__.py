"""Results in Redis or Valkey. Importing it raises MissingPackage if redis-py is not installed or too old."""

import re
from typing import Final

from flowstore.errors import MissingPackage

OLDEST_DRIVER: Final = "5.0.1"
"""The oldest redis-py that passes the tests, and the one that the extra requires."""


def _require_driver() -> None:
    try:
        import redis
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        found = None
    else:
        found = getattr(redis, "__version__", None)  # None: a folder of that name
    if found is None or _numbers(found) < _numbers(OLDEST_DRIVER):
        raise MissingPackage("RedisBackend", f"redis>={OLDEST_DRIVER}", "redis", found) from None


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


_require_driver()

from flowstore.backends.redis.backend import RedisBackend  # noqa: E402  # loads the driver
from flowstore.backends.redis.engine import RedisEngine  # noqa: E402  # loads the driver

__all__ = ["RedisBackend", "RedisEngine"]
