"""The page served by itself, by uvicorn: ``flowstore serve``; in a container ``python -m flowstore.web``."""

from __future__ import annotations

import os
import socket
import sys
import webbrowser
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp

from flowstore._packages import needed
from flowstore.web.access import ANYONE_DANGEROUS, READ_ONLY, Access
from flowstore.web.app import behind
from flowstore.web.doors import Door, OneTimeLink, door_of

with needed("flowstore.web", "web", "uvicorn"):
    import uvicorn

_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Serving:
    """How a page is served. ``auth``, ``trusted_proxies``: see ``door_of``.

    Without ``auth`` it is served on addresses of this machine only, to whoever has the link that is printed,
    unless ``is_open_to_all``. ``public_url``: where browsers reach it, if a proxy stands before it.
    """

    url: str
    namespace: str = "default"
    host: str = "127.0.0.1"
    port: int = 8787
    auth: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    public_url: str | None = None
    is_read_only: bool = False
    is_open_to_all: bool = False
    title: str = "flowstore"
    opens_browser: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ValueError(f"port: expected 0 to 65535, got {self.port}")
        if self.auth is not None and self.is_open_to_all:
            raise ValueError("auth: is given, and so is that nobody need show who they are")
        if self.auth is None and not self.is_open_to_all and not self.is_on_loopback:
            raise ValueError(
                f"host: {self.host} can be reached from other machines, and no auth is given: see "
                "docs/secure.md"
            )

    @property
    def is_on_loopback(self) -> bool:
        if self.host in _LOOPBACK_NAMES:
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def granted(self) -> Access:
        """What those may do who are let in."""
        return READ_ONLY if self.is_read_only else replace(ANYONE_DANGEROUS, user=None)


def application(serving: Serving, door: Door | None) -> ASGIApp:
    """The page behind its door; None: it stands open."""

    hosts = None
    if serving.is_on_loopback:
        public = urlsplit(serving.public_url or "").hostname
        hosts = {*_LOOPBACK_NAMES, serving.host, *([public] if public else [])}
    return behind(
        door,
        serving.url,
        granted=serving.granted,
        title=serving.title,
        public_url=serving.public_url,
        hosts=hosts,
        namespace=serving.namespace,
    )


def run(serving: Serving) -> int:
    """Serve until a signal to stop; the exit code. Raises OSError if the address is taken."""
    door: Door | None = None
    if serving.auth is not None:
        door = door_of(serving.auth, serving.trusted_proxies, serving.granted)
    elif not serving.is_open_to_all:
        door = OneTimeLink(serving.granted)
    app = application(serving, door)
    family = socket.AF_INET6 if ":" in serving.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((serving.host, serving.port))
    except OSError as error:
        listening.close()
        raise OSError(error.errno, error.strerror, f"{serving.host}:{serving.port}") from None
    port = listening.getsockname()[1]
    shown = f"[{serving.host}]" if ":" in serving.host else serving.host
    address = serving.public_url or f"http://{shown}:{port}/"
    link = address.rstrip("/") + "/"
    if isinstance(door, OneTimeLink):
        link += f"enter?token={door.token}"
        print(f"flowstore: the page is at {address}; this link signs you in, once:", file=sys.stderr)
    else:
        print("flowstore: the page is at", file=sys.stderr)
    print(f"\n    {link}\n", file=sys.stderr, flush=True)
    if serving.opens_browser:
        webbrowser.open(link)
    config = uvicorn.Config(
        app,
        log_level="warning",
        server_header=False,
        date_header=False,
        proxy_headers=bool(serving.trusted_proxies),
        forwarded_allow_ips=[*serving.trusted_proxies] or None,
        timeout_graceful_shutdown=5,
        lifespan="on",
    )
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        listening.close()
    return 0


_ENVIRONMENT: Final = {
    "url": "FLOWSTORE_URL",
    "namespace": "FLOWSTORE_NAMESPACE",
    "host": "FLOWSTORE_WEB_HOST",
    "port": "FLOWSTORE_WEB_PORT",
    "auth": "FLOWSTORE_WEB_AUTH",
    "trusted_proxies": "FLOWSTORE_WEB_TRUSTED_PROXIES",
    "public_url": "FLOWSTORE_WEB_PUBLIC_URL",
    "is_read_only": "FLOWSTORE_WEB_READ_ONLY",
    "is_open_to_all": "FLOWSTORE_WEB_NO_AUTH_I_AM_BEHIND_A_PROXY",
    "title": "FLOWSTORE_WEB_TITLE",
}
_TRUTHS: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}


def from_environment(variables: Mapping[str, str] = os.environ) -> Serving:
    """Every setting by its variable. Raises ValueError naming one that is wrong or missing."""
    given: dict[str, object] = {}
    for field, name in _ENVIRONMENT.items():
        if name not in variables:
            continue
        value = variables[name]
        if field.startswith("is_"):
            if value.lower() not in _TRUTHS:
                raise ValueError(f"{name}: expected 1 or 0, got {value[:40]!r}")
            given[field] = _TRUTHS[value.lower()]
        elif field == "port":
            if not (value.isascii() and value.isdecimal()):
                raise ValueError(f"{name}: expected a number, got {value[:40]!r}")
            given[field] = int(value)
        elif field == "trusted_proxies":
            given[field] = tuple(each.strip() for each in value.split(",") if each.strip())
        else:
            given[field] = value
    if "url" not in given:
        raise ValueError("FLOWSTORE_URL: which store? expected its URL")
    return Serving(**given)  # type: ignore[arg-type]
