"""The contract of values: what comes back equals what went in, type included, or is refused with its path."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowstore import (
    BaseResultBackend,
    NotSerializable,
    PayloadTooLarge,
    TaskResult,
    UnresolvedValue,
)
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.values import SAMPLE_TYPES, Point, is_same, native_values
from flowstore.testing.insides import know_only


class ValuesContract(Contract):
    async def test_native_values_come_back_as_they_went_in(self, make_backend: MakeBackend) -> None:
        """Nested values of all native types, as result, args and kwargs, through the storage."""
        backend = make_backend(types=SAMPLE_TYPES)
        loop = asyncio.get_running_loop()

        @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(native_values(), st.lists(native_values(), max_size=2))
        def comes_back(value: Any, args: list[Any]) -> None:
            stored = TaskResult.success("t", value, args=tuple(args), kwargs={"value": value})
            read = asyncio.run_coroutine_threadsafe(_through(backend, stored), loop).result(60)
            assert is_same(read.result, value)
            assert is_same(read.args, tuple(args))
            assert is_same(read.kwargs, {"value": value})

        async with backend:
            await asyncio.to_thread(comes_back)

    async def test_refusals_name_the_path(self, backend: BaseResultBackend) -> None:
        """A value that cannot be stored is refused with its path and a remedy, and nothing is stored."""
        cyclic: list[Any] = []
        cyclic.append(cyclic)
        refused: list[tuple[Any, str]] = [
            (object(), "result: object"),
            (
                {"rows": [1, 2, 3, {"callback": len}]},
                "result['rows'][3]['callback']: builtin_function_or_method",
            ),
            ([Counter()], "result[0]: collections.Counter would come back as a plain dict"),
            ({(1, b"x"): {2: {3.5}}, "k": (1, lambda: 0)}, "result['k'][1]: function"),
            (Point(1, 2), "pass types=[Point] to the backend"),
            (cyclic, "nested deeper than 100 levels, or contains itself"),
        ]
        for value, message in refused:
            with pytest.raises(NotSerializable) as caught:
                await backend.store("t", TaskResult.success("t", value))
            assert message in str(caught.value)
        with pytest.raises(NotSerializable, match=r"args\[1\]: function"):
            await backend.store("t", TaskResult.pending("t", args=(1, lambda: 0)))
        with pytest.raises(NotSerializable, match=r"kwargs\['f'\]: function"):
            await backend.store("t", TaskResult.pending("t", kwargs={"f": lambda: 0}))
        assert await backend.exists("t") is False

    async def test_size_limit(self, make_backend: MakeBackend) -> None:
        """A value over max_result_bytes is refused, one below it is stored; nothing is half written."""
        async with make_backend(max_result_bytes=1_000) as backend:
            with pytest.raises(PayloadTooLarge, match=r"result: .* limit is 1000"):
                await backend.store("t", TaskResult.success("t", "x" * 1_000))
            assert await backend.exists("t") is False
            assert await backend.store("t", TaskResult.success("t", "x" * 900))

    async def test_large_values(self, backend: BaseResultBackend) -> None:
        """Megabytes in one record come back whole."""
        value = {"blob": bytes(range(256)) * 8_000, "text": "\N{SNAKE}\n\0" * 100_000, "int": -(7**12_000)}
        await backend.store("t", TaskResult.success("t", value))
        assert (await backend.wait_for("t", 30)).unwrap() == value

    async def test_type_unknown_to_the_reader(self, make_backend: MakeBackend) -> None:
        """The record is read, and whoever looks at the value is told what is missing."""
        backend = make_backend(types=SAMPLE_TYPES)
        async with backend:
            await backend.store_many([TaskResult.success("p", Point(1, 2)), TaskResult.success("q", 1)])
            know_only(backend)
            found = await backend.get("p")
            assert found is not None
            for result in (found, await backend.wait_for("p", 5)):
                assert result.is_success
                with pytest.raises(UnresolvedValue, match=r"'p'.*Point.*not registered"):
                    result.unwrap()
            assert (await backend.wait_for("q", 5)).result == 1
            assert len((await backend.page(load_result=False)).items) == 2


async def _through(backend: BaseResultBackend, stored: TaskResult) -> TaskResult:
    await backend.store("t", stored, overwrite=True)
    read = await backend.get("t")
    assert read is not None
    return read
