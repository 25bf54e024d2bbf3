"""Everything without a mouse."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import PAGES
from tests.browser.sites import Site


def focused(page: Page) -> str:
    """The element with the focus: its tag, and its text or name."""
    found: str = page.evaluate("""() => {
      const each = document.activeElement;
      return `${each.localName} ${each.getAttribute('name') || ''} ${each.textContent.trim().slice(0, 40)}`;
    }""")
    return found


def test_search(site: Site) -> None:
    """``/`` goes to the box, Enter asks; what is typed there is text, whatever it means elsewhere."""
    with site.page("tasks") as page:
        page.keyboard.press("/")
        box = page.get_by_role("searchbox").or_(page.get_by_role("combobox")).first
        expect(box).to_be_focused()
        page.keyboard.type("status:failed jktuxe")
        expect(box).to_have_value("status:failed jktuxe")
        box.fill("status:failed")
        page.keyboard.press("Enter")
        page.wait_for_url("**/tasks?*")
        assert "status:failed" in unquote(page.url)
        expect(page.locator("main tbody tr").first).to_contain_text(re.compile("failed", re.I))


def test_rows(site: Site) -> None:
    """``j`` and ``k`` go from row to row, ``x`` selects one, Enter opens it."""
    with site.page("tasks") as page:
        rows = page.locator("main tbody tr")
        for key, number in (("j", 0), ("j", 1), ("j", 2), ("k", 1)):
            page.keyboard.press(key)
            expect(rows.nth(number)).to_have_class(re.compile("current"))
            expect(page.locator("tr.current")).to_have_count(1)
        page.keyboard.press("x")
        expect(rows.nth(1).get_by_role("checkbox")).to_be_checked()
        page.keyboard.press("x")
        expect(rows.nth(1).get_by_role("checkbox")).not_to_be_checked()
        page.keyboard.press("Enter")
        page.wait_for_url("**/tasks/*")
        expect(page.locator("h1")).to_be_visible()


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        *(("g h", ""), ("g t", "tasks"), ("g r", "runs"), ("g e", "errors")),
        *(("g n", "names"), ("g w", "workers"), ("g o", "operations"), ("g s", "system")),
    ],
)
def test_go(site: Site, keys: str, path: str) -> None:
    with site.page("tasks?limit=100") as page:
        for key in keys.split():
            page.keyboard.press(key)
        page.wait_for_url(f"{site.base}{path}", wait_until="load")


def test_help(site: Site) -> None:
    """``?`` tells the keys, and Escape puts them away; the focus goes back to where it was."""
    with site.page("tasks") as page:
        page.keyboard.press("?")
        help_ = page.get_by_role("dialog")
        expect(help_).to_be_visible()
        keys = " ".join(help_.locator("kbd").all_inner_texts())
        assert {*["/", "j", "k", "x", "g", "t", "u", "?"]} <= {*keys.split()}
        page.keyboard.press("Escape")
        expect(help_).to_be_hidden()


def test_skip_link(site: Site) -> None:
    """The first stop of Tab leads past the navigation."""
    with site.page("tasks") as page:
        page.keyboard.press("Tab")
        assert "skip" in focused(page).lower()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('main') !== null")


@pytest.mark.parametrize("name", ["overview", "tasks", "task", "errors", "workers"])
def test_tab(site: Site, name: str) -> None:
    """Tab goes through the whole page and out of it again; wherever it is one can see it."""
    with site.page(PAGES[name]) as page:
        seen: list[str] = []
        for _ in range(600):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement === document.body"):
                break
            seen.append(focused(page))
            assert page.evaluate("""() => {
              const style = getComputedStyle(document.activeElement);
              const box = document.activeElement.getBoundingClientRect();
              const isOutlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
              return (isOutlined || style.boxShadow !== 'none') && box.width > 0 && box.height > 0;
            }"""), seen[-1]
        else:
            pytest.fail(f"Tab does not leave the page: {seen[-5:]}")
        assert len(seen) > 5


def test_keys_are_off(site: Site) -> None:
    """One setting switches all single keys off, as those need who speak to their computer."""
    with site.page("system") as page:
        page.keyboard.press("?")
        page.get_by_role("dialog").get_by_label("Keys are on").uncheck()
        page.goto(f"{site.base}tasks")
        for key in "jxt":
            page.keyboard.press(key)
        expect(page.locator("tr.current")).to_have_count(0)
        page.keyboard.press("?")  # by which they are switched on again
        expect(page.get_by_role("dialog").get_by_label("Keys are on")).not_to_be_checked()
