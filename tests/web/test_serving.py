"""The page as a process of its own: how it starts, whom it lets in, and how it stops."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

import flowstore.sync
from flowstore import TaskResult
from tests.servers import PATIENCE

_LINK: Final = re.compile(r"http://(127\.0\.0\.1):(\d+)(/enter\?token=\S+)")


@pytest.fixture
def store(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/s.db"
    with flowstore.sync.connect(url) as backend:
        backend.store("t1", TaskResult.pending("t1"))
    return url


class Running:
    """``python -m flowstore.web`` on a free port; ``said`` is what it has printed so far."""

    def __init__(self, log: Path, **settings: str) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("FLOWSTORE_")}
        given = {f"FLOWSTORE_{name}": value for name, value in settings.items()}
        environment = {**clean, "FLOWSTORE_WEB_PORT": "0", "PYTHONUNBUFFERED": "1", **given}
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flowstore.web"],
                stdout=subprocess.PIPE,
                stderr=output,
                env=environment,
            )

    @property
    def said(self) -> str:
        return self._log.read_text("utf-8")

    def link(self) -> re.Match[str]:
        deadline = time.monotonic() + PATIENCE
        while not (found := _LINK.search(self.said)):
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
        return found

    def ended(self) -> int:
        return self.process.wait(PATIENCE)


@contextmanager
def running(log: Path, **settings: str) -> Iterator[Running]:
    program = Running(log, **settings)
    try:
        yield program
    finally:
        program.process.kill()
        program.process.wait()
        assert program.process.stdout is not None
        program.process.stdout.close()


def asked(port: int, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def test_from_start_to_stop(store: str, tmp_path: Path) -> None:
    """A link lets one browser in; with its stream open the process stops within seconds, cleanly."""
    with running(tmp_path / "log", URL=store) as program:
        found = program.link()
        port = int(found[2])
        assert asked(port, "/tasks")[0] == 401
        assert asked(port, "/tasks", Host="evil.test")[0] == 421
        status, headers, _ = asked(port, found[3])
        assert status == 303
        assert "server" not in headers
        cookie = headers["set-cookie"].partition(";")[0]
        assert b"t1" in asked(port, "/tasks", Cookie=cookie)[2]
        assert asked(port, found[3])[0] == 403
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as stream:
            request = f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {cookie}\r\n\r\n"
            stream.sendall(request.encode())
            received = b""
            while b"changes" not in received:
                received += stream.recv(4_096)
            assert b"text/event-stream" in received
            program.process.send_signal(signal.SIGTERM)
            assert program.ended() == 0
        assert program.process.stdout is not None
        assert program.process.stdout.read() == b""
        assert "Traceback" not in program.said
        assert "ERROR" not in program.said
        assert len(set(_LINK.findall(program.said))) == 2  # another one, for another browser


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"WEB_HOST": "0.0.0.0"}, "can be reached from other machines"),
        ({"URL": "sqlite:////nowhere/s.db"}, "there is no such file"),
    ],
)
def test_what_it_refuses(settings: dict[str, str], expected: str, store: str, tmp_path: Path) -> None:
    """It does not start, says why in a line, and makes no file out of a wrong name."""
    with running(tmp_path / "log", **{"URL": store, **settings}) as program:
        assert program.ended() == 2
        assert expected in program.said
        assert "Traceback" not in program.said
