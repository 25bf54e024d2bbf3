"""The backend of an integration: one that was given and stays its owner's, or one of its own from a URL."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import flowstore
import flowstore.sync
from flowstore import BaseResultBackend, ConnectOptions

Either = TypeVar("Either", BaseResultBackend, flowstore.sync.ResultBackend)


class Attached(Generic[Either]):
    """``backend``, and whether it ``is_own``: then whoever has this closes it, and otherwise nobody here."""

    def __init__(self, backend: Either, is_own: bool) -> None:
        self.backend: Either = backend
        self.is_own = is_own


def attached(given: BaseResultBackend | str | None, options: ConnectOptions) -> Attached[BaseResultBackend]:
    """A backend, or what ``flowstore.connect`` makes of a URL and options; None: of FLOWSTORE_URL."""
    if isinstance(given, BaseResultBackend):
        _check_without(options, "backend")
        return Attached(given, is_own=False)
    _check_url(given, "a backend")
    return Attached(flowstore.connect(given, **options), is_own=True)


def attached_sync(
    given: flowstore.sync.ResultBackend | str | None, options: ConnectOptions
) -> Attached[flowstore.sync.ResultBackend]:
    """The same for the synchronous face: a ``flowstore.sync.ResultBackend``, or a URL."""
    if isinstance(given, flowstore.sync.ResultBackend):
        _check_without(options, "backend")
        return Attached(given, is_own=False)
    _check_url(given, "a backend of flowstore.sync")
    return Attached(flowstore.sync.connect(given, **options), is_own=True)


def _check_url(given: object, what: str) -> None:
    if given is not None and not isinstance(given, str):
        raise TypeError(f"backend: expected {what}, or a URL as str, got {type(given).__name__}")


def _check_without(options: ConnectOptions, name: str) -> None:
    left: dict[str, Any] = dict(options)
    if left:
        raise TypeError(f"{min(left)}: is an option of a {name} that is made from a URL, and one was given")
