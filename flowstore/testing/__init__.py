"""The contract that any backend must pass, for authors of backends.

Subclass ``BackendContract`` in a test module and give it one fixture, ``make_backend``:

    class TestMine(BackendContract):
        @pytest.fixture
        def make_backend(self) -> MakeBackend:
            return MyBackend

Where calls at once share trips (``batching.SharedTrips``), ``SharedTripsContract`` holds as well. Where
several namespaces share a storage, ``NamespacesContract`` does, with the fixture ``make_neighbour``.

It needs the extra ``flowstore[testing]``: pytest, pytest-asyncio and hypothesis.
"""

import pytest

pytest.register_assert_rewrite(
    "flowstore.testing.storing",
    "flowstore.testing.listing",
    "flowstore.testing.expiring",
    "flowstore.testing.histories",
    "flowstore.testing.families",
    "flowstore.testing.filters",
    "flowstore.testing.workflows",
    "flowstore.testing.tracking",
    "flowstore.testing.leaving",
    "flowstore.testing.waits",
    "flowstore.testing.keeping",
    "flowstore.testing.checkpoints",
    "flowstore.testing.registering",
    "flowstore.testing.lost",
    "flowstore.testing.neighbours",
    "flowstore.testing.roundtrips",
    "flowstore.testing.machine",
    "flowstore.testing.sharing",
    "flowstore.testing.crowds",
    "flowstore.testing.enduring",
    "flowstore.testing.hostile",
    "flowstore.testing.redacting",
    "flowstore.testing.forged",
    "flowstore.testing.misuse",
)

from flowstore.testing.contract import BackendContract  # noqa: E402
from flowstore.testing.neighbours import MakeNeighbour, NamespacesContract  # noqa: E402
from flowstore.testing.sharing import SharedTripsContract  # noqa: E402
from flowstore.testing.support import MakeBackend, ManualClock  # noqa: E402

__all__ = [
    "BackendContract",
    "MakeBackend",
    "MakeNeighbour",
    "ManualClock",
    "NamespacesContract",
    "SharedTripsContract",
]
