"""Follow all links of a site, as far as they stay on it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from playwright.sync_api import Page

from tests.browser.sites import Site
from tests.browser.watching import Watched, ask

_DOWNLOADS: Final = re.compile(
    r"\.(json|txt|csv|js|css|svg|ico|png)$|/value/|/api/|/static/|/metrics$|/healthz$|/readyz$"
)
_ALIKE: Final = re.compile(r"\d+")


class Crawler:
    """Visits pages until there are none left, or ``most`` were. ``visit`` is called with each."""

    def __init__(
        self, watched: Watched, visit: Callable[[Page], None], *, most: int, alike: int = 10**9
    ) -> None:
        self.watched, self.visit, self.most, self.alike = watched, visit, most, alike
        self.pages: list[str] = []
        self.files: dict[str, int] = {}
        self.forms: set[str] = set()
        self.outside: set[str] = set()
        self._seen_alike: dict[str, int] = {}

    def crawl(self, *paths: str) -> None:
        page = self.watched.context.new_page()
        waiting = deque(self.watched.base + path for path in paths or ("",))
        seen = set(waiting)
        while waiting and len(self.pages) < self.most:
            url = waiting.popleft()
            page.goto(url, wait_until="load")
            self.pages.append(url)
            self.visit(page)
            self.forms.update(ask(page, "forms"))
            for link in ask(page, "links"):
                if link not in seen and link:
                    seen.add(link)
                    self._sort(link, waiting)
        page.close()

    def _sort(self, link: str, waiting: deque[str]) -> None:
        if not link.startswith(self.watched.base):
            self.outside.add(link)
        elif _DOWNLOADS.search(urlsplit(link).path):
            self.files[link] = self.watched.context.request.get(link).status
        elif self._is_new(link):
            waiting.append(link)

    def _is_new(self, link: str) -> bool:
        """Not if there were enough that differ in nothing but the names of parameters' values."""
        parts = urlsplit(link)
        names = sorted(re.findall(r"(?:^|&)([^=&]+)", parts.query))
        kind = (
            _ALIKE.sub("0", parts.path[len(urlsplit(self.watched.base).path) :].split("/")[0])
            + "?"
            + "&".join(names)
        )
        self._seen_alike[kind] = self._seen_alike.get(kind, 0) + 1
        return self._seen_alike[kind] <= self.alike


def crawled(site: Site, visit: Callable[[Page], None], *paths: str, most: int, alike: int = 10**9) -> Crawler:
    watched = site.watched()
    crawler = Crawler(watched, visit, most=most, alike=alike)
    crawler.crawl(*paths)
    site.check()
    return crawler
