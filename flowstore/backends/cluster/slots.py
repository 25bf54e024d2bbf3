"""Where ids and keys belong: ids to buckets, buckets to slots, slots to nodes.

A cluster divides its keys among 16,384 slots by the CRC of a key, or of its hash tag, which is what stands
between braces. A bucket has a hash tag of its own, so all its keys are in one slot, and its scripts on one
node. Tags are chosen such that their slots are spread evenly: of any number of nodes, each with an equal
range of slots, each gets an equal share of the buckets, whatever the namespace is called.

https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#key-distribution-model
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Callable
from functools import cache
from hashlib import blake2b
from itertools import product
from string import ascii_lowercase, digits
from typing import Final

from flowstore.backends.redis.namespaces import escaped

SLOTS: Final = 16_384
_ALPHABET: Final = (digits + ascii_lowercase)[:32]
_DIGITS: Final = 3
_APART: Final = "\x1f"
"""What divides the id of a run from the rest in ids of what belongs to it (flowstore/runs/ids.py)."""


def slot_of(key: str | bytes) -> int:
    data = key if isinstance(key, bytes) else key.encode()
    start = data.find(b"{")
    stop = data.find(b"}", start + 1) if start >= 0 else -1
    return crc_hqx(data[start + 1 : stop] if stop > start + 1 else data, 0) % SLOTS


def prefixes(namespace: str, buckets: int) -> list[str]:
    """The beginning of the keys of each bucket.

    ``%.`` is in the name of no other namespace, as a ``%`` in a name is escaped.
    """
    return [f"flowstore:{{{_tag(escaped(namespace), bucket, buckets)}}}:" for bucket in range(buckets)]


def _tag(name: str, bucket: int, buckets: int) -> str:
    """One whose slot is in the bucket's own stretch of all slots, as near to the middle of it as can be."""
    start = f"{name}%.{bucket}."
    low, high = SLOTS * bucket // buckets, SLOTS * (bucket + 1) // buckets
    middle = (low + high) // 2
    behind = crc_hqx(bytes(_DIGITS), crc_hqx(start.encode(), 0))
    for slot in sorted(range(low, high), key=lambda slot: (abs(slot - middle), slot)):
        # The CRC of two texts is the XOR of theirs, each with zeros in the place of the other
        end = _endings().get((slot ^ behind) % SLOTS)
        if end is not None:
            return start + end
    return start + _searched(start, low, high)


@cache
def _endings() -> dict[int, str]:
    """From what an ending contributes to the slot to the first one of those. For most slots there is one."""
    found: dict[int, str] = {}
    for chosen in product(_ALPHABET, repeat=_DIGITS):
        end = "".join(chosen)
        found.setdefault(crc_hqx(end.encode(), 0) % SLOTS, end)
    return found


def _searched(start: str, low: int, high: int) -> str:
    """For a stretch of very few slots, of which by chance none has an ending: a longer one."""
    ends = ("".join(chosen) for chosen in product(_ALPHABET, repeat=_DIGITS + 1))
    return next(end for end in ends if low <= crc_hqx(f"{start}{end}".encode(), 0) % SLOTS < high)


def placing(buckets: int) -> Callable[[str], int]:
    """From an id to the number of its bucket. All that belongs to a run is where the run is."""

    def place(task_id: str) -> int:
        placed = task_id.partition(_APART)[0] or task_id
        return int.from_bytes(blake2b(placed.encode(), digest_size=8).digest()) % buckets

    return place
