"""The backend of docs/writing-a-backend.md passes what every backend must pass."""

from __future__ import annotations

import pytest

from flowstore.testing.contract import BackendContract, MakeBackend
from flowstore.testing.runs_contract import RunsContract
from tests.support.toy import ToyBackend


class TestToy(BackendContract):
    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        return ToyBackend  # type: ignore[no-any-return]  # out of a page


class TestToyRuns(RunsContract):
    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        return ToyBackend  # type: ignore[no-any-return]  # out of a page
