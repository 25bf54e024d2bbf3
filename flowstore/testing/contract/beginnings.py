"""The contract of values that are shown in part: every storage shows the same bytes of the same values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from flowstore import TaskResult
from flowstore.engine import STATUSES, Entry, Query
from flowstore.models import NOT_LOADED
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


def _check_fields(records: Any, shown: Entry) -> None:
    """All but the values can be read, and they as well where they are all there."""
    assert records.is_whole(shown)
    found, stored = records.decode(shown), _RECORDS[shown.id]
    assert (found.task_id, found.status, found.version) == (stored.task_id, stored.status, 1)
    if shown.body_size is None:
        assert (found.result, found.args, found.kwargs) == (stored.result, stored.args, stored.kwargs)
    else:
        assert found.result is found.args is found.kwargs is NOT_LOADED
