"""The contract of compressed values: nobody can tell, but for the room that they take."""

from __future__ import annotations

import asyncio
import struct
import zlib
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowstore import (
    BaseResultBackend,
    CorruptRecord,
    Excerpt,
    PayloadTooLarge,
    TaskResult,
    TaskStatus,
    UnreadableRecord,
    UnreadableRecords,
)
from flowstore.stand_ins import NOT_LOADED
from flowstore.testing.contract.base import NO_RECHECK, Contract, MakeBackend
from flowstore.testing.contract.values import SAMPLE_TYPES, Colour, Order, Point, is_same, native_values
from flowstore.testing.insides import encoded, plant, plant_kept
from flowstore.testing.support import ids, stored, waiting

_LARGE: Final[dict[str, Any]] = {
    "text": "line \N{SNAKE}\n" * 20_000,
    "bytes": bytes(range(256)) * 1_000,
    "rows": [{"id": n, "name": f"row {n}", "score": n / 7} for n in range(5_000)],
    "tagged": [(n, {n}, 2**70 + n, float("inf")) for n in range(2_000)],
    "types": [Order(number=n, lines=[Point(n, Colour.RED)]) for n in range(1_000)],
}
_SMALL: Final[list[Any]] = [None, 0, "", (), {"a": 1}, Point(1, Colour.BLUE), "x" * 80]
_VALUES: Final = {**_LARGE, **{f"small {n}": value for n, value in enumerate(_SMALL)}}
_ZLIB: Final = 1
_UNKNOWN: Final = b"\x08" + struct.pack(">Q", 100) + b"of a newer program"


def compressed(plain: bytes, size: int | None = None) -> bytes:
    """As docs/formats.md has it."""
    return struct.pack(">BQ", _ZLIB, len(plain) if size is None else size) + zlib.compress(plain)


def _result(name: str) -> TaskResult:
    value = _VALUES[name]
    return TaskResult.success(name, value, args=(value, 1), kwargs={"k": value})


def _is_stored(found: TaskResult) -> bool:
    value = _VALUES[found.task_id]
    values = (found.result, found.args, found.kwargs)
    return all(map(is_same, values, (value, (value, 1), {"k": value})))


class CompressionContract(Contract):
    async def test_any_value_comes_back_from_where_it_is_compressed(self, make_backend: MakeBackend) -> None:
        """Nested values of all native types, as result and arguments, data and checkpoints."""
        backend = make_backend(types=SAMPLE_TYPES, compress_over=40)
        loop = asyncio.get_running_loop()

        @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(native_values(), max_size=30))
        def comes_back(value: Any) -> None:
            found = asyncio.run_coroutine_threadsafe(_through(backend, value), loop).result(60)
            assert all(is_same(each, value) for each in found)

        async with backend:
            await asyncio.to_thread(comes_back)

    async def test_large_and_small_values_by_every_reader(self, make_backend: MakeBackend) -> None:
        """By id, by listing, by waits that began before, and taken away."""
        async with make_backend(
            types=SAMPLE_TYPES, compress_over=100, recheck_interval=NO_RECHECK
        ) as backend:
            waits = {name: await waiting(backend, name) for name in _VALUES}
            await backend.store_many(_result(name) for name in _VALUES)
            for wait in waits.values():
                assert _is_stored(await wait)
            readers = [
                [await stored(backend, name) for name in _VALUES],
                [*(await backend.get_many(_VALUES)).values()],
                (await backend.page(limit=100)).items,
                [found async for found in backend.iter_by_status(TaskStatus.SUCCESS)],
                [await backend.wait_for(name, 30) for name in _VALUES],
                [found for name in _VALUES if (found := await backend.take(name)) is not None],
            ]
            for read in readers:
                assert sorted(ids(read)) == sorted(_VALUES)
                assert all(map(_is_stored, read))

    async def test_values_beside_a_record(self, make_backend: MakeBackend) -> None:
        """Data and checkpoints of a task, data and description of the app; with their versions and order."""
        async with make_backend(types=SAMPLE_TYPES, compress_over=100) as backend:
            await backend.store("t", TaskResult.running("t"))
            for name, value in _VALUES.items():
                assert await backend.data.set("t", name, None) == 1
                assert await backend.data.set("t", name, value, if_version=1) == 2
                await backend.checkpoints.save("t", value)
                await backend.app.data.set(name, value)
            await backend.app.register(_VALUES)
            saved = await backend.checkpoints.all("t")
            app = await backend.app.info()
            assert app is not None
            assert is_same([one.value for one in saved], [*_VALUES.values()])
            for found in (await backend.data.all("t"), await backend.app.data.all(), app.info):
                assert is_same({name: found[name] for name in _VALUES}, _VALUES)

    async def test_a_part_of_a_compressed_value(self, make_backend: MakeBackend) -> None:
        """The size is that of all JSON, what is shown is its beginning, and what is no larger is whole."""
        async with make_backend(types=SAMPLE_TYPES, compress_over=100) as backend:
            result = TaskResult.success("t", _LARGE["rows"])
            await backend.store("t", result)
            size = len(encoded(backend, result))
            for most in (100, 3_000, 50_000, size - 1):
                page = await backend.page(max_value=most)
                for found in (await backend.get("t", max_value=most), *page.items):
                    assert found is not None
                    excerpt: Any = found.result
                    if excerpt is NOT_LOADED:  # so short that nothing was to be read from it
                        assert most == 100
                        continue
                    assert isinstance(excerpt, Excerpt)
                    assert excerpt.size == size
                    whole_rows = excerpt.data[:-1]
                    assert whole_rows == _LARGE["rows"][: len(whole_rows)]
                    assert len(whole_rows) >= most // 400
            for most, expected in ((size, _LARGE["rows"]), (0, NOT_LOADED)):
                read = await backend.get("t", max_value=most)
                assert read is not None
                assert read.result == expected

    async def test_attempts_keep_compressed_arguments(self, make_backend: MakeBackend) -> None:
        """Reports, another expiry, a rescue and changes without the values leave them as they are."""
        async with make_backend(types=SAMPLE_TYPES, compress_over=100) as backend:
            value = _LARGE["types"]
            running = TaskResult.running("t", worker_id="w", args=(value,), kwargs={"k": value})
            await backend.store("t", running)
            assert await backend.set_progress("t", 3, 9)
            assert await backend.expire("t", 3_600)
            assert await backend.workers.requeue("w") == ["t"]
            async with backend.track("t", worker_id="w2", retries=1) as task:
                between = await stored(backend, "t")
                assert is_same((between.result, between.args, between.kwargs), (None, (value,), {"k": value}))
                task.result = value
            changed = await backend.update("t", _labelled, load_result=False)
            assert changed is not None
            assert changed.labels == {"seen"}
            found = await backend.update("t", _doubled)
            assert found is not None
            for each in (found, await stored(backend, "t")):
                assert is_same(
                    (each.result, each.args, each.kwargs), ([*value, *value], (value,), {"k": value})
                )

    async def test_a_retry_drops_the_result_alone(self, backend: BaseResultBackend) -> None:
        """Of a body that somebody has compressed with a result in it."""
        body = compressed(b'{"result":[1],"args":["x"],"kwargs":{"k":2},"newer":3}')
        await plant(backend, TaskResult.running("t", worker_id="w"), body=body)
        assert (await stored(backend, "t")).result == [1]
        assert await backend.workers.requeue("w") == ["t"]
        found = await stored(backend, "t")
        assert (found.result, found.args, found.kwargs) == (None, ("x",), {"k": 2})

    async def test_the_limit_is_that_of_the_json(self, make_backend: MakeBackend) -> None:
        """On write and on read, however small it was compressed to; nothing else is harmed."""
        async with make_backend(max_result_bytes=10_000, compress_over=100) as backend:
            await backend.store("t", TaskResult.running("t"))
            for store in (
                backend.store("u", TaskResult.success("u", "x" * 10_000)),
                backend.data.set("t", "k", "x" * 10_000),
                backend.checkpoints.save("t", "x" * 10_000),
            ):
                with pytest.raises(PayloadTooLarge, match="limit is 10000"):
                    await store
            large = b'{"result":"%b"}' % (b"x" * 10_000)
            await plant(backend, TaskResult.success("large"), body=compressed(large))
            await plant(backend, TaskResult.success("bomb"), body=compressed(b" " * 10**7 + large, 50))
            await backend.store("whole", TaskResult.success("whole", "x" * 9_000))
            with pytest.raises(CorruptRecord, match=r"'large'.*10013 bytes, compressed; the limit is 10000"):
                await backend.get("large")
            with pytest.raises(CorruptRecord, match=r"'bomb'.*not the 50 bytes that it says"):
                await backend.get("bomb")
            page = await backend.page()
            assert sorted(ids(page.items)) == ["t", "whole"]
            assert sorted(one.task_id for one in page.unreadable) == ["bomb", "large"]
            assert len((await backend.page(load_result=False)).items) == 4

    async def test_what_this_program_cannot_decompress(self, backend: BaseResultBackend) -> None:
        """It is not called damaged, hides no other record, can be listed without values, and replaced."""
        await backend.store("t", TaskResult.running("t"))
        await plant(backend, TaskResult.success("new"), body=_UNKNOWN)
        await plant_kept(backend, "data", "t", "k", _UNKNOWN)
        await plant_kept(backend, "app", "", "info", _UNKNOWN)
        for call in (
            backend.get("new"),
            backend.get("new", max_value=20),
            backend.wait_for("new", 30),
            backend.take("new"),
            backend.data.get("t", "k"),
            backend.app.info(),
        ):
            with pytest.raises(UnreadableRecord, match="upgrade flowstore") as caught:
                await call
            assert type(caught.value) is UnreadableRecord
        page = await backend.page()
        assert (ids(page.items), [one.task_id for one in page.unreadable]) == (["t"], ["new"])
        assert len((await backend.page(load_result=False)).items) == 2
        with pytest.raises(UnreadableRecords, match="upgrade flowstore"):
            await backend.list_by_status(TaskStatus.SUCCESS)
        assert await backend.store("new", TaskResult.success("new", 1), overwrite=True)
        assert await backend.data.set("t", "k", 2) == 2
        assert (await stored(backend, "new")).result == 1


async def _through(backend: BaseResultBackend, value: Any) -> list[Any]:
    result = TaskResult.success("t", value, args=(value,), kwargs={"value": value})
    await backend.store("t", result, overwrite=True)
    await backend.data.set("t", "k", value)
    await backend.checkpoints.save("t", value, keep=1)
    read = await stored(backend, "t")
    latest = await backend.checkpoints.latest("t")
    assert latest is not None
    return [read.result, *read.args, read.kwargs["value"], await backend.data.get("t", "k"), latest.value]


def _labelled(found: TaskResult | None) -> TaskResult:
    assert found is not None
    return found.model_copy(update={"labels": frozenset({"seen"})})


def _doubled(found: TaskResult | None) -> TaskResult:
    assert found is not None
    value: Any = found.result
    return found.model_copy(update={"result": [*value, *value]})
