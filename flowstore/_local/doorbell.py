"""Notifies the other processes that share a file of what changed in it, without polling.

A listener binds a Unix datagram socket in the folder ``<file>-bells``; a writer sends a datagram to every
socket in that folder. The folder is the registry: it needs no server, and a writer with no listeners pays one
failed listdir. Listeners bind before they read, and writers ring after they commit; the other way round a
commit between the two would be missed.

Sends never block, for a slow listener must not hold up a writer. If its queue is full, the details are
dropped and "look at everything" is sent to it, with growing pauses, until it gets through. Should the writer
end before that, the listener knows by itself: it has found a queue that may have been full. A socket whose
process died refuses the datagram, and is removed by whoever rings next.

A program that has used up its descriptors can still commit, since the database is open; so it must still be
able to ring, or its waiters would hear of nothing before their re-check. Two descriptors are kept for that.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Final

from flowstore._local.rights import follow, make_folder

LOOK_AT_EVERYTHING: Final = b""
MOST_BYTES: Final = 32_768
_MOST_PER_TURN: Final = 64
_FIRST_PAUSE: Final = 0.002
_LONGEST_PAUSE: Final = 1.0
_DEAD: Final = (errno.ECONNREFUSED, errno.ENOENT)
_NOT_OURS: Final = (errno.EACCES, errno.EPERM)
_NONE_LEFT: Final = (errno.EMFILE, errno.ENFILE)
_OPENED_FILES: Final = Path("/proc/self/fd")
_HAS_OPENED_FILES: Final = _OPENED_FILES.is_dir()


def _queue_length() -> int:
    """How many messages the system keeps for a socket at least, before it refuses more."""
    try:
        return int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text("ascii"))
    except (OSError, ValueError):
        return 10


_QUEUE: Final = _queue_length()


class Doorbell:
    """The socket of one listener, and the means to ring those of all others of the same file.

    The event loop never touches the file system: ``bind`` and ``ring`` are called in other threads, and
    ``post`` hands a function to the thread that binds.
    """

    def __init__(
        self, file: Path, heard: Callable[[bytes], None], post: Callable[[Callable[[], None]], object]
    ) -> None:
        self._file = file
        self._folder = file.with_name(f"{file.name}-bells")
        self._heard = heard
        self._post = post
        self._name = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._overrun: set[str] = set()
        self._heard_in_a_row = 0
        self._retry: asyncio.TimerHandle | None = None
        self._spare = _Spare()

    def bind(self) -> None:
        """Receive from now on. Raises OSError or NotImplementedError where that is not possible."""
        if self._socket is not None and (self._folder / self._name).exists():
            return
        self._unbind()  # bound, but removed from the folder: no writer would find it
        bell = _socket()
        try:
            self._bind(bell)
            self._loop.call_soon_threadsafe(self._loop.add_reader, bell, self._listen, bell)
        except BaseException:
            bell.close()
            raise
        self._socket = bell

    def unbind(self) -> None:
        """Stop receiving, soon, and leave nothing in the file system."""
        self._post(self._unbind)

    def close(self) -> None:
        self.unbind()
        self._spare.close()
        if self._retry is not None:
            self._retry.cancel()

    def ring(self, messages: Iterable[bytes]) -> None:
        """Send each message to every other bell, from any thread.

        Never raises: these are hints, and the commit they report has succeeded.
        """
        self._try(lambda: self._ring(messages))

    def _ring(self, messages: Iterable[bytes]) -> None:
        names = [name for name in os.listdir(self._folder) if name != self._name]
        if names:
            with self._opened_folder() as folder:
                self._send(folder, names, messages)

    def _try(self, work: Callable[[], None]) -> None:
        """``work``, as far as it can be done. Mostly there is no folder, as nobody listens."""
        with suppress(OSError):
            try:
                work()
            except OSError as error:
                if error.errno not in _NONE_LEFT:
                    raise
                with self._spare.lent():
                    work()

    def _unbind(self) -> None:
        bell, self._socket = self._socket, None
        if bell is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._silence, bell)
        except RuntimeError:  # the loop is closed
            bell.close()
        with suppress(OSError):  # removed already, or not the last bell
            (self._folder / self._name).unlink()
            self._folder.rmdir()

    def _silence(self, bell: socket.socket) -> None:
        self._loop.remove_reader(bell)
        bell.close()

    def _bind(self, bell: socket.socket) -> None:
        file = self._file.stat()
        mode = file.st_mode & 0o666
        for _ in range(10):
            make_folder(self._folder, file)
            with suppress(FileNotFoundError), self._opened_folder() as folder:
                bell.bind(self._address(folder, self._name))
                os.chmod(self._name, mode, dir_fd=folder)
                follow(self._name, file, folder=folder)
                return
            # the last other listener has just removed the folder
        raise FileNotFoundError(errno.ENOENT, "removed again and again", str(self._folder))

    def _send(
        self, folder: int, names: Sequence[str], messages: Iterable[bytes], pause: float = _FIRST_PAUSE
    ) -> None:
        with _socket() as sender:
            told = list(messages)
            for name in names:
                try:
                    for message in told:
                        sender.sendto(message, self._address(folder, name))
                except OSError as error:
                    if error.errno in _DEAD:
                        with suppress(OSError):
                            os.unlink(name, dir_fd=folder)
                    elif error.errno not in _NOT_OURS:
                        with suppress(RuntimeError):  # the loop is closed; the listener's recheck has to do
                            self._loop.call_soon_threadsafe(self._missed, name, pause)

    def _missed(self, name: str, pause: float) -> None:
        self._overrun.add(name)
        if self._retry is None:
            self._retry = self._loop.call_later(pause, self._put_off, min(2 * pause, _LONGEST_PAUSE))

    def _put_off(self, pause: float) -> None:
        self._retry = None
        names, self._overrun = list(self._overrun), set()
        self._post(partial(self._ring_again, names, pause))

    def _ring_again(self, names: Sequence[str], pause: float) -> None:
        def again() -> None:
            with self._opened_folder() as folder:
                self._send(folder, names, [LOOK_AT_EVERYTHING], pause)

        self._try(again)

    def _listen(self, bell: socket.socket) -> None:
        # Bounded: while messages keep coming, the loop has other work to do as well.
        for _ in range(_MOST_PER_TURN):
            try:
                message = bell.recv(MOST_BYTES)
            except BlockingIOError:
                self._heard_in_a_row = 0
                return
            self._heard(message)
            self._heard_in_a_row += 1
            if self._heard_in_a_row == _QUEUE:  # it may have been full, and who was refused may have ended
                self._heard(LOOK_AT_EVERYTHING)

    @contextmanager
    def _opened_folder(self) -> Iterator[int]:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield folder
        finally:
            os.close(folder)

    def _address(self, folder: int, name: str) -> str:
        """An address has at most 107 bytes, but a path may be longer. On Linux the open folder is short."""
        return f"{_OPENED_FILES}/{folder}/{name}" if _HAS_OPENED_FILES else str(self._folder / name)


class _Spare:
    """Descriptors for who has no other left: as many as it takes to ring."""

    def __init__(self) -> None:
        self._kept: tuple[socket.socket, ...] = ()
        self._is_closed = False
        self._lending = Lock()
        self._take()

    def close(self) -> None:
        self._is_closed = True
        self._drop()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """In the block they are free, for anybody in this process: others may be faster."""
        with self._lending:
            self._drop()
            try:
                yield
            finally:
                self._take()
                if self._is_closed:  # meanwhile, in the loop
                    self._drop()

    def _take(self) -> None:
        with suppress(OSError):
            self._kept = socket.socketpair()

    def _drop(self) -> None:
        kept, self._kept = self._kept, ()
        for each in kept:
            each.close()


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.setblocking(False)
    return made
