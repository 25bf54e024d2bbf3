"""The contracts find the mistakes that are easily made: each of these engines has one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from flowstore import BaseResultBackend
from flowstore.backends.memory.engine import MemoryEngine
from flowstore.engine import Engine
from flowstore.testing.contract.base import NO_RECHECK
from flowstore.testing.contract.waits import WaitingContract
from flowstore.testing.engine_contract import (
    EngineContract,
    ResentContract,
    ResentTallyingContract,
    TallyingContract,
)
from flowstore.testing.samples import KeptHints
from tests.support.mutants import MUTANTS, RemovalsEndNoWait, WatchersLookedUpBeforeTheCommit

PATIENCE = 0.1


class Contract(EngineContract, ResentContract, TallyingContract, ResentTallyingContract):
    """As a subclass in a test module would be, but its tests are called, not collected."""

    __test__ = False
    is_shared = False
    patience = PATIENCE


async def run(name: str, make_engine: Callable[..., Engine]) -> None:
    """One test of the contract on an engine of its own, with the fixtures that it asks for."""
    test = getattr(Contract(), name)
    hints = KeptHints()
    async with AsyncExitStack() as stack:
        engine = make_engine()
        await engine.open(hints)
        stack.push_async_callback(engine.close)
        fixtures = {"engine": engine, "other": engine, "hints": hints, "make_engine": make_engine}
        await test(**{asked: fixtures[asked] for asked in inspect.signature(test).parameters})


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
async def test_each_mistake_is_found(mutant: Callable[..., Engine]) -> None:
    """By the test that is named for it, which an engine without mistakes passes."""
    await run(MUTANTS[mutant], MemoryEngine)
    with pytest.raises(Exception):  # noqa: B017, PT011  # however it fails
        await run(MUTANTS[mutant], mutant)


@pytest.mark.parametrize(
    ("mutant", "name"),
    [
        (RemovalsEndNoWait, "test_delete_wakes_waiters"),
        (RemovalsEndNoWait, "test_purge_wakes_waiters"),
        (RemovalsEndNoWait, "test_clear_wakes_waiters"),
        (WatchersLookedUpBeforeTheCommit, "test_thousand_waiters_on_one_id"),
    ],
)
async def test_no_recheck_heals_a_lost_wake_up(mutant: Callable[..., Engine], name: str) -> None:
    """The contract of backends finds it as well: its waits hang."""

    def make_backend(**options: Any) -> BaseResultBackend:
        return BaseResultBackend(mutant(), **options)

    async with make_backend(recheck_interval=NO_RECHECK) as backend:
        fixtures = {"backend": backend, "make_backend": make_backend}
        test = getattr(WaitingContract(), name)
        asked = {asked: fixtures[asked] for asked in inspect.signature(test).parameters}
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await test(**asked)
