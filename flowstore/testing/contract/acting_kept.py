"""The contract of operations: what is kept of an action, for how long, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, timedelta
from typing import Any

import pytest

from flowstore import (
    BaseResultBackend,
    CorruptRecord,
    InvalidQuery,
    Operation,
    TaskError,
    TaskResult,
    UnknownOperation,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.acting import ALL, applied
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.searching import in_group
from flowstore.testing.insides import fewer_operations, plant, plant_kept
from flowstore.testing.support import START, failed, stored


async def _later(operation: Operation) -> None:
    """Would never be awaited."""


class _Later:
    async def __call__(self, operation: Operation) -> None:
        """Neither would this."""


class OperationsContract(Contract):
    async def test_what_is_kept_of_it(self, make_backend: MakeBackend) -> None:
        """Who, what, why, when, and how many; it comes back equal from what is stored."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store("t", TaskResult.pending("t", task_name="mail"))
            clock.advance(1)
            operation = await applied(backend, "cancel", reason="not needed", by="ada", limit=9)
            assert (operation.by, operation.action.reason, operation.query) == ("ada", "not needed", ALL)
            assert (operation.action.name, operation.limit) == ("cancel", 9)
            at = START + timedelta(seconds=1)
            assert (operation.started_at, operation.finished_at) == (at, at)
            request = (await stored(backend, "t")).cancel_request
            assert request is not None
            assert request.reason == "not needed"
            for ttl, wanted in ((None, None), (timedelta(hours=1), timedelta(hours=1)), (2.5, 2.5)):
                kept = (await applied(backend, "expire", ttl=ttl)).action.ttl
                assert kept == (wanted if wanted != 2.5 else timedelta(seconds=2.5))
            error = TaskError(type="Gone", message="away", notes=("a",))
            await backend.store("u", TaskResult.pending("u", task_name="mail"))
            assert (await applied(backend, "fail", error=error)).action.error == error
            assert (await stored(backend, "u")).error == error
            assert (await applied(backend, "label", add=["b", "a"], remove=["c"])).action.add == {"a", "b"}

    async def test_texts_and_exceptions_as_errors(self, backend: BaseResultBackend) -> None:
        await backend.store("t", TaskResult.pending("t", task_name="mail"))
        await applied(backend, "fail", error="no use")
        error = (await stored(backend, "t")).error
        assert error == TaskError(type="FailedByOperator", message="no use")
        await backend.requeue("t")
        await applied(backend, "fail", error=KeyError("k"))
        assert "KeyError" in str((await stored(backend, "t")).error)

    async def test_a_label_is_an_event_that_names_the_operation(self, backend: BaseResultBackend) -> None:
        await backend.store("t", TaskResult.success("t", 1, task_name="mail", labels=["a", "b"]))
        operation = await applied(backend, "label", add=["c"], remove=["a"])
        assert (await stored(backend, "t")).labels == {"b", "c"}
        event = (await backend.history.of("t"))[-1]
        assert (event.event, event.detail) == ("labelled", {"operation": operation.id})

    async def test_bad_arguments_of_actions(self, backend: BaseResultBackend) -> None:
        """Refused by name, and nothing is kept of it."""
        bad: list[tuple[type[Exception], str, tuple[Any, ...], dict[str, Any]]] = [
            (ValueError, r"^action: .*; did you mean 'requeue'\?", ("requeu", ALL), {}),
            (ValueError, r"^action: expected one of requeue, .*; got 'x'$", ("x", ALL), {}),
            (TypeError, r"^action: expected str, got int", (1, ALL), {}),
            (TypeError, r"^query: expected str, got NoneType", ("cancel", None), {}),
            (ValueError, r"gone", ("cancel", "status:gone"), {}),
            *(
                (
                    ValueError,
                    r"^query: expected a term .* say status:pending,",
                    ("cancel", text),
                    {},
                )
                for text in ("", "  ", "sort:finished")
            ),
            (ValueError, r"^ttl: the action 'expire' needs one", ("expire", ALL), {}),
            (ValueError, r"^ttl: ", ("expire", ALL), {"ttl": 0}),
            (ValueError, r"^ttl: is for 'expire' only, not for 'cancel'", ("cancel", ALL), {"ttl": 1}),
            (ValueError, r"^error: the action 'fail' needs one", ("fail", ALL), {}),
            (TypeError, r"^error: ", ("fail", ALL), {"error": 7}),
            (ValueError, r"^error: ", ("fail", ALL), {"error": ""}),
            (ValueError, r"^add: the action 'label' needs", ("label", ALL), {}),
            (ValueError, r"^remove: 'a' is to be", ("label", ALL), {"add": ["a"], "remove": ["a"]}),
            (TypeError, r"^add: expected an iterable", ("label", ALL), {"add": "abc"}),
            (ValueError, r"^include_running: is for", ("label", ALL), {"include_running": True}),
            (TypeError, r"^include_running: ", ("delete", ALL), {"include_running": 1}),
            (TypeError, r"^labels: unknown argument; expected some of add", ("label", ALL), {"labels": 1}),
            (ValueError, r"^limit: ", ("cancel", ALL), {"limit": 0}),
            (ValueError, r"^reason: ", ("cancel", ALL), {"reason": ""}),
            (ValueError, r"^by: ", ("cancel", ALL), {"by": ""}),
        ]
        actions = backend.actions
        for kind, said, args, options in bad:
            with pytest.raises(kind, match=said):
                await actions.apply(*args, **options)
            with pytest.raises(kind, match=said):
                await actions.apply(*args, **options, dry_run=False)
            with pytest.raises(kind, match=said):
                await actions.start(*args, **options)
        with pytest.raises(TypeError, match=r"^dry_run: "):
            await actions.apply("cancel", ALL, dry_run="no")  # type: ignore[call-overload]
        with pytest.raises(TypeError, match=r"^progress: "):
            await actions.apply("cancel", ALL, progress=3)  # type: ignore[call-overload]
        for progress in (_later, _Later()):
            with pytest.raises(TypeError, match=r"^progress: expected a plain function, got a coroutine"):
                await actions.apply("cancel", ALL, dry_run=False, progress=progress)
            with pytest.raises(TypeError, match=r"^progress: "):
                await actions.resume("1", progress=progress)
        with pytest.raises(TypeError, match=r"^hook: "):
            actions.on_requeue(3)  # type: ignore[arg-type]
        for limit in (0, 501):
            with pytest.raises(ValueError, match=r"^limit: "):
                await actions.all(limit)
        with pytest.raises(ValueError, match=r"^before: .*'x'"):
            await actions.all(before="x")
        assert await actions.all() == []

    async def test_the_audit(self, make_backend: MakeBackend) -> None:
        """The newest first, page after page; beyond so many the oldest are forgotten."""
        with fewer_operations(7):
            async with make_backend() as backend:
                for n in range(5):
                    await backend.actions.start("cancel", f"name:{n}")
                assert [one.query for one in await backend.actions.all(3)] == ["name:4", "name:3", "name:2"]
                for n in range(5, 11):
                    await backend.actions.start("cancel", f"name:{n}")
                found = await backend.actions.all(4)
                assert [one.id for one in found] == ["11", "10", "9", "8"]
                rest = await backend.actions.all(4, before=found[-1].id)
                assert [one.id for one in rest] == ["7", "6", "5"]
                assert await backend.actions.all(before="5") == []
                for unknown in ("4", "12", "x", "05", "-1", "9" * 30):
                    with pytest.raises(UnknownOperation, match=unknown[:3]):
                        await backend.actions.get(unknown)
                    with pytest.raises(UnknownOperation):
                        await backend.actions.resume(unknown)
                    with pytest.raises(UnknownOperation):
                        await backend.actions.abort(unknown)
                assert await backend.app.info() is None
                assert await backend.app.data.all() == {}
                assert (await backend.integrity.verify()).found == 0

    async def test_many_begin_at_once(self, backend: BaseResultBackend) -> None:
        """Each has an id of its own."""
        started = await asyncio.gather(*(backend.actions.start("cancel", ALL) for _ in range(30)))
        assert sorted(int(one.id) for one in started) == [*range(1, 31)]
        assert len(await backend.actions.all()) == 30

    async def test_one_that_is_damaged_hides_no_other(self, backend: BaseResultBackend) -> None:
        """``get`` says so."""
        for _ in range(3):
            await backend.actions.start("cancel", ALL)
        await plant_kept(backend, "app", "", "operation:0002", b'{"info":{"id":"2"}}')
        assert [one.id for one in await backend.actions.all()] == ["3", "1"]
        with pytest.raises(CorruptRecord):
            await backend.actions.get("2")

    async def test_of_a_newer_program(self, backend: BaseResultBackend) -> None:
        """What it has added is passed over, wherever it stands."""
        await plant_kept(backend, "app", "", "operations", b'{"info":null,"new":1}')
        await plant_kept(
            backend,
            "app",
            "",
            "operation:0001",
            b'{"info":{"id":"1","action":{"name":"fail","error":{"type":"E","message":"m","new":1},"new":2},'
            b'"query":"name:mail","state":"running","started_at":1,"updated_at":2,"new":3,"effects":{"sung":4},'
            b'"failures":[{"task_id":"t","reason":"r","new":5}],"cursor":[1,"t"],'
            b'"step":{"times":[3],"records":[["t",1,"failed",6]],"new":7}},"new":8}',
        )
        [found] = await backend.actions.all()
        assert (found.effects, found.failures[0].reason) == ({"sung": 4}, "r")
        assert found.started_at.tzinfo is UTC
        assert (await backend.actions.resume("1")).effects == {
            "sung": 4,
            "left alone: changed since the start": 1,
        }

    @pytest.mark.parametrize("action", ["requeue", "cancel"])
    @pytest.mark.parametrize("is_plain", [False, True])
    async def test_the_host_is_told(self, backend: BaseResultBackend, action: str, is_plain: bool) -> None:
        """After the records were changed, of exactly those, by a coroutine function or a plain one."""
        told: list[TaskResult] = []

        async def dispatch(tasks: list[TaskResult]) -> None:
            assert {(await stored(backend, task.task_id)).version for task in tasks} == {2}
            told.extend(tasks)

        hook: Callable[[list[TaskResult]], Any] = told.extend if is_plain else dispatch
        register = backend.actions.on_requeue if action == "requeue" else backend.actions.on_cancel
        assert register(hook) is hook
        await backend.store_many(TaskResult.pending(f"p{n:04}", task_name="mail") for n in range(600))
        await backend.store_many(
            TaskResult.retrying(f"r{n}", ValueError("x"), task_name="mail") for n in range(600)
        )
        assert (await backend.actions.apply(action, ALL)).is_host_told  # type: ignore[call-overload]
        operation = await backend.actions.apply(action, ALL, dry_run=False)  # type: ignore[call-overload]
        assert operation.is_host_told
        assert operation.told == operation.done == len({task.task_id for task in told}) == len(told)
        assert operation.done == (600 if action == "requeue" else 1_200)
        assert not any(task.is_loaded for task in told)
        other = await backend.actions.apply("label", ALL, add=["x"], dry_run=False)
        assert not other.is_host_told

    async def test_an_error_that_is_said_by_its_beginning(self, backend: BaseResultBackend) -> None:
        """What it means is decided at the start, whatever begins likewise when it is carried out."""
        for n in range(3):
            await plant(backend, failed(f"t{n}", n), facets=in_group("5d0c1b7e00000000"))
        operation = await backend.actions.start("delete", "error:5d0c,ffff")
        assert operation.query == "error:5d0c1b7e00000000,ffff"
        for name in ("5d0c1b7e11111111", "ffff000000000000", "ffff111111111111"):
            await plant(backend, failed(name), facets=in_group(name))
        assert (await backend.actions.resume(operation.id)).effects == {"deleted": 3}
        with pytest.raises(InvalidQuery, match="several"):
            await backend.actions.start("delete", "error:ffff")
        with pytest.raises(InvalidQuery, match="the opposite"):
            await backend.actions.start("delete", "error:5d0c1b7e1 -error:5d0c1b7e11")
