"""What the parts of the contract share: their fixtures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from flowstore import BaseResultBackend

MakeBackend = Callable[..., BaseResultBackend]
"""Gives an unopened backend on an empty storage of its own; takes BackendOptions as keywords."""


class Contract:
    """The base of each part of the contract."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        pytest.fail("override the fixture make_backend: a callable that gives an unopened backend")

    @pytest_asyncio.fixture
    async def backend(self, make_backend: MakeBackend) -> AsyncIterator[BaseResultBackend]:
        async with make_backend() as opened:
            yield opened
