"""The bytes that the Redis engine stores: records, index entries, transitions and values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import unquote

from flowstore._trips.lanes import MAX_TRIP_BYTES
from flowstore.engine import (
    APPLIED,
    FAMILY,
    OWNERLESS,
    UNREADABLE,
    UNSORTED,
    Commit,
    Kept,
    Outcome,
    Position,
    Put,
    PutOutcome,
    Row,
    Span,
    TransitionRow,
    sort_key,
)
from flowstore.engine.facets import facets_of
from flowstore.errors import CorruptStore, SchemaTooNew
from flowstore.models import TaskStatus

FORMAT: Final = 2
PER_CALL: Final = 500
"""How many items one script call carries at most: the server does nothing else while it runs."""

_OFFSET: Final = 2**63
_RECORD: Final = re.compile(
    rb"2 (%s) (\d{1,15}) (\d{1,15}) (-|-?\d{1,19}) (-|-?\d{1,19}) \S+ ([0-9a-f]{16}) (\[[^\n]*\])\n"
    rb"([^\n]*)\n([^\n]*)(\n?)" % "|".join(TaskStatus).encode()
)
_TRANSITION: Final = re.compile(rb"([0-9a-f]{16})([0-9a-f]{16}) ([a-z]+) (\d{1,16}) (\d{1,3}) ")
IS_FORMAT_KEY: Final = re.compile(rb"flowstore:\{[^{}]*\}:format").fullmatch
"""Stricter than the pattern of SCAN: the key of a record may end like that as well, if its id does."""

_FORMATS: Final = re.compile(rb"(\d{1,9})(?: (\d{1,9}) (\d{1,9}))?")
_IS_APPLIED: Final = -1
_PARENT: Final = "parent: "


def prefix_of(namespace: str) -> str:
    """The prefix of all keys of a namespace, which share a hash tag."""
    escaped = namespace.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")
    return f"flowstore:{{{escaped}}}:"


def refusal(where: str, found: bytes | None) -> SchemaTooNew | None:
    """Why a namespace may only be read by this program; None where it may be written as well.

    ``found``: the number of its format, and where they are others the oldest formats whose programs may still
    write and read it. Raises SchemaTooNew where it may not even be read, CorruptStore for anything else.
    """
    numbers = _FORMATS.fullmatch(found or b"")
    if numbers is None:
        raise CorruptStore(f"{where} holds {found!r}, expected the number of a format")
    number = int(numbers[1])
    oldest_writer, oldest_reader = int(numbers[2] or number), int(numbers[3] or number)
    if number < FORMAT:
        raise CorruptStore(f"{where} holds {number}, a format from before the first release")
    if oldest_reader > FORMAT:
        raise SchemaTooNew(where, number, FORMAT)
    return SchemaTooNew(where, number, FORMAT, is_readable=True) if oldest_writer > FORMAT else None


def namespace_of(format_key: bytes) -> str:
    """The namespace that a format key belongs to."""
    return unquote(format_key.decode()[len("flowstore:{") : -len("}:format")], errors="strict")


def packed(commits: Sequence[Commit]) -> Iterator[tuple[int, str, bytes]]:
    """Bounded script calls: the number of writes, a line for each, and the data whose lengths the lines give.

    All in one argument, because the driver takes longer for an argument than the server for a write.
    """
    lines: list[str] = []
    data: list[bytes] = []
    size = 0
    for commit in commits:
        task_id, progress = commit.id.encode(), commit.progress or b""
        payload = len(progress) + len(commit.head) + len(commit.body) + 2
        if lines and (len(lines) == PER_CALL or size + payload > MAX_TRIP_BYTES):
            yield len(lines), "".join(lines), b"".join(data)
            lines, data, size = [], [], 0
        lines.append(f"{len(task_id)} {payload} {_line(commit)}\n")
        data += (task_id, progress, b"\n", commit.head, b"\n", commit.body)
        size += payload
    if lines:
        yield len(lines), "".join(lines), b"".join(data)


def _line(commit: Commit) -> str:
    """The guard of the write, then the header of the record without its version. See LINE in commit.lua."""
    needs = f"<={commit.ceiling}" if commit.if_version is None else f"={commit.if_version}"
    expires = "-" if commit.expires_at is None else commit.expires_at
    submitted = "-" if commit.submitted_at is None else commit.submitted_at
    listed = facets_of(commit.name, commit.parent, None, commit.worker, commit.labels)
    facets = json.dumps(listed, ensure_ascii=False) if listed else "[]"
    history = "-" if commit.history is None else commit.history
    times = f"{expires} {submitted} {commit.token} {commit.sort + _OFFSET:016x}"
    log = f"{commit.at + _OFFSET:016x} {history}"
    return f"{needs} {log} {commit.status} {commit.stage} {times} {facets}"


def outcome(reply: int | bytes) -> Outcome:
    if reply == _IS_APPLIED:
        return APPLIED
    if not isinstance(reply, bytes):
        return Outcome(is_applied=False, version=reply)
    reason = reply.decode(errors="replace")
    kind = FAMILY if reason.startswith(_PARENT) else UNREADABLE
    return Outcome(is_applied=False, version=kind, reason=reason.removeprefix(_PARENT))


def member(position: Position) -> str:
    """An index entry. Its order by bytes is the order of listings; the offset leaves no sort key negative."""
    return f"{position.sort + _OFFSET:016x}{position.id}"


def row_of(task_id: str, value: bytes | None) -> Row | None:
    if not value:
        return None
    record = _RECORD.match(value)
    if record is None or (facets := _facets(record[7])) is None:
        return _no_record(task_id, value)
    status, stage, version, expires, submitted, sort, _, progress, head, has_body = record.groups()
    submitted_at = None if submitted == b"-" else int(submitted)
    if int(sort, 16) - _OFFSET != sort_key(submitted_at):  # a walk would go in circles
        return _no_record(task_id, value)
    name = parent = root = worker = None
    labels: tuple[str, ...] = ()
    for facet in facets:
        kind, _, text = facet.partition(":")
        if kind in ("run", "step"):
            name = text
        elif kind == "parent":
            parent = text
        elif kind == "root":
            root = text
        elif kind == "worker":
            worker = text
        elif kind == "label":
            labels += (text,)
    return Row(
        task_id,
        status.decode(),
        int(stage),
        int(version),
        name,
        submitted_at,
        None if expires == b"-" else int(expires),
        head,
        value[record.end() :] if has_body else None,
        progress or None,
        parent,
        root,
        worker,
        labels,
    )


def _no_record(task_id: str, value: bytes) -> Row:
    return Row(task_id, "", 0, 0, None, None, None, head=value[:200], body=None)


def listed_row(entry: bytes, value: bytes) -> Row | None:
    """The record of an index entry; None for an entry that no flowstore can have written.

    What is no record of this format gets its place in the listing from the entry.
    """
    try:
        sort, task_id = int(entry[:16], 16) - _OFFSET, entry[16:].decode()
    except ValueError:
        return None
    row = row_of(task_id, value)
    if row is None or row.status:
        return row
    return row._replace(submitted_at=None if sort == UNSORTED else -sort)


def _facets(text: bytes) -> list[str] | None:
    """None unless ``text`` is a JSON list of str."""
    if text == b"[]":
        return []
    try:
        facets = json.loads(text.decode())
    except (ValueError, RecursionError):
        return None
    return facets if set(map(type, facets)) <= {str} else None


def bounds(span: Span) -> tuple[str, str, str]:
    """The bounds of a ZRANGE BYLEX, and a lower bound of the entries in the span."""
    start = f"{span.start + _OFFSET:016x}"
    behind = f"[{start}"
    if span.after is not None:
        behind = f"({_entry(span.after)}"
    return behind, f"({span.end + 1 + _OFFSET:016x}", start


def _entry(row: TransitionRow) -> str:
    """The entry as `log` in commit.lua writes it."""
    worker = row.worker or ""
    place = f"{row.at + _OFFSET:016x}{row.seq:016x}"
    return f"{place} {row.status} {row.stage} {len(worker.encode())} {worker}{row.id}"


def transition_of(entry: bytes) -> TransitionRow | None:
    """None for what is no transition of this format."""
    found = _TRANSITION.match(entry)
    if found is None:
        return None
    at, seq, status, stage, length = found.groups()
    try:
        names = entry[found.end() :]
        worker, task_id = names[: int(length)].decode(), names[int(length) :].decode()
    except UnicodeDecodeError:
        return None
    return TransitionRow(
        int(at, 16) - _OFFSET, int(seq, 16), task_id, status.decode(), int(stage), worker or None
    )


def put_arguments(put: Put) -> tuple[Any, ...]:
    """The arguments of put.lua for one value."""
    if_version = "-" if put.if_version is None else put.if_version
    keep = "-" if put.keep is None else put.keep
    is_put = int(put.value is not None)
    return put.section, put.owner, put.key or "", is_put, put.value or b"", if_version, keep


def put_outcome(reply: list[Any]) -> PutOutcome:
    became, key, version = reply
    if isinstance(became, bytes):
        return PutOutcome(False, key.decode(), UNREADABLE, became.decode(errors="replace"))
    return PutOutcome(became == 1, key.decode(), OWNERLESS if became == OWNERLESS else version)


def kept_of(key: bytes, value: bytes) -> Kept:
    head, _, content = value.partition(b"\n")
    version, _, at = head.partition(b" ")
    return Kept(key.decode(), int(version), int(at), content)
