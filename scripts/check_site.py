"""Checks a built site: links and anchors lead somewhere, and nothing is loaded from another origin.

``python -m scripts.check_site build/site`` prints what is wrong, and exits with 1 if anything is.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

LOADED: Final = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""What a browser fetches by itself; a link of the kind canonical is none of it, and there is none here."""
OF_STYLES: Final = re.compile(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")\s]+)")


class Document(HTMLParser):
    """The ids of a page, its links, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value is not None}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in LOADED and LOADED[tag] in given:
            self.loaded.append(given[LOADED[tag]])
        self.loaded += OF_STYLES.findall(given.get("style", ""))


def problems(site: Path) -> Iterator[str]:
    """What is wrong, each as one line with the file where it is."""
    pages = {path.resolve(): Document(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    if not pages:
        yield f"{site}: no page is here"
    for path, page in pages.items():
        where = path.relative_to(site.resolve())
        for link in (*page.links, *page.loaded):
            said = wrong(link, path, site.resolve(), pages)
            if said:
                yield f"{where}: {link}: {said}"
        yield from (f"{where}: {each}: loaded from elsewhere" for each in page.loaded if is_elsewhere(each))
    for style in sorted(site.rglob("*.css")):
        for each in OF_STYLES.findall(style.read_text("utf-8")):
            yield f"{style.relative_to(site)}: {each}: loaded from elsewhere"


def is_elsewhere(link: str) -> bool:
    return bool(urlsplit(link).netloc)


def wrong(link: str, path: Path, site: Path, pages: dict[Path, Document]) -> str | None:
    """Why a link leads nowhere; None if it does not, or leaves the site."""
    target = urlsplit(link)
    if target.scheme or target.netloc:
        return None
    inside = unquote(target.path)
    to = (
        path
        if not inside
        else (site / inside[1:] if inside.startswith("/") else path.parent / inside).resolve()
    )
    if to.is_dir():
        to /= "index.html"
    if not to.is_file():
        return "no such file"
    if target.fragment and to in pages and unquote(target.fragment) not in pages[to].ids:
        return "no such anchor"
    return None


def main(arguments: list[str]) -> int:
    found = [*problems(Path(arguments[0]))]
    print(
        "\n".join(found)
        or f"{arguments[0]}: every link leads somewhere, and nothing is loaded from elsewhere"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
