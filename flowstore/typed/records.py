"""Typed results as records of a backend: successful ones that were submitted at a time that no task has.

The listing of successful tasks goes by (time of submission, id). So entries are one range of it, in the order
of their ids, and the ids below another are one range of that: of an index that is there anyway. The facet
``~entry:<namespace>:<model>`` says what is an entry, and lists entries by model and by the time of their last
write. What an operator sees of them in the pages of tasks is a successful task with the name of the model,
and without a time of submission.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final

from pydantic_core import from_json

from flowstore._core.awaiting import wait_for
from flowstore._core.core import STEP, Core, steps
from flowstore._core.viewing import View
from flowstore._core.watching import watch_status
from flowstore._core.writing import applied
from flowstore._trips.patience import Pauses
from flowstore._values.checks import is_whole
from flowstore._values.codec import DecodeError
from flowstore._values.compression import HEADER_BYTES, is_compressed, plain_size
from flowstore._values.reading import DAMAGED, unvalidated
from flowstore.base import BaseResultBackend
from flowstore.engine import BY_FINISH, UNSORTED, Entry, Position, Query, Standing, Verdict, Write, sort_key
from flowstore.errors import ForeignEntry, ResultGone, StorageUnavailable, UnreadableRecord
from flowstore.fields import NO_META, check_meta
from flowstore.models import TaskResult, TaskStatus
from flowstore.times import OF_NO_TASK, from_micros
from flowstore.typed.storage import EntryStorage, Kind, New, Recent, Stored, Trouble, unusable
from flowstore.typed.turns import Turns

_KIND: Final = f"{BY_FINISH}entry:"
_TASK: Final = "a task, which is in the same namespace"
_CREATED: Final = "created_at"
_STATUSES: Final = (TaskStatus.SUCCESS.value,)
_SORT: Final = sort_key(OF_NO_TASK)
_BODILESS: Final = View(with_body=False)
_RESULT: Final = TaskResult(
    task_id="-", status=TaskStatus.SUCCESS, submitted_at=from_micros(OF_NO_TASK)
).__dict__


class RecordStorage(EntryStorage):
    """Entries in the namespace of a backend. ``is_owner``: the backend is closed with this storage."""

    def __init__(self, backend: BaseResultBackend, *, is_owner: bool = False) -> None:
        self.backend = backend
        self._is_owner = is_owner
        self._core: Core = backend._core
        self._records = self._core.records.unlisted()
        self.max_bytes = self._records.codec.max_bytes
        self.op_timeout = self._core.op_timeout
        self.turns = Turns()

    def __repr__(self) -> str:
        return repr(self.backend)

    async def open(self) -> None:
        await self.backend.open()

    async def close(self) -> None:
        if self._is_owner:
            await self.backend.close()

    def redacted(self, id: str, kind: Kind, value: Any) -> Any:
        if not self._records.is_redacting:
            return value
        return self._records.redacted(_result(id, kind, self._core.clock(), result=value)).result

    async def create(self, entries: Sequence[New]) -> list[bool]:
        created: list[bool] = []
        for step in steps(list(entries)):
            now = self._core.clock()
            created += await self._write([self._written(entry, now, 0) for entry in step], now)
        return created

    async def replace(self, entry: New, standing: Stored) -> bool:
        now = self._core.clock()
        meta = check_meta({_CREATED: standing.created_at})
        [is_done] = await self._write([self._written(entry, now, standing.version, meta=meta)], now)
        return is_done

    def _written(self, entry: New, now: int, if_version: int, **fields: Any) -> Write:
        kind = f"{_KIND}{entry.kind.namespace}:{entry.kind.name}"
        result = _result(entry.id, entry.kind, now, **fields)
        return self._records.write(
            result,
            now,
            entry.ttl,
            if_version=if_version,
            body=entry.data,
            more_facets=(kind,),
        )

    async def _write(self, writes: list[Write], now: int) -> list[bool]:
        async with self._core.life:
            await self._core.engine.room()
            outcomes = await self._core.engine.write(writes, now)
        return [
            outcome.verdict is not Verdict.UNREADABLE and applied(self._core, write, outcome)
            for write, outcome in zip(writes, outcomes, strict=True)
        ]

    async def read(self, ids: Sequence[str], *, with_data: bool = True) -> list[Stored | None]:
        found: list[Stored | None] = []
        for step in steps(list(ids)):
            entries = await self._entries(step, with_data=with_data)
            found += [None if entry is None else self._read(entry, with_data) for entry in entries]
        return found

    def _read(self, entry: Entry, with_data: bool) -> Stored:
        stored = _stored(entry)
        if not with_data or stored.trouble is not None:
            return stored
        try:
            return stored._replace(data=self._records.unpacked(entry.body or b""))
        except DecodeError as error:
            return unusable(entry.id, Trouble.DAMAGED, str(error), stored.kind)

    async def _entries(self, ids: Sequence[str], *, with_data: bool = False) -> list[Entry | None]:
        async with self._core.life:
            entries = await self._core.engine.read(ids, max_body=None if with_data else HEADER_BYTES)
        now = self._core.clock()
        return [None if entry is None or entry.is_expired(now) else entry for entry in entries]

    async def remove(self, id: str) -> bool:
        while True:
            [entry] = await self._entries([id])
            if entry is None:
                return False
            if _stored(entry).trouble is Trouble.FOREIGN:
                raise ForeignEntry(id, _TASK)
            if any(await self._remove([entry])):
                return True

    async def _remove(self, entries: Iterable[Entry]) -> list[bool]:
        """Those that are still as they were read: a task that has taken the id since is left alone."""
        standing = {entry.id: Standing(entry.version, entry.check) for entry in entries}
        async with self._core.life:
            return await self._core.engine.remove([*standing], self._core.clock(), [*standing.values()])

    async def scan(self, prefix: str, after: str | None, limit: int) -> list[Stored]:
        behind = after if after is not None and after > prefix else prefix
        found: list[Stored] = []
        while len(found) < limit:  # once, unless somebody has stored a task that claims to be none
            wanted = limit - len(found)
            entries = await self._scan(_by_id(behind, wanted))
            within = [entry for entry in entries if entry.id.startswith(prefix)]
            found += [_stored(entry) for entry in within if _may_be_entry(entry)]
            if len(within) < wanted:
                break
            behind = entries[-1].id
        return found

    async def recent(self, wanted: Recent) -> list[Stored]:
        kinds = await self.kinds() if wanted.kinds is None else wanted.kinds
        if not kinds:
            return []
        last = UNSORTED - 1 if wanted.since is None else -wanted.since
        first = -UNSORTED if wanted.until is None else 1 - wanted.until
        query = Query(
            _STATUSES,
            wanted.limit,
            (tuple(f"{_KIND}{kind.namespace}:{kind.name}" for kind in kinds),),
            wanted.after and Position(sort_key(wanted.after.updated_at), wanted.after.id),
            within=(first, last),
            max_body=HEADER_BYTES,
        )
        return [] if first > last else [_placed(entry) for entry in await self._scan(query)]

    async def _scan(self, query: Query) -> list[Entry]:
        async with self._core.life:
            return await self._core.engine.scan(query, self._core.clock())

    async def kinds(self) -> list[Kind]:
        async with self._core.life:
            facets = await self._core.engine.facets(_KIND)
        return [_kind_of(facet) for facet in facets]

    async def clear(self) -> int:
        cleared, behind = 0, ""
        while True:
            entries = await self._scan(_by_id(behind, STEP))
            cleared += sum(await self._remove([entry for entry in entries if _kinds_of(entry)]))
            if len(entries) < STEP:
                return cleared
            behind = entries[-1].id

    async def appeared(self, id: str, timeout: float | None) -> None:
        with suppress(ResultGone, UnreadableRecord):  # the read that follows finds out
            await wait_for(self._core, id, timeout, _BODILESS)

    def changes(self, prefix: str) -> AsyncGenerator[str, None]:
        return self._entries_among(watch_status(self._core, TaskStatus.SUCCESS), prefix)

    async def _entries_among(
        self, stored: AsyncGenerator[str, None], prefix: str
    ) -> AsyncGenerator[str, None]:
        async with aclosing(stored) as ids:
            async for id in ids:
                if id.startswith(prefix):
                    entry = await self._read_patiently(id)
                    if entry is not None and entry.trouble is not Trouble.FOREIGN:
                        yield id

    async def _read_patiently(self, id: str) -> Stored | None:
        """Through any outage: whoever watches hears of it when it is over."""
        pauses = Pauses()
        while True:
            try:
                [entry] = await self.read([id], with_data=False)
            except StorageUnavailable:
                await asyncio.sleep(pauses.next())
            else:
                return entry


def _by_id(behind: str, limit: int) -> Query:
    """The records in the range of entries whose ids follow ``behind``, without more of bodies than a size."""
    after = Position(_SORT, behind) if behind else None
    return Query(_STATUSES, limit, after=after, within=(_SORT, _SORT), max_body=HEADER_BYTES)


def _result(id: str, kind: Kind, now: int, **fields: Any) -> TaskResult:
    name = f"{kind.namespace}:{kind.name}"
    meta = fields.pop("meta", NO_META)
    own = {"task_id": id, "task_name": name, "finished_at": from_micros(now), "meta": meta, **fields}
    return unvalidated({**_RESULT, **own})


def _stored(entry: Entry) -> Stored:
    """Without its data."""
    if not entry.status:
        return unusable(entry.id, Trouble.DAMAGED, f"not a record of this format: {entry.head[:80]!r}")
    kinds = _kinds_of(entry)
    if not kinds:
        return unusable(entry.id, Trouble.FOREIGN, _TASK)
    kind = kinds[0]
    if not is_whole(entry):
        return unusable(entry.id, Trouble.DAMAGED, DAMAGED, kind)
    try:
        created_at = entry.updated_at if entry.version == 1 else _created_at(entry.head)
    except (ValueError, LookupError, TypeError):
        return unusable(entry.id, Trouble.DAMAGED, "it does not say when it was created", kind)
    return Stored(
        entry.id,
        kind,
        entry.version,
        created_at,
        entry.updated_at,
        entry.expires_at,
        _size_of(entry),
    )


def _size_of(entry: Entry) -> int:
    """Of the encoded value, also where it is compressed."""
    body = entry.body or b""
    return plain_size(body) if entry.body_size is None or is_compressed(body) else entry.body_size


def _placed(entry: Entry) -> Stored:
    """Also one that cannot be read has its place by time."""
    stored = _stored(entry)
    return stored if stored.trouble is None else stored._replace(updated_at=entry.finished_at or 0)


def _created_at(head: bytes) -> int:
    return int(from_json(head)["meta"][_CREATED])


def _may_be_entry(entry: Entry) -> bool:
    """Of what cannot be read nobody can tell."""
    return not entry.status or bool(_kinds_of(entry))


def _kinds_of(entry: Entry) -> list[Kind]:
    """The kind of an entry; nothing for a task."""
    return [_kind_of(facet) for facet in entry.facets if facet.startswith(_KIND)]


def _kind_of(facet: str) -> Kind:
    namespace, _, name = facet[len(_KIND) :].partition(":")
    return Kind(namespace, name)
