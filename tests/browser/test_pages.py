"""Every page on every storage: light and dark, on a desktop and on phones, read by other means."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.browser.pages import PAGES
from tests.browser.sites import PHONE, SMALL_PHONE, Site
from tests.browser.watching import ask, axe


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_page(site: Site, name: str, theme: str) -> None:
    """Nothing goes wrong, axe finds nothing, and no window has to be scrolled sideways."""
    with site.page(PAGES[name], color_scheme=theme) as page:
        assert page.locator("h1").count() == 1
        assert page.title()
        wrong = [f"desktop: {each}" for each in axe(page) + ask(page, "overflow")]
        page.set_viewport_size(PHONE)
        wrong += [f"phone: {each}" for each in axe(page) + ask(page, "overflow")]
        page.set_viewport_size(SMALL_PHONE)
        wrong += [f"small phone: {each}" for each in ask(page, "overflow")]
        assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", PAGES)
def test_zoomed(site: Site, name: str) -> None:
    """At 200 %, which is a window of half the width with twice as many dots."""
    with site.page(PAGES[name], viewport={"width": 640, "height": 400}, device_scale_factor=2) as page:
        assert ask(page, "overflow") == []


def background(page: Page) -> str:
    colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return colour


def test_themes(site: Site) -> None:
    """The system's choice holds until another is made, which stays."""
    with site.page("tasks", color_scheme="light") as page:
        light = background(page)
        page.emulate_media(color_scheme="dark")
        dark = background(page)
        assert light != dark
        page.keyboard.press("t")
        page.wait_for_function("dark => getComputedStyle(document.body).backgroundColor !== dark", arg=dark)
        chosen = background(page)
        page.reload()
        assert background(page) == chosen


def test_reduced_motion(site: Site) -> None:
    """Nothing moves for who does not want it."""
    with site.page("tasks", reduced_motion="reduce") as page:
        assert ask(page, "moving") == []


def test_charts_are_read(site: Site) -> None:
    """Each chart has a name, and its numbers are in a table as well."""
    with site.page("") as page:
        charts = page.locator("svg[role=img]")
        assert charts.count() > 0
        for chart in charts.all():
            assert chart.locator("title").first.text_content()
        assert page.locator("table").count() > 0
