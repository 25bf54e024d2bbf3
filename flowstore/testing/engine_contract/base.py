"""The fixtures and short-hands that all parts of the contract share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import pytest
import pytest_asyncio

from flowstore.engine import (
    STATUSES,
    Asked,
    Engine,
    Entry,
    Item,
    Put,
    Query,
    Section,
    Span,
    Verdict,
    Write,
)
from flowstore.testing.samples import NOW, KeptHints, sample_write

MakeEngine = Callable[..., Engine]
"""Takes a namespace, "default" unless one is given, and returns an unopened engine. All engines that are made
in one test use one storage, which was empty when the test began, unless ``is_shared`` is False.
"""

END_OF_TIME = 2**62


class EngineContractBase:
    """The base of each part. Override the fixture ``make_engine``, and if need be the attributes.

    ``is_shared``: whether two engines can use one storage. For one that lives and dies with its engine it is
    False, and the tests of what the other one sees run on a single engine.

    ``patience``: how many seconds a hint may take.

    ``shards``: into how many parts the ids are divided, so that a write tidies up in its own part only.
    ``separator``: what divides the id of an owner from the rest of ids that have their place with it.
    """

    pytestmark = pytest.mark.asyncio
    is_shared = True
    patience = 5.0
    shards = 1
    separator = " "

    @pytest.fixture
    def make_engine(self) -> MakeEngine:
        pytest.fail("override the fixture make_engine with a callable that returns an unopened engine")

    @pytest.fixture
    def hints(self) -> KeptHints:
        """What ``engine`` reports."""
        return KeptHints()

    @pytest_asyncio.fixture
    async def engine(self, make_engine: MakeEngine, hints: KeptHints) -> AsyncIterator[Engine]:
        engine = make_engine()
        await engine.open(hints)
        yield engine
        await engine.close()

    @pytest_asyncio.fixture
    async def other(self, make_engine: MakeEngine, engine: Engine) -> AsyncIterator[Engine]:
        """Another engine on the storage of ``engine``, such as another process would have."""
        if not self.is_shared:
            yield engine
            return
        other = make_engine()
        await other.open(KeptHints(is_waiting=False))
        yield other
        await other.close()


async def stored(engine: Engine, *writes: Write, now: int = NOW) -> None:
    """Carry out writes that must be applied."""
    outcomes = await engine.write(writes, now)
    assert all(outcome.is_applied for outcome in outcomes), f"not all were applied: {outcomes}"


async def store(engine: Engine, *ids: str, now: int = NOW) -> None:
    """Store a pending sample record under each id."""
    await stored(engine, *map(sample_write, ids), now=now)


async def read_one(engine: Engine, task_id: str, now: int = NOW) -> Entry | None:
    """The live record; None if there is none."""
    [entry] = await engine.read([task_id])
    return None if entry is None or entry.is_expired(now) else entry


async def found(engine: Engine, task_id: str) -> Entry:
    entry = await read_one(engine, task_id)
    assert entry is not None, f"there is no record of {task_id!r}"
    return entry


async def listed(
    engine: Engine,
    *groups: Sequence[str],
    statuses: Iterable[str] = STATUSES,
    now: int = NOW,
    limit: int = 100,
    **query: object,
) -> list[str]:
    """The ids of a listing. Each group is given as a sequence of facets."""
    wanted = Query(tuple(statuses), limit, tuple(map(tuple, groups)), **query)  # type: ignore[arg-type]  # forwarded
    return [entry.id for entry in await engine.scan(wanted, now)]


async def put_one(
    engine: Engine,
    owner: str,
    key: str | None,
    value: bytes | None = b"v",
    *,
    section: Section = Section.DATA,
    now: int = NOW,
    **fields: int | None,
) -> tuple[Verdict, str, int]:
    """The verdict, key and version that a put is answered with."""
    [outcome] = await engine.put([Put(section, owner, key, value, **fields)], now)  # type: ignore[arg-type]  # forwarded
    return outcome.verdict, outcome.key, outcome.version


async def items_of(
    engine: Engine, owner: str, section: Section = Section.DATA, now: int = NOW, **asked: object
) -> list[Item]:
    [items] = await engine.items([Asked(section, owner, **asked)], now)  # type: ignore[arg-type]  # forwarded
    return items


async def timeline(engine: Engine, start: int = 0, end: int = END_OF_TIME, limit: int = 100) -> list[Item]:
    return await engine.timeline(Span(limit, start, end), NOW)


def expiring(task_id: str, expires_at: int, **changes: object) -> Write:
    return sample_write(task_id, expires_at=expires_at, **changes)  # type: ignore[arg-type]  # forwarded
