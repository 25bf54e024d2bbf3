"""A TaskResult as it is stored: columns, facets, a head of small fields, a body of values.

A field in a column or a facet is stored nowhere else. The head is a JSON object of ``error`` and ``meta``;
the body is one of result, args and kwargs, written by the codec; progress is one of its own, and so is each
transition, a list of status, stage, worker, error in short, and event. What is None or empty is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from copy import copy
from datetime import timedelta
from typing import Any, Final, Self

from pydantic_core import to_json

from flowstore._errors.fingerprints import fingerprint
from flowstore._values.arguments import Redact, check_ttl
from flowstore._values.brief import brief
from flowstore._values.checks import (
    columns_check,
    entry_check,
    expiry_check,
    is_whole,
    is_whole_item,
    item_check,
    joined_check,
)
from flowstore._values.codec import Codec, DecodeError
from flowstore._values.compression import compress, decompress, is_compressed
from flowstore._values.encoding import NOTHING, encode_body, encode_head, encode_progress
from flowstore._values.facets import FIELDS, FINISH, facets_of, fixed_of
from flowstore._values.json_text import without_first
from flowstore._values.reading import DAMAGED, STAGES_PER_ATTEMPT, cut_short, decode, decoded
from flowstore._values.redacting import redacted_by
from flowstore._values.tallying import Tallying, facets_of_error, noted
from flowstore._values.tokens import new_token
from flowstore.engine import ANY_STAGE, FINAL, Entry, Expiry, Item, Logged, Section, Write
from flowstore.errors import CorruptRecord, UnreadableRecord
from flowstore.models import FINISHED, TaskResult, TaskStatus
from flowstore.task_error import TaskError
from flowstore.times import from_micros, to_micros

Ttl = float | timedelta | None

_FIELDS: Final = {"name": "task_name", "worker_id": "worker_id", "label": "labels"}
_GROUPED: Final = {TaskStatus.FAILED, TaskStatus.RETRYING}
_RANK: Final = {status: 2 if status in FINISHED else 1 for status in TaskStatus} | {TaskStatus.PENDING: 0}
"""``stage`` orders the states of a task by (retries, rank): pending < running = retrying < finished."""


class DefaultTtl:
    """The type of ``DEFAULT_TTL``: the result's own ``expires_at``, or else the backend's ttl."""

    def __repr__(self) -> str:
        return "<the backend's ttl>"


DEFAULT_TTL: Final = DefaultTtl()


class Records:
    """Turns results into writes, and entries into results. ttls are in microseconds, None: never.

    ``ttl`` and ``failure_ttl`` are those of finished records, ``unfinished_ttl`` that of all others.
    ``history``: how many transitions to keep of each task, None: all. ``facets``: those of OPTIONAL to index;
    the fields among the others are kept in the head. ``compress_over``: values whose JSON has more bytes are
    compressed; None: none. ``unreadable``: called with what ``decode`` raises. ``tallying``: what makes the
    marks of writes; None: they count nothing. ``has_groups``: whether errors are grouped.
    """

    _read = staticmethod(decoded)

    def __init__(
        self,
        codec: Codec,
        *,
        ttl: int | None,
        failure_ttl: int | None,
        unfinished_ttl: int | None = None,
        history: int | None = 0,
        redact: Redact | None = None,
        facets: Collection[str] = FIELDS,
        compress_over: int | None = None,
        unreadable: Callable[[UnreadableRecord], None] = lambda error: None,
        tallying: Tallying | None = None,
        has_groups: bool = False,
    ) -> None:
        self.codec = codec
        self._history = history
        self.ttl = ttl
        self.failure_ttl = failure_ttl
        self.unfinished_ttl = unfinished_ttl
        self._redact = redact
        self.compress_over = compress_over
        self._list_by(facets)
        self._unreadable = unreadable
        self._tallying = tallying
        self.has_groups = has_groups

    def unlisted(self) -> Self:
        """The same, but for facets: none of the optional ones, so that what is written is in no listing.

        Nor does it count.
        """
        made = copy(self)
        made._list_by(())
        made._tallying, made.has_groups = None, False
        return made

    def bare(self) -> Self:
        """The same, but it leaves no transitions, counts nothing, and lists nothing by finish."""
        made = copy(self)
        made._tallying, made.has_groups = None, False
        made._history = 0
        made._by_finish = frozenset()
        return made

    def _list_by(self, facets: Collection[str]) -> None:
        self.facets = frozenset(facets)
        self._unlisted = {*FIELDS} - self.facets
        self._by_finish = FINISHED if "finished" in self.facets else FINISHED - {TaskStatus.SUCCESS}

    def write(
        self,
        result: TaskResult,
        now: int,
        ttl: Ttl | DefaultTtl = DEFAULT_TTL,
        overwrite: bool = False,
        if_version: int | None = None,
        body: bytes | None = None,
        more_facets: tuple[str, ...] = (),
    ) -> Write:
        """The write that stores ``result``, redacted before, under the rules of ``BaseResultBackend.store``.

        ``body``: the encoded values of a result that was read without them. ``more_facets``: what it is
        listed by besides its fields. Where the result names its parent
        and not the root, the root has still to be found: see _trips/families.py.
        """
        status, task_id = result.status, result.task_id
        root = None if result.root_id == task_id else result.root_id
        state = status.value  # once: a property that Python computes
        stage = result.retries * STAGES_PER_ATTEMPT + _RANK[status]
        # A write may replace its own stage, except that the first finished write of an attempt wins.
        ceiling = stage - 1 if status in FINISHED else stage
        parent, worker = result.parent_id, result.worker_id
        unlisted = NOTHING
        if not self._unlisted:
            facets = facets_of(result.task_name, parent is not None, worker, result.labels)
        else:
            listed: dict[str, Any] = {"name": None, "worker_id": None, "label": ()}
            listed |= {facet: getattr(result, _FIELDS[facet]) for facet in FIELDS if facet in self.facets}
            facets = facets_of(listed["name"], parent is not None, listed["worker_id"], listed["label"])
            unlisted = {_FIELDS[facet]: getattr(result, _FIELDS[facet]) for facet in self._unlisted}
        if status in self._by_finish:
            facets += (FINISH,)
        group = None
        if result.error is not None and self.has_groups and status in _GROUPED:
            group = fingerprint(result.error)
            facets += facets_of_error(status, group)
        facets += more_facets
        fixed = () if parent is None else fixed_of(parent, root)
        times = (
            _micros(result.submitted_at),
            _micros(result.started_at),
            _micros(result.finished_at),
            _micros(result.due_at),
            now,
            self._expiry(result, now, ttl),
        )
        packed = self._packed(result, (task_id, state, stage, *times), fixed, facets, body, unlisted)
        tallying = self._tallying
        # By position, and once: keywords, or an entry that is replaced by one with its check, cost a
        # microsecond each.
        return Write(
            Entry(task_id, state, stage, 0, *times, fixed, facets, *packed),
            new_token(),
            ANY_STAGE if overwrite else ceiling,
            if_version,
            None if self._history == 0 else self._logged(task_id, state, stage, worker, result.error, now),
            None,
            None,
            tallying.marks(result.task_name, state, result.retries, *times[:3]) if tallying else (),
            None if group is None or tallying is None else noted(result, group),
        )

    def write_beside(
        self, result: TaskResult, now: int, entry: Entry, ttl: Ttl | DefaultTtl = DEFAULT_TTL
    ) -> Write:
        """What stores ``result`` over the record that ``entry`` was read from, whose values stay."""
        write = self.write(result, now, ttl, if_version=entry.version, body=b"")
        own = write.entry._replace(body=None)
        if isinstance(own.head, bytes):  # else there is no checksum
            own = self.checked(own._replace(check=entry.check))
        return write._replace(entry=own, standing=entry.check)

    def _packed(
        self,
        result: TaskResult,
        columns: tuple[object, ...],
        fixed: tuple[str, ...],
        facets: tuple[str, ...],
        body: bytes | None,
        unlisted: Mapping[str, Any],
    ) -> tuple[int, bytes, bytes, bytes | None]:
        """Check, head, body and progress."""
        head = encode_head(result, unlisted)
        if body is None:
            body = encode_body(result, self.codec)
        body = self.packed(body)
        check = joined_check(columns_check(columns, fixed, facets, head), body)
        return check, head, body, None if result.progress is None else encode_progress(result.progress)

    def noting(self, write: Write, worker: str | None, event: Mapping[str, Any]) -> Write:
        """The write, which changes nothing, with an event in place of the transition that it would leave."""
        if write.logged is None:
            return write
        entry = write.entry
        said = to_json((entry.status, entry.stage, worker, None, event))
        check = item_check(Section.HISTORY, entry.id, None, entry.updated_at, said)
        return write._replace(logged=Logged(said, check, self._history))

    def _logged(
        self, task_id: str, status: str, stage: int, worker: str | None, error: TaskError | None, at: int
    ) -> Logged:
        if error is not None:
            value = to_json((status, stage, worker, brief(error)))
        elif worker is None:
            value = b'["%b",%d,null]' % (status.encode(), stage)
        else:
            value = to_json((status, stage, worker))
        return Logged(value, item_check(Section.HISTORY, task_id, None, at, value), self._history)

    def packed(self, data: bytes) -> bytes:
        """The encoded values as they are stored: compressed, if they are JSON above ``compress_over``."""
        over = self.compress_over
        return data if over is None or len(data) <= over else compress(data)

    def unpacked(self, data: bytes) -> bytes:
        """The JSON again. Raises DecodeError."""
        return decompress(data, self.codec.max_bytes)

    @property
    def is_redacting(self) -> bool:
        return self._redact is not None

    def redacted(self, result: TaskResult) -> TaskResult:
        """The result to store in its place. Values that were not loaded could not be redacted."""
        if self._redact is None or not result.is_loaded:
            return result
        return redacted_by(self._redact, result)

    def checked(self, entry: Entry) -> Entry:
        """The entry with the checksum of what it holds now."""
        return entry._replace(check=entry_check(entry))

    def arguments_of(self, body: bytes) -> bytes:
        """The body without a result, for the next attempt. Nothing in it is decoded."""
        try:
            plain = self.unpacked(body)
        except DecodeError:  # it is whole, and another program may read it
            return body
        return without_first(plain, "result", {"args", "kwargs"})

    def rewrite(self, entry: Entry, version: int, standing: int | None, logged: Logged | None) -> Write:
        """The write that makes ``entry`` that version of its record, over the check of the one before."""
        return Write(entry, new_token(), ANY_STAGE, version - 1, logged, standing)

    def as_bytes(self, entry: Entry) -> Entry:
        """The entry with the bytes that are the same in every storage, whatever this one keeps.

        Its check is that of what is stored. Raises DecodeError.
        """
        return entry if entry.body is None else entry._replace(body=self.unpacked(entry.body))

    def item_as_bytes(self, section: Section, item: Item) -> Item:
        """Likewise the item. Raises CorruptRecord for one that is damaged, and DecodeError."""
        if not is_whole_item(section, item):
            raise CorruptRecord(item.owner, f"{section} {item.key!r}: {DAMAGED}")
        return item if section is Section.HISTORY else item._replace(value=self.unpacked(item.value))

    def is_whole(self, entry: Entry) -> bool:
        """Whether the entry is what was written: asked before its body is passed on without a look."""
        return is_whole(entry)

    def check_whole(self, entry: Entry) -> None:
        """Raise CorruptRecord for one that is damaged, before any of it gets a new checksum."""
        if not entry.status or not self.is_whole(entry):
            raise CorruptRecord(entry.id, DAMAGED)

    def decode(self, entry: Entry) -> TaskResult:
        """The result of an entry. Without a whole body its values are NOT_LOADED. Raises UnreadableRecord."""
        try:
            return decode(entry, self.codec, self._read)
        except UnreadableRecord as error:
            self._unreadable(error)
            raise

    def cut(self, entry: Entry, max_body: int) -> Entry:
        """The entry with the JSON of its body, at most so many bytes, and how many there are in all.

        One that ``Engine.read`` has returned so comes back as it is, but for a compressed body, and for the
        objects that CopiedRecords keeps.
        """
        if entry.body is not None and is_compressed(entry.body) and not self.is_whole(entry):
            return entry  # for ``decode`` to say so
        return cut_short(entry, max_body)

    def _expiry(self, result: TaskResult, now: int, ttl: Ttl | DefaultTtl) -> int | None:
        if ttl is not DEFAULT_TTL:
            micros = check_ttl("ttl", ttl)
        elif result.expires_at is not None:
            return _in_future(to_micros(result.expires_at), now)
        elif result.status not in FINISHED:
            micros = self.unfinished_ttl
        else:
            micros = self.failure_ttl if result.status is TaskStatus.FAILED else self.ttl
        return None if micros is None else now + micros

    def expiry(self, entry: Entry, expires_at: int | None) -> Expiry:
        """What changes the expiry of the record that the entry was read from, and nothing else of it."""
        # Entries that hold objects, in the memory of this process, have no checksum.
        check = expiry_check(entry, expires_at) if isinstance(entry.head, bytes) else entry.check
        return Expiry(entry.id, expires_at, check, entry.version, entry.check)

    def renewal(self, entry: Entry, now: int) -> Expiry | None:
        """What keeps an unfinished record for another ``unfinished_ttl``; None where nothing is to change.

        It never shortens what a ``ttl`` of a store has given, and leaves alone what never expires.
        """
        if self.unfinished_ttl is None or entry.expires_at is None:
            return None
        expires_at = now + self.unfinished_ttl
        is_later = expires_at > entry.expires_at > now and entry.status not in FINAL
        return self.expiry(entry, expires_at) if is_later and self.is_whole(entry) else None


def _in_future(expires_at: int, now: int) -> int:
    if expires_at <= now:
        raise ValueError(f"expires_at: {from_micros(expires_at)} has passed; it would expire unseen")
    return expires_at


def _micros(at: Any) -> int | None:
    return None if at is None else to_micros(at)
