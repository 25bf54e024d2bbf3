"""The contract that any backend must pass, for authors of backends.

Subclass ``BackendContract`` in a test module and give it one fixture, ``make_backend``:

    class TestMine(BackendContract):
        @pytest.fixture
        def make_backend(self) -> MakeBackend:
            return MyBackend

Where calls at once share trips (``batching.SharedTrips``), ``SharedTripsContract`` holds as well.

It needs the extra ``flowstore[testing]``: pytest, pytest-asyncio and hypothesis.
"""

import pytest

pytest.register_assert_rewrite(
    "flowstore.testing.storing",
    "flowstore.testing.listing",
    "flowstore.testing.expiring",
    "flowstore.testing.waits",
    "flowstore.testing.roundtrips",
    "flowstore.testing.machine",
    "flowstore.testing.sharing",
    "flowstore.testing.crowds",
    "flowstore.testing.enduring",
    "flowstore.testing.misuse",
)

from flowstore.testing.contract import BackendContract  # noqa: E402
from flowstore.testing.sharing import SharedTripsContract  # noqa: E402
from flowstore.testing.support import MakeBackend, ManualClock  # noqa: E402

__all__ = ["BackendContract", "MakeBackend", "ManualClock", "SharedTripsContract"]
