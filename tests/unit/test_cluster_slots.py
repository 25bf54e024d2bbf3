"""Ids are in buckets, buckets in slots: evenly, and for ever where they are."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore.backends.cluster.slots import SLOTS, placing, prefixes, slot_of
from flowstore.backends.redis.namespaces import prefix_of

NAMES = st.text(min_size=1, max_size=30).filter(lambda name: not any("\ud800" <= c <= "\udfff" for c in name))


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        ("123456789", 12_739),  # of the specification: 0x31C3
        ("foo{bar}baz", 5_061),
        ("bar", 5_061),
        ("{user1000}.following", 3_443),
        ("user1000", 3_443),
        ("foo{}{bar}", 8_363),
        ("foo{{bar}}zap", 4_015),
        (b"\x00{\xff}", 7_920),
    ],
)
def test_slots_of_keys(key: str | bytes, slot: int) -> None:
    """As CLUSTER KEYSLOT says."""
    assert slot_of(key) == slot


@given(name=NAMES, buckets=st.sampled_from([16, 64, 100, 256]), nodes=st.integers(1, 16))
def test_buckets_are_evenly_spread(name: str, buckets: int, nodes: int) -> None:
    """Among nodes with equal ranges of slots no two have numbers of buckets that differ by more than one."""
    slots = [slot_of(f"{prefix}r:x") for prefix in prefixes(name, buckets)]
    assert len(set(slots)) == buckets
    shares = Counter(slot * nodes // SLOTS for slot in slots)
    assert max(shares.values()) - min(shares[node] for node in range(nodes)) <= 1


@pytest.mark.parametrize("buckets", [1_000, 4_096])
def test_many_buckets_in_few_slots(buckets: int) -> None:
    """Each has its own one, also where chance leaves none near the middle."""
    for name in ("shop", "a", "%"):
        slots = [slot_of(f"{prefix}r:x") for prefix in prefixes(name, buckets)]
        assert [slot * buckets // SLOTS for slot in slots] == list(range(buckets))


@given(name=NAMES, other=NAMES)
def test_no_key_is_of_another_namespace(name: str, other: str) -> None:
    """Whatever it is called: neither of one in buckets nor of one on a single server."""
    own = prefixes(name, 16)
    assert not any(prefix.startswith(prefix_of(other)) for prefix in own)
    if name != other:
        assert not set(own) & set(prefixes(other, 16))


def test_places_are_pinned() -> None:
    """They are of the format: a record is looked for where it was stored."""
    assert prefixes("shop", 16)[:2] == ["flowstore:{shop%.0.339}:", "flowstore:{shop%.1.892}:"]
    assert prefixes("a{b}%", 64)[63] == "flowstore:{a%7Bb%7D%25%.63.c9m}:"
    ids = ("", "t", "a longer id", "ü", "x" * 512)
    assert [placing(64)(each) for each in ids] == [52, 22, 58, 55, 47]


def test_ids_are_evenly_spread() -> None:
    """No bucket has more than its share, but for chance."""
    place = placing(64)
    sizes = Counter(place(f"task-{n}") for n in range(64_000))
    assert min(sizes.values()) > 850
    assert max(sizes.values()) < 1_150


def test_what_belongs_to_a_run_is_where_it_is() -> None:
    """So that it is stored only while its run is open; payloads, which several share, are spread."""
    place = placing(64)
    for n in range(100):
        assert place(f"run {n}") == place(f"run {n}\x1fr\x1fkey") == place(f"run {n}\x1fe\x1f1")
    assert len({place(f"\x1fblob\x1f{n}") for n in range(1_000)}) == 64
