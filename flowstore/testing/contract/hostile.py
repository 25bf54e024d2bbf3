"""The contract under hostile input: results, texts and cursors made to break their readers."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flowstore import (
    BaseResultBackend,
    CorruptRecord,
    Filters,
    InvalidCursor,
    NotSerializable,
    PayloadTooLarge,
    Progress,
    TaskError,
    TaskResult,
    TaskStatus,
)
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.rude_errors import RUDE_ERRORS
from flowstore.testing.contract.values import SAMPLE_TYPES, Point
from flowstore.testing.insides import limit_reading, plant
from flowstore.testing.support import EFFORT, as_given, failed, ids, waiting, walk

ODD_TEXTS = ["'", '"', "\0", "%", "_", "*", "?", "[", "]", "\\", "{", "}", "\n", " ", ":", "\r", "\x85"]
TEXTS = st.lists(
    st.sampled_from([*ODD_TEXTS, "a", "i:", "r:", "*]", "{x}", "' OR 1=1 --"]) | st.characters(codec="utf-8"),
    min_size=1,
    max_size=12,
).map("".join)

HOLD_TWICE: list[Callable[[Any], Any]] = [
    lambda value: [value, value],
    lambda value: {"a": value, "b": value},
    lambda value: (value, value),
    lambda value: {1: value, 2: value},
    lambda value: Point(value, value),
    lambda value: frozenset([(value, 1), (value, 2)]),
]

OF_OTHER_KINDS = (
    "metaclass raises",
    "huge texts made by hand",
    "1,000 causes made by hand",
    "groups in groups made by hand",
)

BEYOND_BOUNDS: list[dict[str, Any]] = [
    {"labels": [str(n) for n in range(257)]},
    {"labels": ["x" * 513]},
    {"labels": ["\ud800"]},
    {"worker_id": "x" * 513},
    {"parent_id": ""},
    {"task_name": "\ud800"},
    {"retries": 2**31},
    {"retries": -(10**10_000)},
    {"progress": {"done": 1, "note": "x" * 4_097}},
    {"progress": {"done": 1, "note": "\ud800"}},
    {"progress": {"done": float("nan")}},
    {"progress": {"done": 10**10_000}},
    {"error": "boom"},
    {"args": "abc"},
    {"kwargs": {1: 2}},
    {"status": "done"},
    {"anything": 1},
]


class _Subclass(Progress):
    """Its own field would be lost."""

    extra: list[int]


UNCHECKED: list[dict[str, Any]] = [
    {"retries": 2**70},
    {"retries": True},
    {"retries": "1"},
    {"status": "failed"},
    {"status": None},
    {"task_name": "\ud800"},
    {"task_name": "x" * 10**6},
    {"task_name": 7},
    {"submitted_at": "now"},
    {"worker_id": "\ud800"},
    {"worker_id": "x" * 5_000_000},
    {"labels": {1, "x"}},
    {"kwargs": {1: 2}},
    {"kwargs": [1]},
    {"error": "boom"},
    {"error": TaskError.model_construct(type=5, message="m", args=(), traceback=None, cause=None)},
    {"progress": {"done": 1}},
    {"progress": Progress.model_construct(done=float("nan"), total=None, note=None)},
    {"progress": Progress.model_construct(done=1, total="x", note=None)},
    {"progress": _Subclass(done=1, extra=[1])},
]


def below(error: TaskError) -> Iterator[TaskError]:
    """All that is in the group, with the causes and groups of each."""
    for member in error.exceptions:
        for link in member.chain():
            yield link
            yield from below(link)


def check_bounds(error: TaskError) -> None:
    """Of this error and the exceptions in its group."""
    texts = (error.type, error.message, "".join(map(str, error.args)), "".join(error.notes))
    assert max(map(len, texts)) <= 4_096
    assert len(error.traceback or "") <= 16_384
    assert len(error.notes) <= 16
    assert len(error.exceptions) <= 16
    for each in below(error):
        check_bounds(each)


class HostileContract(Contract):
    @pytest.mark.parametrize("name", RUDE_ERRORS)
    async def test_whatever_went_wrong_is_stored_and_wakes(
        self, backend: BaseResultBackend, name: str
    ) -> None:
        """Exceptions that cannot be described: a bounded error, stored as failed, reaches the waiter."""
        task = await waiting(backend, "t")
        result = TaskResult.failed("t", RUDE_ERRORS[name]())
        assert await backend.store("t", result) is True
        read = await task
        assert read.status is TaskStatus.FAILED
        assert read.error == result.error
        assert read.error is not None
        assert 1 <= len(list(read.error.chain())) <= 16
        for link in read.error.chain():
            check_bounds(link)
        assert len(read.error.model_dump_json(exclude_defaults=True)) < 4 * 2**20

    async def test_what_is_no_exception_is_no_error(self, backend: BaseResultBackend) -> None:
        """A text or a class in its place is named where the result is made."""
        for wrong in ("boom", ValueError, None):
            with pytest.raises(TypeError, match="error: expected an exception or TaskError"):
                TaskResult.failed("t", wrong)  # type: ignore[arg-type]  # on purpose

    async def test_small_fields_at_their_bounds(self, backend: BaseResultBackend) -> None:
        """The largest error, labels and note, in characters that JSON escapes as six, come back."""
        error = None
        for _ in range(16):
            texts: dict[str, Any] = {
                "type": "\1" * 4_096,
                "message": "\1" * 4_096,
                "traceback": "\1" * 16_384,
            }
            error = TaskError(**texts, args=("\1" * 4_096,), cause=error)
        assert error is not None
        result = TaskResult.failed(
            "t",
            error,
            labels={f"{n:03}" + "\1" * 509 for n in range(256)},
            worker_id="\1" * 512,
            parent_id="\1" * 512,
            task_name="\1" * 512,
            progress=Progress(done=1, note="\1" * 4_096),
        )
        assert await backend.store("t", result) is True
        read = await backend.wait_for("t", 30)
        assert as_given(read).model_copy(update={"root_id": None}) == result

    @pytest.mark.parametrize("fields", BEYOND_BOUNDS, ids="-".join)
    async def test_small_fields_beyond_their_bounds(
        self, backend: BaseResultBackend, fields: dict[str, Any]
    ) -> None:
        """Such a result cannot be made, not even as a copy of another one."""
        sound = TaskResult.pending("t")
        with pytest.raises(ValueError, match=next(iter(fields))):
            TaskResult(**{"task_id": "t", "status": "pending", **fields})
        with pytest.raises(ValueError, match=next(iter(fields))):
            sound.model_copy(update=fields)
        assert await backend.store("t", sound) is True

    @pytest.mark.parametrize("fields", UNCHECKED, ids="-".join)
    async def test_a_result_that_nothing_checked_harms_no_other(
        self, backend: BaseResultBackend, fields: dict[str, Any]
    ) -> None:
        """Made by model_construct: refused, and the stores in the same trip succeed."""
        sound = dict(TaskResult.pending("bad"))
        bad: TaskResult = TaskResult.model_construct(**{**sound, **fields})
        stores = [backend.store(f"t{n}", TaskResult.pending(f"t{n}")) for n in range(5)]
        stores.insert(3, backend.store("bad", bad))
        outcomes = await asyncio.gather(*stores, return_exceptions=True)
        assert isinstance(outcomes.pop(3), ValueError | TypeError)
        assert outcomes == [True] * 5
        with pytest.raises((ValueError, TypeError)):
            await backend.store_many([TaskResult.pending("t9"), bad])
        assert await backend.get_many(["bad", "t9"]) == {}

    @pytest.mark.parametrize("hold", HOLD_TWICE)
    async def test_values_that_hold_another_twice_and_so_on(
        self, make_backend: MakeBackend, hold: Callable[[Any], Any]
    ) -> None:
        """A few objects that would be 2 to the power of 40 when written out: refused, and soon."""
        value: Any = 0
        for _ in range(40):
            value = hold(value)
        async with make_backend(max_result_bytes=100_000, types=SAMPLE_TYPES) as backend:
            for result in (TaskResult.success("t", value), TaskResult.pending("t", args=(value,))):
                with pytest.raises(PayloadTooLarge, match=r"^(result|args): .*limit is 100000"):
                    await backend.store("t", result)
            assert await backend.exists("t") is False

    async def test_values_that_break_what_looks_at_them(self, backend: BaseResultBackend) -> None:
        """Refused with a short message; their own methods are not called."""
        rude = [make() for name, make in RUDE_ERRORS.items() if name not in OF_OTHER_KINDS]
        for value in rude:
            with pytest.raises(NotSerializable, match=r"^result\['x'\]") as caught:
                await backend.store("t", TaskResult.success("t", {"x": value}))
            assert len(str(caught.value)) < 600
        assert await backend.exists("t") is False

    async def test_limits_hold_on_read(self, backend: BaseResultBackend) -> None:
        """What a backend with higher limits stored is a CorruptRecord here; its neighbours are readable."""
        values = {"long": "x" * 2_000, "deep": [[[[[[[1]]]]]]], "deep and tagged": (((((((1,),),),),),),)}
        for name, value in values.items():
            await plant(backend, TaskResult.success(name, value))
        await backend.store("t", TaskResult.success("t", 1))
        limit_reading(backend, max_bytes=1_000, max_levels=6)
        for name in values:
            for call in (backend.get(name), backend.wait_for(name, 5), backend.get_many(["t", name])):
                with pytest.raises(CorruptRecord, match=rf"'{name}'.*(limit is 1000|nested deeper)"):
                    await call
        assert (await backend.wait_for("t", 5)).unwrap() == 1
        assert len((await backend.page(load_result=False)).items) == 4

    async def test_text_of_any_kind(self, make_backend: MakeBackend) -> None:
        """Ids, names, workers, parents and labels are data: found and deleted literally."""
        loop = asyncio.get_running_loop()

        @settings(
            max_examples=40 * EFFORT, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(st.lists(TEXTS, min_size=2, max_size=6, unique=True))
        @example(ODD_TEXTS)
        def is_kept_apart(texts: list[str]) -> None:
            asyncio.run_coroutine_threadsafe(_keep_apart(backend, texts), loop).result(60)

        async with make_backend() as backend:
            await asyncio.to_thread(is_kept_apart)

    async def test_forged_cursors(self, backend: BaseResultBackend) -> None:
        """Whichever bit is flipped: InvalidCursor."""
        await backend.store_many(failed(f"t{n}", n) for n in range(3))
        cursor = (await backend.page(TaskStatus.FAILED, limit=1)).next_cursor
        assert cursor is not None
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        for bit in range(8 * len(raw)):
            forged = bytearray(raw)
            forged[bit // 8] ^= 1 << bit % 8
            with pytest.raises(InvalidCursor):
                await backend.page(
                    TaskStatus.FAILED, cursor=base64.urlsafe_b64encode(forged).rstrip(b"=").decode()
                )
        for text in (*ODD_TEXTS, cursor + "\n", " " + cursor, "\ud800", cursor * 1_000):
            with pytest.raises(InvalidCursor):
                await backend.page(TaskStatus.FAILED, cursor=text)


async def _keep_apart(backend: BaseResultBackend, texts: list[str]) -> None:
    results = {
        text: failed(text, task_name=text, worker_id=text, parent_id="of " + text, labels=texts)
        for text in texts
    }
    assert await backend.store_many(results.values()) == [True] * len(texts)
    found = await backend.get_many(texts)
    told = {text: as_given(read).model_copy(update={"root_id": None}) for text, read in found.items()}
    assert told == results
    assert [name for page in await walk(backend, limit=1) for name in ids(page.items)] == sorted(texts)
    for n, text in enumerate(texts):
        one_alone: list[Filters] = [{"name": text}, {"worker_id": text}, {"parent_id": "of " + text}]
        for filters in one_alone:
            assert ids((await backend.page(**filters)).items) == [text]
        assert ids((await backend.page(label=text)).items) == sorted(texts[n:])
        assert (await backend.wait_for(text, 30)).task_id == text
        assert await backend.delete(text) is True
        assert list(await backend.get_many(texts)) == texts[n + 1 :]
    assert await backend.clear() == 0
