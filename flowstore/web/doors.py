"""Ways into a page that is served by itself: a link that works once, passwords, tokens, a proxy's word.

Each is a rule of access: a function of the request that returns what it grants, or None. ``challenge`` is
what is answered to one that it does not let in, as WWW-Authenticate.
"""

from __future__ import annotations

import binascii
import hmac
import secrets
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from stat import S_IWGRP, S_IWOTH
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from flowstore._packages import needed
from flowstore.web.access import Access
from flowstore.web.view import path_in

with needed("flowstore.web", "web", "itsdangerous"):
    from itsdangerous import BadSignature, TimestampSigner

HOURS: Final = 12
"""So long a browser is let in after it has followed a link."""
ENTER: Final = "/enter"
LEAST_PASSWORD: Final = 8
LEAST_TOKEN: Final = 20
_MOST_USER: Final = 200

Network = IPv4Network | IPv6Network


class Door(Protocol):
    """See above."""

    challenge: str

    def __call__(self, request: Request, /) -> Access | None: ...


class OneTimeLink:
    """A link with a token that lets one browser in, once: it gets a signed cookie for HOURS.

    ``tell`` is called with the address of each link, below that of the page: with the first one at once, and
    with the next when one was used. ``secret``: what cookies are signed with; several processes that share it
    let in each other's browsers. ``cookie``: its name, as all ports of a host share their cookies.
    ``is_https``: whether browsers come by https, of which a proxy may be the end.
    """

    challenge = 'Link realm="flowstore"'

    def __init__(
        self,
        granted: Access,
        tell: Callable[[str], None],
        *,
        secret: bytes,
        cookie: str,
        is_https: bool = False,
    ) -> None:
        self._granted = granted
        self._tell = tell
        self._signer = TimestampSigner(secret, salt="flowstore.web.link", digest_method=sha256)
        self._cookie = cookie
        self._is_https = is_https
        self._token = ""
        self._renew()

    def _renew(self) -> None:
        self._token = secrets.token_urlsafe(24)
        self._tell(f"{ENTER.lstrip('/')}?token={self._token}")

    def __call__(self, request: Request, /) -> Access | None:
        cookie = request.cookies.get(self._cookie, "")
        try:
            self._signer.unsign(cookie.encode("latin-1", "replace"), max_age=HOURS * 3_600)
        except BadSignature:
            return None
        return self._granted

    def enter(self, request: Request) -> Response:
        """The answer to whoever follows a link.

        The cookie has no Path, so a browser keeps it for the folder of this address: the page, wherever a
        proxy has it. SameSite is Lax, so that links from elsewhere open; writes are checked in another way.
        """
        token = request.query_params.get("token", "")
        if hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self._token.encode()):
            self._renew()
            response = RedirectResponse("./", status_code=303)
            response.set_cookie(
                self._cookie,
                self._signer.sign(b"in").decode(),
                max_age=HOURS * 3_600,
                path=None,
                secure=self._is_https or request.url.scheme == "https",
                httponly=True,
                samesite="lax",
            )
            return response
        if self(request) is not None:
            return RedirectResponse("./", status_code=303)
        return PlainTextResponse(
            "This link has been used, or is of another run. A new one is printed where the page is served.\n",
            status_code=403,
        )


class Entrance:
    """Before an application: the address at which links come in."""

    def __init__(self, app: ASGIApp, door: OneTimeLink) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET":
            request = Request(scope)
            if path_in(request) == ENTER:
                await self._door.enter(request)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class Basic:
    """Users and passwords, as browsers ask for them. ``users``: passwords, or ``sha256$SALT$HEX`` of them."""

    challenge = 'Basic realm="flowstore", charset="UTF-8"'

    def __init__(self, users: Mapping[str, str], granted: Access) -> None:
        self._users = dict(users)
        self._granted = granted
        self._nobody = secrets.token_hex()

    def __call__(self, request: Request, /) -> Access | None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            user, _, password = b64decode(given, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return None
        is_known = _is_password(password, self._users.get(user, self._nobody))
        return replace(self._granted, user=user) if is_known else None


def _is_password(given: str, kept: str) -> bool:
    kind, _, rest = kept.partition("$")
    salt, _, digest = rest.partition("$")
    if kind == "sha256" and digest:
        hashed = sha256(f"{salt}{given}".encode()).hexdigest()
        return hmac.compare_digest(hashed, digest.lower())
    return hmac.compare_digest(given.encode(), kept.encode())


class Token:
    """Tokens of programs, in ``Authorization: Bearer``. ``names``: whose they are, by token."""

    challenge = 'Bearer realm="flowstore"'

    def __init__(self, names: Mapping[str, str], granted: Access) -> None:
        self._names = {token.encode(): name for token, name in names.items()}
        self._granted = replace(granted, is_by_header=True)

    def __call__(self, request: Request, /) -> Access | None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        token = given.strip().encode("utf-8", "surrogatepass")
        known = [name for kept, name in self._names.items() if hmac.compare_digest(token, kept)]
        return replace(self._granted, user=known[0]) if known else None


class ProxyHeader:
    """A proxy says who somebody is in a header, and drops that header of what comes to it.

    ``proxies``: where it is. From anywhere else the header is of no account, and so it is if there are two.
    """

    challenge = 'Proxy realm="flowstore"'

    def __init__(self, name: str, proxies: Sequence[Network], granted: Access) -> None:
        self._name = name
        self._proxies = proxies
        self._granted = granted

    def __call__(self, request: Request, /) -> Access | None:
        given = request.headers.getlist(self._name)
        if len(given) != 1 or not given[0].strip() or request.client is None:
            return None
        if not _is_in(request.client.host, self._proxies):
            return None
        return replace(self._granted, user=given[0].strip()[:_MOST_USER])


def _is_in(host: str, networks: Sequence[Network]) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in networks)


def networks_of(name: str, given: Sequence[str]) -> list[Network]:
    """Raises ValueError naming the argument."""
    try:
        return [ip_network(each, strict=False) for each in given]
    except ValueError as error:
        raise ValueError(f"{name}: expected addresses or networks such as 10.0.0.0/8: {error}") from None


def door_of(auth: str, proxies: Sequence[str], granted: Access) -> Door:
    """What ``--auth`` says. Raises ValueError that names it, without what stands in a file.

    ``basic:@FILE`` with lines ``user:password``, ``token:@FILE`` with lines ``token`` or ``name:token``, or
    ``header:NAME``, which is believed from ``proxies`` only.
    """
    kind, _, rest = auth.partition(":")
    if kind == "header" and rest:
        if not proxies:
            raise ValueError(
                "auth: header: anyone could send it; say from which --trusted-proxy addresses it is believed"
            )
        return ProxyHeader(rest, networks_of("trusted_proxy", proxies), granted)
    if kind not in ("basic", "token") or not rest.startswith("@"):
        raise ValueError(
            f"auth: expected basic:@FILE, token:@FILE or header:NAME, got {kind[:20]!r}"
            " followed by something else"
        )
    lines = _lines(rest[1:])
    if kind == "basic":
        return Basic(_secrets(rest[1:], lines, LEAST_PASSWORD, "user:password"), granted)
    named = [line if ":" in line else f"token:{line}" for line in lines]
    tokens = [line.partition(":") for line in named]
    if any(len(token) < LEAST_TOKEN or not name for name, _, token in tokens):
        raise ValueError(f"auth: {rest[1:]!r}: expected tokens of at least {LEAST_TOKEN} characters")
    return Token({token: name for name, _, token in tokens}, granted)


def _secrets(path: str, lines: Sequence[str], least: int, form: str) -> dict[str, str]:
    known: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        name, _, secret = line.partition(":")
        if not name or name in known or len(secret) < least:
            raise ValueError(
                f"auth: {path!r}: entry {number}: expected {form}, each user once, with a password of at "
                f"least {least} characters"
            )
        known[name] = secret
    return known


def _lines(path: str) -> list[str]:
    try:
        mode = Path(path).stat().st_mode
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"auth: {path!r} cannot be read: {error}") from None
    if mode & (S_IWGRP | S_IWOTH):
        raise ValueError(f"auth: {path!r}: others may write it: chmod go-w")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise ValueError(f"auth: there is nothing in {path!r}")
    return lines
