"""The page served by itself, by uvicorn: ``flowstore serve``; in a container ``python -m flowstore.web``."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp

from flowstore import ConnectOptions
from flowstore._faces.places import missing_file
from flowstore._packages import needed
from flowstore.web.access import ANYONE_DANGEROUS, READ_ONLY, Access, AccessRule
from flowstore.web.doors import Entrance, OneTimeLink, door_of
from flowstore.web.guard import Guard
from flowstore.web.site import Site
from flowstore.web.stores import Stores

with needed("flowstore.web", "web", "uvicorn"):
    import uvicorn

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
SECRET: Final = "FLOWSTORE_WEB_SECRET"
_SECONDS_TO_STOP: Final = 5
_LEAST_SECRET: Final = 32
_RECHECKED_EVERY: Final = 2.0


@dataclass(frozen=True)
class Serving:
    """How a page is served. Raises ValueError for what cannot be, with the name of the option.

    ``url``, ``namespace``: the store. ``port`` 0: any that is free. Without ``auth`` it is served on
    addresses of this machine only, to whoever has the link that is printed, unless ``is_open_to_all``.
    ``auth``, ``trusted_proxies``: see ``door_of``. ``public_url``: where browsers reach it, if a proxy stands
    before it. ``allowed_hosts``: names by which it may be asked for; none: on this machine those of loopback
    and of ``public_url``, elsewhere any. ``secret``: what cookies are signed with, if several processes are
    to accept each other's, or those from before a restart; by default that of FLOWSTORE_WEB_SECRET, else
    one that ends with the process.
    """

    url: str
    namespace: str = "default"
    host: str = "127.0.0.1"
    port: int = 8787
    auth: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    public_url: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    is_read_only: bool = False
    is_open_to_all: bool = False
    title: str = "flowstore"
    opens_browser: bool = False
    secret: str = field(default_factory=lambda: os.environ.get(SECRET, ""), repr=False)

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
        if self.public_url is not None and not urlsplit(self.public_url).hostname:
            raise ValueError(f"public_url: expected http://... or https://..., got {self.public_url!r:.80}")
        if self.secret and len(self.secret) < _LEAST_SECRET:
            raise ValueError(f"secret: expected at least {_LEAST_SECRET} characters")

    @property
    def is_on_loopback(self) -> bool:
        if self.host in LOOPBACK:
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def hosts(self) -> frozenset[str] | None:
        """The names under which it may be asked for; None: any."""
        public = urlsplit(self.public_url or "").hostname
        named = {*LOOPBACK, *self.allowed_hosts, *filter(None, [public])}
        if self.is_on_loopback:
            return frozenset({*named, self.host})
        return frozenset(named) if self.allowed_hosts else None

    @property
    def options(self) -> ConnectOptions:
        """Of the backend. One that writes nothing is told of no change, so it looks more often."""
        if self.is_read_only:
            return {"namespace": self.namespace, "read_only": True, "recheck_interval": _RECHECKED_EVERY}
        return {"namespace": self.namespace}

    @property
    def granted(self) -> Access:
        """What those may do who are let in."""
        return READ_ONLY if self.is_read_only else replace(ANYONE_DANGEROUS, user=None)


def application(serving: Serving, port: int, tell: Callable[[str], None]) -> ASGIApp:
    """The page behind its door. ``tell`` is called with each link that lets a browser in; see OneTimeLink."""
    link = None
    rule: AccessRule = serving.granted
    if serving.auth is not None:
        rule = door_of(serving.auth, serving.trusted_proxies, serving.granted)
    elif not serving.is_open_to_all:
        rule = link = OneTimeLink(
            serving.granted,
            tell,
            secret=serving.secret.encode() or secrets.token_bytes(_LEAST_SECRET),
            cookie=f"flowstore_{port}",
            is_https=urlsplit(serving.public_url or "").scheme == "https",
        )
    stores = Stores(serving.url, serving.options)
    app: ASGIApp = Site(stores, rule, serving.title, serving.public_url).application()
    return Guard(app if link is None else Entrance(app, link), serving.hosts)


def run(serving: Serving) -> int:
    """Serve until SIGINT or SIGTERM; the exit code: 0 then. All it says goes to stderr.

    Raises FileNotFoundError for a file of SQLite that is not there, OSError if the address is taken.
    """
    if (file := missing_file(serving.url)) is not None:
        raise FileNotFoundError(2, "there is no such file; programs that store in it make it", str(file))
    with closing(_listening(serving)) as listening:
        port: int = listening.getsockname()[1]
        links: list[str] = []

        def tell(link: str) -> None:
            _say_link(serving, port, link, is_first=not links)
            links.append(link)

        app = application(serving, port, tell)
        if not links:
            print(f"flowstore: the page is at {_address(serving, port)}", file=sys.stderr, flush=True)
        if serving.opens_browser:
            webbrowser.open(_address(serving, port) + "".join(links))
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,  # whom the header of --auth comes from must be the proxy, and not its client
            timeout_graceful_shutdown=_SECONDS_TO_STOP,
            lifespan="on",
        )
        server = uvicorn.Server(config)
        with _stopped_by_signals(server):
            server.run(sockets=[listening])
    return 0 if server.started else 1


def _listening(serving: Serving) -> socket.socket:
    family = socket.AF_INET6 if ":" in serving.host else socket.AF_INET
    try:
        return socket.create_server((serving.host, serving.port), family=family, backlog=2_048)
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"{serving.host}:{serving.port}") from None


def _address(serving: Serving, port: int) -> str:
    return serving.public_url.rstrip("/") + "/" if serving.public_url else _own_address(serving, port)


def _own_address(serving: Serving, port: int) -> str:
    """Without the proxy."""
    return f"http://[{serving.host}]:{port}/" if ":" in serving.host else f"http://{serving.host}:{port}/"


def _say_link(serving: Serving, port: int, link: str, *, is_first: bool) -> None:
    """The link is as good as a password, and works once."""
    said = (
        "the page is at {}; this link signs you in, once:" if is_first else "{}: a link for another browser:"
    )
    print("flowstore:", said.format(_address(serving, port)), file=sys.stderr)
    addresses = dict.fromkeys((_address(serving, port), _own_address(serving, port)))
    print(*(f"\n    {address}{link}" for address in addresses), "\n", file=sys.stderr, flush=True)


@contextmanager
def _stopped_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """uvicorn raises the signal that it has stopped for again: here that ends, without a traceback."""

    def stop(*_: object) -> None:
        server.should_exit = True

    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


_ENVIRONMENT: Final = {
    "url": "FLOWSTORE_URL",
    "namespace": "FLOWSTORE_NAMESPACE",
    "host": "FLOWSTORE_WEB_HOST",
    "port": "FLOWSTORE_WEB_PORT",
    "auth": "FLOWSTORE_WEB_AUTH",
    "trusted_proxies": "FLOWSTORE_WEB_TRUSTED_PROXIES",
    "public_url": "FLOWSTORE_WEB_PUBLIC_URL",
    "allowed_hosts": "FLOWSTORE_WEB_ALLOWED_HOSTS",
    "is_read_only": "FLOWSTORE_WEB_READ_ONLY",
    "is_open_to_all": "FLOWSTORE_WEB_NO_AUTH_I_AM_BEHIND_A_PROXY",
    "title": "FLOWSTORE_WEB_TITLE",
    "secret": SECRET,
}
_TRUTHS: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}


def from_environment(variables: Mapping[str, str] = os.environ) -> Serving:
    """Every setting by its variable. Raises ValueError naming one that is wrong or missing."""
    given = {
        setting: _read(setting, name, variables[name])
        for setting, name in _ENVIRONMENT.items()
        if name in variables
    }
    if not given.get("url"):
        raise ValueError("FLOWSTORE_URL: which store? expected its URL")
    return Serving(**given)  # type: ignore[arg-type]


def _read(setting: str, name: str, value: str) -> object:
    if setting.startswith("is_"):
        if value.lower() not in _TRUTHS:
            raise ValueError(f"{name}: expected 1 or 0, got {value[:40]!r}")
        return _TRUTHS[value.lower()]
    if setting == "port":
        if not (value.isascii() and value.isdecimal()):
            raise ValueError(f"{name}: expected a number, got {value[:40]!r}")
        return int(value)
    if setting in ("trusted_proxies", "allowed_hosts"):
        return tuple(each.strip() for each in value.split(",") if each.strip())
    if setting in ("auth", "public_url"):
        return value or None
    return value
