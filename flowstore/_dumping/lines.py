"""A record with all that belongs to it as one line of JSON, and back.

The line says the same whatever storage the record is in, and nothing that a storage may choose: checksums are
left out, and made anew from what the line says. So equal records have equal lines, and digests of lines tell
whether two storages hold the same.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, NamedTuple
from zlib import crc32

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from flowstore._values.checks import entry_check, item_check
from flowstore._values.facets import is_open
from flowstore._values.reading import STAGES_PER_ATTEMPT, first_of
from flowstore.engine import Entry, Item, Section
from flowstore.models import MAX_RETRIES, StatusName
from flowstore.text import check_text
from flowstore.times import OF_NO_TASK, to_micros

Items = Mapping[Section, Sequence[Item]]

_LAST: Final = to_micros(datetime.max.replace(tzinfo=UTC))
_MOST_FACETS: Final = 261
_MOST_FACET_BYTES: Final = 600
_TIMES: Final = ("submitted_at", "started_at", "finished_at", "due_at")
_OPTIONAL: Final = ("expires_at", "fixed", "facets")
_NAMES: Final = {Section.HISTORY: "history", Section.DATA: "data", Section.CHECKPOINT: "checkpoints"}

Time = Annotated[int, Field(ge=OF_NO_TASK, le=_LAST)]
MOST_VERSIONS: Final = 10_000_000
"""Each is written when a record is restored, and no task has as many."""
Version = Annotated[int, Field(ge=1, le=MOST_VERSIONS)]
Facets = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(max_length=_MOST_FACETS)]
Text = str | dict[Literal["base64"], str]
"""Bytes: the text that they are, or in base64."""


_CRC_BYTES: Final = len(b'{"crc":"00000000",')


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class _Line(_Model):
    """What is left out is None or empty. Fields that a newer program has added are passed over."""

    id: str
    status: StatusName
    stage: Annotated[int, Field(ge=0, lt=STAGES_PER_ATTEMPT * (MAX_RETRIES + 1))]
    version: Version
    submitted_at: Time | None = None
    started_at: Time | None = None
    finished_at: Time | None = None
    due_at: Time | None = None
    updated_at: Time
    expires_at: Time | None = None
    fixed: Facets = ()
    facets: Facets = ()
    head: Annotated[str, Field(min_length=1)] = "{}"
    body: Text = "{}"
    progress: Annotated[str, Field(min_length=1)] | None = None
    history: tuple[tuple[Version, Time, Text], ...] = ()
    data: tuple[tuple[str, Version, Time, Text], ...] = ()
    checkpoints: tuple[tuple[str, Version, Time, Text], ...] = ()
    unreadable: tuple[str, ...] = ()


class _Unreadable(_Model):
    id: str
    submitted_at: Time | None = None
    finished_at: Time | None = None
    unreadable: Annotated[tuple[str, ...], Field(min_length=1)]


class Last(NamedTuple):
    """What tells where a listing goes on behind a record."""

    id: str
    submitted_at: int | None
    finished_at: int | None


class Dumped(NamedTuple):
    """A record and its items, in bytes that are the same in every storage.

    ``entry`` None: it cannot be read. ``unreadable``: why, or which of its items cannot, in words.
    ``last``: as far as it is known, also of one that cannot be read.
    """

    last: Last
    entry: Entry | None
    items: Items
    unreadable: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return self.last.id


def dump(entry: Entry, items: Items, unreadable: tuple[str, ...] = ()) -> Dumped:
    return Dumped(_last(entry), entry, items, unreadable)


def dump_unreadable(entry: Entry, why: str) -> Dumped:
    return Dumped(_last(entry), None, {}, (why,))


def _last(entry: Entry) -> Last:
    return Last(entry.id, entry.submitted_at, entry.finished_at)


def line_of(dumped: Dumped) -> bytes:
    """One line, with its end."""
    entry = dumped.entry
    fields: dict[str, Any] = {"id": dumped.id}
    if entry is None:
        fields |= {name: at for name, at in zip(Last._fields, dumped.last, strict=True) if at is not None}
    else:
        fields |= {"status": entry.status, "stage": entry.stage, "version": entry.version}
        fields |= {name: at for name in _TIMES if (at := getattr(entry, name)) is not None}
        fields["updated_at"] = entry.updated_at
        fields |= {name: value for name in _OPTIONAL if (value := getattr(entry, name))}
        if entry.head != b"{}":
            fields["head"] = entry.head.decode()
        if entry.body is not None and entry.body != b"{}":
            fields["body"] = _text(entry.body)
        if entry.progress is not None:
            fields["progress"] = entry.progress.decode()
        for section, items in dumped.items.items():
            if items:
                fields[_NAMES[section]] = [_item(section, item) for item in items]
    if dumped.unreadable:
        fields["unreadable"] = dumped.unreadable
    return with_crc(to_json(fields)) + b"\n"


def with_crc(document: bytes) -> bytes:
    """The JSON object with the CRC-32 of it as it is here as its first field."""
    return b'{"crc":"%08x",%b' % (crc32(document), document[1:])


def _check_crc(line: bytes) -> None:
    """Which tells by itself that it was changed, where the digest of all says nothing yet."""
    said, rest = line[:_CRC_BYTES], line[_CRC_BYTES:].rstrip(b"\n")
    if with_crc(b"{" + rest)[:_CRC_BYTES] != said:
        raise ValueError("its checksum is not that of what it says: it was changed")


def read_line(line: bytes) -> Dumped:
    """Raises ValueError, which says what is wrong."""
    _check_crc(line)
    try:
        return _read(_Line.model_validate_json(line))
    except ValidationError as error:
        if (unreadable := _read_unreadable(line)) is not None:
            return unreadable
        raise ValueError(first_of(error)) from error
    except TypeError as error:  # of check_text
        raise ValueError(str(error)) from error


def _read_unreadable(line: bytes) -> Dumped | None:
    try:
        found = _Unreadable.model_validate_json(line)
    except ValidationError:
        return None
    last = Last(check_text("id", found.id), found.submitted_at, found.finished_at)
    return Dumped(last, None, {}, found.unreadable)


def _read(line: _Line) -> Dumped:
    entry = Entry(
        id=check_text("id", line.id),
        status=line.status,
        stage=line.stage,
        version=line.version,
        submitted_at=line.submitted_at,
        started_at=line.started_at,
        finished_at=line.finished_at,
        due_at=line.due_at,
        updated_at=line.updated_at,
        expires_at=line.expires_at,
        fixed=_checked("fixed", line.fixed),
        facets=_checked("facets", line.facets),
        check=0,
        head=line.head.encode(),
        body=_bytes("body", line.body) or b"{}",
        progress=None if line.progress is None else line.progress.encode(),
    )
    if is_open(entry.fixed):
        raise ValueError(f"fixed: {entry.fixed!r:.80} names a parent and no root")
    items = {
        Section.HISTORY: _history(entry, line.history),
        Section.DATA: _items(Section.DATA, line.id, line.data),
        Section.CHECKPOINT: _items(Section.CHECKPOINT, line.id, line.checkpoints),
    }
    return dump(entry._replace(check=entry_check(entry)), items, line.unreadable)


def _history(entry: Entry, found: Sequence[tuple[int, int, Text]]) -> list[Item]:
    items = []
    before = 0
    for version, at, text in found:
        if not before < version <= entry.version:
            raise ValueError(f"history: version {version} behind {before}, of a record of {entry.version}")
        if version == entry.version and at != entry.updated_at:
            raise ValueError(f"history: version {version} is of {at}, and not of {entry.updated_at}")
        value, before = _bytes("history", text), version
        check = item_check(Section.HISTORY, entry.id, None, at, value)
        items.append(Item(entry.id, f"{version:016}", 1, at, check, value))
    return items


def _items(section: Section, owner: str, found: Sequence[tuple[str, int, int, Text]]) -> list[Item]:
    name, items = _NAMES[section], []
    before = ""
    for key, version, at, text in found:
        check_text(name, key)
        if not before < key or (section is Section.CHECKPOINT and not _is_number(key)):
            raise ValueError(f"{name}: {key!r:.80} is no key behind {before!r:.80}")
        value, before = _bytes(name, text), key
        items.append(Item(owner, key, version, at, item_check(section, owner, key, at, value), value))
    return items


def _is_number(key: str) -> bool:
    return len(key) == 16 and key.isascii() and key.isdecimal()


def _item(section: Section, item: Item) -> tuple[object, ...]:
    if section is Section.HISTORY:
        return int(item.key), item.at, _text(item.value)
    return item.key, item.version, item.at, _text(item.value)


def _text(value: bytes) -> str | dict[str, str]:
    try:
        if value[:1] in (b"{", b"["):
            return value.decode()
    except UnicodeDecodeError:
        pass
    return {"base64": b64encode(value).decode()}


def _bytes(name: str, text: Text) -> bytes:
    if isinstance(text, str):
        return text.encode()
    try:
        return b64decode(text["base64"], validate=True)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{name}: no base64: {error}") from error


def _checked(name: str, facets: tuple[str, ...]) -> tuple[str, ...]:
    for facet in facets:
        check_text(name, facet, _MOST_FACET_BYTES)
    if len({*facets}) < len(facets):
        raise ValueError(f"{name}: {facets!r:.80} has some of them twice")
    return facets
