"""A site is a server and the browser that was let in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from playwright.sync_api import Browser, Page, ViewportSize

from tests.browser.watching import Watched

DESKTOP: Final[ViewportSize] = {"width": 1280, "height": 800}
PHONE: Final[ViewportSize] = {"width": 390, "height": 844}
SMALL_PHONE: Final[ViewportSize] = {"width": 320, "height": 640}


class Site:
    """A server of the page, and a browser that is let in.

    ``link``: one that lets in, and is used once; its cookie goes to each context. ``store``: the URL of the
    store, for tests that change it. ``options``: those of all contexts.
    """

    def __init__(
        self, browser: Browser, base: str, *, link: str | None = None, store: str = "", **options: Any
    ) -> None:
        self.base, self.store = base, store
        self._browser = browser
        self._options = {"viewport": DESKTOP, "locale": "en-GB", **options}
        self._open: list[Watched] = []
        if link is not None:
            self._options["storage_state"] = self._let_in(link)

    def _let_in(self, link: str) -> Any:
        watched = self.watched()
        watched.context.new_page().goto(link, wait_until="load")
        state = watched.context.storage_state()
        assert state["cookies"], f"{link} has set no cookie"
        self.check()
        return state

    def watched(self, **options: Any) -> Watched:
        """A context of its own, such as ``viewport=PHONE, color_scheme="dark"``."""
        watched = Watched(self._browser.new_context(**{**self._options, **options}), self.base)
        self._open.append(watched)
        return watched

    @contextmanager
    def page(self, path: str = "", *, allowed: tuple[str, ...] = (), **options: Any) -> Iterator[Page]:
        """The page at that path; what went wrong in it, but for what is allowed, fails the test."""
        watched = self.watched(**options)
        watched.allowed += allowed
        try:
            yield watched.open(path)
            watched.check()
        finally:
            watched.context.close()
            self._open.remove(watched)

    def check(self) -> None:
        """Raises AssertionError if anything went wrong in a context that is open; they are closed."""
        left, self._open = self._open, []
        try:
            for watched in left:
                watched.check()
        finally:
            for watched in left:
                watched.context.close()
