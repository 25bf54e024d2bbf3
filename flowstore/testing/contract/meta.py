"""The contract of meta: small plain values that a task carries along, from state to state."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any, Final

import pytest

from flowstore import BaseResultBackend, CorruptRecord, Progress, TaskResult, TaskStatus
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.insides import plant
from flowstore.testing.support import as_given, failed, stored, waiting

META: Final[dict[str, Any]] = {
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "none": None,
    "is": True,
    "not": False,
    "int": -(2**63),
    "float": 1.0,
    "small": -5e-324,
    "empty": "",
    "\N{SNAKE}\0$": "\N{SNAKE}\0\1\"'",
}
REFUSED: Final[list[tuple[Any, type[Exception], str]]] = [
    (None, TypeError, "meta: expected a mapping"),
    ("x", TypeError, "meta: expected a mapping"),
    ([("x", 1)], TypeError, "meta: expected a mapping"),
    ({1: "x"}, TypeError, "meta: expected names of type str, got int"),
    ({"": 1}, ValueError, "meta: expected 1 to 512 UTF-8 bytes"),
    ({"x" * 513: 1}, ValueError, "meta: expected 1 to 512 UTF-8 bytes"),
    ({"\ud800": 1}, ValueError, "meta: .* lone surrogate"),
    ({"a": "\ud800"}, ValueError, r"meta\['a'\]: .* lone surrogate"),
    ({"a": 2**63}, ValueError, r"meta\['a'\]: expected an int of 64 bits"),
    ({"a": -(2**63) - 1}, ValueError, r"meta\['a'\]: expected an int of 64 bits"),
    ({"a": 10**10_000}, ValueError, r"meta\['a'\]: expected an int of 64 bits"),
    ({"a": math.nan}, ValueError, r"meta\['a'\]: expected a finite float"),
    ({"a": -math.inf}, ValueError, r"meta\['a'\]: expected a finite float"),
    ({"a": b"x"}, TypeError, r"meta\['a'\]: expected None, bool, int, float or str, got bytes"),
    ({"a": [1]}, TypeError, r"meta\['a'\]: .* got list"),
    ({"a": {}}, TypeError, r"meta\['a'\]: .* got dict"),
    ({"a": TaskStatus.FAILED}, TypeError, r"meta\['a'\]: .* got TaskStatus"),
    ({"a": "x" * 16_385}, ValueError, r"meta\['a'\]: expected 1 to 16384 UTF-8 bytes"),
    ({"a": "x" * 8_192, "b": "\1" * 1_400}, ValueError, "meta: expected at most 16384 bytes as JSON"),
    ({str(n): n for n in range(65)}, ValueError, "meta: expected at most 64 entries, got 65"),
]
HEADS_REFUSED: Final = [
    '{"meta":7}',
    '{"meta":null}',
    '{"meta":[["a",1]]}',
    '{"meta":{"a":[1]}}',
    '{"meta":{"a":1e999}}',
    '{"meta":{"":1}}',
    '{"meta":{"a":"' + "x" * 20_000 + '"}}',
]


def are_same(one: Any, other: Any) -> bool:
    """Equal, in the same order, with values of the same types."""
    return repr(dict(one)) == repr(dict(other))


class MetaContract(Contract):
    async def test_meta_comes_back_as_it_went_in(self, backend: BaseResultBackend) -> None:
        """Types, order and odd names; also to a waiter and to listings without results."""
        task = await waiting(backend, "t")
        result: TaskResult = TaskResult.success("t", 1, meta=META)
        assert await backend.store("t", result) is True
        [listed] = (await backend.page(load_result=False)).items
        for read in (await task, await stored(backend, "t"), listed):
            assert are_same(read.meta, META)
            assert read.meta == META == result.meta
        assert as_given(await stored(backend, "t")) == result

    async def test_the_largest_meta(self, backend: BaseResultBackend) -> None:
        """64 entries, 16 KiB, beside the error."""
        meta = {f"{n:02}": "\1" * 40 for n in range(63)} | {"rest": "x" * 600}
        await backend.store("t", failed("t", meta=meta))
        read = await stored(backend, "t")
        assert read.meta == meta
        assert read.error is not None

    async def test_a_task_carries_it_along(self, backend: BaseResultBackend) -> None:
        """From state to state, through progress, requeue, fail_lost and another attempt."""
        for task_id in ("a", "b"):
            pending: TaskResult = TaskResult.pending(task_id, args=(1,), meta=META)
            await backend.store(task_id, TaskResult.running(pending, worker_id=task_id))
            await backend.set_progress(task_id, 1, 2)
        assert await backend.workers.requeue("a") == ["a"]
        assert await backend.workers.fail_lost("b") == ["b"]
        for task_id, status in (("a", TaskStatus.PENDING), ("b", TaskStatus.FAILED)):
            read = await stored(backend, task_id)
            assert (read.status, read.args) == (status, (1,))
            assert are_same(read.meta, META)
        state = TaskResult.retrying(await stored(backend, "a"), ValueError(), progress=Progress(done=1))
        for last in (TaskResult.success(state), TaskResult.failed(state, ValueError())):
            assert are_same(last.meta, META)
        assert TaskResult.cancelled(state, meta={}).meta == {}

    async def test_track_adds_to_what_stands(self, backend: BaseResultBackend) -> None:
        """Entries of the same name are replaced, the others stay, in the order of the stored ones."""
        await backend.store("t", TaskResult.pending("t", meta={"a": 1, "b": 2}))
        async with backend.track("t", meta={"b": 3, "c": None}):
            assert (await stored(backend, "t")).meta == {"a": 1, "b": 3, "c": None}
        async with backend.track("t", retries=1):
            pass
        assert are_same((await stored(backend, "t")).meta, {"a": 1, "b": 3, "c": None})
        async with backend.track("new", meta=META):
            pass
        assert are_same((await stored(backend, "new")).meta, META)

    async def test_track_that_would_add_too_much(self, backend: BaseResultBackend) -> None:
        """More than fits together: refused before the block, and what stands is left alone."""
        await backend.store("t", TaskResult.pending("t", meta={f"a{n}": n for n in range(40)}))
        with pytest.raises(ValueError, match="meta: expected at most 64 entries, got 80"):
            async with backend.track("t", meta={f"b{n}": n for n in range(40)}):
                pytest.fail("the block must not run")
        assert len((await stored(backend, "t")).meta) == 40

    @pytest.mark.parametrize(("meta", "error", "message"), REFUSED, ids=[str(n) for n in range(len(REFUSED))])
    async def test_what_meta_cannot_hold(
        self, backend: BaseResultBackend, meta: Any, error: type[Exception], message: str
    ) -> None:
        """Refused with the entry where it is given, and where nothing checked it when it is stored."""
        with pytest.raises(ValueError, match=message):
            TaskResult.pending("t", meta=meta)
        with pytest.raises(error, match=message):
            backend.track("t", meta=meta)
        if meta is not None:
            unchecked: TaskResult = TaskResult.model_construct(
                task_id="t", status=TaskStatus.PENDING, meta=meta
            )
            with pytest.raises(error, match=message):
                await backend.store("t", unchecked)
            with pytest.raises(error, match=message):
                await backend.store_many([TaskResult.pending("u"), unchecked])
        assert (await backend.page()).items == []

    async def test_meta_cannot_be_changed(self, backend: BaseResultBackend) -> None:
        """Neither that of a result nor what is stored, by no method of a dict; copies are equal."""
        given: dict[str, Any] = {"a": 1}
        made: TaskResult = TaskResult.pending("t", meta=given)
        unchecked = made.model_construct(**{**dict(made), "task_id": "u", "meta": given})
        await backend.store_many([made, unchecked])
        given["a"] = 2
        for read in (await stored(backend, "t"), await stored(backend, "u"), made):
            held: Any = read.meta
            for change in (
                lambda held=held: held.__setitem__("a", 2),
                lambda held=held: held.__delitem__("a"),
                lambda held=held: held.__ior__({"a": 2}),
                lambda held=held: held.update(a=2),
                lambda held=held: held.setdefault("b", 2),
                lambda held=held: held.pop("a"),
                held.popitem,
                held.clear,
            ):
                with pytest.raises(TypeError, match="meta: cannot be changed"):
                    change()
            assert held == {"a": 1}
            for copied in (pickle.loads(pickle.dumps(read)), copy.deepcopy(read), copy.copy(read)):
                assert copied == read
                assert type(copied.meta) is type(held)

    async def test_meta_that_somebody_else_wrote(self, backend: BaseResultBackend) -> None:
        """Data, or CorruptRecord for the record alone."""
        for n, head in enumerate(HEADS_REFUSED):
            await plant(backend, TaskResult.pending(f"{n}"), head=head.encode())
        await plant(backend, TaskResult.pending("good"), head=b'{"meta":{"a":1}}')
        page = await backend.page()
        assert [(task.task_id, task.meta) for task in page.items] == [("good", {"a": 1})]
        assert len(page.unreadable) == len(HEADS_REFUSED)
        with pytest.raises(CorruptRecord, match="meta"):
            await backend.get("0")

    async def test_meta_beside_fields_without_an_index(self, make_backend: MakeBackend) -> None:
        """Both are in the head, also where it is bytes in memory, and redact sees and changes it."""

        def hide(result: TaskResult) -> TaskResult:
            return result.model_copy(update={"meta": {**result.meta, "token": "***"}})

        async with make_backend(facets=[], redact=hide) as backend:
            task: TaskResult = TaskResult.pending(
                "t", labels={"x"}, task_name="n", meta={"a": 1, "token": "s"}
            )
            await backend.store("t", task)
            read = await stored(backend, "t")
            assert (read.labels, read.task_name) == (frozenset("x"), "n")
            assert are_same(read.meta, {"a": 1, "token": "***"})
