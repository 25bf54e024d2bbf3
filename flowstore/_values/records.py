"""A TaskResult as it is stored: columns, a head of small fields, a body of values.

A field in a column is stored nowhere else. The head is a JSON object of error, started_at and finished_at;
the body is one of result, args and kwargs, written by the codec; progress is one of its own. Fields that are
None or empty are left out.
"""

from __future__ import annotations

from collections.abc import Set
from datetime import timedelta
from itertools import count
from secrets import token_hex
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from flowstore._values.arguments import Redact, check_result, check_ttl
from flowstore._values.codec import Codec, DecodeError, UnknownType
from flowstore.engine import ANY_STAGE, Commit, Row, TransitionRow
from flowstore.errors import CorruptRecord, NotSerializable, PayloadTooLarge, UnregisteredType
from flowstore.models import FINISHED, NOT_LOADED, Progress, TaskResult, TaskStatus, Transition
from flowstore.task_error import TaskError
from flowstore.text import cut
from flowstore.times import from_iso, from_micros, to_micros

Ttl = float | timedelta | None

MAX_HEAD_BYTES: Final = 4 * 2**20
"""More than the models allow for the small fields, even if JSON escapes every character as six."""

_HEAD: Final = frozenset({"error", "started_at", "finished_at"})
_BODY: Final = frozenset({"result", "args", "kwargs"})
_TIMES_IN_HEAD: Final = frozenset({"started_at", "finished_at"})
_MAX_REASON_CHARS: Final = 300
_STAGES_PER_ATTEMPT: Final = 4
_VALIDATE: Final = TypeAdapter(TaskResult).validator.validate_python
_RANK: Final = {status: 2 if status in FINISHED else 1 for status in TaskStatus} | {TaskStatus.PENDING: 0}
"""``stage`` orders the states of a task by (retries, rank): pending < running = retrying < finished."""


class DefaultTtl:
    """The type of ``DEFAULT_TTL``: the result's own ``expires_at``, or else the backend's ttl."""

    def __repr__(self) -> str:
        return "<the backend's ttl>"


DEFAULT_TTL: Final = DefaultTtl()


class Records:
    """Turns results into commits, and rows into results. ttls are in microseconds, None: never.

    ``history``: how many transitions to keep of each task, None: all.
    """

    def __init__(
        self,
        codec: Codec,
        *,
        ttl: int | None,
        failure_ttl: int | None,
        history: int | None = 0,
        redact: Redact | None = None,
    ) -> None:
        self.codec = codec
        self._history = history
        self._ttl = ttl
        self._failure_ttl = failure_ttl
        self._redact = redact
        self._tokens = map(f"{token_hex(8)}.%x".__mod__, count())

    def commit(
        self,
        result: TaskResult,
        now: int,
        ttl: Ttl | DefaultTtl = DEFAULT_TTL,
        overwrite: bool = False,
        if_version: int | None = None,
        body: bytes | None = None,
    ) -> Commit:
        """The write that stores ``result`` under the rules of ``BaseResultBackend.store``.

        ``body``: the encoded values of a result that was read without them. ``redact`` is not called for it,
        since it could not see them.
        """
        if self._redact is not None and result.is_loaded:
            result = _redacted(result, self._redact)
        status, submitted_at = result.status, result.submitted_at
        stage = result.retries * _STAGES_PER_ATTEMPT + _RANK[status]
        is_finished = status in FINISHED
        # A write may replace its own stage, except that the first finished write of an attempt wins.
        ceiling = stage - 1 if is_finished else stage
        return Commit(  # by position, in the order of its fields: keywords cost 0.8 us per store
            result.task_id,
            status,
            stage,
            ANY_STAGE if overwrite else ceiling,
            if_version,
            is_finished,
            result.task_name,
            None if submitted_at is None else to_micros(submitted_at),
            self._expiry(result, now, ttl),
            next(self._tokens),
            encode_head(result),
            encode_body(result, self.codec) if body is None else body,
            None if result.progress is None else encode_progress(result.progress),
            result.parent_id,
            result.worker_id,
            tuple(sorted(result.labels)) if result.labels else (),
            now,
            self._history,
        )

    def decode(self, row: Row) -> TaskResult:
        """The result of a row. Without a body its values are NOT_LOADED. Raises UnreadableRecord."""
        return decode(row, self.codec)

    def _expiry(self, result: TaskResult, now: int, ttl: Ttl | DefaultTtl) -> int | None:
        if ttl is not DEFAULT_TTL:
            micros = check_ttl("ttl", ttl)
        elif result.expires_at is not None:
            return _in_future(to_micros(result.expires_at), now)
        else:
            micros = self._failure_ttl if result.status is TaskStatus.FAILED else self._ttl
        return None if micros is None else now + micros


def transition(row: TransitionRow) -> Transition:
    try:
        return Transition(
            task_id=row.id,
            at=from_micros(row.at),
            status=TaskStatus(row.status),
            retries=row.stage // _STAGES_PER_ATTEMPT,
            worker_id=row.worker,
            seq=row.seq,
        )
    except (ValueError, OverflowError) as error:
        raise CorruptRecord(row.id, f"history: {error}") from error


def stages_of_attempt(retries: int) -> tuple[int, int]:
    """The lowest and the highest stage of an attempt."""
    first = retries * _STAGES_PER_ATTEMPT
    return first, first + _STAGES_PER_ATTEMPT - 1


def _redacted(result: TaskResult, redact: Redact) -> TaskResult:
    redacted = redact(result)
    if not isinstance(redacted, TaskResult):
        raise TypeError(f"redact: expected it to return a TaskResult, got {type(redacted).__name__}")
    check_result(redacted)
    for name in ("task_id", "status", "retries"):
        before, after = getattr(result, name), getattr(redacted, name)
        if after != before:
            raise ValueError(f"redact: must not change {name}, here from {before!r} to {after!r}")
    return redacted


def _in_future(expires_at: int, now: int) -> int:
    if expires_at <= now:
        raise ValueError(f"expires_at: {from_micros(expires_at)} has passed; it would expire unseen")
    return expires_at


def encode_head(result: TaskResult) -> bytes:
    head: dict[str, object] = {}
    if result.error is not None:
        head["error"] = result.error.model_dump(exclude_defaults=True)
    if result.started_at is not None:
        head["started_at"] = result.started_at.isoformat()
    if result.finished_at is not None:
        head["finished_at"] = result.finished_at.isoformat()
    data = to_json(head)
    if len(data) > MAX_HEAD_BYTES:
        largest = max(head, key=lambda name: len(to_json(head[name])))
        raise PayloadTooLarge(largest, f"{len(data)} bytes beside the values; the limit is {MAX_HEAD_BYTES}")
    return data


def encode_progress(progress: Progress) -> bytes:
    fields: dict[str, object] = {"done": progress.done}
    if progress.total is not None:
        fields["total"] = progress.total
    if progress.note is not None:
        fields["note"] = progress.note
    return to_json(fields)


def encode_body(result: TaskResult, codec: Codec) -> bytes:
    """The encoded values. Raises NotSerializable with the path of one that cannot be stored."""
    if not result.is_loaded:
        raise NotSerializable("result", "was not loaded (load_result=False); get() the record first")
    body: dict[str, object] = {}
    if result.result is not None:
        body["result"] = result.result
    if result.args:
        body["args"] = [*result.args]
    if result.kwargs:
        body["kwargs"] = result.kwargs
    return codec.encode_fields(body)


def decode(row: Row, codec: Codec) -> TaskResult:
    try:
        head, values, columns = _head(row), _values(row, codec), _columns(row)
        if not (_HEAD.issuperset(head) and _BODY.issuperset(values)):  # a newer program has written more
            head, values = only_known(head, _HEAD), only_known(values, _BODY)
        fields = {**head, **values, **columns}
        try:
            result: TaskResult = _VALIDATE(fields)
        except ValidationError:  # perhaps only because of a key inside of error or progress
            result = _VALIDATE(_known_inside(fields))
        return result
    except ValidationError as error:
        raise CorruptRecord(row.id, first_of(error)) from error
    except UnknownType as error:
        raise UnregisteredType(row.id, str(error)) from error
    except (DecodeError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise CorruptRecord(row.id, cut(str(error), _MAX_REASON_CHARS)) from error


def first_of(error: ValidationError) -> str:
    """The first error, as a line that names the field."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return cut(f"{field}: {first['msg']}", _MAX_REASON_CHARS)


def _columns(row: Row) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "task_id": row.id,
        "status": row.status,
        "retries": row.stage // _STAGES_PER_ATTEMPT,
        "version": row.version,
    }
    if row.name is not None:
        columns["task_name"] = row.name
    if row.worker is not None:
        columns["worker_id"] = row.worker
    if row.parent is not None:
        columns |= {"parent_id": row.parent, "root_id": row.root}
    if row.labels:
        columns["labels"] = row.labels
    if row.progress is not None:
        columns["progress"] = from_json(row.progress)
    if row.submitted_at is not None:
        columns["submitted_at"] = from_micros(row.submitted_at)
    if row.expires_at is not None:
        columns["expires_at"] = from_micros(row.expires_at)
    return columns


def _head(row: Row) -> dict[str, Any]:
    if not row.status:
        raise DecodeError(f"not a record of this format: {row.head[:80]!r}")
    if len(row.head) > MAX_HEAD_BYTES:
        raise DecodeError(f"{len(row.head)} bytes beside the values; the limit is {MAX_HEAD_BYTES}")
    head = from_json(row.head)
    if not isinstance(head, dict):
        raise DecodeError(f"expected a JSON object as head, found {type(head).__name__}")
    for name in _TIMES_IN_HEAD & head.keys():
        head[name] = from_iso(head[name])
    return head


def _known_inside(fields: dict[str, Any]) -> dict[str, Any]:
    known = dict(fields)
    if "error" in known:
        known["error"] = _known_error(known["error"])
    if "progress" in known:
        known["progress"] = only_known(known["progress"], Progress.model_fields.keys())
    return known


def _known_error(error: Any) -> Any:
    """The error, and its causes, without unknown keys."""
    first = only_known(error, TaskError.model_fields.keys())
    link = first
    while isinstance(link, dict) and "cause" in link:
        link["cause"] = only_known(link["cause"], TaskError.model_fields.keys())
        link = link["cause"]
    return first


def _values(row: Row, codec: Codec) -> dict[str, Any]:
    if row.body is None:
        return {"result": NOT_LOADED, "args": NOT_LOADED, "kwargs": NOT_LOADED}
    return codec.decode_fields(row.body, _BODY)


def only_known(fields: Any, names: Set[str]) -> Any:
    """Without the keys that a newer program wrote. Anything but a dict is returned for others to refuse."""
    if not isinstance(fields, dict) or fields.keys() <= names:
        return fields
    return {name: value for name, value in fields.items() if name in names}
