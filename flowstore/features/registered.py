"""A worker as it is registered, and its item in the storage."""

from __future__ import annotations

from typing import Final

from pydantic import Field, ValidationError
from pydantic_core import from_json

from flowstore._values.checks import is_whole_item
from flowstore._values.codec import DecodeError
from flowstore._values.reading import DAMAGED, first_of, only_known
from flowstore.engine import Item, Section
from flowstore.errors import CorruptRecord
from flowstore.fields import NO_META, Identifier, Labels, Meta, Record, Timestamp
from flowstore.tables import Tabular
from flowstore.times import from_iso, from_micros

MAX_TASKS: Final = 1_000
"""How many tasks a heartbeat names. A worker with more of them says only how many."""


class Worker(Tabular, Record):
    """A registered worker process. ``parent_id``: the worker that started it. ``labels`` is a set.

    ``info`` is what it says of itself, such as its version: a mapping like ``TaskResult.meta``. ``slots``:
    how many tasks it runs at once; None: it did not say. ``running``: how many it ran at ``as_of``, and
    ``tasks``: their ids, sorted; all three None for a worker that sends plain heartbeats, and ``tasks`` also
    for one with more than 1,000. ``is_draining``: it takes no new ones. ``every``: after how many seconds a
    heartbeat is followed by the next; None: it did not say.
    """

    worker_id: Identifier
    host: Identifier
    pid: int
    started_at: Timestamp
    last_seen: Timestamp
    parent_id: Identifier | None = None
    labels: Labels = frozenset()
    info: Meta = NO_META
    slots: int | None = Field(default=None, ge=1)
    running: int | None = Field(default=None, ge=0)
    tasks: tuple[Identifier, ...] | None = None
    as_of: Timestamp | None = None
    is_draining: bool = False
    every: float | None = Field(default=None, gt=0)


_ELSEWHERE: Final = {"worker_id", "last_seen"}
"""The fields that are stored as the key and as the time of the last write."""
_STORED: Final = Worker.model_fields.keys() - _ELSEWHERE


def encode_worker(worker: Worker) -> bytes:
    return worker.model_dump_json(exclude=_ELSEWHERE, exclude_defaults=True).encode()


def read_worker(kept: Item) -> Worker:
    """Raises CorruptRecord."""
    try:
        if not is_whole_item(Section.WORKER, kept):
            raise DecodeError(DAMAGED)
        fields = only_known(from_json(kept.value), _STORED)
        fields["started_at"] = from_iso(fields.get("started_at"))
        if "as_of" in fields:
            fields["as_of"] = from_iso(fields["as_of"])
        return Worker(worker_id=kept.key, last_seen=from_micros(kept.at), **fields)
    except ValidationError as error:
        raise CorruptRecord(kept.key, first_of(error), Section.WORKER) from error
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise CorruptRecord(kept.key, str(error), Section.WORKER) from error
