"""What a record has in other tables is written by the engine, not by triggers: it must agree at any time."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from flowstore.backends.sqlite.engine import SQLiteEngine
from flowstore.backends.sqlite.statements import listings, texts
from flowstore.engine import ANY_STAGE, STATUSES, Entry, Logged, Owner, Put, Section, Write
from flowstore.testing.support import IS_STRESS

IDS = ["a", "b", "c", "d\0", "d", "\xe9"]
FACETS = ["label:a", "label:b", "worker:\0", "~", "~failed"]


class Nobody:
    """Hints that nobody waits for."""

    is_waiting = False

    def changed(self, *_: object) -> None: ...

    def interrupted(self, *_: object) -> None: ...

    def look_again(self) -> None: ...


def some_write(chance: random.Random, now: int) -> Write:
    """Of any kind: over anything or nothing, expired on arrival, with and without facets and history."""
    entry = Entry(
        id=chance.choice(IDS),
        status=chance.choice(STATUSES),
        stage=chance.randrange(5),
        version=0,
        submitted_at=chance.choice([None, 1, 2]),
        started_at=None,
        finished_at=chance.choice([None, 5]),
        due_at=None,
        updated_at=now,
        expires_at=chance.choice([None, None, None, now, now + 1, now + 3]),
        fixed=chance.choice([(), (), ("child:x",), ("parent:x", "root:y")]),
        facets=tuple(chance.sample(FACETS, chance.randrange(4))),
        check=chance.getrandbits(63),
        head=b"{}",
        body=b"{}",
    )
    logged = chance.choice([None, Logged(b"[]", 1), Logged(b"[]", 1, 2), Logged(b"[]", 1, 0)])
    ceiling = chance.choice([entry.stage - 1, entry.stage, ANY_STAGE])
    owner = chance.choice([None, None, Owner(chance.choice(IDS)), Owner(chance.choice(IDS), 0, 5, True)])
    return Write(entry, "", ceiling, chance.choice([None, None, 0, 1, 2]), logged, owner=owner)


def check_tables(path: Path) -> None:
    """All others follow from the table of tasks; nothing is left of what is gone."""
    with closing(sqlite3.connect(path)) as raw:
        columns = "ns, task, id, status, submitted_at, finished_at, CAST(fixed AS BLOB), CAST(facets AS BLOB)"
        rows = raw.execute(f"SELECT {columns} FROM task").fetchall()
        expected = [
            listed for row in rows for listed in listings(row[:4], row[4:6], texts(row[6]), texts(row[7]))
        ]
        assert sorted(raw.execute("SELECT * FROM facet")) == sorted(expected)
        counts = dict(raw.execute("SELECT status, tasks FROM tally WHERE tasks <> 0"))
        assert counts == Counter(row[3] for row in rows)
        history = "SELECT item.ns, at, key, task.id, task FROM item JOIN task USING (task) WHERE section = 0"
        assert sorted(raw.execute("SELECT * FROM timeline")) == sorted(raw.execute(history))
        kept = "section <> -3"  # up to when hours are closed: of the namespace
        orphans = f"SELECT * FROM item WHERE task NOT IN (SELECT task FROM task) AND {kept}"
        assert raw.execute(orphans).fetchall() == []


@pytest.mark.parametrize("seed", range(50 if IS_STRESS else 5))
async def test_all_tables_agree(tmp_path: Path, seed: int) -> None:
    """After each of many calls of many items, the same id among them more than once."""
    chance, now, path = random.Random(seed), 10, tmp_path / "x.db"
    engine = SQLiteEngine(path, "normal", "default", 10.0)
    await engine.open(Nobody())
    for _ in range(200):
        now += chance.randrange(2)
        kind = chance.random()
        if kind < 0.7:
            await engine.write([some_write(chance, now) for _ in range(chance.randrange(1, 6))], now)
        elif kind < 0.8:
            await engine.put([Put(Section.DATA, chance.choice(IDS), "k", b"{}") for _ in range(3)], now)
        elif kind < 0.9:
            await engine.remove(chance.choices(IDS, k=3), now)
        else:
            await engine.purge(2, now, everything=chance.random() < 0.3)
        check_tables(path)
    while not (await engine.purge(3, now, everything=True)).is_done:
        pass
    check_tables(path)
    await engine.close()
