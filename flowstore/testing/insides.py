"""The only module of the kit that uses private parts of a backend.

Whatever a test breaks, counts or plants there goes through a function of this module, so that a change inside
flowstore affects this module and nothing else in the kit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from flowstore import BaseResultBackend, FlowstoreError, TaskResult, Verification
from flowstore._core import ledger
from flowstore._core.core import Core
from flowstore._core.leases import Lease
from flowstore._core.matching import matching_of
from flowstore._core.verifying import verify
from flowstore._values.checks import item_check
from flowstore._values.codec import Codec
from flowstore._values.encoding import encode_body
from flowstore._values.records import Records
from flowstore._values.types import Types
from flowstore.engine import ANY_STAGE, Engine, Put, Section, Write
from flowstore.runs.ids import record_id
from flowstore.testing.faults import EngineFaults
from flowstore.typed import AsyncResultsManager
from flowstore.typed.records import RecordStorage


def core_of(backend: BaseResultBackend) -> Core:
    return backend._core


def encoded(backend: BaseResultBackend, result: TaskResult) -> bytes:
    """The body of its record, where a storage keeps bytes."""
    return encode_body(result, backend._core.records.codec)


def engine_of(backend: BaseResultBackend) -> Any:
    """The engine that the backend calls, its methods replaceable."""
    return backend._core.engine


def storage_of(backend: BaseResultBackend) -> Any:
    """The engine that talks to the storage, without the wrappers around it."""
    engine: Any = backend._core.engine
    while hasattr(engine, "inner"):
        engine = engine.inner
    return engine


def wrap_engine(backend: BaseResultBackend, wrap: Callable[[Engine], Engine]) -> None:
    """Wrap the engine. To be called before the backend opens."""
    backend._core.engine = wrap(backend._core.engine)


def faulty(backend: BaseResultBackend) -> EngineFaults:
    """Put faults between the backend, before it opens, and its engine, and return them."""
    faults = EngineFaults(engine_of(backend))
    wrap_engine(backend, lambda engine: faults)
    return faults


@contextmanager
def replaced_verb(
    backend: BaseResultBackend,
    verb: str,
    replace: Callable[[Callable[..., Any]], Callable[..., Any]],
    *,
    in_storage: bool = False,
) -> Iterator[None]:
    """Replace the engine's ``verb`` by ``replace`` of it; ``in_storage``: within all that is around it."""
    engine = storage_of(backend) if in_storage else engine_of(backend)
    setattr(engine, verb, replace(getattr(engine, verb)))
    try:
        yield
    finally:
        delattr(engine, verb)


def meanwhile(backend: BaseResultBackend, verb: str, step: Callable[[], Awaitable[object]]) -> None:
    """Run ``step`` right after the engine's next ``verb``, before its caller acts on the answer."""
    engine = engine_of(backend)
    plain = getattr(engine, verb)

    async def verb_and_step(*args: Any, **options: Any) -> Any:
        answer = await plain(*args, **options)
        setattr(engine, verb, plain)
        await step()
        return answer

    setattr(engine, verb, verb_and_step)


async def listening(backend: BaseResultBackend, task_id: str) -> None:
    """Return once a block of the task hears what others do to it, or somebody waits for it."""
    waiters = backend._core.waiters
    while (entry := waiters.entries.get(task_id)) is None or not entry.is_seen:  # noqa: ASYNC110  # private
        await asyncio.sleep(0.001)


def is_read(backend: BaseResultBackend, task_id: str) -> bool:
    """Whether the waits for the task have read the storage: nothing is still to be read for them."""
    reader = backend._core.waiters._reader(task_id)
    return task_id not in reader.stale.ids and task_id not in reader.lists


async def plant(
    backend: BaseResultBackend, result: TaskResult, *, is_checked: bool = True, **parts: Any
) -> None:
    """Store ``result`` past the codec, with ``parts`` as fields of its entry, such as the bytes of its head.

    With ``is_checked`` False its checksum is that of the entry without ``parts``.
    """
    core = backend._core
    plain = Records(core.records.codec, ttl=None, failure_ttl=None, history=None)
    write = plain.write(result, core.clock())
    async with core.life:
        entry = write.entry._replace(**parts)
        entry = plain.checked(entry) if is_checked else entry
        [outcome] = await core.engine.write([write._replace(entry=entry)], core.clock())
    assert outcome.is_applied, f"the storage refused it: {outcome}"


async def plant_kept(
    backend: BaseResultBackend,
    section: str,
    owner: str,
    key: str | None,
    value: bytes,
    *,
    is_checked: bool = True,
) -> None:
    """Put ``value`` past the codec, ``is_checked`` with its checksum. ``owner`` "" is the namespace."""
    async with backend._core.life:
        check = item_check(section, owner, key, 0, value) - (not is_checked)
        put = Put(Section(section), owner, key, value, check)
        [outcome] = await backend._core.engine.put([put], 0)
    assert outcome.is_applied, f"the storage refused it: {outcome}"


async def verified(backend: BaseResultBackend, prefix: str, *, repair: bool = False) -> Verification:
    """Verify the records whose ids begin with ``prefix``, and no others."""
    return await verify(backend._core, prefix, repair=repair)


def know_only(backend: BaseResultBackend, types: Types = (), raw: bool = False) -> None:
    """As if the backend had been made with these types."""
    backend._core.records.codec = Codec(types, raw=raw)


def limit_reading(backend: BaseResultBackend, *, max_bytes: int, max_levels: int) -> None:
    codec = backend._core.records.codec
    codec.max_bytes, codec._max_levels = max_bytes, max_levels


def replace_redact(backend: BaseResultBackend, redact: Callable[[TaskResult], TaskResult]) -> None:
    backend._core.records._redact = redact


def calls_in_flight(backend: BaseResultBackend) -> int:
    return backend._core.life._calls


def count_decodes(backend: BaseResultBackend) -> list[str]:
    """A list that collects the ids of the rows that waits decode from now on."""
    waiters = backend._core.waiters
    decode, decoded = waiters._decode, []

    def counted(row: Any) -> TaskResult:
        decoded.append(row.id)
        return decode(row)

    waiters._decode = counted
    return decoded


def leased(backend: BaseResultBackend, name: str, busy: Callable[[str, datetime], FlowstoreError]) -> Lease:
    """The lease of that name, for an ``async with``."""
    return Lease(backend._core, name, busy)


@contextmanager
def fewer_operations(kept: int) -> Iterator[None]:
    """Keep so many operations of a namespace."""
    usual = ledger.KEPT
    ledger.KEPT = kept  # type: ignore[misc]
    try:
        yield
    finally:
        ledger.KEPT = usual  # type: ignore[misc]


def forget_hooks(backend: BaseResultBackend) -> None:
    """As in a process where nobody has given any."""
    backend.actions._hooks.clear()


def core_of_runs(backend: BaseResultBackend) -> Core:
    return backend.runs._core


def faulty_runs(backend: BaseResultBackend) -> EngineFaults:
    """Put faults between the runs of the backend and their engine, and return them."""
    core = core_of_runs(backend)
    faults = EngineFaults(core.engine)
    core.engine = faults
    return faults


async def damage_record(backend: BaseResultBackend, run_id: str, key: str) -> None:
    """Change what is stored of a record of a run: it no longer has its checksum."""
    core = core_of_runs(backend)
    async with core.life:
        [entry] = await core.engine.read([record_id(run_id, key)])
        assert entry is not None, f"there is no record {key!r} of run {run_id!r}"
        damaged = entry._replace(check=entry.check ^ 1, head=b"{}", body=b"{}")
        [outcome] = await core.engine.write([Write(damaged, "damage", ANY_STAGE)], core.clock())
    assert outcome.is_applied, f"the storage refused it: {outcome}"


async def remove_entries(core: Core, ids: list[str]) -> None:
    """Remove entries behind the back of whoever keeps account of them."""
    async with core.life:
        assert all(await core.engine.remove(ids, core.clock()))


async def damage_entry(manager: AsyncResultsManager, id: str) -> None:
    """Change what is stored under the id, where that is a record: it no longer has its checksum."""
    core = _backend_under(manager)._core
    async with core.life:
        [entry] = await core.engine.read([id])
        assert entry is not None, f"there is no record of {id!r}"
        damaged = entry._replace(check=entry.check ^ 1)
        [outcome] = await core.engine.write([Write(damaged, "damage", ANY_STAGE)], core.clock())
    assert outcome.is_applied, f"the storage refused it: {outcome}"


async def take_id_of_entry(manager: AsyncResultsManager, id: str) -> None:
    """Store a task under the id, in the namespace of the entries."""
    await _backend_under(manager).store(id, TaskResult.success(id, 1))


async def close_under(manager: AsyncResultsManager) -> None:
    """Close the backend that the manager was given."""
    if isinstance(manager._storage, RecordStorage):
        await manager._storage.backend.close()


def _backend_under(manager: AsyncResultsManager) -> BaseResultBackend:
    assert isinstance(manager._storage, RecordStorage), f"no records: {manager!r}"
    return manager._storage.backend


async def wants(backend: BaseResultBackend, query: str) -> Callable[[TaskResult], bool]:
    """Whether the query, which looks for no text, wants a task."""
    return (await matching_of(backend._core, query, 1)).holds
