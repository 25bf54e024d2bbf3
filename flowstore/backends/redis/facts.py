"""What a server says of itself, as far as this user may ask: CONFIG GET, and the rest in one script call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import redis

from flowstore.backends.redis.calls import Calls
from flowstore.backends.redis.format import FORMAT
from flowstore.engine import Fact, StorageFacts
from flowstore.errors import StorageError, StorageTimeout, StorageUnavailable

_WEIGHED: Final = 10
"""Of how many records of each status the size is looked at."""


async def facts(calls: Calls) -> StorageFacts:
    settings = await _settings(calls)
    number, told, time, size = await calls.read("facts", _WEIGHED)
    server = _fields(told)
    policies: dict[str, Fact] = {
        "maxmemory": _number(server, "maxmemory"),
        "maxmemory_policy": server.get("maxmemory_policy"),
        "appendonly": _flag(server, "aof_enabled"),
        "appendfsync": settings.get("appendfsync"),
        "last_append": server.get("aof_last_write_status"),
        "role": server.get("role"),
    }
    sizes = {"server": _number(server, "used_memory"), "server_limit": policies["maxmemory"] or None}
    return StorageFacts(
        "redis",
        server=_server(server),
        server_version=server.get("valkey_version") or server.get("redis_version"),
        driver="redis-py",
        driver_version=redis.__version__,
        format=_format(number),
        own_format=FORMAT,
        is_writable=calls.refusal is None and server.get("role") != "slave",
        server_time=int(time[0]) * 1_000_000 + int(time[1]) if time else None,
        size=int(size) if size else None,
        sizes={name: size for name, size in sizes.items() if type(size) is int},
        policies=policies,
    )


async def _settings(calls: Calls) -> dict[str, str]:
    """Those of the append-only file. Managed servers refuse to tell, and so may the rights of a user."""
    try:
        found: Any = await calls.command("CONFIG", "GET", "append*")
    except (StorageUnavailable, StorageTimeout):
        raise
    except StorageError:
        return {}
    pairs = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
    return {_text(name): _text(value) for name, value in pairs}


def _fields(told: bytes | None) -> dict[str, str]:
    """Of the answer to INFO: one ``name:value`` a line, below headings."""
    lines = [] if not told else _text(told).splitlines()
    return {name: value for name, mark, value in (line.partition(":") for line in lines) if mark}


def _format(stored: bytes | None) -> int | None:
    number = (stored or b"").partition(b" ")[0]
    return int(number) if number.isdigit() else None


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _server(fields: Mapping[str, str]) -> str | None:
    if "valkey_version" in fields:
        return "Valkey"
    return "Redis" if "redis_version" in fields else None


def _number(fields: Mapping[str, str], name: str) -> int | None:
    return int(fields[name]) if fields.get(name, "").isdecimal() else None


def _flag(fields: Mapping[str, str], name: str) -> bool | None:
    return fields[name] == "1" if name in fields else None
