"""How the engine of a bucket, which is that of a single server, reaches its slot."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Final

from flowstore.backends.cluster.ears import Channel, Ears
from flowstore.backends.cluster.router import Router
from flowstore.backends.cluster.slots import slot_of
from flowstore.backends.redis.link import Way
from flowstore.engine import Hints
from flowstore.observing import Place

_MOST_WAYS: Final = 10


class Slot:
    """The link to the slot of a key. Router and ears are opened and closed by whoever made them."""

    most_ways = _MOST_WAYS

    def __init__(self, router: Router, ears: Ears, key: str, place: Place) -> None:
        self._router = router
        self._ears = ears
        self.slot = slot_of(key)
        self.call: Callable[..., Awaitable[Any]] = partial(router.call, self.slot)
        self.place = place

    @property
    def publishes(self) -> str:
        return "SPUBLISH" if self._router.is_sharded else "PUBLISH"

    def open(self) -> None: ...

    def way(self) -> Way:
        return _Routed(self.call, partial(self._router.call_confirmed, self.slot))

    def ear(self, inbox: str, hints: Hints) -> Channel:
        return self._ears.channel(inbox, self.slot, hints)

    async def close(self) -> None: ...

    def abandoned(self) -> AbstractContextManager[None]:
        return nullcontext()


class _Routed:
    """Nothing of it is ours to close."""

    def __init__(
        self, call: Callable[..., Awaitable[Any]], confirmed: Callable[..., Awaitable[tuple[Any, int]]]
    ) -> None:
        self.call = call
        self._confirmed = confirmed

    async def call_confirmed(self, replicas: int, ms: int, *command: str | bytes | int) -> tuple[Any, int]:
        return await self._confirmed(replicas, ms, *command)

    async def close(self) -> None: ...

    def sever(self) -> None: ...
