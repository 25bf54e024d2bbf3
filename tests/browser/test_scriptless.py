"""Without script all of it works, but for what is live."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import shop
from tests.browser.conftest import run
from tests.browser.pages import PAGES
from tests.browser.serving import Served
from tests.browser.sites import Site
from tests.servers import start_server


def rows(page: Page) -> list[str]:
    """Of a page that is there to its end: it is read while it comes, and a click only begins that."""
    page.wait_for_load_state()
    return page.locator("main tbody tr").all_inner_texts()


@pytest.mark.parametrize("name", PAGES)
def test_page(site: Site, name: str) -> None:
    """Every page is whole, and has no button that would do nothing."""
    with site.page(PAGES[name], java_script_enabled=False) as page:
        assert page.locator("h1").count() == 1
        assert page.locator("main").inner_text().strip()
        for button in page.get_by_role("button").all():
            is_of_form = button.evaluate("each => each.form !== null && each.type === 'submit'")
            assert is_of_form, button.evaluate("each => each.outerHTML")


def test_tasks(site: Site) -> None:
    """Filtered by a form, turned over by links, one opened."""
    with site.page("tasks", java_script_enabled=False) as page:
        first = rows(page)
        page.get_by_role("link", name=re.compile("older", re.I)).click()
        assert "cursor=" in page.url
        assert rows(page)
        assert rows(page) != first
        page.get_by_role("link", name=re.compile("^. newer$", re.I)).click()
        assert len(rows(page)) == len(first)
        box = page.locator("input[name=q]").first
        box.fill("status:failed name:mail.send_newsletter")
        box.press("Enter")
        assert "status:failed name:mail.send_newsletter" in unquote(page.url).replace("+", " ")
        shown = rows(page)
        assert shown
        assert all("failed" in row and "mail.send_newsletter" in row for row in shown)
        page.locator("main tbody tr a.name").first.click()
        expect(page.locator("h1")).to_contain_text("mail.send_newsletter")


def test_outage(browser: Browser, tmp_path: Path) -> None:
    """While the store is down a page comes that says so, with all its links; afterwards all is as before."""
    server = start_server("valkey")
    try:
        run(shop.fill(server.url))
        with Served(server.url, tmp_path / "log") as served:
            site = Site(browser, served.base, link=served.link)
            allowed = (r"status 503: GET", r"Failed to load resource.*503")
            with site.page("tasks", allowed=allowed, java_script_enabled=False) as page:
                assert rows(page)
                server.pause()
                page.reload(timeout=30_000)  # a call waits for ten seconds, which is the default op_timeout
                expect(page.get_by_role("heading", level=1)).to_contain_text(re.compile("store", re.I))
                expect(page.get_by_role("navigation", name="Pages")).to_be_visible()
                server.resume()
                page.reload()
                assert rows(page)
    finally:
        server.stop()
