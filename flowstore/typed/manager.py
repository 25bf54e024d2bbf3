"""AsyncResultsManager: pydantic models by hierarchical ids, over any backend or a tree of files."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from datetime import datetime
from functools import partial
from typing import Any, Self, TypeVar, Unpack, overload

from pydantic import BaseModel

from flowstore._values.arguments import MAX_PAGE, Seconds, check_int, check_timeout
from flowstore._values.records import DEFAULT_TTL, DefaultTtl, Ttl
from flowstore.connecting import ConnectOptions
from flowstore.errors import EntryMissing, EntryTimeout
from flowstore.typed import deciding, listing
from flowstore.typed.arguments import (
    check_after,
    check_behavior,
    check_given_ttl,
    check_ids,
    check_pairs,
    check_prefix,
)
from flowstore.typed.behaviors import WriteBehavior
from flowstore.typed.entries import EntryInfo, EntryPage, info_of
from flowstore.typed.ids import Id, id_of
from flowstore.typed.places import Folder, InUse, Target, storage_at
from flowstore.typed.registry import DEFAULT_REGISTRY, ModelRegistry
from flowstore.typed.storage import EntryStorage
from flowstore.typed.values import Values

M = TypeVar("M", bound=BaseModel)
Ids = list[str]


class AsyncResultsManager:
    """Stores pydantic models by id, typed, for any number of programs and machines.

    ``target``: a URL as ``flowstore.connect`` takes it, with its ``options``; or a backend, which stays the
    caller's to close; None: FLOWSTORE_URL. ``base_dir``: in place of it a tree of files, whose options are
    ``durability``, ``op_timeout`` and ``recheck_interval``. ``registry``: the models; None: those that
    ``register_model`` knows.

    It opens by itself at the first call, or with ``async with``. An id is "a/b/c" or ["a", "b", "c"]: parts
    that are any text but "", together at most 512 UTF-8 bytes. Only a list can have a part with "/" in it;
    docs/typed.md says how such an id is spelled. Any call may raise StorageError.
    """

    def __init__(
        self,
        target: Target = None,
        *,
        base_dir: Folder = None,
        registry: ModelRegistry | None = None,
        **options: Unpack[ConnectOptions],
    ) -> None:
        if registry is not None and not isinstance(registry, ModelRegistry):
            raise TypeError(f"registry: expected ModelRegistry or None, got {type(registry).__name__}")
        self._registry = DEFAULT_REGISTRY if registry is None else registry
        self._settle(storage_at(target, base_dir, options))

    def _settle(self, storage: EntryStorage) -> None:
        self._here = InUse(storage, Values(self._registry, storage))

    @property
    def _storage(self) -> EntryStorage:
        return self._here.storage

    async def open(self) -> None:
        """Open the storage. Only needed in order to fail early: the first call opens it by itself."""
        await self._here.storage.open()

    async def close(self) -> None:
        """Let calls in flight end, end all waits with BackendClosed, release what was opened. Idempotent."""
        await self._here.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._here.storage!r})"

    async def use(
        self, target: Target = None, *, base_dir: Folder = None, **options: Unpack[ConnectOptions]
    ) -> None:
        """Keep everything in another place from now on, given as to the constructor.

        Calls in flight end in the place before, and are waited for. If this manager has opened that, it is
        closed then, which ends its waits, watches and iterations with BackendClosed. Nothing is copied.
        After an error all is as before.
        """
        storage = storage_at(target, base_dir, options)
        await storage.open()
        before = self._here
        self._settle(storage)
        await before.close()

    async def set(
        self,
        id: Id,
        model: BaseModel,
        behavior: WriteBehavior | str = WriteBehavior.RAISE_IF_EXISTS,
        namespace: str | None = None,
        strict_namespace: bool = False,
        *,
        if_version: int | None = None,
        ttl: Ttl | DefaultTtl = DEFAULT_TTL,
    ) -> bool:
        """Store the model under the id; what else may stand there is up to ``behavior`` (see WriteBehavior).

        True if the value is the stored one now, False if SKIP_IF_EXISTS or OVERWRITE_IF_DIFFERENT wrote
        nothing. It is decided in one atomic operation of the storage. Values are the same if they are of one
        model and their encodings agree, whatever the order of keys: 1 and 1.0 differ.

        ``if_version``, without another behavior: write over exactly that version, 0: only if there is none;
        raises EntryConflict. ``namespace``: the one of the registry that the class is registered in; None:
        the one that has it. A class that is not registered itself is taken for the one of its name and
        structure, unless ``strict_namespace``. ``ttl``: seconds or a timedelta until the entry expires, None:
        never; by default the ttl of the backend, never in a tree of files.

        Raises EntryExists, ModelNotRegistered, ForeignEntry if the id is a task's, DamagedEntry if what has
        to be compared or replaced cannot be read, and NotSerializable; then nothing is written.
        """
        behavior = check_behavior(behavior)
        if if_version is not None:
            check_int("if_version", if_version, 0, 2**53)
            if behavior is not WriteBehavior.RAISE_IF_EXISTS:
                raise ValueError(f"behavior: cannot be combined with if_version, got {behavior.name}")
        async with self._here as here:
            new = here.values.encoded(id_of(id), model, namespace, strict_namespace, check_given_ttl(ttl))
            if if_version is None:
                return await deciding.write(here.storage, new, behavior, partial(here.values.is_same, new))
            return await deciding.compare_and_set(here.storage, new, if_version)

    async def set_many(
        self,
        models: Mapping[str, BaseModel] | Iterable[tuple[Id, BaseModel]],
        behavior: WriteBehavior | str = WriteBehavior.RAISE_IF_EXISTS,
        namespace: str | None = None,
        strict_namespace: bool = False,
        *,
        ttl: Ttl | DefaultTtl = DEFAULT_TTL,
    ) -> dict[str, bool]:
        """``set`` each, given as a mapping or as pairs; what ``set`` would return, by id, in their order.

        All are encoded before the first is sent. Each write is atomic, the whole is not: if some raise, the
        first of these errors is raised when all others have been stored.
        """
        pairs, checked = check_pairs(models), check_given_ttl(ttl)
        behavior = check_behavior(behavior)
        async with self._here as here:
            new = [
                here.values.encoded(id_of(id), each, namespace, strict_namespace, checked)
                for id, each in pairs
            ]
            if len({each.id for each in new}) < len(new):
                raise ValueError("models: expected each id once")
            return await listing.write_all(here.storage, here.values, new, behavior)

    @overload
    async def get(self, id: Id, model_class: type[M], namespace: str | None = None) -> M: ...
    @overload
    async def get(self, id: Id, model_class: None = None, namespace: str | None = None) -> BaseModel: ...
    async def get(self, id: Id, model_class: Any = None, namespace: str | None = None) -> Any:
        """The model that is stored under the id, a fresh object.

        ``model_class``: the class, or a base of it, that it must be of; None: any that is registered.
        ``namespace``: the one that it must be registered in. Raises EntryMissing, EntryMismatch for an entry
        of another model or namespace, ModelNotRegistered, InvalidEntry if the model has changed and does not
        take what is stored, DamagedEntry, and ForeignEntry if the id is a task's.
        """
        spelled = id_of(id)
        async with self._here as here:
            [stored] = await here.storage.read([spelled])
            if stored is None:
                raise EntryMissing(spelled)
            return here.values.decoded(stored, model_class, namespace)

    @overload
    async def get_many(
        self, ids: Iterable[Id], model_class: type[M], namespace: str | None = None
    ) -> dict[str, M]: ...
    @overload
    async def get_many(
        self, ids: Iterable[Id], model_class: None = None, namespace: str | None = None
    ) -> dict[str, BaseModel]: ...
    async def get_many(
        self, ids: Iterable[Id], model_class: Any = None, namespace: str | None = None
    ) -> dict[str, Any]:
        """``get`` each; those that exist, by id, in the order of ``ids``."""
        wanted = [*dict.fromkeys(check_ids(ids))]
        async with self._here as here:
            found = [each for each in await here.storage.read(wanted) if each is not None]
            return {each.id: here.values.decoded(each, model_class, namespace) for each in found}

    @overload
    async def wait_for(
        self, id: Id, model_class: type[M], timeout: Seconds | None = None, namespace: str | None = None
    ) -> M: ...
    @overload
    async def wait_for(
        self, id: Id, model_class: None = None, timeout: Seconds | None = None, namespace: str | None = None
    ) -> BaseModel: ...
    async def wait_for(
        self, id: Id, model_class: Any = None, timeout: Seconds | None = None, namespace: str | None = None
    ) -> Any:
        """``get`` as soon as there is an entry, whichever process stores it.

        ``timeout`` in seconds, or a timedelta; None or inf: for ever; 0 or less: one look. Raises
        EntryTimeout, and BackendClosed; if the storage cannot be reached, the wait goes on.
        """
        spelled, seconds = id_of(id), check_timeout(timeout)
        here = self._here
        here.check_open()
        stored = await listing.awaited(here.storage, spelled, seconds)
        if stored is None:
            raise EntryTimeout(spelled, seconds or 0.0)
        return here.values.decoded(stored, model_class, namespace)

    async def exists(self, id: Id) -> bool:
        """Whether there is an entry under the id; it may be one that cannot be read."""
        spelled = id_of(id)
        async with self._here as here:
            return await deciding.stands(here.storage, spelled)

    async def entry(self, id: Id) -> EntryInfo | None:
        """What is known of the entry beside its value; None if there is none. Its model need not be known."""
        spelled = id_of(id)
        async with self._here as here:
            stored = await deciding.look(here.storage, spelled, with_data=False)
        return None if stored is None else info_of(stored)

    async def delete(self, id: Id) -> bool:
        """Remove the entry, also a damaged one; False if there is none. Raises ForeignEntry.

        Entries below its id stay.
        """
        spelled = id_of(id)
        async with self._here as here:
            return await here.storage.remove(spelled)

    async def clear(self) -> int:
        """Remove all entries, and nothing else that is in their place; returns how many."""
        async with self._here as here:
            return await here.storage.clear()

    async def list_ids(
        self, prefix: Id | None = None, *, limit: int | None = None, after: Id | None = None
    ) -> Ids:
        """The ids of all entries, sorted by code points; those that cannot be read are among them.

        ``prefix``: only those below this id, and the id itself if there is an entry: whole parts count, so
        "users" has "users" and "users/7", and not "users2". ``limit``: at most so many; ``after``: only those
        that follow this one, such as the last of the list before. It costs what it shows, however many
        entries there are; a tree of files reads the folders on its way whole.
        """
        most = None if limit is None else check_int("limit", limit, 0)
        below, behind = check_prefix(prefix), check_after(after)
        ids: Ids = []
        async with (
            self._here as here,
            aclosing(listing.walk(here.storage, below, behind, most=most)) as steps,
        ):
            async for step in steps:
                ids += step
        return ids

    def iter_ids(self, prefix: Id | None = None, *, batch_size: int = 1_000) -> AsyncGenerator[str, None]:
        """What ``list_ids`` would return, one by one, read at most ``batch_size`` at a time.

        An entry that is there all the while comes exactly once, whatever is written meanwhile.
        """
        check_int("batch_size", batch_size, 1, MAX_PAGE)
        storage = self._here.storage
        return listing.each(listing.walk(storage, check_prefix(prefix), None, most_at_once=batch_size))

    def watch(self, prefix: Id | None = None) -> AsyncGenerator[str, None]:
        """Yield the id of each entry that is set from this call on, by any process, as soon as it is.

        ``prefix``: as in ``list_ids``. An id comes at least once after it was last set. Removals are not
        told. It never ends; raises BackendClosed. If the storage cannot be reached, it retries for ever.
        """
        return listing.changed(self._here.storage, check_prefix(prefix))

    async def list(
        self,
        model_class: type[BaseModel] | None = None,
        namespace: str | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> EntryPage:
        """One page of the entries, by the time of their last write, the newest first; ties by id.

        ``model_class``: only those of this model, under its present or a former name; ``namespace``: only
        those of this namespace of the registry. ``since``, ``until``: aware datetimes, bounds of that time,
        the first included, the second excluded. ``limit`` is 1 to 10,000. ``cursor``: the ``next_cursor`` of
        the page before; it raises InvalidCursor with other arguments. Entries that cannot be read are left
        out. An entry that is not written during the walk is on exactly one page. A tree of files reads the
        head of every file.
        """
        async with self._here as here:
            kinds = await listing.kinds(here.storage, here.values, model_class, namespace)
            chosen_by = (None if model_class is None else model_class.__name__, namespace)
            return await listing.page(here.storage, kinds, chosen_by, since, until, limit, cursor)
