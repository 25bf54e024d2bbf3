"""Servers of the page as processes: ``flowstore serve``, an application that mounts it, nginx."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Self

PATIENCE: Final = 30.0  # seconds for one start
ROOT: Final = Path(__file__).parents[2]
_SECRET: Final = "of tests, so that cookies hold on when a server is started again"
_LINK: Final = re.compile(r"https?://\S+")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Process:
    """A program that serves; ended by its own id. What it prints is kept in ``log``."""

    def __init__(self, command: list[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self._command, self.log = command, log
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FLOWSTORE_")},
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "XDG_CONFIG_HOME": str(log.parent / "no-settings"),
            **(environment or {}),
        }
        self.start()

    def start(self) -> None:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=ROOT,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def printed(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def until(self, is_so: Callable[[], object]) -> None:
        """Wait for it; raises RuntimeError with what was printed if the process ends, or takes too long."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if is_so():
                return
            try:
                self._process.wait(0.03)
            except subprocess.TimeoutExpired:
                continue
            break
        raise RuntimeError(f"{self._command} did not get ready: {self.printed()}")

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def answers(url: str) -> bool:
    """Whether anything is answered there."""
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


class Served(Process):
    """``flowstore serve`` on a free port of this machine; ``link`` lets a browser in, once.

    ``has_link``: False where who may look is asked in another way.
    """

    def __init__(self, store: str, log: Path, *arguments: str, has_link: bool = True) -> None:
        self.store, self.port, self._has_link = store, free_port(), has_link
        self.base = f"http://127.0.0.1:{self.port}/"
        command = [sys.executable, "-m", "flowstore", "serve", "--port", str(self.port), *arguments]
        super().__init__(command, log, {"FLOWSTORE_URL": store, "FLOWSTORE_WEB_SECRET": _SECRET})

    def start(self) -> None:
        super().start()
        self.until(lambda: answers(f"{self.base}healthz") and (not self._has_link or self._links()))

    @property
    def link(self) -> str:
        return self._links()[0]

    def _links(self) -> list[str]:
        return [link for link in _LINK.findall(self.printed()) if "token=" in link]


class Mounted(Process):
    """An application of FastAPI that mounts the page under ``prefix``, as in ``/a/b``, for whoever asks."""

    def __init__(
        self, store: str, log: Path, prefix: str, *, root_path: str = "", public_url: str = ""
    ) -> None:
        self.store, self.port = store, free_port()
        self.base = f"http://127.0.0.1:{self.port}{prefix}/"
        command = [
            *(sys.executable, "-m", "uvicorn", "tests.browser.mounted:app", "--port", str(self.port)),
            *("--root-path", root_path, "--forwarded-allow-ips", "127.0.0.1", "--no-access-log"),
        ]
        environment = {"SHOP_STORE": store, "SHOP_PREFIX": prefix, "SHOP_PUBLIC_URL": public_url}
        super().__init__(command, log, environment)

    def start(self) -> None:
        super().start()
        self.until(lambda: answers(f"{self.base}healthz"))


class Nginx(Process):
    """nginx with a configuration, a folder and a process id of its own. ``server``: its directives."""

    def __init__(self, folder: Path, server: str, *, port: int | None = None, scheme: str = "http") -> None:
        self.port = port or free_port()
        self.base = f"{scheme}://localhost:{self.port}/"
        (folder / "logs").mkdir(parents=True)
        configuration = _CONFIGURATION.replace("%SERVER%", server.replace("%PORT%", str(self.port)))
        (folder / "nginx.conf").write_text(configuration)
        command = [nginx_binary(), "-p", str(folder), "-c", "nginx.conf", "-e", "logs/start.log"]
        super().__init__(command, folder / "nginx.log")

    def start(self) -> None:
        super().start()
        self.until(self._is_open)

    def _is_open(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0


_CONFIGURATION: Final = """
daemon off;
pid nginx.pid;
worker_processes 1;
events { worker_connections 256; }
http {
  access_log logs/access.log;
  error_log logs/error.log;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  proxy_http_version 1.1;
  proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-For $remote_addr;
  proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header Connection "";
  server {
%SERVER%
  }
}
"""


def nginx_binary() -> str:
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise RuntimeError("nginx is not there: apt-get install nginx-light, or put it on PATH")
    return found


def chromium_binary() -> str:
    given = os.environ.get("FLOWSTORE_TEST_CHROMIUM")
    found = (
        given or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    )
    if found is None:
        raise RuntimeError(
            "chromium is not there: apt-get install chromium, or name one in FLOWSTORE_TEST_CHROMIUM"
        )
    return found
