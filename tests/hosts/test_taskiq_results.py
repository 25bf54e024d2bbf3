"""FlowstoreResultBackend as a result backend of taskiq, by itself: what any other one promises, and waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from pydantic import BaseModel, TypeAdapter, ValidationError
from taskiq import AsyncTaskiqTask, TaskiqResult
from taskiq.depends.progress_tracker import TaskProgress, TaskState
from taskiq.exceptions import ResultGetError, TaskiqResultTimeoutError

import flowstore
from flowstore import NotSerializable, TaskError, TaskResult, UnresolvedValue
from flowstore.integrations.taskiq import FlowstoreResultBackend, FlowstoreTask, ResultIsMissing
from flowstore.testing.support import seen, stored


class OwnError(Exception):
    def __init__(self, code: int, *, detail: str = "") -> None:
        super().__init__(code)
        self.detail = detail


class Model(BaseModel):
    at: datetime
    names: set[str]


@dataclass
class Point:
    x: int
    y: int


def a_result(value: Any = 11, **fields: Any) -> TaskiqResult[Any]:
    return TaskiqResult(**{"is_err": False, "return_value": value, "execution_time": 112.2, **fields})


@pytest_asyncio.fixture
async def results(url: str) -> AsyncIterator[FlowstoreResultBackend]:
    made = FlowstoreResultBackend(url)
    await made.startup()
    yield made
    await made.shutdown()


async def test_a_result_comes_back_as_it_was(results: FlowstoreResultBackend) -> None:
    """The log only for who asks for it; as often as it is read; and the last one that was set."""
    result = a_result(log="My Log", labels={"queue": "mail", "tries": 2, "rate": 0.5, "is_new": True})
    await results.set_result("t", a_result("earlier"))
    await results.set_result("t", result)
    assert await results.is_result_ready("t")
    assert await results.get_result("t", with_logs=True) == result
    assert await results.get_result("t") == await results.get_result("t") == a_result(labels=result.labels)


async def test_an_error_without_an_exception(results: FlowstoreResultBackend) -> None:
    """``is_err`` alone is kept, and a value beside it."""
    await results.set_result("t", a_result(is_err=True))
    back = await results.get_result("t")
    assert (back.is_err, back.error, back.return_value) == (True, None, 11)


async def test_there_is_no_result_yet(results: FlowstoreResultBackend) -> None:
    """Neither of an unknown task nor of one that runs, for taskiq's own task as well."""
    await results.backend.store("running", TaskResult.running("running"))
    for task_id in ("unknown", "running"):
        assert not await results.is_result_ready(task_id)
        with pytest.raises(ResultIsMissing, match=f"^There is no result of the task {task_id}$") as caught:
            await results.get_result(task_id)
        assert isinstance(caught.value, ResultGetError | KeyError)
        with pytest.raises(ResultGetError):
            await AsyncTaskiqTask(task_id, results).get_result()


async def test_one_of_many_takes_a_result(url: str) -> None:
    """Without ``keep_results`` whoever reads first has it alone; whoever waits for it afterwards is told."""
    results = FlowstoreResultBackend(url, keep_results=False)
    await results.set_result("t", a_result())
    found = await asyncio.gather(*(results.get_result("t") for _ in range(10)), return_exceptions=True)
    assert [each for each in found if isinstance(each, TaskiqResult)] == [a_result()]
    assert sum(isinstance(each, ResultIsMissing) for each in found) == 9
    waiting = asyncio.create_task(results.wait("u", 20))
    await seen(results.backend, waiting, "u")
    await results.set_result("u", a_result(5))
    assert (await waiting).return_value == 5
    assert await results.backend.get("u") is None
    await results.shutdown()


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """The exception as it is caught, from a cause or during the handling of a KeyError."""
    try:
        try:
            raise KeyError("first")
        except KeyError:
            if cause is None:
                raise error  # noqa: B904  # its context is what is tried
            raise error from cause
    except BaseException as caught:
        return caught


def invalid() -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(dict[str, int]).validate_python({"a": "{x}"})
    return caught.value


ERRORS = [
    ValueError("no", 1),
    LookupError("no such customer", {"id": 7}),
    OwnError(3, detail="more"),
    type("Local", (Exception,), {})("made here"),
    OSError(2, "No such file"),
    ExceptionGroup("several", [ValueError("one")]),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    KeyError(),
    RuntimeError(object()),
    SystemExit(3),
    raised(ValueError("during")),
    raised(ValueError("from"), TypeError("cause", [1])),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: f"{type(error).__name__}-{error.args!r:.20}")
async def test_errors_are_made_again_as_by_taskiq(error: BaseException) -> None:
    """What its own JSON makes of them, with causes and contexts; the record has the error for all readers."""
    results = FlowstoreResultBackend("memory://")
    result = a_result(None, is_err=True, error=error)
    expected = TaskiqResult[Any].model_validate(result.model_dump(mode="json")).error
    await results.set_result("t", result)
    back = (await results.get_result("t")).error
    for name in ("__cause__", "__context__", None):
        one, other = (getattr(each, name) if name else each for each in (back, expected))
        assert (type(one).__qualname__, repr(one)) == (type(other).__qualname__, repr(other))
    record = await stored(results.backend, "t")
    assert record.error is not None
    assert record.error.type == TaskError.from_exception(error).type
    await results.shutdown()


async def test_pydantics_error_is_made_again() -> None:
    """taskiq's JSON loses it, as it has no constructor: here it has its lines."""
    results = FlowstoreResultBackend("memory://")
    error = invalid()
    await results.set_result("t", a_result(None, is_err=True, error=error))
    back = (await results.get_result("t")).error
    assert isinstance(back, ValidationError)
    names = ("type", "loc", "msg", "input")
    assert [[line[name] for name in names] for line in back.errors()] == [  # type: ignore[literal-required]
        [line[name] for name in names]  # type: ignore[literal-required]
        for line in error.errors()
    ]
    await results.shutdown()


async def test_values_come_back_as_they_were(results: FlowstoreResultBackend) -> None:
    """What flowstore knows with its types; other models and dataclasses as the JSON that taskiq makes."""
    for value in ((1, 2), {"at": datetime(2026, 1, 1, tzinfo=UTC)}, {1, 2}, b"\xff", None, 1.5):
        await results.set_result("t", a_result(value))
        back = (await results.get_result("t")).return_value
        assert (back, type(back)) == (value, type(value))
    model = Model(at=datetime(2026, 1, 1, tzinfo=UTC), names={"a"})
    await results.set_result("t", a_result(model))
    task: FlowstoreTask[Model] = FlowstoreTask("t", results, Model)
    assert (await task.wait_result(timeout=5)).return_value == model
    assert (await results.get_result("t")).return_value == model.model_dump(mode="json")
    await results.set_result("t", a_result([Point(1, 2)]))
    assert (await results.get_result("t")).return_value == [{"x": 1, "y": 2}]


@pytest.mark.parametrize("options", [{}, {"max_result_bytes": 1_000}], ids=["of no known type", "too large"])
async def test_a_value_that_cannot_be_stored_is_an_error(options: Any) -> None:
    """The task has failed with that: nobody waits for ever."""
    results = FlowstoreResultBackend("memory://", **options)
    await results.set_result("t", a_result("x" * 10_000 if options else {"rows": [object()]}))
    back = await results.wait("t", 5)
    assert (back.is_err, back.return_value) == (True, None)
    record = await stored(results.backend, "t")
    assert record.error is not None
    with pytest.raises(NotSerializable):
        raise record.error.rebuild([NotSerializable, flowstore.PayloadTooLarge])
    await results.shutdown()


async def test_a_value_of_a_registered_type(url: str) -> None:
    """It is an instance again; where the type is not registered that is an error, and no other value."""
    async with flowstore.connect(url, types=[Point]) as backend:
        results = FlowstoreResultBackend(backend)
        await results.set_result("t", a_result(Point(1, 2)))
        assert (await results.get_result("t")).return_value == Point(1, 2)
        await results.shutdown()
        assert await results.is_result_ready("t")  # it is not ours, and goes on
        if url.startswith("memory"):
            return
        others = FlowstoreResultBackend(url)
        with pytest.raises(UnresolvedValue):
            await others.get_result("t")
        await others.shutdown()


async def test_labels_that_do_not_fit(results: FlowstoreResultBackend) -> None:
    """They are left out, and others are kept: bytes in base64, as in messages."""
    labels = {"big": "x" * 20_000, "raw": b"\x00", "odd": [1], "": 1, "far": 2**70, "nan": float("nan")}
    many = {f"n{n}": n for n in range(100)}
    await results.set_result("t", a_result(labels=labels | many))
    kept = (await results.get_result("t")).labels
    assert (kept["raw"], kept["odd"], kept["n0"]) == ("AA==", "[1]", 0)
    assert len(kept) == 63  # and execution_time
    assert not kept.keys() & {"big", "", "far", "nan"}


async def test_labels_with_names_of_ours(results: FlowstoreResultBackend) -> None:
    """They are left out, and do not replace what flowstore notes of a result."""
    names = ("execution_time", "error", "no_result", "log", "args_shown")
    labels = {f"taskiq.{name}": "odd" for name in names}
    await results.set_result("t", a_result(labels={**labels, "taskiq": 1}))
    kept = await results.get_result("t", with_logs=True)
    assert (kept.return_value, kept.labels) == (a_result().return_value, {"taskiq": 1})


async def test_progress_with_any_state_and_meta(results: FlowstoreResultBackend) -> None:
    """It is replaced, and stays when the task is finished; lists of tasks show it meanwhile."""
    assert await results.get_progress("t") is None
    first: TaskProgress[Any] = TaskProgress(state=TaskState.STARTED, meta={"done": 1, "total": 4, "of": (1,)})
    await results.set_progress("t", first)
    assert await results.get_progress("t") == first
    shown = (await stored(results.backend, "t")).progress
    assert shown is not None
    assert (shown.done, shown.total, shown.note) == (1, 4, "STARTED")
    assert not await results.is_result_ready("t")
    second: TaskProgress[Any] = TaskProgress(state="half way", meta=50)
    await results.set_progress("t", second)
    await results.set_result("t", a_result())
    assert await results.get_progress("t") == second
    odd: TaskProgress[Any] = TaskProgress(state="", meta=[object()])
    await results.set_progress("t", odd)
    back = await results.get_progress("t")
    assert back is not None
    assert "object object" in str(back.meta)


async def test_waiting_by_push(results: FlowstoreResultBackend) -> None:
    """It ends with the result, at the deadline, or when somebody removes the task; by id or by task."""
    task: FlowstoreTask[int] = FlowstoreTask("t", results, int)
    waits = [
        asyncio.create_task(task.wait_result(check_interval=100, timeout=20)),
        asyncio.create_task(results.wait("t", 20)),
    ]
    for wait in waits:
        await seen(results.backend, wait, "t")
    await results.set_result("t", a_result("7"))
    assert [(await wait).return_value for wait in waits] == [7, "7"]
    with pytest.raises(TaskiqResultTimeoutError) as caught:
        await FlowstoreTask("u", results).wait_result(timeout=0.01)
    assert caught.value.timeout == 0.01
    await results.backend.store("u", TaskResult.running("u"))
    waiting = asyncio.create_task(results.wait("u"))
    await seen(results.backend, waiting, "u")
    await results.backend.delete("u")
    with pytest.raises(ResultIsMissing):
        await waiting


async def test_a_value_that_is_not_of_the_return_type(
    results: FlowstoreResultBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """It is returned as it is, and logged, as taskiq does."""
    await results.set_result("t", a_result("seven"))
    assert (await FlowstoreTask("t", results, int).wait_result()).return_value == "seven"
    assert "is not of type" in caplog.text


async def test_results_of_other_programs_are_read(results: FlowstoreResultBackend) -> None:
    """Whatever stores in flowstore, taskiq reads: times, errors and cancellations included."""
    begun = TaskResult.running("t", at=datetime(2026, 1, 1, tzinfo=UTC))
    done = TaskResult.success(begun, 1, at=datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC))
    await results.backend.store("t", done)
    assert await results.get_result("t") == a_result(1, execution_time=2.0)
    lost = TaskError(type="WorkerLost", message="w1")
    await results.backend.store("u", TaskResult.failed("u", lost))
    back = (await results.get_result("u")).error
    assert (type(back).__name__, str(back)) == ("WorkerLost", "w1")
    await results.backend.store("v", TaskResult.pending("v"))
    await results.backend.cancel("v", "bored")
    with pytest.raises(flowstore.TaskCancelled, match="bored"):
        (await results.get_result("v")).raise_for_error()


async def test_a_result_expires(url: str) -> None:
    """The options are those of connect, and they are refused for a backend that was given."""
    results = FlowstoreResultBackend(url, ttl=60)
    await results.set_result("t", a_result())
    assert (await stored(results.backend, "t")).expires_at is not None
    with pytest.raises(TypeError, match="ttl"):
        FlowstoreResultBackend(results.backend, ttl=60)
    await results.shutdown()


async def test_it_starts_again_after_a_shutdown(tmp_path: Any) -> None:
    """As often as its broker does, in each of its two parts; a second shutdown does nothing."""
    results = FlowstoreResultBackend(f"sqlite:///{tmp_path / 'results.db'}")
    await results.startup()
    await results.set_result("t", a_result())
    for _ in range(2):
        await results.shutdown()
        await results.shutdown()
        with pytest.raises(flowstore.BackendClosed):
            await results.get_result("t")
        await results.startup()
        await results.startup()
        assert await results.get_result("t") == a_result()
    await results.shutdown()
