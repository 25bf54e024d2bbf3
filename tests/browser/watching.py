"""A browser that is watched: whatever goes wrong in any of its pages fails the test."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Page, Request, Response

from tests.browser.corpus import MARK

_HERE: Final = Path(__file__).parent
_AXE: Final = (_HERE / "vendor" / "axe.min.js").read_text("utf-8")
_TRAP: Final = (_HERE / "trap.js").read_text("utf-8")
_PROBES: Final = (_HERE / "probes.js").read_text("utf-8")
PATIENCE: Final = 8_000
"""Milliseconds for what a page has to do."""
FLAGS: Final = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


class Watched:
    """A context and all that went wrong in it. ``allowed``: patterns of what a test expects to go wrong."""

    def __init__(self, context: BrowserContext, base: str) -> None:
        self.context, self.base = context, base
        self.wrong: list[str] = []
        self.allowed: list[str] = []
        self.requests: list[str] = []
        self._origin = urlsplit(base)[:2]
        context.set_default_timeout(PATIENCE)
        context.add_init_script(_TRAP)
        context.on("console", self._said)
        context.on("weberror", lambda error: self.wrong.append(f"page error: {error.error}"))
        context.on("dialog", self._asked)
        context.on("request", self._requested)
        context.on("requestfailed", self._failed)
        context.on("response", self._answered)

    def open(self, path: str = "", *, page: Page | None = None) -> Page:
        """The page at a path below the base, loaded."""
        page = page or self.context.new_page()
        page.goto(self.base + path, wait_until="load")
        return page

    def check(self) -> None:
        """Raises AssertionError with all that went wrong up to now."""
        for page in self.context.pages:
            self.wrong += [f"{page.url}: {each}" for each in ask(page, "markup", MARK)]
        wrong = [each for each in self.wrong if not any(re.search(one, each) for one in self.allowed)]
        assert not wrong, "\n".join(dict.fromkeys(wrong))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self.wrong.append(f"console: {message.type}: {message.text} ({message.location.get('url')})")

    def _asked(self, dialog: Dialog) -> None:
        self.wrong.append(f"dialog: {dialog.type}: {dialog.message}")
        dialog.dismiss()

    def _requested(self, request: Request) -> None:
        self.requests.append(request.url)
        if urlsplit(request.url)[:2] != self._origin and not request.url.startswith(("data:", "blob:")):
            self.wrong.append(f"foreign request: {request.url}")

    def _failed(self, request: Request) -> None:
        is_left = request.failure in ("net::ERR_ABORTED", None)  # by going to another page, as streams are
        if not is_left:
            self.wrong.append(f"failed request: {request.url}: {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.wrong.append(f"status {response.status}: {response.request.method} {response.url}")


def ask(page: Page, probe: str, argument: object = None) -> list[str]:
    """What a function of probes.js answers; asked by the debugger, which no policy of the page holds back."""
    found: list[str] = page.evaluate(f"argument => ({_PROBES}).{probe}(argument)", argument)
    return found


def axe(page: Page) -> list[str]:
    """What axe finds wrong with the page."""
    page.evaluate(_AXE)
    return ask(page, "axe")


def same_origin(base: str, urls: Iterable[str]) -> list[str]:
    origin = urlsplit(base)[:2]
    return [url for url in urls if urlsplit(url)[:2] == origin]
