"""The contract of values that are shown in part: every storage shows the same bytes of the same values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import pytest

from flowstore import BaseResultBackend, Excerpt, NotSerializable, TaskResult
from flowstore.engine import STATUSES, Entry, Query
from flowstore.stand_ins import NOT_LOADED
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.values import SAMPLE_TYPES, Colour, Order, Point
from flowstore.testing.insides import core_of, encoded

_RESULTS: Final[list[Any]] = [
    *(None, (), {}, [], "", 0, 10**30, "é\U0001f600" * 7, b"\xff" * 50, datetime(2026, 1, 1, tzinfo=UTC)),
    *({"a": [1, (2, 3.5)], "$b": None}, list(range(5_000)), "x" * 300_000, b"y" * 300_000),
    *(Point(1, [Colour.RED]), Order(number=7, lines={"a": (1,)})),
]
_RECORDS: Final = {
    f"t{n}": TaskResult.success(f"t{n}", result, args=args, kwargs=kwargs)
    for n, result in enumerate(_RESULTS)
    for args, kwargs in [((1, "a"), {"k": [result]}) if n % 2 else ((), {})]
}


class BeginningsContract(Contract):
    async def test_what_is_shown_in_part_is_the_same_everywhere(self, make_backend: MakeBackend) -> None:
        """The first bytes of the encoded values, and how many there are, as ``cut`` makes them of objects."""
        async with make_backend(types=SAMPLE_TYPES) as backend:
            await backend.store_many(_RECORDS.values())
            core = core_of(backend)
            for most in (0, 3, 30, 3_000, 10**7):
                read = await core.engine.read([*_RECORDS], max_body=most)
                listed = await core.engine.scan(Query(STATUSES, 100, max_body=most), 0)
                for entry in (*read, *listed):
                    assert entry is not None
                    shown = core.records.cut(entry, most)
                    body = encoded(backend, _RECORDS[entry.id])
                    assert shown.body == body[:most]
                    assert shown.body_size == (len(body) if len(body) > most else None)
                    _check_fields(core.records, shown)

    async def test_what_is_cut_twice_keeps_its_size(self, make_backend: MakeBackend) -> None:
        """Also where it was read whole before."""
        async with make_backend() as backend:
            await backend.store("t12", _RECORDS["t12"])
            core = core_of(backend)
            [whole] = await core.engine.read(["t12"])
            assert whole is not None
            first = core.records.cut(whole, 40)
            again = core.records.cut(first, 20)
            assert first.body is not None
            assert first.body_size == again.body_size == len(encoded(backend, _RECORDS["t12"]))
            assert again.body == first.body[:20]
            assert core.records.cut(first, 40) == first

    async def test_readers_of_a_part(self, make_backend: MakeBackend) -> None:
        """What is small is whole; of what is large each value that has begun is told, and its true size."""
        async with make_backend(types=SAMPLE_TYPES) as backend:
            large = TaskResult.success("a", {"rows": ["x" * 10] * 10_000}, args=((1,),), labels=["l"])
            small = TaskResult.success("b", (1, Colour.RED))
            await backend.store_many([large, small])
            size = len(encoded(backend, large))
            found = await backend.get("a", max_value=100)
            assert found is not None
            for read in (
                found,
                (await backend.get_many(["a"], max_value=100))["a"],
                await _listed(backend, 100),
            ):
                assert isinstance(read.result, Excerpt)
                assert read.result.size == size
                assert read.result.data["rows"][:5] == ["x" * 10] * 5
                assert len(read.result.data["rows"]) < 10
                left_out: list[Any] = [read.args, read.kwargs]
                assert left_out == [NOT_LOADED] * 2
                assert read.labels == {"l"}
                assert not read.is_loaded
            with pytest.raises(TypeError, match="max_value"):
                found.unwrap()
            with pytest.raises(NotSerializable, match="max_value"):
                await backend.store("a", found, overwrite=True)
            whole = await backend.get("a", max_value=size)
            assert whole is not None
            assert whole.result == large.result
            again = await backend.get("b", max_value=100)
            assert again is not None
            assert again.unwrap() == (1, Colour.RED)
            nothing = await backend.get("a", max_value=0)
            assert nothing is not None
            assert nothing.result is NOT_LOADED

    async def test_nested_deeper_than_an_excerpt_can_show(self, backend: BaseResultBackend) -> None:
        """It shows nothing of it, and no more is wrong."""
        value: Any = "x" * 1_000
        for _ in range(99):
            value = {1: value}
        await backend.store("t", TaskResult.success("t", value))
        found = await backend.get("t", max_value=900)
        assert found is not None
        assert found.result is NOT_LOADED

    async def test_bad_sizes(self, backend: BaseResultBackend) -> None:
        """Refused by name, and where there is nothing to cut."""
        bad: list[Any] = [-1, True, 1.5, "9", 2**31]
        for most in bad:
            with pytest.raises((TypeError, ValueError), match=r"^max_value: "):
                await backend.get("t", max_value=most)
        for others in ({"as_": int}, {"load_result": False}):
            with pytest.raises(ValueError, match=r"^max_value: "):
                await backend.page(max_value=1, **others)


async def _listed(backend: BaseResultBackend, most: int) -> TaskResult:
    page = await backend.page(label="l", max_value=most)
    assert page.unreadable == []
    return page.items[0]


def _check_fields(records: Any, shown: Entry) -> None:
    """All but the values can be read, and they as well where they are all there."""
    assert records.is_whole(shown)
    found, stored = records.decode(shown), _RECORDS[shown.id]
    assert (found.task_id, found.status, found.version) == (stored.task_id, stored.status, 1)
    if shown.body_size is None:
        assert (found.result, found.args, found.kwargs) == (stored.result, stored.args, stored.kwargs)
    else:
        values: list[Any] = [found.result, found.args, found.kwargs]
        for value in values:
            assert value is NOT_LOADED or value.size == shown.body_size
