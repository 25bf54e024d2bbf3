"""The contract of ``redact``: what it returns is stored, and the original is stored nowhere."""

from __future__ import annotations

from typing import Any

import pytest

from flowstore import BaseResultBackend, NotSerializable, TaskError, TaskResult, TaskStatus
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.insides import replace_redact
from flowstore.testing.support import as_given, failed, waiting


def mask(result: TaskResult) -> TaskResult:
    """Without values and without the text of errors."""
    error = TaskError(type=result.error.type, message="masked") if result.error else None
    kwargs = dict.fromkeys(result.kwargs, "masked")
    return result.model_copy(update={"result": "masked", "args": (), "kwargs": kwargs, "error": error})


class RedactingContract(Contract):
    async def test_redacted_results_are_stored(self, make_backend: MakeBackend) -> None:
        """By store and store_many; waiters, get and listings show what is stored."""
        async with make_backend(redact=mask) as backend:
            task = await waiting(backend, "a")
            result = failed("a", args=("secret",), kwargs={"password": "secret"})
            assert await backend.store("a", result) is True
            assert await backend.store_many([TaskResult.success("b", "secret")]) == [True]
            expected = mask(result)
            found = [await task, await backend.get("a"), *await backend.list_by_status(TaskStatus.FAILED)]
            assert [read and as_given(read) for read in found] == [expected] * 3
            assert (await backend.wait_for("b", 30)).result == "masked"
            assert result.kwargs == {"password": "secret"}

    @pytest.mark.parametrize(
        "changed", [{"task_id": "other"}, {"status": TaskStatus.SUCCESS}, {"retries": 1}], ids="-".join
    )
    async def test_what_the_rules_go_by_stays(
        self, make_backend: MakeBackend, changed: dict[str, Any]
    ) -> None:
        """Another id, status or attempt: a ValueError that says which, and nothing is stored."""
        async with make_backend(redact=lambda result: result.model_copy(update=changed)) as backend:
            await self._stores_nothing(backend, ValueError, f"redact: must not change {next(iter(changed))}")

    @pytest.mark.parametrize("returned", [None, {}, "t", Ellipsis])
    async def test_it_returns_a_result(self, make_backend: MakeBackend, returned: Any) -> None:
        """Anything else is a TypeError, and nothing is stored."""
        async with make_backend(redact=lambda result: returned) as backend:
            await self._stores_nothing(backend, TypeError, "redact: expected it to return a TaskResult")

    async def test_what_it_raises_is_raised(self, make_backend: MakeBackend) -> None:
        """Raised unchanged, and nothing is stored."""

        def refuse(result: TaskResult) -> TaskResult:
            raise LookupError("no rule for this task")

        async with make_backend(redact=refuse) as backend:
            await self._stores_nothing(backend, LookupError, "no rule for this task")

    async def test_an_operator_does_not_need_it(self, make_backend: MakeBackend) -> None:
        """It is not called for what requeue and fail_lost change, as they do not read the values."""

        def mask_first(result: TaskResult) -> TaskResult:
            return result.model_copy(update={"args": ("masked", *result.args[1:]), "result": None})

        async with make_backend(redact=mask_first) as backend:
            for worker_id in ("a", "b"):
                running: TaskResult = TaskResult.running(worker_id, args=("x", 1), worker_id=worker_id)
                await backend.store(worker_id, running)
            assert (await backend.workers.requeue("a"), await backend.workers.fail_lost("b")) == (
                ["a"],
                ["b"],
            )
            found = await backend.get_many(["a", "b"])
            assert {(task.status.value, task.args) for task in found.values()} == {
                ("pending", ("masked", 1)),
                ("failed", ("masked", 1)),
            }

    async def test_its_result_is_checked_as_any_other(self, make_backend: MakeBackend) -> None:
        """A value that cannot be stored is refused; for a listed result without values it is not called."""

        def break_it(result: TaskResult) -> TaskResult:
            assert result.is_loaded
            return result.model_copy(update={"result": print})

        async with make_backend() as backend:
            await backend.store("t", TaskResult.success("t", 1))
            replace_redact(backend, break_it)
            with pytest.raises(NotSerializable, match="result: builtin"):
                await backend.store("t", TaskResult.success("t", 2), overwrite=True)
            [listed] = (await backend.page(load_result=False)).items
            with pytest.raises(NotSerializable, match="load_result=False"):
                await backend.store("t", listed, overwrite=True)
            assert (await backend.wait_for("t", 30)).result == 1

    async def _stores_nothing(self, backend: BaseResultBackend, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            await backend.store("t", TaskResult.pending("t"))
        with pytest.raises(error, match=message):
            await backend.store_many([TaskResult.pending("t"), TaskResult.pending("u")])
        assert await backend.get_many(["t", "u", "other"]) == {}
