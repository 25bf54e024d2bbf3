"""The metrics of whole stores: for asyncio and ASGI, and as a collector of prometheus_client."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from time import monotonic
from typing import Any, Unpack

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry

import flowstore.sync
from flowstore import BaseResultBackend, ConnectOptions
from flowstore.integrations._prometheus_families import Family, families_of
from flowstore.integrations._store_metrics import Kept, Outcomes, Scope, Scraped, read, read_sync
from flowstore.integrations._stores import attached, attached_sync

_Message = MutableMapping[str, Any]
_Send = Callable[[_Message], Awaitable[None]]
_Receive = Callable[[], Awaitable[_Message]]


class StoreMetrics:
    """The metrics of whole stores, read by an asyncio program; it is an ASGI application as well.

    ``stores``: backends, or URLs with the ``options`` of ``flowstore.connect``; none: FLOWSTORE_URL. A
    backend that was given stays its owner's; others are closed by ``close``, or when the application shuts
    down.

    ``names``: how many task names have series of their own, see docs/prometheus.md. ``silent_after``: seconds
    without a heartbeat until a worker counts as silent. What was read is kept for ``kept_for`` seconds, for
    other scrapers. A store that does not answer within ``timeout`` seconds is down: then there is nothing of
    it but ``flowstore_store_up`` 0 and one more of ``flowstore_scrape_errors``, and a warning in the log.
    ``registry``: one whose metrics are told as well, such as ``prometheus_client.REGISTRY``.
    """

    def __init__(
        self,
        *stores: BaseResultBackend | str,
        names: int = 200,
        silent_after: float = 60.0,
        kept_for: float = 2.0,
        timeout: float = 5.0,
        registry: CollectorRegistry | None = None,
        **options: Unpack[ConnectOptions],
    ) -> None:
        self._stores = [attached(store, options) for store in stores or (None,)]
        self._outcomes = [Outcomes(store.backend.namespace) for store in self._stores]
        self._scope = Scope(names, silent_after)
        self._timeout = timeout
        self._registry = registry
        self._kept: Kept[list[Family]] = Kept(kept_for, monotonic)
        self._reading = asyncio.Lock()

    async def families(self) -> list[Family]:
        async with self._reading:  # whoever comes meanwhile gets what is read now
            known = self._kept.get()
            if known is None:
                known = self._kept.set(await asyncio.to_thread(families_of, await self._scraped()))
            return known

    async def _scraped(self) -> list[Scraped]:
        readings = [read(store.backend, self._scope) for store in self._stores]
        return await asyncio.gather(
            *(
                outcomes.within(self._timeout, reading)
                for outcomes, reading in zip(self._outcomes, readings, strict=True)
            )
        )

    async def text(self, accept: str = "") -> tuple[bytes, str]:
        """What a scraper is answered that sent this header: OpenMetrics, or plain text; and which."""
        encode, media_type = choose_encoder(accept)
        told = _Told(await self.families(), self._registry)
        return await asyncio.to_thread(encode, told), media_type  # 200 names take it 50 to 200 ms

    async def close(self) -> None:
        for store in self._stores:
            if store.is_own:
                await store.backend.close()

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, send)
        else:
            raise NotImplementedError(f"metrics are told by http, not by {scope['type']}")

    async def _live(self, receive: _Receive, send: _Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: _Message, send: _Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await _respond(send, 405, {"allow": "GET, HEAD"}, b"")
            return
        asked = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        body, media_type = await self.text(asked.get("accept", ""))
        headers = {"content-type": media_type, "vary": "accept, accept-encoding"}
        if "gzip" in asked.get("accept-encoding", ""):
            body, headers["content-encoding"] = await asyncio.to_thread(gzip.compress, body, 1), "gzip"
        headers["content-length"] = str(len(body))
        await _respond(send, 200, headers, b"" if scope["method"] == "HEAD" else body)


async def _respond(send: _Send, status: int, headers: dict[str, str], body: bytes) -> None:
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


class _Told:
    """What an encoder goes through: the families of stores, and those of a registry."""

    def __init__(self, families: Sequence[Family], registry: CollectorRegistry | None) -> None:
        self._families = families
        self._registry = registry

    def collect(self) -> Iterator[Family]:
        yield from self._families
        if self._registry is not None:
            yield from self._registry.collect()


class StoreCollector:
    """The same metrics for programs without asyncio: ``REGISTRY.register(StoreCollector())``.

    ``stores``: stores of ``flowstore.sync``, or URLs with ``options``. The others are those of StoreMetrics.
    How long a store is waited for that does not answer, its ``op_timeout`` says; by default it is 5 seconds
    for those of URLs.
    """

    def __init__(
        self,
        *stores: flowstore.sync.ResultBackend | str,
        names: int = 200,
        silent_after: float = 60.0,
        kept_for: float = 2.0,
        **options: Unpack[ConnectOptions],
    ) -> None:
        if not all(isinstance(store, flowstore.sync.ResultBackend) for store in stores) or not stores:
            options.setdefault("op_timeout", 5.0)
        self._stores = [attached_sync(store, options) for store in stores or (None,)]
        self._outcomes = [Outcomes(store.backend.namespace) for store in self._stores]
        self._scope = Scope(names, silent_after)
        self._kept: Kept[list[Family]] = Kept(kept_for, monotonic)
        self._reading = threading.Lock()

    def describe(self) -> list[Family]:
        """Which there are, without a look at the stores."""
        return families_of([])

    def collect(self) -> list[Family]:
        with self._reading:
            return self._kept.get() or self._kept.set(families_of(self._scraped()))

    def close(self) -> None:
        for store in self._stores:
            if store.is_own:
                store.backend.close()

    def _scraped(self) -> list[Scraped]:
        found = []
        for store, outcomes in zip(self._stores, self._outcomes, strict=True):
            try:
                found.append(outcomes.of(read_sync(store.backend, self._scope)))
            except Exception as error:
                found.append(outcomes.failed(error))
        return found
