"""Stored entries and items back to results, progress and transitions.

An entry is checked first (checks.py). What passes was written by a flowstore, which validated it then, so
most fields are not validated again: that would take as long as all the rest of a read.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any, Final, TypeVar, cast, overload

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from flowstore._values.checks import is_checked, is_whole, is_whole_item
from flowstore._values.codec import Codec, DecodeError
from flowstore._values.compression import HEADER_BYTES, beginning, decompress, is_compressed, plain_size
from flowstore._values.facets import family_of, named_by
from flowstore._values.refusals import Unsupported
from flowstore.engine import Entry, Item, Section
from flowstore.errors import CorruptRecord, UnreadableRecord
from flowstore.fields import NO_META, FrozenMeta, check_meta
from flowstore.models import MAX_RETRIES, CancelRequest, Progress, TaskResult, TaskStatus, Transition
from flowstore.stand_ins import NOT_LOADED, Excerpt
from flowstore.task_error import TaskError
from flowstore.text import cut
from flowstore.times import OF_NO_TASK, from_micros

Read = TypeVar("Read")

MAX_HEAD_BYTES: Final = 4 * 2**20
"""More than the models allow for the small fields, even if JSON escapes every character as six."""
STAGES_PER_ATTEMPT: Final = 4

_BODY: Final = frozenset({"result", "args", "kwargs"})
_MAX_REASON_CHARS: Final = 300
_MAX_STAGE: Final = STAGES_PER_ATTEMPT * (MAX_RETRIES + 1)
_ERROR: Final = TypeAdapter(TaskError).validator.validate_python
_PROGRESS: Final = TypeAdapter(Progress).validator.validate_python
DAMAGED: Final = "its checksum is not that of what is stored: it was damaged, or changed by another program"
_STATUS: Final = {status.value: status for status in TaskStatus}
_FIELDS: Final = frozenset(TaskResult.model_fields)
_SET: Final = object.__setattr__
LEFT_OUT: Final = {"result": NOT_LOADED, "args": NOT_LOADED, "kwargs": NOT_LOADED}


@overload
def decode(entry: Entry, codec: Codec) -> TaskResult: ...
@overload
def decode(entry: Entry, codec: Codec, read: Callable[[Entry, Codec], Read]) -> Read: ...
def decode(entry: Entry, codec: Codec, read: Callable[[Entry, Codec], Any] | None = None) -> Any:
    """What ``read`` returns, for entries of bytes by default. Raises UnreadableRecord for its errors."""
    try:
        return decoded(entry, codec) if read is None else read(entry, codec)
    except Unsupported as error:
        raise UnreadableRecord(entry.id, str(error)) from error
    except ValidationError as error:
        raise CorruptRecord(entry.id, first_of(error)) from error
    except (DecodeError, ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
        raise CorruptRecord(entry.id, cut(str(error), _MAX_REASON_CHARS)) from error


def decoded(entry: Entry, codec: Codec) -> TaskResult:
    if not entry.status:
        raise DecodeError(f"not a record of this format: {entry.head[:80]!r}")
    if not is_whole(entry):
        raise DecodeError(DAMAGED)
    if not 0 <= entry.stage < _MAX_STAGE:
        raise DecodeError(f"stage {entry.stage} is that of no attempt")
    progress = None if entry.progress is None else read_progress(entry.progress)
    if entry.head == b"{}":
        return result_of(entry, values_of(entry, codec), None, progress)
    head = _head(entry.head)
    error = read_error(head["error"]) if "error" in head else None
    meta = check_meta(head["meta"]) if "meta" in head else NO_META
    request = _cancel_request(head["cancel"]) if "cancel" in head else None
    result = result_of(entry, values_of(entry, codec), error, progress, meta, request)
    return _with_unlisted(result, head["unlisted"]) if "unlisted" in head else result


def result_of(
    entry: Entry,
    values: dict[str, Any],
    error: TaskError | None,
    progress: Progress | None,
    meta: FrozenMeta = NO_META,
    cancel_request: CancelRequest | None = None,
) -> TaskResult:
    """The result whose small fields are those of the entry, and which is not validated."""
    name, worker, labels = named_by(entry.facets)
    parent, root = family_of(entry.fixed)
    submitted, started, finished, due, expires = (
        entry.submitted_at, entry.started_at, entry.finished_at, entry.due_at, entry.expires_at
    )  # fmt: skip
    fields = {
        "task_id": entry.id,
        "status": _STATUS[entry.status],
        "task_name": name,
        "result": values.get("result"),
        "error": error,
        "args": values.get("args", ()),
        "kwargs": values.get("kwargs") or {},
        "submitted_at": None if submitted is None or submitted == OF_NO_TASK else from_micros(submitted),
        "started_at": None if started is None else from_micros(started),
        "finished_at": None if finished is None else from_micros(finished),
        "retries": entry.stage // STAGES_PER_ATTEMPT,
        "worker_id": worker,
        "parent_id": parent,
        "root_id": root,
        "labels": frozenset(labels),
        "meta": meta,
        "progress": progress,
        "due_at": None if due is None else from_micros(due),
        "cancel_request": cancel_request,
        "expires_at": None if expires is None else from_micros(expires),
        "version": entry.version,
        "updated_at": from_micros(entry.updated_at),
    }
    return unvalidated(fields)


def unvalidated(fields: dict[str, Any]) -> TaskResult:
    """The result with these fields, which must be all there are, in their order."""
    result = TaskResult.__new__(TaskResult)
    _SET(result, "__dict__", fields)
    _SET(result, "__pydantic_fields_set__", set(_FIELDS))
    _SET(result, "__pydantic_extra__", None)
    _SET(result, "__pydantic_private__", None)
    return result


def values_of(entry: Entry, codec: Codec) -> dict[str, Any]:
    return {**LEFT_OUT} if entry.body is None else values_in(entry.body, entry.body_size, codec)


def values_in(body: bytes, body_size: int | None, codec: Codec) -> dict[str, Any]:
    """Those of a body, or of its beginning, where ``body_size`` is the size of the whole."""
    if body_size is not None:
        return {**LEFT_OUT, **_excerpts(beginning(body, len(body)), body_size)}
    values = codec.decode_fields(decompress(body, codec.max_bytes), _BODY)
    if "args" in values:
        if type(values["args"]) is not list:
            raise DecodeError(f"args: expected a list, found {type(values['args']).__name__}")
        values["args"] = tuple(values["args"])
    kwargs = values.get("kwargs")
    if kwargs is not None and (type(kwargs) is not dict or not all(type(name) is str for name in kwargs)):
        raise DecodeError("kwargs: expected a dict with keys of str")
    return values


def cut_short(entry: Entry, max_body: int) -> Entry:
    """The entry with at most so many bytes of JSON as its body, and how many there are in all.

    One whose compressed body cannot be read comes back as it is, for ``decode`` to say why.
    """
    body = entry.body
    if body is None or (entry.body_size is None and plain_size(body) <= max_body):
        return entry
    if not is_compressed(body) or len(body) < HEADER_BYTES:
        return entry._replace(body=body[:max_body], body_size=entry.body_size or len(body))
    try:
        return entry._replace(body=beginning(body, max_body), body_size=plain_size(body))
    except DecodeError:
        return entry


def _excerpts(beginning: bytes, size: int) -> dict[str, Any]:
    """Those values that have begun, however far they go."""
    text = beginning.decode(errors="ignore")  # the last character may be cut
    try:
        found = from_json(text, allow_partial="trailing-strings")
    except ValueError:  # nested deeper than this parser goes
        found = {}
    if type(found) is not dict:
        raise DecodeError("not one JSON object")
    return {name: Excerpt(found[name], size) for name in _BODY & found.keys()}


def _with_unlisted(result: TaskResult, fields: Any) -> TaskResult:
    """With the fields that the writing backend does not index. Raises ValueError."""
    known = only_known(fields, {"task_name", "worker_id", "labels"})
    if not isinstance(known, dict):
        raise DecodeError(f"unlisted: expected a JSON object, found {type(known).__name__}")
    return result.model_copy(update=known)


def _head(head: bytes) -> dict[str, Any]:
    if len(head) > MAX_HEAD_BYTES:
        raise DecodeError(f"{len(head)} bytes beside the values; the limit is {MAX_HEAD_BYTES}")
    fields = from_json(head)
    if not isinstance(fields, dict):
        raise DecodeError(f"expected a JSON object as head, found {type(fields).__name__}")
    return fields


def read_error(fields: Any) -> TaskError:
    try:
        return cast(TaskError, _ERROR(fields))
    except ValidationError:  # perhaps only because of a key that a newer program wrote
        return cast(TaskError, _ERROR(_known_error(fields)))


def _cancel_request(fields: Any) -> CancelRequest:
    known = only_known(fields, {"at", "reason"})
    return CancelRequest(at=from_micros(known["at"]), reason=known.get("reason"))


def read_progress(document: bytes) -> Progress:
    if not is_checked(document):
        raise DecodeError(f"progress: {DAMAGED}")
    return cast(Progress, _PROGRESS(only_known(from_json(document), Progress.model_fields.keys())))


def entered(item: Item) -> str:
    """The status that a transition was to; "" if it cannot be read."""
    try:
        status = _said(item)[0]
    except (ValueError, LookupError, TypeError):
        return ""
    return status if status in _STATUS else ""


def _said(item: Item) -> Any:
    if not isinstance(item.value, bytes):  # of a storage that keeps objects: see copies.py
        return item.value
    if not is_whole_item(Section.HISTORY, item):
        raise DecodeError(DAMAGED)
    return from_json(item.value)


def check_transition(item: Item) -> None:
    """Raise CorruptRecord for what ``transition`` would refuse, in a fraction of its time."""
    try:
        status, stage, worker = _said(item)
    except (ValueError, TypeError):  # one that says more, or is damaged
        status = None
    if status not in _STATUS or type(stage) is not int or not (worker is None or type(worker) is str):
        transition(item)


def transition(item: Item) -> Transition:
    """Raises CorruptRecord."""
    try:
        said = [*_said(item), None, None]  # a newer program may write more behind them
        status, stage, worker, error, event = said[:5]
        return Transition(
            task_id=item.owner,
            at=from_micros(item.at),
            status=TaskStatus(status),
            retries=stage // STAGES_PER_ATTEMPT,
            worker_id=worker,
            seq=int(item.key),
            error=None if error is None else read_error(error),
            **(_event(event) if event is not None else {}),
        )
    except ValidationError as error:
        raise CorruptRecord(item.owner, f"history: {first_of(error)}") from error
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        raise CorruptRecord(item.owner, f"history: {cut(str(error), _MAX_REASON_CHARS)}") from error


def _event(fields: Any) -> dict[str, Any]:
    at = fields.get("at")
    return {
        "event": fields["name"],
        "detail": check_meta(fields.get("detail", NO_META)),
        "event_at": None if at is None else from_micros(at),
    }


def first_of(error: ValidationError) -> str:
    """The first error, as a line that names the field."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return cut(f"{field}: {first['msg']}", _MAX_REASON_CHARS)


def _known_error(error: Any) -> Any:
    """The error, its causes and the exceptions of groups, without unknown keys."""
    names = TaskError.model_fields.keys()
    first = only_known(error, names)
    ahead = [first]
    while ahead:
        each = ahead.pop()
        if isinstance(each, dict) and "cause" in each:
            each["cause"] = only_known(each["cause"], names)
            ahead.append(each["cause"])
        if isinstance(each, dict) and isinstance(members := each.get("exceptions"), list):
            members[:] = [only_known(member, names) for member in members]
            ahead += members
    return first


def only_known(fields: Any, names: Set[str]) -> Any:
    """Without the keys that a newer program wrote. Anything but a dict is returned for others to refuse."""
    if not isinstance(fields, dict) or fields.keys() <= names:
        return fields
    return {name: value for name, value in fields.items() if name in names}


def stages_of_attempt(retries: int) -> tuple[int, int]:
    """The lowest and the highest stage of an attempt."""
    first = retries * STAGES_PER_ATTEMPT
    return first, first + STAGES_PER_ATTEMPT - 1
