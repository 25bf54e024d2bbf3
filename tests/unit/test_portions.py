"""How many awaited ids one read asks for."""

from __future__ import annotations

from flowstore._waiting.portions import Portions
from flowstore.testing.samples import sample_entry

MIB = 2**20


def test_light_answers_let_it_grow() -> None:
    """From a few to a thousand, in few steps, and no further."""
    portions, sizes = Portions(), []
    for _ in range(6):
        sizes.append(portions.size)
        portions.answered([sample_entry("t"), None] * (portions.size // 2))
    assert sizes == [32, 128, 512, 1_000, 1_000, 1_000]


def test_a_heavy_answer_makes_the_next_one_small() -> None:
    """So that about 4 MiB come at a time; one that is heavier comes alone."""
    portions = Portions()
    portions.answered([sample_entry("t")] * 32)
    portions.answered([sample_entry("t", body=b"x" * MIB)] * 32)
    assert portions.size == 4
    portions.answered([sample_entry("t", body=b"x" * 50 * MIB)] * 4)
    assert portions.size == 1
    portions.answered([sample_entry("t")])
    assert portions.size == 4


def test_what_was_too_much_for_one_trip_is_halved() -> None:
    """And not tried again before eight reads were in time."""
    portions = Portions()
    portions.timed_out(32)
    sizes = []
    for _ in range(9):
        sizes.append(portions.size)
        portions.answered([None])
    assert sizes == [16] * 8 + [32]
