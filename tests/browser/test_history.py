"""What one looks at stands in the address: a link shows the same to others, and going back shows it again."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.sites import Site


def ids(page: Page) -> list[str]:
    """The links of the rows, in their order."""
    return [
        link.get_attribute("href") or "" for link in page.locator("main tbody tr a[href*='tasks/']").all()
    ]


def test_back_and_forward(site: Site) -> None:
    """Through a filter, a page of older tasks and a task."""
    with site.page("tasks") as page:
        first = ids(page)
        page.get_by_role("link", name=re.compile("^older", re.I)).first.click()
        page.wait_for_url("**/tasks?*cursor=*")
        older, at_older = ids(page), page.url
        assert older
        assert not {*older} & {*first}
        page.locator("main tbody tr a[href*='tasks/']").first.click()
        page.wait_for_url("**/tasks/*")
        page.go_back()
        page.wait_for_url(at_older)
        assert ids(page) == older
        page.go_back()
        page.wait_for_url("**/tasks")
        assert ids(page) == first
        page.go_forward()
        page.wait_for_url(at_older)
        assert ids(page) == older
        page.get_by_role("link", name=re.compile("newer$", re.I)).first.click()
        page.wait_for_url(lambda url: url != at_older)
        assert ids(page) == first


def test_another_reader(site: Site) -> None:
    """The address alone, in another browser, shows the same."""
    with site.page("tasks?q=status%3Afailed") as page:
        page.get_by_role("link", name=re.compile("^older", re.I)).first.click()
        page.wait_for_url("**/tasks?*cursor=*")
        shown, url = ids(page), page.url
    with site.page(url.removeprefix(site.base)) as other:
        assert ids(other) == shown
        expect(other.get_by_role("searchbox").or_(other.get_by_role("combobox")).first).to_have_value(
            "status:failed"
        )


def test_window(site: Site) -> None:
    """The period of the overview is kept in the address."""
    with site.page("") as page:
        page.get_by_role("link", name="7d").click()
        page.wait_for_url("**/?window=7d")
        page.reload()
        expect(page.get_by_role("link", name="7d")).to_have_attribute("aria-current", re.compile("true|page"))
