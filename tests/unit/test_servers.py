"""The servers of the tests are their own: never another process's, and nothing of a failed start stays."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests import servers
from tests.servers import Server, redis_binary, valkey_binary

pytestmark = pytest.mark.skipif("FLOWSTORE_TEST_REDIS_URL" in os.environ, reason="a server is given")


@pytest.fixture(params=["valkey", *(["redis"] if redis_binary() else [])])
def binary(request: pytest.FixtureRequest) -> Path | None:
    return redis_binary() if request.param == "redis" else valkey_binary()


@pytest.fixture
def server(binary: Path) -> Iterator[Server]:
    server = Server(binary, "--maxmemory", "12mb", "--appendonly", "yes")
    yield server
    server.stop()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[subprocess.Popen[bytes]]:
    """The processes started from here on; their folders are made under tmp_path."""
    processes: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[call-overload]  # passed on
            processes.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return processes


def test_arguments(server: Server) -> None:
    """They are added to the command line, and win over what is given by default."""
    with redis.Redis.from_url(server.url) as client:
        settings = client.config_get("maxmemory", "appendonly")
        assert settings == {"maxmemory": str(12 * 2**20), "appendonly": "yes"}


def test_port_that_was_taken(server: Server, binary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of another process on the port is not accepted: the start is tried on another port."""
    ports = iter([server.port, servers.free_port()])
    monkeypatch.setattr(servers, "free_port", lambda: next(ports))
    other = Server(binary)
    other.stop()
    assert other.port != server.port


def test_wrong_argument(binary: Path, started: list[subprocess.Popen[bytes]], tmp_path: Path) -> None:
    """The error shows what the server said; no folder stays."""
    with pytest.raises(RuntimeError, match="nonsense"):
        Server(binary, "--nonsense", "yes")
    assert started
    assert not list(tmp_path.iterdir())


def test_silent_server(
    binary: Path,
    started: list[subprocess.Popen[bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that never listens is ended, and its folder removed."""
    monkeypatch.setattr(servers, "PATIENCE", 0.2)
    with pytest.raises(RuntimeError, match="did not start"):
        Server(binary, "--port", "0", "--unixsocket", "socket")
    assert len(started) == 3
    assert not [process for process in started if process.poll() is None]
    assert not list(tmp_path.iterdir())
