"""What stands before every page: who may come in, from where, and what the browser is told to refuse."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowstore.web.access import Access

MOST_BODY: Final = 65_536
_MOST_DIGITS: Final = 20
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?")
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}
"""Of every answer. One that does not say how long it may be kept is not kept."""


class Guard:
    """Around the application: its answers get HEADERS, foreign hosts and large bodies are turned away.

    ``hosts``: the names under which it may be asked for, without ports; None: any, as whoever mounts it has
    checked that. A page on loopback that answered to any name could be read by every site that lets its own
    name point there (DNS rebinding). ``close`` is what ``close`` calls.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: Collection[str] | None,
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._app = app
        self._close = close
        self._hosts = None if hosts is None else {host.lower() for host in hosts}

    async def close(self) -> None:
        """Close what the page has opened: for who mounts it, as nobody tells a mounted one that it ends."""
        if self._close is not None:
            await self._close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        if self._hosts is not None and host_of(headers) not in self._hosts:
            refused = PlainTextResponse("this page is not served under that name\n", status_code=421)
            await refused(scope, receive, guarded)
            return
        if not _is_small(headers):
            refused = PlainTextResponse(f"expected at most {MOST_BODY} bytes\n", status_code=413)
            await refused(scope, receive, guarded)
            return
        await self._app(scope, _bounded(receive), guarded)


def host_of(headers: Headers) -> str:
    """Without the port, in lower case; empty if there is none, or what is no name and no address."""
    found = _HOST.fullmatch(headers.get("host", ""))
    return "" if found is None else (found[1] or found[2]).lower()


def _is_small(headers: Headers) -> bool:
    length = headers.get("content-length", "0")
    is_number = length.isascii() and length.isdecimal() and len(length) <= _MOST_DIGITS
    return is_number and int(length) <= MOST_BODY


def _bounded(receive: Receive) -> Receive:
    """A body without a length ends the connection as soon as it is too large."""
    size = 0

    async def bounded() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        return message if size <= MOST_BODY else {"type": "http.disconnect"}

    return bounded


def is_from_here(request: Request, access: Access, public_url: str | None) -> bool:
    """Whether a write comes from a page of this very application, and not from another site.

    Browsers say so in Sec-Fetch-Site, but for those on plain http away from localhost, which send Origin
    with every POST. What sends neither is no browser: it may write if it proves itself by a header.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    if origin is None:
        return access.is_by_header
    if public_url is not None and origin == origin_of(public_url):
        return True
    return origin == f"{request.url.scheme}://{request.headers.get('host', '')}"


def origin_of(url: str) -> str:
    """Scheme, host and port, as browsers write them."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()
