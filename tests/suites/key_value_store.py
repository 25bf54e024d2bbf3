"""py-key-value's own tests of stores, on FlowstoreStore.

``nox -s "suites(key-value)"`` puts this file into a checkout of py-key-value as a test module of it, so
``tests`` is the package of theirs. FLOWSTORE_ROOT is the checkout of flowstore, whose servers it uses.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from tests.stores.base import BaseStoreTests, ContextManagerStoreTestMixin

from flowstore.integrations.key_value import FlowstoreStore

PATH = Path(os.environ["FLOWSTORE_ROOT"], "tests", "servers.py")


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    spec = importlib.util.spec_from_file_location("flowstore_servers", PATH)
    assert spec is not None
    assert spec.loader is not None
    servers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(servers)
    server = servers.start_server("valkey")
    yield server.url
    server.stop()


class TestFlowstoreStore(ContextManagerStoreTestMixin, BaseStoreTests):  # type: ignore[misc]
    @pytest.fixture(params=["memory", "sqlite", "redis"])
    async def store(self, request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> FlowstoreStore:
        urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/results.db", "redis": redis_url}
        return FlowstoreStore(urls[request.param], namespace=uuid4().hex)

    @pytest.mark.skip(reason="it has no limit of entries, like their stores on servers")
    async def test_not_unbounded(self, store: FlowstoreStore) -> None: ...
