"""The parts of a record as bytes: its head, its progress and its body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from pydantic_core import to_json

from flowstore._values.checks import with_check
from flowstore._values.codec import Codec
from flowstore._values.reading import MAX_HEAD_BYTES
from flowstore.errors import NotSerializable, PayloadTooLarge
from flowstore.models import Progress, TaskResult
from flowstore.times import to_micros

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


def encode_head(result: TaskResult, unlisted: Mapping[str, Any] = NOTHING) -> bytes:
    """``unlisted``: the fields that are in no facet."""
    if result.error is None and not unlisted and not result.meta and result.cancel_request is None:
        return b"{}"
    head: dict[str, object] = {}
    if result.error is not None:
        head["error"] = result.error.model_dump(exclude_defaults=True)
    if kept := {name: value for name, value in unlisted.items() if value}:
        head["unlisted"] = kept
    if result.meta:
        head["meta"] = result.meta
    if (request := result.cancel_request) is not None:
        head["cancel"] = {"at": to_micros(request.at), "reason": request.reason}
    if not head:
        return b"{}"
    data = to_json(head)
    if len(data) > MAX_HEAD_BYTES:
        raise PayloadTooLarge("error", f"{len(data)} bytes beside the values; the limit is {MAX_HEAD_BYTES}")
    return data


def encode_progress(progress: Progress) -> bytes:
    fields: dict[str, object] = {"done": progress.done}
    if progress.total is not None:
        fields["total"] = progress.total
    if progress.note is not None:
        fields["note"] = progress.note
    return with_check(to_json(fields))


def encode_body(result: TaskResult, codec: Codec) -> bytes:
    """The encoded values. Raises NotSerializable with the path of one that cannot be stored."""
    if not result.is_loaded:
        how = "was not read whole (load_result=False or max_value)"
        raise NotSerializable("result", f"{how}; get() the record first")
    return encode_values(result.result, result.args, result.kwargs, codec)


def encode_values(
    result: object, args: Sequence[object], kwargs: Mapping[str, object], codec: Codec
) -> bytes:
    body: dict[str, object] = {}
    if result is not None:
        body["result"] = result
    if args:
        body["args"] = [*args]
    if kwargs:
        body["kwargs"] = kwargs
    return codec.encode_fields(body)
