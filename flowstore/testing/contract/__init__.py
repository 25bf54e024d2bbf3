"""The contract that any backend must pass, for authors of backends.

Subclass ``BackendContract`` in a test module and give it one fixture, ``make_backend``:

    class TestMine(BackendContract):
        @pytest.fixture
        def make_backend(self) -> MakeBackend:
            return MyBackend

``make_backend`` is called with BackendOptions as keywords, often more than once in a test. Each call must
return an unopened backend on an empty storage of its own, which no other backend shares.

If concurrent calls share trips, ``SharedTripsContract`` applies as well. If several namespaces share a
storage, ``NamespacesContract`` does, with the fixture ``make_neighbour``, and with ``stored_bytes`` besides
``ReadOnlyContract``. If the engine ``counts_writes``, ``StatisticsContract``, ``CountedNamesContract`` and
``ErrorGroupsContract`` do.

It needs the extra ``flowstore[testing]``: pytest, pytest-asyncio and hypothesis.
"""

from pkgutil import iter_modules

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in iter_modules(__path__)))

# Imported late (E402): pytest rewrites the asserts of a module only if told before its import.
from flowstore.testing.contract.backend import BackendContract  # noqa: E402
from flowstore.testing.contract.base import MakeBackend  # noqa: E402
from flowstore.testing.contract.counted_names import CountedNamesContract  # noqa: E402
from flowstore.testing.contract.error_groups import ErrorGroupsContract  # noqa: E402
from flowstore.testing.contract.neighbours import MakeNeighbour, NamespacesContract  # noqa: E402
from flowstore.testing.contract.reading_only import ReadOnlyContract, StoredBytes  # noqa: E402
from flowstore.testing.contract.sharing import SharedTripsContract  # noqa: E402
from flowstore.testing.contract.statistics import StatisticsContract  # noqa: E402

__all__ = [
    "BackendContract",
    "CountedNamesContract",
    "ErrorGroupsContract",
    "MakeBackend",
    "MakeNeighbour",
    "NamespacesContract",
    "ReadOnlyContract",
    "SharedTripsContract",
    "StatisticsContract",
    "StoredBytes",
]
