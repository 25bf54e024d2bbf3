"""The options in the URL of a server: which there are, and what their values may be.

The driver takes whatever stands there, and notices late, or never, what it cannot use. An error names the
option and what is expected. It never shows the value, nor a name that may be part of a password: where a
password has a '?' in it, the rest of it looks like options.
"""

from __future__ import annotations

import inspect
import math
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Final
from urllib.parse import parse_qsl, unquote_plus

from redis.asyncio import ConnectionPool, SSLConnection, UnixDomainSocketConnection

_NAME: Final = re.compile(r"[a-z_]{1,40}")  # anything else may be part of a password
_TRUTHS: Final = frozenset({"true", "false", "yes", "no", "t", "f", "y", "n", "1", "0"})
_CERTIFICATES: Final = ("none", "optional", "required")
_VERSIONS: Final = tuple(str(int(version)) for version in ssl.TLSVersion if version > 0)
_TEXTS: Final = frozenset(
    {"username", "password", "client_name", "lib_name", "lib_version", "encoding", "encoding_errors"}
    | {"host", "path", "ssl_keyfile", "ssl_certfile", "ssl_ca_certs", "ssl_ca_data", "ssl_ca_path"}
    | {"ssl_ciphers", "ssl_password"}
)


def _is_int(least: int) -> Callable[[str], bool]:
    return lambda text: text.isascii() and text.isdecimal() and len(text) < 10 and int(text) >= least


def _is_time(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False


def is_truth(text: str) -> bool:
    return text.lower() in _TRUTHS


def is_true(text: str) -> bool:
    """Of what ``is_truth`` holds for, as the driver reads it."""
    return text.lower()[:1] in ("t", "y", "1")


def _are_flags(text: str) -> bool:
    names = text.replace("[", "").replace("]", "").split(",")
    return all(name.strip() in ssl.VerifyFlags.__members__ for name in names)


def _is_kind_of_certificate(text: str) -> bool:
    return _certificates(text) in _CERTIFICATES


_A_TRUTH: Final = (is_truth, "true or false")
_A_TIME: Final = (_is_time, "a number of seconds above 0")
_KINDS: Final[Mapping[str, tuple[Callable[[str], bool], str]]] = {
    "db": (_is_int(0), "an int of at least 0"),
    "max_connections": (_is_int(2), "an int of at least 2, as one connection listens"),
    "health_check_interval": (_is_int(0), "an int of at least 0, in seconds"),
    "socket_read_size": (_is_int(1), "an int of at least 1"),
    "protocol": (lambda text: text in ("2", "3"), "2 or 3"),
    "port": (_is_int(1), "an int of at least 1"),
    "ssl_min_version": (lambda text: text in _VERSIONS, f"one of {', '.join(_VERSIONS)}"),
    "ssl_include_verify_flags": (_are_flags, "names of ssl.VerifyFlags, with commas between them"),
    "ssl_exclude_verify_flags": (_are_flags, "names of ssl.VerifyFlags, with commas between them"),
    "socket_timeout": _A_TIME,
    "socket_connect_timeout": _A_TIME,
    "socket_keepalive": _A_TRUTH,
    "retry_on_timeout": _A_TRUTH,
    "legacy_responses": _A_TRUTH,
    "decode_responses": (lambda text: False, "no such option, as results are bytes"),
    "ssl_check_hostname": _A_TRUTH,
    "ssl_cert_reqs": (_is_kind_of_certificate, f"one of {', '.join(_CERTIFICATES)}"),
}


def fault_in(scheme: str, query: str) -> str | None:
    """What is wrong with an option, beginning with its name; None if nothing is, or if nothing may be told.

    ``scheme``: as the driver names it. Raises ValueError if the query is no list of options.
    """
    pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    if "@" in query:
        return None
    told: set[str] = set()
    for name, value in pairs:
        if _NAME.fullmatch(name):
            fault = f"{name}: given twice in the URL" if name in told else _fault(scheme, name, value)
            if fault is not None:
                return fault
            told.add(name)
    return None


def fault_of(
    pairs: Sequence[tuple[str, str]], kinds: Mapping[str, tuple[Callable[[str], bool], str]]
) -> str | None:
    """The same for options that are all in ``kinds``."""
    names = [name for name, _ in pairs]
    for name, value in pairs:
        is_right, expected = kinds[name]
        if names.count(name) > 1:
            return f"{name}: given twice in the URL"
        if not is_right(value):
            return f"{name}: expected {expected}"
    return None


def _fault(scheme: str, name: str, value: str) -> str | None:
    if name not in _options_of_the_driver():
        return f"{name}: unknown option, neither of flowstore nor of redis-py"
    if name.startswith("ssl_") and scheme != "rediss":
        return f"{name}: expected only in a URL that begins with rediss:// or valkeys://"
    if name not in _KINDS and name not in _TEXTS:
        return f"{name}: cannot be given in a URL; pass client=, a redis.asyncio.Redis that was made with it"
    is_right, expected = _KINDS.get(name, (bool, "a value"))
    return None if is_right(value) else f"{name}: expected {expected}"


def in_the_drivers_words(query: str) -> str:
    """The query, with the names that Python and Celery have for kinds of certificates spelled as here."""
    return "&".join(map(_reworded, query.split("&")))


def _reworded(option: str) -> str:
    name, _, value = option.partition("=")
    if unquote_plus(name) != "ssl_cert_reqs":
        return option
    return f"{name}={_certificates(unquote_plus(value))}"


def _certificates(text: str) -> str:
    return text.lower().removeprefix("ssl.").removeprefix("cert_")


@cache
def _options_of_the_driver() -> frozenset[str]:
    makers = (*SSLConnection.__mro__[:-1], *UnixDomainSocketConnection.__mro__[:-1], ConnectionPool)
    parameters = [one for maker in makers for one in inspect.signature(maker).parameters.values()]
    return frozenset(one.name for one in parameters if one.kind is not one.VAR_KEYWORD)
