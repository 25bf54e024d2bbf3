"""What a namespace on a server is made of: bytes and numbers of keys by what they are for."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import redis

SAMPLE: Final = 2_000
"""Of so many records the bytes are asked for."""
_EXACT: Final = 10_000
"""Of a sorted set the bytes of so many entries are asked for."""


@dataclass
class Parts:
    """``bytes`` and ``keys`` by part, ``entries`` by the name of a sorted set, ``largest``: keys by bytes."""

    bytes: dict[str, float] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    entries: dict[str, int] = field(default_factory=dict)
    largest: dict[str, int] = field(default_factory=dict)

    @property
    def records(self) -> int:
        return self.keys.get("records", 0)


def part_of(name: str) -> str:
    """What a key is for, by its name behind the prefix of the namespace."""
    kind, _, rest = name.partition(":")
    if kind == "i":
        _, _, facet = rest.partition(":")
        named = facet.partition(":")[0]
        return {"": "index of status", "run": "index of name", "~": "index of finish"}.get(
            named, f"index of {named.removeprefix('~')}"
        )
    whole = {"r": "records", "t": "timeline", "x": "expiry", "s": "statistics", "p": "error groups"}
    return whole.get(kind, "other")


def keys_of(client: redis.Redis, prefix: str) -> Iterator[bytes]:
    pattern = prefix.replace("{", "[{]") + "*"
    yield from client.scan_iter(pattern, count=10_000)


def parts_of(client: redis.Redis, prefix: str) -> Parts:
    """Of one namespace, or one bucket of it. Records are sampled."""
    parts, start = Parts(), len(prefix.encode())
    records: list[bytes] = []
    sums: defaultdict[str, float] = defaultdict(float)
    keys: Counter[str] = Counter()
    others: list[bytes] = []
    record = prefix.encode() + b"r:"
    for key in keys_of(client, prefix):
        if not key.startswith(record):
            others.append(key)
            continue
        keys["records"] += 1
        if len(records) < SAMPLE:
            records.append(key)
        elif (place := random.randrange(keys["records"])) < SAMPLE:
            records[place] = key
    for key in others:
        name = key[start:].decode(errors="replace")
        size = client.memory_usage(key, samples=_EXACT) or 0
        sums[part_of(name)] += size
        keys[part_of(name)] += 1
        parts.largest[name] = size
        if name in ("t", "x") or name.startswith("i:"):
            parts.entries[name] = client.zcard(key)
    pipe: Any = client.pipeline(transaction=False)
    for key in records:
        pipe.memory_usage(key)
    sizes = [size for size in pipe.execute() if size]
    if sizes:
        sums["records"] = keys["records"] * sum(sizes) / len(sizes)
    parts.bytes, parts.keys = dict(sums), dict(keys)
    parts.largest = dict(sorted(parts.largest.items(), key=lambda one: -one[1])[:12])
    return parts
