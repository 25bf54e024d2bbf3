"""The contract of text in a search: where it is found, in which spelling, in values of any type and size."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowstore import BaseResultBackend, TaskError, TaskResult
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.naive_queries import quoted
from flowstore.testing.contract.searching import hits, pieces
from flowstore.testing.contract.values import SAMPLE_TYPES, Colour, Order, Point
from flowstore.testing.insides import know_only, plant
from flowstore.testing.support import EFFORT, failed, ids

_E: Final = "\N{LATIN SMALL LETTER E WITH ACUTE}"
MANY: Final = "abcdefgh" * 2**17
"""A MiB."""

FOUND: Final[dict[str, tuple[Any, list[str]]]] = {
    "a string": ("The Quick fox", ["quick", "QUICK FOX", "k f"]),
    "quotes": ('he said "no"', ['said "no"', '"NO"']),
    "a backslash": ("C:\\new\\table", ["c:\\NEW", "\\t"]),
    "lines": ("one\ntwo\tthree", ["one\ntwo", "\t"]),
    "accents": (f"Caf{_E}", [f"CAF{_E.upper()}", _E]),
    "other cases": ("STRASSE", ["stra\N{LATIN SMALL LETTER SHARP S}e"]),
    "outside of the BMP": ("\N{SNAKE}!", ["\N{SNAKE}"]),
    "a lone surrogate": ("caf\udce9 noir", ["noir"]),
    "an int": (31_415, ["3141", "31415"]),
    "a large int": (2**70, [str(2**70)]),
    "a float": (2.75, ["2.75", ".7"]),
    "none in a list": ([None, True], ["null", "TRUE"]),
    "keys": ({"user_id": {"deep": [1]}}, ["user_", "DEEP"]),
    "odd keys": ({"$ref": 1, "x": 2}, ["$ref", "x"]),
    "keys that are no text": ({7: "seven", (1, "two"): 0}, ["seven", "two"]),
    "a datetime": (datetime(2026, 11, 25, 10, tzinfo=UTC), ["2026-11-25t10", "10:00"]),
    "a decimal": (Decimal("12.50"), ["12.50"]),
    "a model": (Order(number=815, lines=[Point(4711, Colour.RED)]), ["815", "4711", "number"]),
    "an enum": ([Colour.BLUE], ["BLUE"]),
}
"""A value, and what finds it."""

NOT_FOUND: Final[dict[str, list[str]]] = {
    "a string": ["thequick", "quick, fox", '"the', "result", "args"],
    "lines": ["\\n", "onetwo"],
    "accents": ["\\u00e9", "cafe", "\\xc3"],
    "keys": ['"user_id":', "user_id: 1", "id deep"],
    "an int": ["31416", "31_415"],
    "a datetime": ["$datetime", "datetime"],
    "odd keys": ["$dict"],
}
"""What does not: it is no part of one string, number or key."""


class FindingTextContract(Contract):
    @pytest.mark.parametrize("where", ["result", "args", "kwargs"])
    async def test_values_are_found_by_their_text(self, make_backend: MakeBackend, where: str) -> None:
        """Strings, numbers and keys, each by itself, whatever their types; also where these are not known."""
        async with make_backend(types=SAMPLE_TYPES) as backend:
            for name, (value, _) in FOUND.items():
                fields: dict[str, Any] = {"args": [value]} if where == "args" else {"kwargs": {"k": value}}
                result = value if where == "result" else None
                await backend.store(
                    name, TaskResult.success(name, result, **({} if result is value else fields))
                )
            for _ in range(2):
                for name, (_, texts) in FOUND.items():
                    for text in texts:
                        assert name in await hits(backend, quoted(text)), text
                        assert name not in await hits(backend, f"-{quoted(text)}"), text
                    for text in NOT_FOUND.get(name, ()):
                        assert name not in await hits(backend, quoted(text)), text
                know_only(backend)

    async def test_spellings_of_json(self, backend: BaseResultBackend) -> None:
        """Escapes, digits and white space may be as JSON allows; what is found is the value."""
        body = rb'{ "result" : ["caf\u00E9 \"x\" \/\ud83d\udc0d", 1e2, "a\\u00e9"],"kwargs":{"\u006bey":1} }'
        await plant(backend, failed("t"), body=body)
        for text in (f"CAF{_E} ", '"x" /\N{SNAKE}', "100.0", "key", "a\\u00e9"):
            assert await hits(backend, quoted(text)) == ["t"], text
        for text in ("1e2", "\\/", "ud83d", "u006b", f"a{_E}"):
            assert await hits(backend, quoted(text)) == [], text

    async def test_name_and_error(self, backend: BaseResultBackend) -> None:
        """The name, and type and message of the error and of its causes; nothing else beside the values."""
        cause = TaskError(type="socket.Timeout", message="after 3 s")
        error = TaskError(type="app.Broken", message="no answer", cause=cause, traceback="in main.py")
        fields: dict[str, Any] = {"worker_id": "w1", "labels": {"red"}, "meta": {"tenant": "acme"}}
        await backend.store("t1", TaskResult.failed("t1", error, task_name="Mail.Send", **fields))
        for text in ("mail.send", "APP.BROKEN", "no answer", "socket", "3 s"):
            assert await hits(backend, quoted(text)) == ["t1"]
        for text in ("t1", "w1", "red", "acme", "tenant", "main.py", "brokenno"):
            assert await hits(backend, quoted(text)) == []
        assert await hits(backend, 'mail "no answer" -blue') == ["t1"]
        assert await hits(backend, "mail -socket") == []

    async def test_all_texts_of_a_query_must_be_there(self, backend: BaseResultBackend) -> None:
        """In any of the places, and none of those that must not."""
        await backend.store_many(
            TaskResult.success(f"t{n}", {"n": n}, task_name="even" if n % 2 == 0 else "odd", args=["x" * n])
            for n in range(6)
        )
        assert sorted(await hits(backend, "even xx")) == ["t2", "t4"]
        assert sorted(await hits(backend, "even -xxx")) == ["t0", "t2"]
        assert sorted(await hits(backend, "-even -xxx")) == ["t1"]

    @pytest.mark.parametrize("over", [None, 100])
    async def test_search_of_large_values(self, make_backend: MakeBackend, over: int | None) -> None:
        """Of a record the first MiB is searched, compressed or not; the answer says how many have more."""
        async with make_backend(compress_over=over) as backend:
            await backend.store("small", TaskResult.success("small", ["first", MANY[:-100], "last"]))
            await backend.store("large", TaskResult.success("large", ["first", MANY, "last"]))
            [first] = await pieces(backend, "first")
            assert (sorted(ids(first.items)), first.cut) == (["large", "small"], 1)
            [last] = await pieces(backend, "last")
            assert (ids(last.items), last.cut) == (["small"], 1)
            [beside] = await pieces(backend, "-status:success last")
            assert beside.cut == 0

    async def test_any_text_in_any_value(self, make_backend: MakeBackend) -> None:
        """Generated values and texts: found exactly where one of the texts in the value has it in it."""
        texts = st.text(st.sampled_from('aA\\"n\n\u00e9\u00c9\N{SNAKE}$1.'), min_size=1, max_size=4)
        values = st.recursive(
            st.none() | st.booleans() | st.integers() | texts,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
            max_leaves=5,
        )
        examples: list[tuple[Any, str]] = []

        @settings(max_examples=60 * EFFORT, database=None, suppress_health_check=list(HealthCheck))
        @given(values, texts)
        def collect(value: Any, text: str) -> None:
            examples.append((value, text))

        await asyncio.to_thread(collect)
        async with make_backend() as backend:
            for n, (value, _) in enumerate(examples):
                await backend.store(f"t{n}", TaskResult.success(f"t{n}", value))
            for _, text in examples:
                expected = {f"t{n}" for n, (value, _) in enumerate(examples) if _has(value, text.casefold())}
                assert {*await hits(backend, quoted(text), limit=1_000, seconds=60)} == expected, text

    async def test_updated_tasks_have_the_text_they_have(self, backend: BaseResultBackend) -> None:
        """Only the last version counts."""
        await backend.store("t", TaskResult.success("t", "before", at=datetime.now(UTC) - timedelta(days=1)))
        await backend.store("t", TaskResult.success("t", "after"), overwrite=True)
        assert await hits(backend, "before") == []
        assert await hits(backend, "after since:1h") == ["t"]


def _has(value: Any, folded: str, is_top: bool = True) -> bool:
    if isinstance(value, dict):
        return any(folded in key.casefold() or _has(item, folded, False) for key, item in value.items())
    if isinstance(value, list):
        return any(_has(item, folded, False) for item in value)
    if value is None:
        return not is_top and folded in "null"
    return folded in str(value).casefold()
