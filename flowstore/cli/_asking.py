"""Questions before something is done, and bars while it is: on stderr, as stdout is for data."""

from __future__ import annotations

import getpass
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from flowstore.cli._exits import CommandError, Exit, usage
from flowstore.cli._output import Out

NOT_ASKED: Final = "-y does it without asking, --dry-run only looks"


def can_ask() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(what: str, *, yes: bool, count: int | None = None) -> None:
    """Go on only if it was said: by ``-y``, or at the prompt, where a ``count`` must be typed as it is.

    Raises CommandError where nobody can be asked, and where the answer is no.
    """
    if yes:
        return
    if not can_ask():
        raise usage(f"{what}: nobody can be asked here", NOT_ASKED)
    question = f"{what}? [y/N] " if count is None else f"{what}? type {count} to go on: "
    answer = (asked(question) or "").replace(",", "")
    if answer.lower() not in (("y", "yes") if count is None else (str(count),)):
        raise CommandError(Exit.REFUSED, "nothing was done")


def asked(question: str) -> str | None:
    """What is answered, on one line; None: nothing. Only where somebody ``can_ask``."""
    with _interruptible():
        print(question, end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip() or None


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends a question at once: asyncio would wait for its loop, which waits for the answer."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def user() -> str | None:
    """Who is at work, for the audit; None if the system does not say."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return None


class Bar(Protocol):
    """``done`` of ``total``; a total of None is not known."""

    def __call__(self, done: int, total: int | None = None) -> None: ...


@contextmanager
def progress(out: Out, what: str) -> Iterator[Bar]:
    """A bar on stderr while something long is done; none without a terminal there, or with ``--quiet``."""
    if out.settings.quiet or not sys.stderr.isatty():
        yield _nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    out.flush()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def show(done: int, total: int | None = None) -> None:
            bar.update(task, completed=done, total=total)

        yield show


def _nothing(done: int, total: int | None = None) -> None:
    pass
