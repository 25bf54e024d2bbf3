"""The contract of errors: what an exception had to say is read as it was stored, and can be raised again."""

from __future__ import annotations

import asyncio

import pytest

from flowstore import BaseResultBackend, RemoteError, RemoteTraceback, TaskError, TaskFailed, TaskResult
from flowstore.testing.contract.base import Contract
from flowstore.testing.support import waiting


class OrderRefused(Exception):
    """An exception of a program that uses flowstore."""


async def _fail(order: int) -> None:
    await asyncio.sleep(0)  # so that all of the group have begun, also where tasks begin at once
    error = OrderRefused("no stock", order)
    error.add_note(f"in row {order} of orders.csv")
    raise error from KeyError("item")


async def _in_groups() -> BaseException:
    """What a task raised that started others."""
    try:
        async with asyncio.TaskGroup() as group:
            for order in (7, 8):
                group.create_task(_fail(order))
    except ExceptionGroup as error:
        error.add_note("of today")
        return error
    raise AssertionError("expected a group")


class ErrorsContract(Contract):
    async def test_notes_of_an_error_and_its_causes(self, backend: BaseResultBackend) -> None:
        """As they were added, and in the representation of the error."""
        error = ValueError("bad row")
        error.add_note("in row 7 of orders.csv")
        error.__cause__ = KeyError("item")
        error.__cause__.add_note("of 12 columns")
        await backend.store("t", TaskResult.failed("t", error))
        read = await backend.get("t")
        assert read is not None
        assert read.error is not None
        assert [link.notes for link in read.error.chain()] == [
            ("in row 7 of orders.csv",),
            ("of 12 columns",),
        ]
        assert "row 7" in repr(read.error)

    async def test_the_exceptions_of_a_group(self, backend: BaseResultBackend) -> None:
        """With causes, notes, traceback and class of each, for those that wait and those that list."""
        task = await waiting(backend, "t")
        result = TaskResult.failed("t", await _in_groups())
        await backend.store("t", result)
        for read in (
            await task,
            *(await backend.page()).items,
            *(await backend.page(load_result=False)).items,
        ):
            assert read.error == result.error
        error = (await task).error
        assert error is not None
        assert (error.type, error.notes, error.is_cut) == ("ExceptionGroup", ("of today",), False)
        for order, member in zip((7, 8), error.exceptions, strict=True):
            assert (member.module, member.qualname) == (__name__, "OrderRefused")
            assert member.args == ("no stock", order)
            assert member.notes == (f"in row {order} of orders.csv",)
            assert member.traceback is not None
            assert "in _fail" in member.traceback
            assert member.cause is not None
            assert member.cause.args == ("item",)
        assert error.traceback is not None
        assert error.traceback.count("OrderRefused: ('no stock', ") == 2

    async def test_what_is_left_out_is_said(self, backend: BaseResultBackend) -> None:
        """Also of the exceptions of a group."""
        await backend.store("t", TaskResult.failed("t", ExceptionGroup("g", [ValueError("x" * 10_000)] * 20)))
        read = await backend.get("t")
        assert read is not None
        assert read.error is not None
        assert (read.error.is_cut, read.error.exceptions_left_out) == (True, 4)
        assert all(member.is_cut for member in read.error.exceptions)

    async def test_the_exception_itself(self, backend: BaseResultBackend) -> None:
        """For a host that names its classes; others are stood for, and unwrap raises what is named."""
        await backend.store("t", TaskResult.failed("t", await _in_groups()))
        read = await backend.wait_for("t")
        assert read.error is not None
        rebuilt = read.error.rebuild([OrderRefused])
        assert isinstance(rebuilt, ExceptionGroup)
        assert [each.args for each in rebuilt.exceptions] == [("no stock", 7), ("no stock", 8)]
        assert {type(each) for each in rebuilt.exceptions} == {OrderRefused}
        assert {type(each.__cause__) for each in rebuilt.exceptions} == {RemoteError}
        with pytest.raises(TaskFailed) as caught:
            read.unwrap(reraise=OrderRefused)
        assert "in row 8 of orders.csv" in str(caught.value.__cause__)
        with pytest.raises(ExceptionGroup) as group:
            read.unwrap(reraise=(ExceptionGroup, OrderRefused))
        assert type(group.value.__cause__) is RemoteTraceback
        assert group.value.subgroup(OrderRefused) is not None

    async def test_errors_made_by_hand(self, backend: BaseResultBackend) -> None:
        """By a host that has no exception; all fields are kept."""
        member = TaskError(
            type="OOMKilled", message="137", module=None, notes=("by the kernel",), is_cut=True
        )
        error = TaskError(
            type="Batch", message="2 failed", exceptions=(member, member), exceptions_left_out=3, cause=member
        )
        await backend.store("t", TaskResult.failed("t", error))
        assert (await backend.wait_for("t")).error == error
