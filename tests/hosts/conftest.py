"""Backends for the tests of hosts that are given one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

import flowstore
from flowstore import BaseResultBackend, InMemoryBackend


@pytest_asyncio.fixture
async def backend(url: str) -> AsyncIterator[BaseResultBackend]:
    async with flowstore.connect(url) as backend:
        yield backend


@pytest_asyncio.fixture
async def memory() -> AsyncIterator[BaseResultBackend]:
    async with InMemoryBackend() as backend:
        yield backend
