"""Datasets of runs: rows in chunks, which are payloads, and a manifest that says which they are.

A dataset is replaced by one write of its manifest, after all of its chunks are stored. Rows that two runs
have in common are in the same chunks, as far as they come in the same order, and are stored once.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Final, cast

from pydantic import Field

from flowstore._core.listing import results, walk
from flowstore._core.viewing import view_of
from flowstore._trips.lifecycle import to_its_end
from flowstore._values.encoding import encode_values
from flowstore._values.typed import TypeForm
from flowstore.engine import Outcome, Verdict
from flowstore.errors import CorruptRecord, DatasetReplaced, UnknownDataset, UnknownRun
from flowstore.fields import Record, Timestamp
from flowstore.models import T, TaskResult
from flowstore.runs.belongings import Belongings, children_of, standing_run
from flowstore.runs.ids import blob_id, check_key, check_run, dataset_id, datasets_of, key_of
from flowstore.runs.payloads import claim, release, share, shared

_ROWS: Final = 500
_BYTES: Final = 256 * 1024
_AHEAD: Final = 4
_START: Final = len(b'{"result":')


class DatasetInfo(Record):
    """A dataset of a run. ``digest``: the same for the same rows, whatever the run and the backend."""

    name: str
    rows: int
    digest: str
    saved_at: Timestamp
    token: str = Field(repr=False)
    chunks: list[tuple[str, int]] = Field(repr=False)


async def save(
    belongings: Belongings, run_id: str, name: str, rows: Iterable[Any] | AsyncIterable[Any]
) -> DatasetInfo:
    check_run(run_id)
    check_key(name, "name")
    token = secrets.token_hex(8)
    try:
        chunks = await _store_chunks(belongings, run_id, token, rows)
        return await _replace(belongings, run_id, name, token, chunks)
    except BaseException as error:
        await _give_up(belongings, run_id, token, error)
        raise


async def _give_up(belongings: Belongings, run_id: str, token: str, error: BaseException) -> None:
    """What was stored so far is of no use to anybody. If it cannot be removed, a verification finds it."""
    try:
        await to_its_end(release(belongings, run_id, token))
    except Exception as trouble:
        error.add_note(f"what was stored so far is still there: {type(trouble).__name__}: {trouble}")


async def _store_chunks(
    belongings: Belongings, run_id: str, token: str, rows: Iterable[Any] | AsyncIterable[Any]
) -> list[tuple[str, int]]:
    stored: list[tuple[str, int]] = []
    async for chunk in _chunks(_encoded(belongings, rows)):
        [digest] = await claim(belongings, run_id, token, [b'{"result":[' + b",".join(chunk) + b"]}"])
        stored.append((digest, len(chunk)))
    return stored


async def _encoded(belongings: Belongings, rows: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[bytes]:
    """Each row as JSON. Raises NotSerializable with the number of the row and the path in it."""
    codec = belongings.core.records.codec
    number = 0
    async for row in _each(rows):
        try:
            body = encode_values(row, (), {}, codec)
        except Exception as error:
            error.add_note(f"in row {number}, counted from 0")
            raise
        yield body[_START:-1] if row is not None else b"null"
        number += 1


async def _each(rows: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[Any]:
    if isinstance(rows, AsyncIterable):
        async for row in rows:
            yield row
    elif isinstance(rows, Iterable) and not isinstance(rows, str | bytes):
        for row in rows:
            yield row
    else:
        raise TypeError(f"rows: expected an iterable or an asynchronous one, got {type(rows).__name__}")


async def _chunks(rows: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    chunk: list[bytes] = []
    size = 0
    async for row in rows:
        if chunk and (len(chunk) == _ROWS or size + len(row) > _BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += len(row)
    if chunk:
        yield chunk


async def _replace(
    belongings: Belongings, run_id: str, name: str, token: str, chunks: list[tuple[str, int]]
) -> DatasetInfo:
    digest = hashlib.sha256("".join(each for each, _ in chunks).encode()).hexdigest()
    value = {"token": token, "digest": digest, "chunks": [[each, rows] for each, rows in chunks]}
    while True:
        before = await belongings.result(dataset_id(run_id, name))
        version = 0 if before is None else before.version
        write = belongings.written(
            dataset_id(run_id, name),
            datasets_of(run_id),
            value,
            owner=standing_run(run_id),
            if_version=version,
        )
        [outcome] = await belongings.write([write])
        if _is_replaced(run_id, outcome):
            break
    if before is not None:
        await release(belongings, run_id, info_of(before).token)
    return await info(belongings, run_id, name)


def _is_replaced(run_id: str, outcome: Outcome) -> bool:
    if outcome.verdict is Verdict.OWNERLESS:
        raise UnknownRun(run_id)
    return outcome.is_applied


async def info(belongings: Belongings, run_id: str, name: str) -> DatasetInfo:
    check_run(run_id)
    result = await belongings.result(dataset_id(run_id, check_key(name, "name")))
    if result is None:
        raise UnknownDataset(name, run_id)
    return info_of(result)


def info_of(result: TaskResult) -> DatasetInfo:
    said: Any = result.result
    assert result.submitted_at is not None
    chunks = [(digest, rows) for digest, rows in said["chunks"]]
    return DatasetInfo(
        name=key_of(result.task_id),
        rows=sum(rows for _, rows in chunks),
        digest=said["digest"],
        saved_at=result.submitted_at,
        token=said["token"],
        chunks=chunks,
    )


async def load(place: Callable[[], Belongings], run_id: str, name: str) -> AsyncGenerator[Any, None]:
    belongings = place()
    dataset = await info(belongings, run_id, name)
    for some in _several(dataset.chunks):
        entries = await belongings.read([blob_id(digest) for digest, _ in some])
        for entry in entries:
            if entry is None:
                await _raise_missing(belongings, run_id, name, dataset)
            else:
                rows: Any = belongings.core.records.decode(entry).result
                for row in rows:
                    yield row


def _several(chunks: list[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    return (chunks[start : start + _AHEAD] for start in range(0, len(chunks), _AHEAD))


async def _raise_missing(belongings: Belongings, run_id: str, name: str, dataset: DatasetInfo) -> None:
    if (await info(belongings, run_id, name)).token != dataset.token:
        raise DatasetReplaced(run_id, name)
    raise CorruptRecord(dataset_id(run_id, name), "one of its chunks is missing")


async def remove(belongings: Belongings, run_id: str, name: str) -> bool:
    """Remove it, and its chunks that nobody else claims; False if there is none."""
    result = await belongings.result(dataset_id(check_run(run_id), check_key(name, "name")))
    if result is None:
        return False
    async with belongings.core.life:
        [is_removed] = await belongings.core.engine.remove([result.task_id], belongings.core.clock())
    await release(belongings, run_id, info_of(result).token)
    return is_removed


async def all_of(belongings: Belongings, run_id: str) -> list[DatasetInfo]:
    """The datasets of a run, the one that was saved first comes first."""
    core = belongings.core
    listing = children_of(datasets_of(check_run(run_id)))
    return [info_of(result) async for result in results(core, walk(core, listing))]


class Datasets:
    """What runs work on: rows under a name, and values that several runs share. ``backend.runs.datasets``."""

    def __init__(self, belongings: Callable[[], Belongings]) -> None:
        self._belongings = belongings

    async def save(
        self, run_id: str, rows: Iterable[Any] | AsyncIterable[Any], name: str = "default"
    ) -> DatasetInfo:
        """Store the rows, any values, in place of those that have this name; as they come, in chunks.

        Until all are there, those of before are what ``load`` reads, and they stay if anything fails. Rows
        that another run has as well are stored once. Raises UnknownRun, and NotSerializable with the row.
        """
        return await save(self._belongings(), run_id, name, rows)

    def load(self, run_id: str, name: str = "default") -> AsyncGenerator[Any, None]:
        """The rows in order, a few chunks in memory at a time. Raises UnknownDataset at the first step.

        DatasetReplaced, if somebody saves others under this name before all were read.
        """
        return load(self._belongings, check_run(run_id), check_key(name, "name"))

    async def info(self, run_id: str, name: str = "default") -> DatasetInfo:
        """How many rows it has, and their digest. Raises UnknownDataset."""
        return await info(self._belongings(), run_id, name)

    async def all(self, run_id: str) -> list[DatasetInfo]:
        """The datasets of a run, in the order in which they were saved."""
        return await all_of(self._belongings(), run_id)

    async def delete(self, run_id: str, name: str = "default") -> bool:
        """Remove it; False if there is none. Rows that other runs have stay."""
        return await remove(self._belongings(), run_id, name)

    async def share(self, run_id: str, value: Any) -> str:
        """Store a value, such as a prompt, once for all runs that share it; returns its digest.

        It is removed with the last run that has shared it. Raises UnknownRun and NotSerializable.
        """
        return await share(self._belongings(), run_id, value)

    async def shared(self, digest: str, *, as_: TypeForm[T] = None) -> T:
        """The value with this digest. Raises UnknownDataset if no run shares it (any more)."""
        return cast(T, await shared(self._belongings(), digest, view_of(as_, load_result=True)))
