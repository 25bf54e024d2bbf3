"""Which warnings a storage gets for what it says of itself, and that the docs have them all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest

from flowstore._core.advice import RULES, warnings_of
from flowstore.backends.sqlite.facts import file_system
from flowstore.engine import StorageFacts

GIB: Final = 2**30
PAGE: Final = Path(__file__).parents[2] / "docs" / "operations.md"


def codes(skew: float | None = None, **fields: Any) -> set[str]:
    return {warning.code for warning in warnings_of(StorageFacts("x", **fields), skew)}


def of_policies(**policies: Any) -> set[str]:
    return codes(policies=policies)


BAD: Final[dict[str, list[dict[str, Any]]]] = {
    "format-newer": [{"format": 9, "own_format": 4}],
    "format-older": [{"format": 3, "own_format": 4}],
    "read-only": [{"is_writable": False}],
    "clock-skew": [{"skew": 1.1}, {"skew": -1.1}, {"skew": 3_600.0}],
    "redis-eviction": [
        {"policies": {"maxmemory_policy": policy}} for policy in ("allkeys-lru", "volatile-ttl")
    ],
    "redis-memory": [
        {"sizes": {"server": 95, "server_limit": 100}},
        {"sizes": {"server": 9, "server_limit": 1}},
    ],
    "redis-no-log": [{"policies": {"appendonly": False}}],
    "redis-unsynced": [{"policies": {"appendonly": True, "appendfsync": "no"}}],
    "redis-log-failed": [{"policies": {"appendonly": True, "last_append": "err"}}],
    "redis-replica": [{"policies": {"role": "slave"}, "is_writable": False}],
    "redis-old": [
        {"server": "Redis", "server_version": "6.0.16"},
        {"server": "Redis", "server_version": "5.0"},
        {"server": "Valkey", "server_version": "7.1.9"},
    ],
    "sqlite-journal": [{"policies": {"journal_mode": "delete"}}],
    "sqlite-durability": [{"policies": {"durability": "normal"}}],
    "sqlite-wal": [{"sizes": {"wal": GIB}}],
    "sqlite-free-pages": [{"sizes": {"free": GIB, "file": 2 * GIB}}],
    "sqlite-network": [{"policies": {"file_system": kind}} for kind in ("nfs4", "cifs", "fuse.sshfs", "9p")],
    "sqlite-disk": [
        {"sizes": {"disk_free": 4 * GIB, "disk": 100 * GIB}},
        {"sizes": {"disk_free": 9 * GIB, "disk": 10_000 * GIB}},
        {"sizes": {"disk_free": 0, "disk": GIB}},
    ],
    "sqlite-open-to-all": [{"policies": {"file_mode": mode}} for mode in ("666", "664", "604", "602")],
    "sqlite-bug": [
        {"server": "SQLite", "server_version": version}
        for version in ("3.38.0", "3.44.5", "3.45.0", "3.50.6", "3.51.2")
    ],
}
GOOD: Final[list[dict[str, Any]]] = [
    {},
    {"skew": 1.0},
    {"skew": -1.0},
    {"is_writable": True, "format": 4, "own_format": 4},
    {"server": "Redis", "server_version": "6.2.0", "sizes": {"server": 89, "server_limit": 100}},
    {"server": "Redis", "server_version": "8.0", "sizes": {"server": 89}},
    {"server": "Valkey", "server_version": "7.2"},
    {"server": "Dragonfly", "server_version": "1.0"},
    {"policies": {"appendonly": True, "appendfsync": "everysec", "last_append": "ok", "role": "master"}},
    {"policies": {"appendonly": None, "appendfsync": "no", "last_append": "err", "maxmemory_policy": None}},
    {"policies": {"maxmemory_policy": "noeviction", "journal_mode": "wal", "durability": "full"}},
    {"policies": {"file_system": "ext4", "file_mode": "660"}},
    {"policies": {"file_system": None, "file_mode": None}},
    {"sizes": {"wal": 2**24, "free": GIB, "file": 3 * GIB, "disk_free": 6 * GIB, "disk": 100 * GIB}},
    {"sizes": {"free": 2**20, "file": 2**20, "disk_free": 11 * GIB, "disk": 10_000 * GIB}},
    *(
        {"server": "SQLite", "server_version": version}
        for version in ("3.51.3", "3.50.7", "3.44.6", "3.53.0")
    ),
]


@pytest.mark.parametrize("code", RULES)
def test_each_warning(code: str) -> None:
    """It comes alone: nothing is said twice."""
    for fields in BAD[code]:
        assert codes(**fields) == {code}, fields


@pytest.mark.parametrize("fields", GOOD, ids=str)
def test_nothing_to_say(fields: dict[str, Any]) -> None:
    """All is well, or nothing is known."""
    assert codes(**fields) == set()


def test_a_file_of_a_newer_program_is_not_read_only_besides() -> None:
    assert codes(format=9, own_format=4, is_writable=False) == {"format-newer"}


@pytest.mark.parametrize("code", RULES)
def test_warnings_are_sentences(code: str) -> None:
    """One of what is wrong, and one of what to do."""
    for fields in BAD[code]:
        given = dict(fields)
        skew = given.pop("skew", None)
        [warning] = warnings_of(StorageFacts("x", **given), skew)
        for text in (warning.problem, warning.advice):
            assert re.fullmatch(r"[A-Z].*\.", text), text
            assert "None" not in text


def test_the_docs_have_all_of_them() -> None:
    """The table has each code once, in the order of the code."""
    assert re.findall(r"^\| `([a-z]+-[a-z-]+)` \|", PAGE.read_text("utf-8"), re.MULTILINE) == [*RULES]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/x.db", "ext4"),
        ("/srv/data/x.db", "nfs4"),
        ("/srv/database/x.db", "ext4"),
        ("/srv/data/local/x.db", "xfs"),
        ("/srv/with blank/x.db", "cifs"),
        ("/twice/x.db", "overlay"),
    ],
)
def test_the_file_system_of_a_path(path: str, expected: str) -> None:
    """That of the innermost mount, and of several on one folder the last."""
    mounts = (
        "rootfs / ext4 rw 0 0\nhost:/a /srv/data nfs4 rw 0 0\n/dev/sdb /srv/data/local xfs rw 0 0\n"
        "//h/s /srv/with\\040blank cifs rw 0 0\na /twice tmpfs rw 0 0\nb /twice overlay rw 0 0\n\nbroken\n"
    )
    assert file_system(Path(path), mounts) == expected
    assert file_system(Path(path), "") is None
