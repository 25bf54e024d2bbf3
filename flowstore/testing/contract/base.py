"""The fixtures that all parts of the contract share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final

import pytest
import pytest_asyncio

from flowstore import BaseResultBackend

MakeBackend = Callable[..., BaseResultBackend]
"""Takes BackendOptions as keywords. Each call returns an unopened backend on an empty storage of its own, say
a new file, a new database or a new namespace, which no backend of another call shares.
"""


WHAT_TO_MAKE: Final = (
    "takes BackendOptions as keywords and returns at each call an unopened backend on an empty storage "
    "of its own, such as a new file or a new namespace"
)


NO_RECHECK: Final = 600.0
"""A ``recheck_interval`` that outlasts every test: a wake-up that is lost hangs a wait, and is not healed."""


class Contract:
    """The base of each part of the contract.

    ``shards``: into how many parts the ids are divided, so that a store tidies up in its own part only.
    """

    pytestmark = pytest.mark.asyncio
    shards = 1

    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        pytest.fail(f"override the fixture make_backend with a callable, which {WHAT_TO_MAKE}")

    @pytest_asyncio.fixture
    async def backend(self, make_backend: MakeBackend) -> AsyncIterator[BaseResultBackend]:
        async with make_backend(recheck_interval=NO_RECHECK) as opened:
            yield opened
