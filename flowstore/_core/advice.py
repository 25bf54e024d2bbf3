"""What is wrong with a storage, judged by what it says of itself; and what to do about it.

Nothing is ever said about what is unknown: a server that may not be asked is no reason to worry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from flowstore.engine import Fact, StorageFacts
from flowstore.fields import Record

MOST_SKEW: Final = 1.0
"""Seconds."""
_MOST_USED: Final = 0.9
_MOST_WAL: Final = 64 * 2**20
_MOST_FREE_PAGES: Final = 0.5
_LEAST_FREE_PAGES: Final = 16 * 2**20
_LEAST_FREE_DISK: Final = 0.05
_ENOUGH_FREE_DISK: Final = 10 * 2**30
_OLDEST: Final = {"Redis": (6, 2), "Valkey": (7, 2)}
_NETWORK: Final = frozenset(
    (
        *("nfs", "nfs3", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "9p", "ceph", "lustre", "gpfs"),
        *("beegfs", "glusterfs", "pvfs2", "davfs", "webdav", "virtiofs", "vboxsf", "prl_fs"),
        *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone"),
        *("fuse.davfs2", "fuse.davfs", "fuse.juicefs", "fuse.cifs", "fuse.smbnetfs", "fuse.goofys"),
    )
)

Judged = Callable[[StorageFacts, float | None], str | None]
"""From the facts, and by how many seconds the server's clock differs, to what is wrong."""


class StorageWarning(Record):
    """Something about a storage that an operator should know.

    ``code`` never changes, and docs/operations.md has them all. ``problem`` says what is wrong, ``advice``
    what to do about it.
    """

    code: str
    problem: str
    advice: str


def warnings_of(facts: StorageFacts, skew: float | None) -> Iterator[StorageWarning]:
    for code, (judged, advice) in RULES.items():
        if (problem := judged(facts, skew)) is not None:
            yield StorageWarning(code=code, problem=problem, advice=advice)


def _text(facts: StorageFacts, name: str) -> str | None:
    value: Fact = facts.policies.get(name)
    return value if isinstance(value, str) else None


def _format_newer(facts: StorageFacts, _: float | None) -> str | None:
    if facts.format is None or facts.own_format is None or facts.format <= facts.own_format:
        return None
    may = "" if facts.is_writable else ", and may only be read by this program"
    return f"What is stored is of format {facts.format}, newer than {facts.own_format}{may}."


def _format_older(facts: StorageFacts, _: float | None) -> str | None:
    if facts.format is None or facts.own_format is None or facts.format >= facts.own_format:
        return None
    return f"What is stored is of format {facts.format}, older than {facts.own_format}."


def _read_only(facts: StorageFacts, _: float | None) -> str | None:
    is_explained = _format_newer(facts, None) or _replica(facts, None)
    return None if facts.is_writable is not False or is_explained else "Nothing can be stored."


def _clock_skew(facts: StorageFacts, skew: float | None) -> str | None:
    if skew is None or abs(skew) <= MOST_SKEW:
        return None
    order = "ahead of" if skew > 0 else "behind"
    return f"The clock of the server is {abs(skew):.1f} s {order} that of this process."


def _eviction(facts: StorageFacts, _: float | None) -> str | None:
    policy = _text(facts, "maxmemory_policy")
    if policy is None or policy == "noeviction":
        return None
    return f"The server may evict records when its memory is full: maxmemory-policy is {policy}."


def _memory(facts: StorageFacts, _: float | None) -> str | None:
    used, limit = facts.sizes.get("server"), facts.sizes.get("server_limit")
    if used is None or not limit or used < _MOST_USED * limit:
        return None
    return f"The server uses {used / limit:.0%} of its maxmemory of {limit} bytes."


def _no_log(facts: StorageFacts, _: float | None) -> str | None:
    if facts.policies.get("appendonly") is not False:
        return None
    return "A crash of the server loses what was stored since its last snapshot: it has no append-only file."


def _unsynced(facts: StorageFacts, _: float | None) -> str | None:
    if not facts.policies.get("appendonly") or _text(facts, "appendfsync") != "no":
        return None
    return "A crash of the machine may lose half a minute: appendfsync is no."


def _failed_log(facts: StorageFacts, _: float | None) -> str | None:
    if not facts.policies.get("appendonly") or _text(facts, "last_append") in (None, "ok"):
        return None
    return "The server could not write its append-only file, and refuses to store until it can."


def _replica(facts: StorageFacts, _: float | None) -> str | None:
    return "The server is a replica: nothing can be stored." if _text(facts, "role") == "slave" else None


def _old_server(facts: StorageFacts, _: float | None) -> str | None:
    oldest, version = _OLDEST.get(facts.server or ""), _numbers(facts.server_version)
    if oldest is None or not version or version >= oldest:
        return None
    return f"{facts.server} {facts.server_version} is older than {'.'.join(map(str, oldest))}."


def _journal(facts: StorageFacts, _: float | None) -> str | None:
    mode = _text(facts, "journal_mode")
    if mode is None or mode == "wal":
        return None
    return f"Readers and writers block each other: the journal mode of the file is {mode}."


def _durability(facts: StorageFacts, _: float | None) -> str | None:
    if _text(facts, "durability") != "normal":
        return None
    return "A power loss may undo the last stores: the durability of this backend is normal."


def _wal(facts: StorageFacts, _: float | None) -> str | None:
    size = facts.sizes.get("wal", 0)
    return f"The write-ahead log has {size} bytes." if size > _MOST_WAL else None


def _free_pages(facts: StorageFacts, _: float | None) -> str | None:
    free, size = facts.sizes.get("free", 0), facts.sizes.get("file", 0)
    if free < _LEAST_FREE_PAGES or free < _MOST_FREE_PAGES * size:
        return None
    return f"Nothing uses {free} bytes of the file, {free / size:.0%} of it."


def _network(facts: StorageFacts, _: float | None) -> str | None:
    kind = _text(facts, "file_system")
    if kind not in _NETWORK:
        return None
    return f"The file is on a network file system, {kind}, where its locks do not hold."


def _disk(facts: StorageFacts, _: float | None) -> str | None:
    free, disk = facts.sizes.get("disk_free"), facts.sizes.get("disk")
    if free is None or not disk or free >= min(_LEAST_FREE_DISK * disk, _ENOUGH_FREE_DISK):
        return None
    return f"The disk of the file is nearly full: {free} bytes are free."


def _open_to_all(facts: StorageFacts, _: float | None) -> str | None:
    mode = _text(facts, "file_mode")
    if mode is None or not int(mode, 8) & 0o006:
        return None
    may = "read and change" if int(mode, 8) & 0o002 else "read"
    return f"Every user of the machine may {may} the file: its mode is {mode}."


def _sqlite_bug(facts: StorageFacts, _: float | None) -> str | None:
    version = _numbers(facts.server_version)
    if facts.server != "SQLite" or not version or _is_mended(version):
        return None
    return f"SQLite {facts.server_version} can, very rarely, damage a file that several connections write."


def _is_mended(version: tuple[int, ...]) -> bool:
    """Whether it has the repair of 3.51.3, see https://www.sqlite.org/wal.html#the_wal_reset_bug."""
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)


def _numbers(version: str | None) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version or "")))[:3]


RULES: Final[Mapping[str, tuple[Judged, str]]] = {
    "format-newer": (_format_newer, "Upgrade this program to the version of those that write."),
    "format-older": (_format_older, "Open it once with a user that may write: that brings it up to date."),
    "read-only": (_read_only, "Give this user the right to write, or use this backend for reading alone."),
    "clock-skew": (_clock_skew, "Synchronise the clocks: times order listings and decide what has expired."),
    "redis-eviction": (_eviction, "Set maxmemory-policy to noeviction, and give the backends a ttl."),
    "redis-memory": (_memory, "Raise maxmemory, or give the backends a ttl; a full server refuses stores."),
    "redis-no-log": (_no_log, "Set appendonly to yes, unless the results may get lost."),
    "redis-unsynced": (_unsynced, "Set appendfsync to everysec or always."),
    "redis-log-failed": (_failed_log, "Look into the log of the server; its disk may be full."),
    "redis-replica": (_replica, "Connect to the primary, by its address or through Sentinel's master_for."),
    "redis-old": (_old_server, "Upgrade the server: flowstore is not tested with this one."),
    "sqlite-journal": (_journal, "Close all programs that use the file, and open it again with flowstore."),
    "sqlite-durability": (_durability, "Use durability='full', unless the last results may get lost."),
    "sqlite-wal": (_wal, "Look for a program that reads for long without an end: it holds up checkpoints."),
    "sqlite-free-pages": (_free_pages, "Call backend.vacuum() to give the room back."),
    "sqlite-network": (_network, "Move the file to a local disk, or use Redis: it would get damaged."),
    "sqlite-disk": (_disk, "Make room: a full disk refuses stores."),
    "sqlite-open-to-all": (_open_to_all, "Take the rights of others away, as by chmod o= on the file."),
    "sqlite-bug": (_sqlite_bug, "Use a Python with SQLite 3.51.3 or later, or one of 3.50.7 and 3.44.6."),
}
