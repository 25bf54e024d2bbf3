"""The page on a store in memory, with two tenants in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import pytest_asyncio
from starlette.types import ASGIApp

from flowstore import BaseResultBackend, InMemoryBackend
from flowstore.web import ANYONE_DANGEROUS, create_app
from flowstore.web.access import AccessRule
from tests.web.support import World, asking, fill

Made = Callable[[AccessRule], ASGIApp]


@pytest.fixture
def backend() -> BaseResultBackend:
    return InMemoryBackend(raw=True)


@pytest.fixture
def made(backend: BaseResultBackend) -> Made:
    """From access to the page. The files of the page are read by the first one."""

    def make(access: AccessRule) -> ASGIApp:
        return create_app(backend, access=access)

    return make


@pytest.fixture
def app(made: Made) -> ASGIApp:
    return made(ANYONE_DANGEROUS)


@pytest_asyncio.fixture
async def world(backend: BaseResultBackend, no_task_left: None) -> AsyncIterator[World]:
    async with backend:
        yield await fill(backend)


@pytest_asyncio.fixture
async def client(app: ASGIApp, world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(app) as client:
        yield client
