"""What a Redis URL becomes, and that its password is shown nowhere."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import suppress
from inspect import signature
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import SSLConnection

from flowstore import RedisBackend, StorageUnavailable, connect
from flowstore.backends.redis.client import client_from

HALVES = ("s3cret", "t0ken")
FROM_7_2 = pytest.mark.skipif(
    "ssl_password" not in signature(SSLConnection).parameters, reason="redis-py before 7.2 has no such option"
)
USABLE = [
    "redis://:s3crett0ken@127.0.0.1:1/0",
    "redis://user:s3cret@t0ken@127.0.0.1:1",
    "redis://s3cret:t0ken@127.0.0.1:1/",
    "redis://127.0.0.1:1/0?password=s3crett0ken",
    "redis://127.0.0.1:1/0?password=s3cret@t0ken",
    "redis://127.0.0.1:1?username=t0ken&password=s3cret/?t0ken",
    pytest.param("rediss://:s3cret%23t0ken@[::1]:1/0?ssl_password=s3cret", marks=FROM_7_2),
    "unix://user:s3crett0ken@/tmp/no such.sock?db=0",
    "unix:///tmp/no such.sock?password=s3cret@t0ken",
]
REFUSED = [
    "redis://:s3cret@t0ken:notaport/",
    "redis://:s3crett0ken",
    "redis://:s3crett0ken@[::1/0",
    "redis://:s3cret\N{ACCOUNT OF}t0ken@h",
    "redis://:s3cret\ud800t0ken@h",
    "redis://:s3cret/t0ken@h:1/0",
    "redis://:s3cret?t0ken@h:1/0",
    "redis://:s3cret#t0ken@h:1/0",
    "redis://user:12/s3crett0ken@h:1/0",
    "redis://user:12?s3crett0ken@h:1/0",
    "redis://user:12?s3cret=t0ken@h:1/0",
    "redis://user:12?namespace=s3crett0ken@h:1/0",
    "redis://user:12?ttl=s3crett0ken@h:1/0",
    "redis://user:12#s3crett0ken@h:1/0",
    "redis://:s3cret@t0ken/12@h:1/0",
    "redis://:s3cret@h/x",
    "redis://:s3cret@h?s3crett0ken=1",
    "redis://:s3cret@h?db",
    "redis://h?password=s3cret@t0ken&db=t0ken",
    "unix://:s3cret/t0ken@/tmp/x.sock",
    "unix://:s3crett0ken@",
    "unix:///tmp/x.sock#s3crett0ken",
    "s3crett0ken",
    "s3cret:t0ken@h",
    "user:s3crett0ken@h:1://",
    "Redis://:s3crett0ken@h",
    "http://user:s3crett0ken@h",
]


def texts(error: BaseException | None) -> Iterator[str]:
    """All that a traceback or a log may show of an error."""
    while error is not None:
        yield from (str(error), repr(error), repr(error.args))
        yield from texts(error.__cause__)
        error = error.__context__


def assert_hidden(text: str) -> None:
    assert not [half for half in HALVES if half in text], text


@pytest.mark.parametrize("url", USABLE)
async def test_usable_urls(url: str) -> None:
    """The password is neither in the repr nor in the errors of a server that cannot be reached."""
    backend = RedisBackend(url, op_timeout=2)
    assert_hidden(repr(backend))
    with pytest.raises(StorageUnavailable) as caught:
        await backend.get("t")
    assert "no such.sock" in str(caught.value) or ":1" in str(caught.value)
    for text in texts(caught.value):
        assert_hidden(text)


@pytest.mark.parametrize("make", [RedisBackend, connect])
@pytest.mark.parametrize("url", REFUSED)
def test_refused_urls(url: str, make: type[RedisBackend]) -> None:
    """One ValueError that names the argument, without a trace of the URL, in its context neither."""
    with pytest.raises(ValueError, match=r"^url: ") as caught:
        make(url)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    for text in texts(caught.value):
        assert_hidden(text)


BAD_OPTIONS = [
    "db=t0ken",
    "db=-1",
    "db=",
    "db=1&db=t0ken",
    "port=t0ken",
    "protocol=9",
    "max_connections=t0ken",
    "max_connections=1",
    "health_check_interval=0.5",
    "socket_timeout=nan",
    "socket_connect_timeout=-1",
    "socket_keepalive=off",
    "retry_on_timeout=t0ken",
    "decode_responses=true",
    "retry=t0ken",
    "credential_provider=t0ken",
    "ssl_cert_reqs=t0ken",
    "ssl_cert_reqs=",
    "ssl_check_hostname=t0ken",
    "ssl_ca_certs=",
    "foo=t0ken",
    "kwargs=t0ken",
    "timeout=1",
]


@pytest.mark.parametrize("make", [RedisBackend, connect])
@pytest.mark.parametrize("option", BAD_OPTIONS)
def test_options_that_the_driver_cannot_use(option: str, make: type[RedisBackend]) -> None:
    """Each is named, as it is not with the driver, which may drop it; its value is not shown."""
    name = option.partition("=")[0]
    with pytest.raises(ValueError, match=f"^{name}: ") as caught:
        make(f"rediss://:s3cret@h/0?client_name=x&{option}")
    assert caught.value.__context__ is None
    for text in texts(caught.value):
        assert_hidden(text)


def test_options_of_tls_need_tls() -> None:
    """Elsewhere they would do nothing, while somebody relies on them."""
    with pytest.raises(ValueError, match=r"^ssl_ca_certs: .*rediss://"):
        RedisBackend("redis://h?ssl_ca_certs=/x.pem")


@pytest.mark.parametrize(
    ("spelled", "kind"),
    [
        ("none", ssl.CERT_NONE),
        ("None", ssl.CERT_NONE),
        ("CERT_NONE", ssl.CERT_NONE),
        ("cert_optional", ssl.CERT_OPTIONAL),
        ("CERT_REQUIRED", ssl.CERT_REQUIRED),
        ("required", ssl.CERT_REQUIRED),
    ],
)
def test_spellings_of_certificates(spelled: str, kind: ssl.VerifyMode) -> None:
    """Those of redis-py, of Python and Celery, and of the guides of hosting services."""
    client, _ = client_from(f"rediss://h:1/0?db=2&ssl_cert_reqs={spelled}", 1, "x")
    pool: Any = client.connection_pool
    context = pool.make_connection().ssl_context.get()
    assert context.verify_mode is kind
    assert context.check_hostname is (kind is not ssl.CERT_NONE)


FORMS = [
    "redis://:{}@h:1/0",
    "redis://user:{}@h",
    "redis://{}@h:notaport/",
    "redis://:{}@",
    "redis://h/0?password={}",
    "redis://h:1/{}",
    "rediss://user:{}@[::1]:1",
    "unix://user:{}@/tmp/x.sock?db=0",
    "unix:///tmp/x.sock?password={}",
    "{}",
    "{}://h",
    "mysql://u:{}@h",
]
INSIDES = st.text(st.sampled_from("@?#/:%&=[] \n\\;\N{SNAKE}1") | st.characters(), max_size=6)


@settings(deadline=None)
@given(form=st.sampled_from(FORMS), inside=INSIDES, is_quoted=st.booleans())
def test_no_password_is_shown_whole(form: str, inside: str, is_quoted: bool) -> None:
    """Whatever characters it has, percent-encoded or not: at most its half may be taken for the host."""
    password = inside.join(HALVES)
    try:
        url = form.format(quote(password) if is_quoted else password)
    except UnicodeEncodeError:
        return
    shown: list[str] = []
    for make in (RedisBackend, connect):
        with suppress(ValueError):
            shown.append(repr(make(url)))
        try:
            make(url)
        except ValueError as error:
            shown += texts(error)
    assert not [text for text in shown if HALVES[0] in text or password in text]


def test_shown_form() -> None:
    """Where it goes, with what was left to the driver."""
    shown = {
        "redis://u:p@h": "redis://h:6379/0",
        "redis://:p@/3": "redis://localhost:6379/3",
        "redis://h:7?db=4": "redis://h:7/4",
        "rediss://[::1]": "rediss://[::1]:6379/0",
        "valkey://u:p@h:1": "valkey://h:1/0",
        "valkeys://h": "valkeys://h:6379/0",
        "unix://u:p@/a/b.sock?db=2": "unix:///a/b.sock?db=2",
    }
    for url, where in shown.items():
        assert repr(RedisBackend(url)) == f"RedisBackend({where!r}, namespace='default')"


@pytest.mark.parametrize(
    ("query", "is_checked"), [("", True), ("?ssl_cert_reqs=none", False), ("?ssl_check_hostname=no", False)]
)
@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
def test_the_name_in_a_certificate_is_checked(scheme: str, query: str, is_checked: bool) -> None:
    """Whatever the installed redis-py does by default, unless the URL says otherwise."""
    client, _ = client_from(f"{scheme}://h:1/0{query}", 1, "x")
    pool: Any = client.connection_pool
    assert pool.make_connection().ssl_context.get().check_hostname is is_checked
