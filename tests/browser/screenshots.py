"""Draw the pages of the shop into docs/images: ``python -m tests.browser.screenshots``."""

from __future__ import annotations

import argparse
import asyncio
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browser import shop
from tests.browser.pages import PAGES
from tests.browser.serving import ROOT, Served, chromium_binary
from tests.browser.sites import DESKTOP, PHONE, Site
from tests.browser.watching import FLAGS

DRAWN: Final = {
    "overview": "",
    "tasks": "tasks?q=status%3Afailed",
    "task": PAGES["task"],
    "errors": "errors",
}
"""What the documents show, by the names of the files."""
MOST_BYTES: Final = 150_000


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.browser.screenshots", description=__doc__)
    parser.add_argument("--screenshots", action="store_true", help="what the session of nox is told, too")
    parser.add_argument("--all", action="store_true", help="every page, on a phone as well, to be looked at")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images", metavar="FOLDER")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as name:
        folder = Path(name)
        url = f"sqlite:///{folder / 'shop.db'}"
        asyncio.run(shop.fill(url))
        with Served(url, folder / "log") as served, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium_binary(), args=FLAGS)
            _draw(Site(browser, served.base, link=served.link), options.out, is_all=options.all)
            browser.close()


def _draw(site: Site, folder: Path, *, is_all: bool) -> None:
    drawn = (
        {name.replace(",", "").replace(" ", "-"): path for name, path in PAGES.items()} if is_all else DRAWN
    )
    for name, path in drawn.items():
        for theme in ("light", "dark"):
            picture(site, path, folder / f"{name}-{theme}.png", color_scheme=theme, viewport=DESKTOP)
    for name in drawn if is_all else ("tasks",):
        picture(site, drawn[name], folder / f"{name}-phone.png", viewport=PHONE, is_mobile=True)


def picture(site: Site, address: str, path: Path, **options: Any) -> None:
    """Draw one page; of few colours, as a page has few, so that it is small."""
    with site.page(address, **options) as page:
        drawn = Image.open(BytesIO(page.screenshot()))
    drawn.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise RuntimeError(f"{path.name} has {size:,} bytes, expected at most {MOST_BYTES:,}")
    print(f"{path.name}: {drawn.width}x{drawn.height}, {size:,} bytes")


if __name__ == "__main__":
    main()
