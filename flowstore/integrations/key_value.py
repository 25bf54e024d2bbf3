"""A store of py-key-value on flowstore, for docket, FastMCP and whoever takes an ``AsyncKeyValue``.

A key is a record: a task that has succeeded, with the value as its result, named after the collection. Data
of the app have no ttl and cannot be listed in part. Records expire to the microsecond and are removed by the
purge of the storage, and a collection is one index.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from typing import Any, Final, SupportsFloat, Unpack

from flowstore import BaseResultBackend, ConnectOptions, NotSerializable, TaskResult, UnreadableRecord
from flowstore._packages import needed
from flowstore.integrations._key_names import (
    PLACE,
    collection_of,
    key_of,
    name_of,
    shortened,
    task_id_of,
)
from flowstore.integrations._stores import attached

with needed("flowstore.integrations.key_value", "key-value", "py-key-value-aio", "key_value"):
    from key_value.aio.errors import (
        DeserializationError,
        InvalidTTLError,
        SerializationError,
    )
    from key_value.aio.stores.base import (
        BaseContextManagerStore,
        BaseCullStore,
        BaseDestroyCollectionStore,
        BaseDestroyStore,
        BaseEnumerateCollectionsStore,
        BaseEnumerateKeysStore,
        ManagedEntry,
    )

_AT_ONCE: Final = 1_000
_OPTIONS: Final[ConnectOptions] = {
    "namespace": "key-value",
    "history": False,
    "stats": None,
    "error_groups": False,
    "facets": ("name",),
}


class FlowstoreStore(
    BaseDestroyStore,
    BaseDestroyCollectionStore,
    BaseEnumerateKeysStore,
    BaseEnumerateCollectionsStore,
    BaseCullStore,
    BaseContextManagerStore,
):
    """Keys, values and ttls in a backend, or in one of its own that is made from a URL and options.

    One that was given is never closed; one of its own is closed by ``close`` or at the end of ``async with``.
    Its own has the namespace "key-value", no history and no statistics, unless the URL or the options say so.
    A backend that was given needs the facet "name" to list anything, and its history has each ``put``.

    Each call is one round trip, but for listings, and what it does to one key is atomic. Values are JSON, as
    in all stores of py-key-value. If the storage cannot be reached, StorageUnavailable or StorageTimeout is
    raised, which are a ConnectionError and a TimeoutError, as its RetryWrapper expects.
    """

    def __init__(
        self,
        backend: BaseResultBackend | str | None = None,
        *,
        default_collection: str | None = None,
        **options: Unpack[ConnectOptions],
    ) -> None:
        if not isinstance(backend, BaseResultBackend):
            options = _with_defaults(backend, options)
        self._attached = attached(backend, options)
        self._backend = self._attached.backend
        super().__init__(
            default_collection=default_collection,
            client_provided_by_user=not self._attached.is_own,
            stable_api=True,
        )

    async def _setup(self) -> None:
        await self._backend.open()
        if self._attached.is_own:
            self._exit_stack.push_async_callback(self._backend.close)

    async def _get_managed_entry(self, *, collection: str, key: str) -> ManagedEntry | None:
        with _translated():
            found = await self._backend.get(task_id_of(collection, key))
        return None if found is None else _entry_of(found)

    async def _get_managed_entries(
        self, *, collection: str, keys: Sequence[str]
    ) -> list[ManagedEntry | None]:
        ids = [task_id_of(collection, key) for key in keys]
        with _translated():
            found = await self._backend.get_many(ids)
        return [_entry_of(found[task_id]) if task_id in found else None for task_id in ids]

    async def _put_managed_entry(self, *, collection: str, key: str, managed_entry: ManagedEntry) -> None:
        await self._store([_result_of(collection, key, managed_entry)], overwrite=True)

    async def _put_managed_entries(
        self,
        *,
        collection: str,
        keys: Sequence[str],
        managed_entries: Sequence[ManagedEntry],
        ttl: float | None,
        created_at: datetime,
        expires_at: datetime | None,
    ) -> None:
        pairs = zip(keys, managed_entries, strict=True)
        await self._store([_result_of(collection, key, entry) for key, entry in pairs], overwrite=True)

    async def put_if_absent(
        self,
        key: str,
        value: Mapping[str, Any],
        *,
        collection: str | None = None,
        ttl: SupportsFloat | None = None,
    ) -> bool:
        """``put`` where there is no such key, or it has expired; of many at the same time one gets True."""
        collection = collection or self.default_collection
        await self.setup_collection(collection=collection)
        entry = _new_entry(value, ttl)
        [is_new] = await self._store([_result_of(collection, key, entry)], create=True)
        return is_new

    async def _store(self, results: list[TaskResult], **how: Any) -> list[bool]:
        """All of one call have one expiry, or none, whatever the ttl of the backend."""
        if results and results[0].expires_at is None:
            how = {**how, "ttl": None}
        with _translated():
            return await self._backend.store_many(results, **how)

    async def _delete_managed_entry(self, *, key: str, collection: str) -> bool:
        return await self._backend.delete(task_id_of(collection, key))

    async def _delete_managed_entries(self, *, keys: Sequence[str], collection: str) -> int:
        return await self._backend.delete_many([task_id_of(collection, key) for key in keys])

    async def _get_collection_keys(self, *, collection: str, limit: int | None = None) -> list[str]:
        """In the order of their last ``put``, the newest first; None: all."""
        found: list[str] = []
        listed = self._backend.iter_by_status("success", load_result=False, name=name_of(collection))
        async with aclosing(listed):
            async for record in listed:
                if len(found) == limit:
                    break
                found.append(key_of(record))
        return found

    async def _get_collection_names(self, *, limit: int | None = None) -> list[str]:
        """In alphabetical order; one whose keys have all expired is among them until the next purge."""
        found: list[str] = []
        async for name in self._names():
            if len(found) == limit:
                break
            found.append(await self._collection_of(name))
        return found

    async def _names(self) -> AsyncIterator[str]:
        after: str | None = None
        while True:
            values = await self._backend.facets.names(PLACE, limit=_AT_ONCE, after=after, at_most=1)
            for each in values:
                yield each.value
            if len(values) < _AT_ONCE:
                return
            after = values[-1].value

    async def _collection_of(self, name: str) -> str:
        known = await self._backend.list_by_status("success", 1, name=name) if "~" in name else []
        return collection_of(name, *known)

    async def _delete_collection(self, *, collection: str) -> bool:
        return await self._backend.clear(name=name_of(collection)) > 0

    async def _delete_store(self) -> bool:
        for name in [name async for name in self._names()]:
            await self._backend.clear(name=name)
        return True

    async def _cull(self) -> None:
        while await self._backend.purge_expired():
            pass


def _with_defaults(url: str | None, options: ConnectOptions) -> ConnectOptions:
    """The options of a store of its own: given ones, those in the URL, the defaults."""
    given = os.environ.get("FLOWSTORE_URL", "") if url is None else str(url)
    named = {part.partition("=")[0] for part in given.partition("?")[2].split("&")}
    left: Any = {name: value for name, value in _OPTIONS.items() if name not in named}
    return {**left, **options}


def _new_entry(value: Mapping[str, Any], ttl: SupportsFloat | None) -> ManagedEntry:
    """As ``put`` makes it: from_ttl takes any ttl, and 0 for none."""
    if ttl is None:
        return ManagedEntry(value=value, created_at=datetime.now(UTC))
    if isinstance(ttl, bool) or float(ttl) <= 0:
        raise InvalidTTLError(ttl=ttl)
    return ManagedEntry.from_ttl(value=value, created_at=datetime.now(UTC), ttl=ttl)


def _result_of(collection: str, key: str, entry: ManagedEntry) -> TaskResult[dict[str, Any]]:
    return TaskResult.success(
        task_id_of(collection, key),
        _plain(entry.value_as_dict),
        task_name=name_of(collection),
        meta=shortened(collection, key),
        at=entry.created_at,
        expires_at=entry.expires_at,
    )


def _plain(value: dict[str, Any]) -> Any:
    """What any store would give back, but in the order in which it was given."""
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError) as error:
        raise SerializationError(f"{error}; values are what JSON can express") from error


def _entry_of(result: TaskResult) -> ManagedEntry:
    if not isinstance(result.result, dict):
        raise DeserializationError(f"{result.task_id!r} holds no mapping, so that no store has put it")
    return ManagedEntry(value=result.result, created_at=result.finished_at, expires_at=result.expires_at)


@contextmanager
def _translated() -> Iterator[None]:
    """The errors about values in the words of py-key-value; those of the storage stay what they are."""
    try:
        yield
    except UnreadableRecord as error:
        raise DeserializationError(str(error)) from error
    except NotSerializable as error:
        raise SerializationError(str(error)) from error
