"""Ways into a page that is served by itself: a link that works once, a password, a token, a proxy's word."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Final, Protocol

from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from flowstore.web.access import Access

COOKIE: Final = "flowstore_page"
HOURS: Final = 12


class Door(Protocol):
    """Lets requests in. ``challenge``: what a browser is told that was not: the header WWW-Authenticate."""

    challenge: str

    def access(self, request: Request) -> Access | None: ...


class OneTimeLink:
    """A link with a token that is used once, for a signed cookie that holds for twelve hours."""

    challenge = "Cookie"

    def __init__(self, granted: Access) -> None:
        self._granted = granted
        self._token: str | None = secrets.token_urlsafe(24)
        self._serializer = URLSafeTimedSerializer(secrets.token_bytes(32), salt="flowstore page")

    @property
    def token(self) -> str | None:
        """None once it was used."""
        return self._token

    def access(self, request: Request) -> Access | None:
        cookie = request.cookies.get(COOKIE)
        if cookie is None:
            return None
        try:
            self._serializer.loads(cookie, max_age=HOURS * 3_600)
        except BadData:
            return None
        return self._granted

    def enter(self, request: Request) -> Response | None:
        """Use the token of a request up: the answer sets the cookie; None: it is not the token, or was used.

        The cookie has no Path, so a browser keeps it for the folder of this address: the page, wherever it
        stands. SameSite is Lax, so that links from elsewhere open; writes are checked in another way.
        """
        given = request.query_params.get("token", "")
        if self._token is None or not hmac.compare_digest(given.encode(), self._token.encode()):
            return None
        self._token = None
        response = RedirectResponse("./", status_code=303)
        response.set_cookie(
            COOKIE,
            self._serializer.dumps("in"),
            max_age=HOURS * 3_600,
            path=None,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return response


class Basic:
    """Users and passwords of a file: lines ``user:password``, or ``user:sha256$SALT$HEX``."""

    challenge = 'Basic realm="flowstore", charset="UTF-8"'

    def __init__(self, users: Mapping[str, str], granted: Access) -> None:
        self._users = dict(users)
        self._granted = granted

    def access(self, request: Request) -> Access | None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            user, _, password = b64decode(given, validate=True).decode().partition(":")
        except ValueError:
            return None
        kept = self._users.get(user)
        if not _is_password(password, kept if kept is not None else secrets.token_hex()):
            return None
        return replace(self._granted, user=user)


def _is_password(given: str, kept: str) -> bool:
    kind, _, rest = kept.partition("$")
    salt, _, digest = rest.partition("$")
    if kind == "sha256" and digest:
        hashed = hashlib.sha256(f"{salt}{given}".encode()).hexdigest()
        return hmac.compare_digest(hashed, digest.lower())
    return hmac.compare_digest(given.encode(), kept.encode())


class Token:
    """A bearer token, or one of several, of a file with one in each line."""

    challenge = "Bearer"

    def __init__(self, tokens: Sequence[str], granted: Access) -> None:
        self._tokens = [token.encode() for token in tokens]
        self._granted = replace(granted, is_by_header=True)

    def access(self, request: Request) -> Access | None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        known = [hmac.compare_digest(given.strip().encode(), token) for token in self._tokens]
        return replace(self._granted, user="token") if any(known) else None


class ProxyHeader:
    """A header in which a proxy says who somebody is; only from the addresses of that proxy."""

    challenge = "Proxy"

    def __init__(self, name: str, proxies: Sequence[IPv4Network | IPv6Network], granted: Access) -> None:
        self._name = name
        self._proxies = proxies
        self._granted = granted

    def access(self, request: Request) -> Access | None:
        user = request.headers.get(self._name, "")
        if not user or request.client is None or not is_in(request.client.host, self._proxies):
            return None
        return replace(self._granted, user=user[:200])


def is_in(host: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in networks)


def networks_of(name: str, given: Sequence[str]) -> list[IPv4Network | IPv6Network]:
    """Raises ValueError naming the argument."""
    try:
        return [ip_network(each, strict=False) for each in given]
    except ValueError as error:
        raise ValueError(f"{name}: expected addresses or networks such as 10.0.0.0/8: {error}") from None


def door_of(auth: str, proxies: Sequence[str], granted: Access) -> Door:
    """What ``--auth`` says. Raises ValueError that names it, without what stands in a file."""
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
    if kind == "token":
        return Token(lines, granted)
    users = [line.partition(":") for line in lines]
    if any(not (user and password) for user, _, password in users):
        raise ValueError(f"auth: expected lines USER:PASSWORD in {rest[1:]!r}")
    return Basic({user: password for user, _, password in users}, granted)


def _lines(path: str) -> list[str]:
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"auth: {path!r} cannot be read: {error}") from None
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise ValueError(f"auth: there is nothing in {path!r}")
    return lines
