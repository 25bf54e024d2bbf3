"""FlowstoreStore: what py-key-value asks of a store, and what its users see when something is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from key_value.aio.errors import DeserializationError, InvalidTTLError, SerializationError, StoreSetupError
from key_value.aio.protocols.key_value import (
    AsyncCullProtocol,
    AsyncDestroyCollectionProtocol,
    AsyncDestroyStoreProtocol,
    AsyncEnumerateCollectionsProtocol,
    AsyncEnumerateKeysProtocol,
    AsyncKeyValue,
)
from key_value.aio.wrappers.retry import RetryWrapper

import flowstore
from flowstore import BackendClosed, InMemoryBackend, StorageUnavailable, TaskResult
from flowstore.integrations.key_value import FlowstoreStore
from flowstore.testing import ManualClock
from tests.servers import SERVER_KINDS, start_server

LONG = "ö/~%" * 300


@pytest_asyncio.fixture
async def store(url: str) -> AsyncIterator[FlowstoreStore]:
    async with FlowstoreStore(url) as opened:
        yield opened


def test_it_has_all_protocols() -> None:
    store = FlowstoreStore("memory://")
    for protocol in (
        AsyncKeyValue,
        AsyncEnumerateKeysProtocol,
        AsyncEnumerateCollectionsProtocol,
        AsyncDestroyStoreProtocol,
        AsyncDestroyCollectionProtocol,
        AsyncCullProtocol,
    ):
        assert isinstance(store, protocol)


async def test_values_come_back_and_are_replaced(store: FlowstoreStore) -> None:
    value = {"b": {"$tuple": [1]}, "a": [1, 2.5, None, True, "ü"], "big": 2**80, "\ud800": "\udfff"}
    await store.put("k", value)
    assert await store.ttl("k") == (value, None)
    assert list(await store.get("k") or ()) == list(value)
    await store.put("k", {"a": 2}, ttl=100)
    assert await store.get("k") == {"a": 2}
    await store.put("k", {"a": 3})
    assert await store.ttl("k") == ({"a": 3}, None)
    assert await store.delete("k")
    assert not await store.delete("k")
    assert await store.ttl("k") == (None, None)


@pytest.mark.parametrize("collection", [None, "a/b", "~%", LONG])
async def test_any_text_is_a_key(store: FlowstoreStore, collection: str | None) -> None:
    """And is listed as it was put, be it longer than an id of flowstore may be."""
    keys = ["", "a/b", "ab%2Fc", "~", "%", LONG, "https://x.example/?q=%20", "n\0l"]
    for key in keys:
        await store.put(key, {"key": key}, collection=collection)
    assert await store.get_many(keys, collection=collection) == [{"key": key} for key in keys]
    assert sorted(await store.keys(collection)) == sorted(keys)
    assert await store.collections() == [collection or "default_collection"]


async def test_keys_that_look_alike_are_told_apart(store: FlowstoreStore) -> None:
    pairs = [("a/b", "c"), ("a", "b/c"), ("a%2Fb", "c"), ("a", LONG), ("a", LONG + "!"), ("a", LONG[:299])]
    for number, (collection, key) in enumerate(pairs):
        await store.put(key, {"number": number}, collection=collection)
    found = [await store.get(key, collection=collection) for collection, key in pairs]
    assert found == [{"number": number} for number in range(len(pairs))]
    [record] = await store._backend.list_by_status("success", limit=1)
    shortened = record.task_id.rpartition("/")[2]
    assert await store.get(shortened, collection="a") is None


@pytest.mark.parametrize("key", ["\ud800", "x" * 4_001])
async def test_a_key_that_cannot_be_kept_is_named(key: str) -> None:
    async with FlowstoreStore("memory://") as store:
        with pytest.raises(ValueError, match=r"lone surrogate|4001 bytes, more than 4000"):
            await store.put(key, {})


async def test_many_forms(store: FlowstoreStore) -> None:
    keys = [f"k{number}" for number in range(100)]
    await store.put_many(keys, [{"n": number} for number in range(100)], collection="c", ttl=60)
    assert await store.get_many(["k7", "none", "k7"], collection="c") == [{"n": 7}, None, {"n": 7}]
    [(value, ttl), missing] = await store.ttl_many(["k99", "none"], collection="c")
    assert value == {"n": 99}
    assert ttl is not None
    assert 0 < 60 - ttl < 10
    assert missing == (None, None)
    assert len(await store.keys("c", limit=3)) == 3
    assert sorted(await store.keys("c")) == sorted(keys)
    assert await store.keys("other") == []
    assert await store.delete_many([*keys[:10], "none"], collection="c") == 10
    await store.put_many([], [])
    assert await store.get_many([]) == []
    assert await store.delete_many([]) == 0


async def test_collections_are_listed_and_destroyed(store: FlowstoreStore) -> None:
    await store._backend.store("other", TaskResult.success("other", {}, task_name="other"))
    for collection in ("b", "a", "c"):
        await store.put_many(["1", "2"], [{}, {}], collection=collection)
    assert await store.collections() == ["a", "b", "c"]
    assert await store.collections(limit=2) == ["a", "b"]
    assert await store.destroy_collection("b")
    assert not await store.destroy_collection("b")
    assert await store.collections() == ["a", "c"]
    assert await store.destroy()
    assert await store.collections() == []
    assert await store._backend.exists("other")


async def test_an_expiry_is_kept_to_the_microsecond() -> None:
    """What has expired by the clock of the backend is gone, not listed, and absent to put_if_absent."""
    clock = ManualClock(datetime.now(UTC))
    async with InMemoryBackend(clock=clock, ttl=5) as backend:
        store = FlowstoreStore(backend)
        await store.put("short", {}, ttl=100.25)
        await store.put("for ever", {})
        short = await backend.get("key-value/default_collection/short")
        assert short is not None
        assert short.expires_at is not None
        assert short.finished_at is not None
        assert short.expires_at - short.finished_at == timedelta(seconds=100, milliseconds=250)
        assert not await store.put_if_absent("short", {"late": True}, ttl=7)
        clock.advance(102)
        assert await store.ttl("short") == (None, None)
        assert await store.get("for ever") == {}
        assert await store.keys() == ["for ever"]
        await store.cull()
        assert await backend.purge_expired() == 0
        assert await store.put_if_absent("short", {"first": True})


async def test_of_many_that_put_if_absent_one_wins(store: FlowstoreStore) -> None:
    tried = [store.put_if_absent("lock", {"by": number}, ttl=60) for number in range(20)]
    won = await asyncio.gather(*tried)
    assert won.count(True) == 1
    assert await store.get("lock") == {"by": won.index(True)}


@pytest.mark.parametrize("ttl", [0, -1, True, "soon"])
async def test_a_ttl_that_is_none_is_refused(ttl: Any) -> None:
    async with FlowstoreStore("memory://") as store:
        with pytest.raises(InvalidTTLError if ttl != "soon" else Exception):
            await store.put("k", {}, ttl=ttl)
        with pytest.raises(InvalidTTLError if ttl != "soon" else ValueError):
            await store.put_if_absent("k", {}, ttl=ttl)
        assert await store.keys() == []


async def test_errors_about_values_are_those_of_py_key_value(store: FlowstoreStore) -> None:
    with pytest.raises(SerializationError, match="datetime"):
        await store.put("k", {"at": datetime.now(UTC)})
    assert await store.get("k") is None
    task_id = "key-value/default_collection/k"
    await store._backend.store(task_id, TaskResult.success(task_id, [1]))
    with pytest.raises(DeserializationError, match=r"collection/k' holds no mapping"):
        await store.get("k")


async def test_a_value_that_is_too_large_is_refused() -> None:
    async with FlowstoreStore("memory://", max_result_bytes=100) as store:
        with pytest.raises(SerializationError, match="100"):
            await store.put_many(["small", "large"], [{}, {"a": "x" * 200}])
        assert await store.keys() == []


async def test_a_storage_that_is_away_is_a_connection_error_that_can_be_retried() -> None:
    """The RetryWrapper of py-key-value tries again, until the server is back."""
    server = start_server(SERVER_KINDS[0])
    try:
        async with FlowstoreStore(server.url, op_timeout=0.2) as store:
            await store.put("k", {"n": 1})
            server.kill()
            with pytest.raises(StorageUnavailable):
                await store.get("k")
            back = asyncio.create_task(
                RetryWrapper(store, max_retries=100, max_delay=0.05).put("k", {"n": 2})
            )
            await asyncio.to_thread(server.restart)
            await back
            assert await store.get("k") == {"n": 2}
    finally:
        server.stop()


async def test_a_store_that_cannot_be_opened_says_so() -> None:
    with pytest.raises(StoreSetupError, match=r"127\.0\.0\.1:1"):
        await FlowstoreStore("redis://127.0.0.1:1").get("k")


async def test_a_store_of_its_own_keeps_no_history_and_has_its_namespace(tmp_path: Path) -> None:
    async with FlowstoreStore(f"sqlite:///{tmp_path}/a.db") as store:
        await store.put("k", {})
        assert store._backend.namespace == "key-value"
        assert await store._backend.history.of("key-value/default_collection/k") == []
    with pytest.raises(BackendClosed):
        await store.get("k")


@pytest.mark.parametrize("options", [{}, {"namespace": "theirs"}])
async def test_the_url_and_options_say_otherwise(options: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWSTORE_URL", "memory://?namespace=mine&history=true")
    async with FlowstoreStore(**options) as store:
        assert store._backend.namespace == options.get("namespace", "mine")
        await store.put("k", {})
        assert len(await store._backend.history.of("key-value/default_collection/k")) == 1


async def test_a_backend_that_was_given_stays_open() -> None:
    async with flowstore.connect("memory://") as backend:
        async with FlowstoreStore(backend, default_collection="mine") as store:
            await store.put("k", {})
        assert await backend.exists("key-value/mine/k")
