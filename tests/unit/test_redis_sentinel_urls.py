"""What a URL of Sentinel becomes, and that no password of it is shown."""

from __future__ import annotations

from typing import Any

import pytest

from flowstore import RedisBackend, StorageUnavailable, connect
from flowstore.backends.redis.sentinel import link_from
from tests.unit.test_redis_urls import assert_hidden, texts

SHOWN = {
    "redis+sentinel://h/main": "redis+sentinel://h:26379/main/0",
    "redis+sentinel://a:1,b,[::1]:3/my-main/4": "redis+sentinel://a:1,b:26379,[::1]:3/my-main/4",
    "rediss+sentinel://u:s3cret@h/main/": "rediss+sentinel://h:26379/main/0",
    "valkey+sentinel://s3cret:t0ken@a,b/main/2?max_connections=9": (
        "valkey+sentinel://a:26379,b:26379/main/2"
    ),
    "valkeys+sentinel://h/main?db=3&sentinel_password=s3cret": "valkeys+sentinel://h:26379/main/3",
    "redis+sentinel://u:s3cret@t0ken@h/main": "redis+sentinel://h:26379/main/0",
}
REFUSED = [
    "redis+sentinel://",
    "redis+sentinel://h",
    "redis+sentinel://h/",
    "redis+sentinel://h/0",
    "redis+sentinel:///main",
    "redis+sentinel://h:/main",
    "redis+sentinel://h:0/main",
    "redis+sentinel://h:65536/main",
    "redis+sentinel://h,/main",
    "redis+sentinel://h/main/x",
    "redis+sentinel://h/main/0/0",
    "redis+sentinel://h/main#s3cret",
    "redis+sentinel://:s3cret/t0ken@h/main",
    "redis+sentinel://:s3cret?t0ken@h/main",
    "redis+sentinel://user:12/s3crett0ken@h/main",
    "redis+sentinel://h/main?s3crett0ken",
    "redis+sentinel://u:1/main?sentinel_password=s3cret@t0ken&sentinel_ssl=",
    "unix+sentinel:///x.sock/main",
]
BAD_OPTIONS = {
    "host=h": "host",
    "path=/x": "path",
    "port=1": "port",
    "sentinel_ssl=t0ken": "sentinel_ssl",
    "sentinel_password=": "sentinel_password",
    "sentinel_username=t0ken&sentinel_username=t0ken": "sentinel_username",
    "sentinel_kwargs=t0ken": "sentinel_kwargs",
    "ssl_ca_certs=/t0ken": "ssl_ca_certs",
    "max_connections=t0ken": "max_connections",
    "wait_replicas=t0ken": "wait_replicas",
    "wait_replicas=-1": "wait_replicas",
}


@pytest.mark.parametrize("make", [RedisBackend, connect])
@pytest.mark.parametrize("url", SHOWN)
def test_shown_form(url: str, make: type[RedisBackend]) -> None:
    """The sentinels, the service and the database; and no password."""
    assert repr(make(url)) == f"RedisBackend({SHOWN[url]!r}, namespace='default')"


@pytest.mark.parametrize("make", [RedisBackend, connect])
@pytest.mark.parametrize("url", REFUSED)
def test_refused_urls(url: str, make: type[RedisBackend]) -> None:
    """One ValueError that names the argument, without a trace of the password."""
    with pytest.raises(ValueError, match=r"^url: ") as caught:
        make(url)
    assert caught.value.__context__ is None
    for text in texts(caught.value):
        assert_hidden(text)


@pytest.mark.parametrize("query", BAD_OPTIONS)
def test_refused_options(query: str) -> None:
    """Each is named, and its value is not shown, unless it is an option of flowstore."""
    with pytest.raises(ValueError, match=f"^{BAD_OPTIONS[query]}: ") as caught:
        connect(f"redis+sentinel://:s3cret@h/main?{query}")
    for text in texts(caught.value):
        assert "wait" in query or "t0ken" not in text
        assert "s3cret" not in text


async def test_sentinels_that_cannot_be_reached() -> None:
    """The error says which, and why, and shows no password of either kind of server."""
    url = "redis+sentinel://:s3cret@127.0.0.1:1,127.0.0.1:2/main?sentinel_password=t0ken"
    backend = RedisBackend(url, op_timeout=1)
    with pytest.raises(StorageUnavailable, match=r"'main'.*127\.0\.0\.1:1: .*127\.0\.0\.1:2: ") as caught:
        await backend.get("t")
    for text in texts(caught.value):
        assert_hidden(text)


@pytest.mark.parametrize(("own", "is_tls"), [("", False), ("&sentinel_ssl=true", True)])
def test_tls_to_the_sentinels(own: str, is_tls: bool) -> None:
    """Only where it is asked for; it verifies as that to the primary does."""
    link = link_from(f"rediss+sentinel://h/main?ssl_cert_reqs=none{own}", 1, "x")
    primary, sentinel = [_connection(client) for client in link._clients]
    assert not primary.ssl_context.get().check_hostname
    assert hasattr(sentinel, "ssl_context") is is_tls
    assert not is_tls or not sentinel.ssl_context.get().check_hostname


def _connection(client: Any) -> Any:
    pool = client.connection_pool
    return pool.connection_class(**pool.connection_kwargs)
