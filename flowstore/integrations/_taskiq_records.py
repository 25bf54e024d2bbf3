"""Results of taskiq as records of flowstore, and back.

The value, the error and the status are those of the record, so that every reader of flowstore sees them.
Labels are its ``meta``; what else there is to a result of taskiq stands there as well, under names that begin
with "taskiq.".
"""

from __future__ import annotations

import json
import logging
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from flowstore import (
    BaseResultBackend,
    NotSerializable,
    TaskCancelled,
    TaskError,
    TaskResult,
    TaskStatus,
    Unresolved,
    UnresolvedValue,
    to_jsonable,
)
from flowstore._packages import needed
from flowstore.fields import MAX_META, MAX_META_BYTES, Scalar, check_meta
from flowstore.text import cut

with needed("flowstore.integrations.taskiq", "taskiq"):
    from taskiq import TaskiqResult
    from taskiq.exceptions import ResultGetError
    from taskiq.serialization import ExceptionRepr, exception_to_python, prepare_exception

logger: Final = logging.getLogger("flowstore.integrations")

OWN: Final = "taskiq."
IN_MESSAGES: Final = "flowstore_"
"""How the labels begin that the middleware adds to messages, and that nobody else is to see."""
ARGS_SHOWN: Final = "taskiq.args_shown"
"""Of a task whose arguments are kept in a form for people, as they cannot be stored: it is not sent again."""
_NO_RESULT: Final = "taskiq.no_result"
_TIME: Final = "taskiq.execution_time"
_LOG: Final = "taskiq.log"
_ERROR: Final = "taskiq.error"
_NO_ERROR: Final = TaskError(type="TaskiqResult", message="is_err, without an exception")
_LOG_CHARS: Final = 2_000
_ANY: Final[TypeAdapter[Any]] = TypeAdapter(Any)


class ResultIsMissing(ResultGetError, KeyError):
    """There is no result of this task: it is not finished, was taken or removed, or has set none.

    A KeyError as well, which is what taskiq's own backend in memory raises.
    """

    __template__ = "There is no result of the task {task_id}"
    task_id: str

    def __str__(self) -> str:
        return str(self.args[0])


def storable(backend: BaseResultBackend, value: Any) -> Any:
    """The value, or if flowstore would refuse it, what other result backends of taskiq store: its JSON.

    taskiq makes the value again from that where the task has an annotated return type. Raises NotSerializable
    for what has no such form, or is too large.
    """
    refused = backend.refusal(value)
    if refused is None:
        return value
    try:
        form = _ANY.dump_python(value, mode="json")
    except Exception as error:  # anything may raise in serializers of models
        raise refused from error
    if backend.refusal(form) is not None:
        raise refused
    return form


def finished(backend: BaseResultBackend, task: str | TaskResult, result: TaskiqResult[Any]) -> TaskResult:
    """The record of a task that has ended with this result.

    A value that cannot be stored is an error of the task: it has failed with NotSerializable.
    """
    error, is_failed = result.error, result.is_err or result.error is not None
    own: dict[str, Any] = {_TIME: result.execution_time}
    if isinstance(task, TaskResult) and ARGS_SHOWN in task.meta:
        own[ARGS_SHOWN] = True
    if result.log:
        own[_LOG] = cut(result.log, _LOG_CHARS)
    try:
        value = storable(backend, result.return_value)
    except NotSerializable as refused:
        value, error, is_failed = None, error or refused, True
    if not is_failed:
        return TaskResult.success(task, value, meta=meta_of(result.labels, own))
    told = _NO_ERROR if error is None else TaskError.from_exception(error)
    if error is not None and (exact := _exact(error, told)):
        own[_ERROR] = exact
    return TaskResult.failed(task, told, result=value, meta=meta_of(result.labels, own))


def without_result(task: TaskResult) -> TaskResult:
    """Of a task that has raised NoResultError: it is over, and has none."""
    return TaskResult.success(task, None, meta={**task.meta, _NO_RESULT: True})


def taskiq_result(record: TaskResult, with_logs: bool = False) -> TaskiqResult[Any]:
    """Raises UnresolvedValue for a value of a type that is not registered, and ResultIsMissing."""
    meta: Mapping[str, Any] = record.meta
    if not record.is_finished or _NO_RESULT in meta:
        raise ResultIsMissing(task_id=record.task_id)
    if isinstance(record.result, Unresolved):
        raise UnresolvedValue(record.task_id, record.result.reason)
    return TaskiqResult(
        is_err=not record.is_success,
        log=meta.get(_LOG) if with_logs else None,
        return_value=record.result,
        execution_time=meta.get(_TIME, _seconds(record)),
        labels=labels_of(meta),
        error=_error_of(record),
    )


def labels_of(meta: Mapping[str, Scalar]) -> dict[str, Any]:
    return {name: value for name, value in meta.items() if not name.startswith(OWN)}


def meta_of(labels: Mapping[str, Any], own: Mapping[str, Any] | None = None) -> dict[str, Scalar]:
    """As many labels as there is room for, what is ``own`` before them; bytes as in messages, in base64.

    Labels with names of our own are left out: whatever message they are from, they are not what we say.
    """
    kept: dict[str, Scalar] = {}
    room = MAX_META_BYTES
    theirs = {name: value for name, value in labels.items() if not name.startswith((OWN, IN_MESSAGES))}
    for name, value in {**(own or {}), **theirs}.items():
        if isinstance(value, bytes):
            value = b64encode(value).decode()
        elif not isinstance(value, str | int | float | None):
            value = str(value)
        try:
            size = len(json.dumps(check_meta({name: value}), ensure_ascii=False).encode())
        except (TypeError, ValueError) as error:
            logger.debug("label %.80r is not kept: %s", name, error)
            continue
        if size <= room and len(kept) < MAX_META:
            kept[name] = value
            room -= size
    return kept


def _exact(error: BaseException, told: TaskError) -> str | None:
    """What taskiq makes the exception of again, as JSON; None if ``told`` says it all."""
    if type(error) is ValidationError:
        exact = json.dumps(_lines_of(error))
    else:
        exact = _json(prepare_exception(error, json))
        if exact == _json(_repr_of(told)):
            return None
    return None if len(exact) > MAX_META_BYTES // 2 else exact


def _json(prepared: Any) -> str:
    return json.dumps(_ANY.dump_python(prepared, mode="json"))


def _lines_of(error: ValidationError) -> dict[str, Any]:
    """Of an exception that no class makes again: pydantic's has no constructor."""
    names = ("type", "msg", "loc", "input")
    return {
        "title": error.title,
        "lines": [[to_jsonable(line[name]) for name in names] for line in error.errors()],  # type: ignore[literal-required]
    }


def _made_of_lines(title: str, lines: list[Any]) -> ValidationError:
    return ValidationError.from_exception_data(
        title,
        [
            InitErrorDetails(type=PydanticCustomError(kind, text), loc=tuple(loc), input=value)
            for kind, text, loc, value in lines
        ],
    )


def _repr_of(error: TaskError) -> ExceptionRepr:
    """``args`` are there if they are plain, and otherwise the message stands for them."""
    return ExceptionRepr(
        exc_type=error.qualname,
        exc_message=error.args or ((error.message,) if error.message else ()),
        exc_module=error.module,
        exc_cause=None if error.cause is None else _repr_of(error.cause),
    )


def _error_of(record: TaskResult) -> BaseException | None:
    """The exception, made again by the rules of taskiq: of a class that this program has imported."""
    if record.status is TaskStatus.CANCELLED:
        request = record.cancel_request
        return TaskCancelled(record.task_id, None if request is None else request.reason)
    exact = record.meta.get(_ERROR)
    if isinstance(exact, str):
        kept = json.loads(exact)
        return _made_of_lines(**kept) if "lines" in kept else exception_to_python(kept)
    if record.error is None or record.error == _NO_ERROR:
        return None
    return exception_to_python(_repr_of(record.error))


def _seconds(record: TaskResult) -> float:
    """For records that were not written by taskiq, and those of tasks that were cancelled."""
    if record.started_at is None or record.finished_at is None:
        return 0.0
    return round(max(0.0, (record.finished_at - record.started_at).total_seconds()), 2)
