"""The synchronous classes. Do not change them: scripts/make_sync.py writes them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from datetime import datetime
from typing import Any, Unpack, overload

from pydantic import BaseModel

from flowstore._values.arguments import Seconds
from flowstore._values.records import DEFAULT_TTL, DefaultTtl, Ttl
from flowstore.connecting import ConnectOptions
from flowstore.sync.feeding import taken
from flowstore.typed.behaviors import WriteBehavior
from flowstore.typed.entries import EntryInfo, EntryPage
from flowstore.typed.face import ManagerFace, Target
from flowstore.typed.ids import Id
from flowstore.typed.manager import Ids, M
from flowstore.typed.places import Folder


class ResultsManager(ManagerFace):
    """Stores pydantic models by id, typed, for any number of programs and machines.

    ``target``: a URL as ``flowstore.connect`` takes it, with its ``options``; or a backend of flowstore.sync,
    which stays the caller's to close, and whose loop it shares; None: FLOWSTORE_URL. ``base_dir``: in place
    of it a tree of files, whose options are ``durability``, ``op_timeout`` and ``recheck_interval``.
    ``registry``: the models; None: those that ``register_model`` knows.

    It opens by itself at the first call, or with ``with``, and is closed at exit at the latest. Any number of
    threads may use it at the same time; forks and running event loops are as for
    ``flowstore.sync.ResultBackend``. An id is "a/b/c" or ["a", "b", "c"]: parts that are any text but "",
    together at most 512 UTF-8 bytes. Only a list can have a part with "/" in it; docs/typed.md says how such
    an id is spelled. Any call may raise StorageError.
    """

    def open(self) -> None:
        """Open the storage. Only needed in order to fail early: the first call opens it by itself."""
        call = self._its.open()
        self._run(call)

    def close(self) -> None:
        """Let calls in flight end, end all waits with BackendClosed, release what was opened. Idempotent."""
        self._close()

    def use(
        self, target: Target = None, *, base_dir: Folder = None, **options: Unpack[ConnectOptions]
    ) -> None:
        """Keep everything in another place from now on, given as to the constructor.

        Calls in flight end in the place before, and are waited for; but a move from or to a backend of
        flowstore.sync must not come while other threads call. If this manager has opened that, it is closed
        then, which ends its waits, watches and iterations with BackendClosed. Nothing is copied. After an
        error all is as before.
        """
        self._use(target, base_dir, options)

    def set(
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
        call = self._its.set(id, model, behavior, namespace, strict_namespace, if_version=if_version, ttl=ttl)
        return self._run(call)

    def set_many(
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
        call = self._its.set_many(taken(models), behavior, namespace, strict_namespace, ttl=ttl)
        return self._run(call)

    @overload
    def get(self, id: Id, model_class: type[M], namespace: str | None = None) -> M: ...

    @overload
    def get(self, id: Id, model_class: None = None, namespace: str | None = None) -> BaseModel: ...

    def get(self, id: Id, model_class: Any = None, namespace: str | None = None) -> Any:
        """The model that is stored under the id, a fresh object.

        ``model_class``: the class, or a base of it, that it must be of; None: any that is registered.
        ``namespace``: the one that it must be registered in. Raises EntryMissing, EntryMismatch for an entry
        of another model or namespace, ModelNotRegistered, InvalidEntry if the model has changed and does not
        take what is stored, DamagedEntry, and ForeignEntry if the id is a task's.
        """
        call = self._its.get(id, model_class, namespace)
        return self._run(call)

    @overload
    def get_many(
        self, ids: Iterable[Id], model_class: type[M], namespace: str | None = None
    ) -> dict[str, M]: ...

    @overload
    def get_many(
        self, ids: Iterable[Id], model_class: None = None, namespace: str | None = None
    ) -> dict[str, BaseModel]: ...

    def get_many(
        self, ids: Iterable[Id], model_class: Any = None, namespace: str | None = None
    ) -> dict[str, Any]:
        """``get`` each; those that exist, by id, in the order of ``ids``."""
        call = self._its.get_many(taken(ids), model_class, namespace)
        return self._run(call)

    @overload
    def wait_for(
        self, id: Id, model_class: type[M], timeout: Seconds | None = None, namespace: str | None = None
    ) -> M: ...

    @overload
    def wait_for(
        self, id: Id, model_class: None = None, timeout: Seconds | None = None, namespace: str | None = None
    ) -> BaseModel: ...

    def wait_for(
        self, id: Id, model_class: Any = None, timeout: Seconds | None = None, namespace: str | None = None
    ) -> Any:
        """``get`` as soon as there is an entry, whichever process stores it.

        ``timeout`` in seconds, or a timedelta; None or inf: for ever; 0 or less: one look. Raises
        EntryTimeout, and BackendClosed; if the storage cannot be reached, the wait goes on.
        """
        call = self._its.wait_for(id, model_class, timeout, namespace)
        return self._run(call)

    def exists(self, id: Id) -> bool:
        """Whether there is an entry under the id; it may be one that cannot be read."""
        call = self._its.exists(id)
        return self._run(call)

    def entry(self, id: Id) -> EntryInfo | None:
        """What is known of the entry beside its value; None if there is none. Its model need not be known."""
        call = self._its.entry(id)
        return self._run(call)

    def delete(self, id: Id) -> bool:
        """Remove the entry, also a damaged one; False if there is none. Raises ForeignEntry.

        Entries below its id stay.
        """
        call = self._its.delete(id)
        return self._run(call)

    def clear(self) -> int:
        """Remove all entries, and nothing else that is in their place; returns how many."""
        call = self._its.clear()
        return self._run(call)

    def list_ids(self, prefix: Id | None = None, *, limit: int | None = None, after: Id | None = None) -> Ids:
        """The ids of all entries, sorted by code points; those that cannot be read are among them.

        ``prefix``: only those below this id, and the id itself if there is an entry: whole parts count, so
        "users" has "users" and "users/7", and not "users2". ``limit``: at most so many; ``after``: only those
        that follow this one, such as the last of the list before. It costs what it shows, however many
        entries there are; a tree of files reads the folders on its way whole.
        """
        call = self._its.list_ids(prefix, limit=limit, after=after)
        return self._run(call)

    def iter_ids(self, prefix: Id | None = None, *, batch_size: int = 1_000) -> Generator[str, None, None]:
        """What ``list_ids`` would return, one by one, read at most ``batch_size`` at a time.

        An entry that is there all the while comes exactly once, whatever is written meanwhile.
        """
        items = self._its.iter_ids(prefix, batch_size=batch_size)
        return self._walk(items)

    def watch(self, prefix: Id | None = None) -> Generator[str, None, None]:
        """Yield the id of each entry that is set from this call on, by any process, as soon as it is.

        ``prefix``: as in ``list_ids``. An id comes at least once after it was last set. Removals are not
        told. It never ends; raises BackendClosed. If the storage cannot be reached, it retries for ever.
        """
        items = self._its.watch(prefix)
        return self._stream(items)

    def list(
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
        call = self._its.list(model_class, namespace, since=since, until=until, limit=limit, cursor=cursor)
        return self._run(call)
