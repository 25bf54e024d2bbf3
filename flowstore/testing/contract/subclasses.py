"""The contract of subclasses of the models: what they have of their own would be lost, so it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
from pydantic import ConfigDict, PrivateAttr, computed_field, field_validator

from flowstore import BaseResultBackend, Progress, TaskError, TaskResult, TaskStatus
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.insides import replace_redact
from flowstore.testing.support import as_given, stored

ADVICE: Final = "would be lost; put it into the result, the meta or the data of the task"


class _WithField(TaskResult[Any]):
    queue: str = "default"


class _WithPrivate(TaskResult[Any]):
    _seen: int = PrivateAttr(default=1)


class _WithExtra(TaskResult[Any]):
    model_config = ConfigDict(extra="allow")


class _Below(_WithField):
    """Nothing of its own."""


class _WithOtherLabels(TaskResult[Any]):
    labels: list[str] = []  # type: ignore[assignment]  # noqa: RUF012  # on purpose


class _WithValidator(TaskResult[Any]):
    @field_validator("worker_id", mode="after")
    @classmethod
    def _number(cls, worker_id: str) -> Any:
        return int(worker_id)


class _WithMethods(TaskResult[Any]):
    @property
    def is_slow(self) -> bool:
        return self.retries > 1

    @computed_field  # type: ignore[prop-decorator]  # as pydantic has it
    @property
    def title(self) -> str:
        return f"{self.task_name} {self.task_id}"


class _Error(TaskError):
    code: int = 7


class _Progress(Progress):
    eta: float = 1.5


def _nested() -> TaskError:
    return TaskError(type="E", message="m", cause=_Error(type="E", message="m"))


REFUSED: Final[dict[str, tuple[Callable[[], TaskResult], str]]] = {
    "field": (lambda: _WithField.pending("t", queue="q"), f"'queue' of _WithField .* {ADVICE}"),  # type: ignore[call-arg]
    "default": (lambda: _WithField.success("t", 1), f"'queue' of _WithField .* {ADVICE}"),
    "inherited": (lambda: _Below.pending("t"), f"'queue' of _Below .* {ADVICE}"),
    "private": (lambda: _WithPrivate.pending("t"), f"'_seen' of _WithPrivate .* {ADVICE}"),
    "extra": (lambda: _WithExtra.pending("t", x=1), f"'x' of _WithExtra .* {ADVICE}"),  # type: ignore[call-arg]
    "type": (lambda: _WithOtherLabels.pending("t", labels=["b", "a"]), "^labels: .*_WithOtherLabels"),
    "validator": (lambda: _WithValidator(task_id="t", status=TaskStatus.PENDING, worker_id="7"), "worker_id"),
    "error": (
        lambda: TaskResult.failed("t", _Error(type="E", message="m")),
        f"^error: .*_Error; .* {ADVICE}",
    ),
    "cause": (lambda: TaskResult.failed("t", _nested()), f"^error.cause: .*_Error; .* {ADVICE}"),
    "progress": (
        lambda: TaskResult.running("t", progress=_Progress(done=1)),
        f"^progress: .*_Progress; .* {ADVICE}",
    ),
}


class SubclassContract(Contract):
    @pytest.mark.parametrize("name", REFUSED)
    async def test_what_a_subclass_has_of_its_own_is_refused(
        self, backend: BaseResultBackend, name: str
    ) -> None:
        """By store, store_many and of redact, with class, field and advice; nothing is stored."""
        make, message = REFUSED[name]
        with pytest.raises((TypeError, ValueError), match=message):
            await backend.store("t", make())
        with pytest.raises((TypeError, ValueError), match=message):
            await backend.store_many([TaskResult.pending("u"), make()])
        result = make()
        replace_redact(backend, lambda _: result)
        with pytest.raises((TypeError, ValueError), match=message):
            await backend.store("t", TaskResult(task_id="t", status=result.status))
        assert (await backend.page()).items == []

    async def test_errors_of_lost_workers(self, backend: BaseResultBackend) -> None:
        """The same for fail_lost: refused before the first task is changed."""
        await backend.store("t", TaskResult.running("t", worker_id="w"))
        for error in (_Error(type="E", message="m"), _nested()):
            with pytest.raises(TypeError, match=f"_Error; .* {ADVICE}"):
                await backend.workers.fail_lost("w", error)
        assert (await stored(backend, "t")).version == 1

    async def test_methods_are_no_loss(self, make_backend: MakeBackend) -> None:
        """A subclass that adds methods only is stored, and comes back as the TaskResult with its fields."""
        seen: list[type] = []

        def look(result: TaskResult) -> TaskResult:
            seen.append(type(result))
            return _WithMethods(**dict(result))

        async with make_backend(redact=look) as backend:
            result = _WithMethods.success("t", [1], args=(1,), meta={"a": 1}, labels={"x"})
            assert await backend.store("t", result) is True
            read = await stored(backend, "t")
            assert type(read) is TaskResult
            assert as_given(read) == TaskResult(**dict(result))
            assert seen == [TaskResult]
            [listed] = (await backend.page(load_result=False)).items
            with pytest.raises(TypeError, match="load_result=False"):
                await backend.store("t", _WithMethods(**dict(listed)), overwrite=True)

    async def test_a_subclass_carries_its_fields_along(self, backend: BaseResultBackend) -> None:
        """From state to state, as long as they are of the subclass."""
        made: Any = _WithField
        task = made.pending("t", queue="fast", meta={"a": 1})
        assert made.running(task).queue == "fast"
        plain: TaskResult = TaskResult.running(task)
        assert await backend.store("t", plain) is True
        assert (await stored(backend, "t")).meta == {"a": 1}
