"""A terminal for a command: a real pseudo-terminal, and a screen that shows what is written to it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import pyte

PATIENCE = 30.0
"""Seconds."""


class Terminal:
    """Runs ``flowstore`` with a screen of so many columns and lines."""

    def __init__(
        self, *arguments: str, url: str, columns: int = 80, lines: int = 24, **environment: str
    ) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._master, slave = pty.openpty()
        self.resize(columns, lines)
        self.written = b""
        kept = {
            name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flowstore", *arguments],
            env={**kept, "FLOWSTORE_URL": url, "TERM": "xterm", "PAGER": "cat", **environment},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.modes = termios.tcgetattr(slave)
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        os.close(self._master)

    def resize(self, columns: int, lines: int) -> None:
        """The kernel tells the process by SIGWINCH."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(lines, columns)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def until(self, wanted: str | Callable[[Self], bool]) -> str:
        """The screen, once the text is on it, or the condition holds."""

        def holds() -> bool:
            return wanted in self.text if isinstance(wanted, str) else wanted(self)

        end = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < end, f"never came: {wanted!r}\n{self.text}"
            if not self._read(0.2) and self.process.poll() is not None:
                assert holds(), f"ended without {wanted!r}\n{self.text}"
        return self.text

    def ended(self) -> int:
        """The exit code, once all that was written is on the screen."""
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None or self._read(0):
            assert time.monotonic() < end, self.text
            self._read(0.2)
        return self.process.returncode

    def _read(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # as Linux says that nobody has the other side open any more
            return False
        self.written += data
        self._stream.feed(data)
        return bool(data)

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()
