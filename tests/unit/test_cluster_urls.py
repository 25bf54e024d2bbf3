"""URLs of clusters: what they mean, what is wrong with others, and that no password is shown."""

from __future__ import annotations

import pytest

import flowstore
from flowstore import CorruptStore, RedisClusterBackend
from flowstore.backends.cluster.urls import nodes_from
from flowstore.backends.redis.namespaces import refusal


@pytest.mark.parametrize(
    ("url", "seeds"),
    [
        ("redis+cluster://a", [("a", 6379)]),
        ("redis+cluster://a:1,b:2", [("a", 1), ("b", 2)]),
        ("valkey+cluster://u:p@a:1,b/", [("a", 1), ("b", 6379)]),
        ("rediss+cluster://[::1]:7,10.0.0.1:8?ssl_cert_reqs=none", [("::1", 7), ("10.0.0.1", 8)]),
        ("valkeys+cluster://a?client_name=me", [("a", 6379)]),
    ],
)
def test_nodes(url: str, seeds: list[tuple[str, int]]) -> None:
    """Some of them, with their ports."""
    assert nodes_from(url, 10, "name", None).seeds == seeds
    assert isinstance(flowstore.connect(url), RedisClusterBackend)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis+cluster://a/1", "no databases"),
        ("redis+cluster://a?db=1", "db: a cluster has no databases"),
        ("redis+cluster://", "host:port"),
        ("redis+cluster://a:1,,b:2", "empty name of a host"),
        ("redis+cluster://:secret@a:port", "not a usable"),
        ("redis+cluster://u:secret@a:1?secret=1", "secret: unknown option|not a usable"),
        ("redis+cluster://u:se/cret@a:1", "percent-encode|no databases"),
        ("redis+cluster://a?buckets=many", "buckets: expected an int"),
        ("redis+cluster://a?buckets=8", "buckets: expected .*16"),
        ("redis+cluster://a?buckets=5000", "buckets: expected at most 4096, got 5000"),
        ("redis+cluster://a?ssl_cert_reqs=none", "ssl_cert_reqs: expected only in a URL"),
    ],
)
def test_bad_urls(url: str, reason: str) -> None:
    """The argument is named, and what was expected."""
    with pytest.raises(ValueError, match=reason) as caught:
        flowstore.connect(url)
    assert ":secret" not in str(caught.value)


@pytest.mark.parametrize("connection", [{"decode_responses": True}, {"encoding": "latin-1"}])
def test_bad_options_of_connections(connection: dict[str, object]) -> None:
    """With which results would not be the bytes that were stored: as for the client of a server."""
    with pytest.raises(ValueError, match=f"^url, connection: expected {next(iter(connection))}="):
        RedisClusterBackend("redis+cluster://h", connection=connection)


def test_the_password_is_not_shown() -> None:
    """Where it connects to is."""
    backend = flowstore.connect("redis+cluster://user:pass@h:1,i:2", namespace="shop")
    assert repr(backend) == "RedisClusterBackend('redis+cluster://h:1,i:2', namespace='shop')"


def test_a_backend_of_a_server_refuses_a_namespace_in_buckets() -> None:
    """It says what to do instead of reading a part of it."""
    with pytest.raises(CorruptStore, match=r"in 64 buckets: open it with redis\+cluster://"):
        refusal("flowstore:{shop}:format", b"3 64")
