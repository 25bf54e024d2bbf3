"""A command at work: its store, which was opened for it, and where it prints."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Unpack

import flowstore
from flowstore import BaseResultBackend, ConnectOptions
from flowstore._faces.places import missing_file
from flowstore._faces.showing import plain
from flowstore.cli._exits import CommandError, Exit
from flowstore.cli._output import Out
from flowstore.cli._settings import Common, Settings, settings_of


@dataclass(frozen=True)
class Desk:
    """``backend`` is open and reads all values as the JSON that is stored: no type need be known."""

    backend: BaseResultBackend
    out: Out
    settings: Settings


@asynccontextmanager
async def at_desk(
    common: Common | None, *, creates: bool = False, read_only: bool = False
) -> AsyncIterator[Desk]:
    """``creates``: whether a file that does not exist is made, and not taken for a wrong name.

    ``read_only``: for a command that only reads, and does not wait to be told of changes.
    """
    settings = settings_of(common or Common())
    out = Out(settings)
    if settings.namespace != "default" and not creates:
        await _check_namespace(settings)
    options: ConnectOptions = {"namespace": settings.namespace}
    if read_only:  # else as the URL says
        options["read_only"] = True
    async with opened(settings.url, creates=creates, **options) as backend:
        yield Desk(backend, out, settings)
    out.flush()


async def _check_namespace(settings: Settings) -> None:
    """A wrong name would look like an empty store, and a backend that writes would enter it for good."""
    async with opened(settings.url, read_only=True) as backend:
        names = await backend.app.namespaces()
    if settings.namespace not in names:
        known = ", ".join(map(plain, names[:20])) + (", ..." if len(names) > 20 else "")
        raise CommandError(
            Exit.UNKNOWN,
            f"there is no namespace {settings.namespace!r}; there are: {known}",
            "flowstore apps",
        )


@asynccontextmanager
async def opened(
    url: str, *, creates: bool = False, **options: Unpack[ConnectOptions]
) -> AsyncIterator[BaseResultBackend]:
    """The store of a URL. Nothing in it expires or is removed because somebody looks at it.

    Raises CommandError where a reader would make an empty file out of a wrong name.
    """
    if not creates:
        check_exists(url)
    given: ConnectOptions = {"raw": True, "purge_interval": None, **options}
    async with flowstore.connect(url, **given) as backend:
        yield backend


def check_exists(url: str) -> None:
    """Raises CommandError for a file of SQLite that is not there."""
    path = missing_file(url)
    if path is not None:
        raise CommandError(
            Exit.UNREACHABLE,
            f"{path}: there is no such file",
            "a store is made by the programs that store in it",
        )
