"""An engine of which only the reading verbs are called, for dashboards and for what reads a replica."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NoReturn

from flowstore.engine import (
    Audited,
    EngineWrapper,
    Entry,
    Expiry,
    Outcome,
    Purged,
    Put,
    Report,
    Standing,
    StorageFacts,
    Write,
)
from flowstore.errors import AccessDenied


def read_only_refusal() -> AccessDenied:
    """What every write raises."""
    return AccessDenied("read_only=True: this backend stores, changes and removes nothing")


def too_old(where: str, found: int, known: int) -> AccessDenied:
    """What is raised where what is stored would have to be converted in order to be read."""
    return AccessDenied(
        f"{where}: is of format {found}, and read_only=True converts nothing; "
        f"open it once with a backend that may write, which makes it format {known}"
    )


class ReadOnly(EngineWrapper):
    """Refuses the verbs that write, whatever the storage would do, and registers nobody: waits re-check."""

    async def watch(self, ids: Sequence[str], until: int) -> list[Entry | None]:
        return await self.inner.read(ids)

    async def room(self) -> NoReturn:
        raise read_only_refusal()

    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        raise read_only_refusal()

    async def remove(
        self, ids: Sequence[str], now: int, standing: Sequence[Standing] | None = None
    ) -> list[bool]:
        raise read_only_refusal()

    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        raise read_only_refusal()

    async def vacuum(self, *, full: bool = False) -> int:
        raise read_only_refusal()

    async def report(self, reports: Sequence[Report], now: int) -> list[bool]:
        raise read_only_refusal()

    async def expire(self, expiries: Sequence[Expiry], now: int) -> list[bool]:
        raise read_only_refusal()

    async def put(self, puts: Sequence[Put], now: int) -> list[Outcome]:
        raise read_only_refusal()

    async def drop_namespace(self, limit: int, now: int) -> bool:
        raise read_only_refusal()

    async def audit(self, prefix: str, after: object, limit: int, *, repair: Collection[str] = ()) -> Audited:
        if repair:
            raise read_only_refusal()
        return await self.inner.audit(prefix, after, limit)

    async def facts(self) -> StorageFacts:
        return replace(await self.inner.facts(), is_writable=False)
