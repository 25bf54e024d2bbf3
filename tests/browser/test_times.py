"""Times are those of the reader's zone; exact ones and UTC are a key away."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page

from tests.browser.sites import Site

ZONES = ["Asia/Kolkata", "America/St_Johns", "Pacific/Auckland"]


def times(page: Page) -> list[tuple[datetime, str]]:
    """The times of the page, and all that is shown of each."""
    found = page.eval_on_selector_all(
        "main time[datetime]",
        "all => all.map(each => [each.getAttribute('datetime'), `${each.textContent} ${each.title}`])",
    )
    return [(datetime.fromisoformat(at), shown) for at, shown in found]


def misses(page: Page, zone: ZoneInfo) -> list[str]:
    """The times that do not show their hour and minute in that zone."""
    return [
        f"{at.isoformat()}: {shown}"
        for at, shown in times(page)
        if f"{at.astimezone(zone):%H:%M}" not in shown
    ]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("path", ["", "tasks", "operations"])
def test_zone(site: Site, path: str, zone: str) -> None:
    """In the zone of the browser, and in UTC after a key, also on the page after that."""
    with site.page(path, timezone_id=zone) as page:
        assert times(page)
        assert misses(page, ZoneInfo(zone)) == []
        page.keyboard.press("u")
        page.get_by_role("button", name="UTC", pressed=True).wait_for()
        assert misses(page, ZoneInfo("UTC")) == []
        page.reload()
        assert misses(page, ZoneInfo("UTC")) == []


def test_without_script(site: Site) -> None:
    """UTC, and it says so."""
    with site.page("tasks", java_script_enabled=False, timezone_id=ZONES[0]) as page:
        shown = times(page)
        assert shown
        assert misses(page, ZoneInfo("UTC")) == []
        assert "UTC" in page.locator("body").inner_text() or all("UTC" in each for _, each in shown)


def test_marked_up(site: Site) -> None:
    """Every time is exact to the second in the markup, with its zone."""
    with site.page("tasks") as page:
        assert all(
            at.tzinfo is not None and at < datetime.now(UTC).replace(year=2999) for at, _ in times(page)
        )
