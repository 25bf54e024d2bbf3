"""The backend of docs/writing-a-backend.md passes what every backend must pass.

Its engine passes the contract of engines each time (unit/test_engine_contract.py). What stands on it is the
same on every storage, so the rest is what the session stress runs, but for the parts that a reader looks for.
"""

from __future__ import annotations

import pytest

from flowstore.testing.contract import BackendContract, MakeBackend
from flowstore.testing.contract.families import FamilyContract
from flowstore.testing.contract.keeping import DataContract
from flowstore.testing.contract.listing import ListingContract
from flowstore.testing.contract.making import MakingContract
from flowstore.testing.contract.storing import StoringContract
from flowstore.testing.contract.waits import WaitingContract
from flowstore.testing.runs_contract import RunsContract
from flowstore.testing.runs_contract.recording import RunRecordsContract
from flowstore.testing.support import IS_STRESS
from tests.support.toy import ToyBackend


class OnToy:
    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        return ToyBackend  # type: ignore[no-any-return]  # out of a page


if IS_STRESS:

    class TestToy(OnToy, BackendContract):
        """All of it."""

    class TestToyRuns(OnToy, RunsContract):
        """All of it."""

else:

    class TestPartsOfToy(
        OnToy,
        MakingContract,
        StoringContract,
        WaitingContract,
        ListingContract,
        FamilyContract,
        DataContract,
        RunRecordsContract,
    ):
        """What is used first."""
