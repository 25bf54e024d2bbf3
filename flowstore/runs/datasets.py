"""Datasets of runs: rows in chunks, which are payloads, and a manifest that says which they are.

A dataset is replaced by one write of its manifest, after all of its chunks are stored. Rows that two runs
have in common are in the same chunks, as far as they come in the same order, and are stored once.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from typing import Any, Final, cast

from pydantic import Field

from flowstore._core.listing import results, walk
from flowstore._core.viewing import view_of
from flowstore._trips.lifecycle import to_its_end
from flowstore._values.typed import TypeForm
from flowstore.engine import Standing, Verdict, Write
from flowstore.errors import CorruptRecord, DatasetReplaced, NotSerializable, UnknownDataset
from flowstore.fields import Record, Timestamp
from flowstore.models import T, TaskResult
from flowstore.runs.belongings import Belongings, children_of, standing_run
from flowstore.runs.ids import as_said, blob_id, check_key, check_run, dataset_id, datasets_of, key_of
from flowstore.runs.life import refusal
from flowstore.runs.payloads import claim, release, share, shared

_ROWS: Final = 500
_BYTES: Final = 256 * 1024
_AHEAD: Final = 4
_NO_VERSION: Final = 2**53 - 1
_FIELD: Final = "result"
_BEFORE: Final = b'{"result":['
_BEHIND: Final = b"]}"


class DatasetInfo(Record):
    """A dataset of a run. ``digest``: the same for the same rows, whatever the run and the backend, for
    those with one ``max_result_bytes``."""

    name: str
    rows: int
    digest: str
    saved_at: Timestamp
    token: str = Field(repr=False)
    replaced: list[str] = Field(repr=False)
    chunks: list[tuple[str, int]] = Field(repr=False)


async def save(
    belongings: Belongings, run_id: str, name: str, rows: Iterable[Any] | AsyncIterable[Any]
) -> DatasetInfo:
    check_run(run_id)
    check_key(name, "name")
    _check_rows(rows)
    belongings.core.life.check()  # before there is a task, which needs a loop
    token = secrets.token_hex(8)
    try:
        chunks = await _store_chunks(belongings, run_id, token, rows)
        await _replace(belongings, run_id, name, token, chunks)
    except BaseException as error:
        try:
            await to_its_end(_settle(belongings, run_id, name, token))
        except Exception as trouble:
            # It goes with the run. An exception of the save goes first.
            error.add_note(f"what it had stored was not removed: {type(trouble).__name__}: {trouble}")
        raise
    return await info(belongings, run_id, name)


def _check_rows(rows: object) -> None:
    if isinstance(rows, str | bytes | Mapping) or not isinstance(rows, Iterable | AsyncIterable):
        raise TypeError(
            f"rows: expected an iterable of rows, or an asynchronous one, got {type(rows).__name__}"
        )


async def _settle(belongings: Belongings, run_id: str, name: str, token: str) -> None:
    """Let what was stored under a token, and is not the dataset, go; or what was it before, if it is."""
    # An answer may have been lost, and its write still be under way. None comes behind a later one of its
    # backend, such as this, which never applies.
    never = _manifest(belongings, run_id, name, token, [], None)._replace(if_version=_NO_VERSION)
    await belongings.write([never])
    standing = await belongings.result(dataset_id(run_id, name))
    if standing is not None and info_of(standing).token == token:
        await release(belongings, run_id, info_of(standing).replaced)
    else:
        await release(belongings, run_id, [token])


async def _store_chunks(
    belongings: Belongings, run_id: str, token: str, rows: Iterable[Any] | AsyncIterable[Any]
) -> list[tuple[str, int]]:
    stored: list[tuple[str, int]] = []
    most = min(_BYTES, belongings.core.records.codec.max_bytes - len(_BEFORE + _BEHIND))
    async for chunk in _chunks(_encoded(belongings, rows), most):
        body = _BEFORE + b",".join(chunk) + _BEHIND
        # To its end, or it would be under way while it is being settled
        [digest] = await to_its_end(claim(belongings, run_id, token, [body]))
        stored.append((digest, len(chunk)))
    return stored


async def _encoded(belongings: Belongings, rows: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[bytes]:
    """Each row as JSON. Raises NotSerializable with the number of the row and the path in it."""
    codec = belongings.core.records.codec
    number = 0
    async for row in _each(rows):
        try:
            # In a list, as deep as in its chunk, and as large as a chunk of it alone
            body = codec.encode_fields({_FIELD: [row]})
        except NotSerializable as error:
            raise as_said(error, f"rows[{number}]", f"{_FIELD}[0]", _FIELD) from None
        yield body[len(_BEFORE) : -len(_BEHIND)]
        number += 1


async def _each(rows: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[Any]:
    if isinstance(rows, AsyncIterable):
        async for row in rows:
            yield row
    else:
        for row in rows:
            yield row


async def _chunks(rows: AsyncIterator[bytes], most: int) -> AsyncIterator[list[bytes]]:
    """``most``: bytes of the rows of a chunk, unless it is one."""
    chunk: list[bytes] = []
    size = 0
    async for row in rows:
        if chunk and (len(chunk) == _ROWS or size + len(row) > most):
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += len(row) + len(b",")
    if chunk:
        yield chunk


async def _replace(
    belongings: Belongings, run_id: str, name: str, token: str, chunks: list[tuple[str, int]]
) -> None:
    while True:
        standing = await belongings.result(dataset_id(run_id, name))
        if standing is not None:  # whoever replaced that may not have got round to it
            await release(belongings, run_id, info_of(standing).replaced)
        write = _manifest(belongings, run_id, name, token, chunks, standing)
        [outcome] = await to_its_end(belongings.write([write]))
        if outcome.verdict is Verdict.OWNERLESS:
            raise await refusal(belongings.core, run_id)
        if outcome.is_applied:
            break
    if standing is not None:
        await release(belongings, run_id, [info_of(standing).token])


def _manifest(
    belongings: Belongings,
    run_id: str,
    name: str,
    token: str,
    chunks: list[tuple[str, int]],
    standing: TaskResult | None,
) -> Write:
    """What replaces ``standing``. Not by way of ``redact``, to which it would be a value like any other."""
    value = {
        "token": token,
        "replaced": [] if standing is None else [info_of(standing).token],
        "digest": hashlib.sha256("".join(each for each, _ in chunks).encode()).hexdigest(),
        "chunks": [[each, rows] for each, rows in chunks],
    }
    return belongings.written(
        dataset_id(run_id, name),
        datasets_of(run_id),
        None,
        owner=standing_run(run_id),
        if_version=0 if standing is None else standing.version,
        body=belongings.core.records.codec.encode_fields({_FIELD: value}),
    )


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
        replaced=said["replaced"],
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
    check_run(run_id)
    check_key(name, "name")
    belongings.core.life.check()  # before there is a task, which needs a loop
    belongings.core.check_writable()
    # To its end: without its manifest nobody would find what is left
    return await to_its_end(_remove(belongings, run_id, name))


async def _remove(belongings: Belongings, run_id: str, name: str) -> bool:
    entry_id = dataset_id(run_id, name)
    while True:
        [entry] = await belongings.read([entry_id])
        if entry is None:
            return False
        standing = info_of(belongings.core.records.decode(entry))
        if await belongings.remove([entry_id], [Standing(entry.version, entry.check)]):
            break
    await release(belongings, run_id, [standing.token, *standing.replaced])
    return True


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
