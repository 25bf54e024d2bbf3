"""What other processes store while a page is open: it is told, and what one works with stays."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from flowstore import TaskResult
from tests.browser.conftest import run
from tests.browser.serving import Served
from tests.browser.sites import Site
from tests.browser.stores import store

SOON = 5_000
"""Milliseconds: changes are joined for a quarter of a second."""
POLLED = 12_000


def is_live(page: Page, how: str = "on", *, timeout: float = SOON) -> None:
    expect(page.locator("html")).to_have_attribute("data-live", how, timeout=timeout)


def begun(task_id: str) -> TaskResult:
    now = datetime.now(UTC)
    return TaskResult.running(
        task_id, task_name="mail.send_receipt", worker_id="web-1:mail", submitted_at=now, at=now
    )


def test_new(busy_site: Site) -> None:
    """New tasks are counted above the list, which does not move until one asks for it."""
    with busy_site.page("tasks") as page:
        is_live(page)
        before = page.locator("main tbody tr").all_inner_texts()
        run(store(busy_site.store, begun("new-1")))
        expect(page.get_by_role("link", name="1 new")).to_be_visible(timeout=SOON)
        run(store(busy_site.store, begun("new-2"), begun("new-3")))
        expect(page.get_by_role("link", name="3 new")).to_be_visible(timeout=SOON)
        ids = page.locator("main tbody tr .id").all_inner_texts()
        assert "new-1" not in ids
        assert len(page.locator("main tbody tr").all_inner_texts()) == len(before)
        page.get_by_role("link", name="3 new").click()
        expect(page.locator("main tbody tr").first).to_contain_text("new-3")


def test_said(busy_site: Site) -> None:
    """Who does not see the page hears of what is new."""
    with busy_site.page("tasks") as page:
        is_live(page)
        run(store(busy_site.store, begun("said-1")))
        expect(page.locator("[aria-live=polite]").filter(has_text="1 new")).to_be_attached(timeout=SOON)


def test_changed(busy_site: Site) -> None:
    """A row that has changed is changed in its place, and is still the same element."""
    run(store(busy_site.store, begun("changing")))
    with busy_site.page("tasks") as page:
        is_live(page)
        row = page.locator("main tbody tr", has_text="changing")
        expect(row).to_contain_text("running")
        row.evaluate("row => { row.isTheSame = true; }")
        run(store(busy_site.store, TaskResult.success(begun("changing"), 1)))
        expect(row).to_contain_text("success", timeout=SOON)
        assert row.evaluate("row => row.isTheSame") is True
        expect(row).to_have_class(re.compile("changed"))


def test_filtered(busy_site: Site) -> None:
    """A list of failed tasks is told of what fails, and of nothing else."""
    with busy_site.page("tasks?q=status%3Afailed+name%3Amail.send_receipt") as page:
        is_live(page)
        run(store(busy_site.store, begun("fails"), TaskResult.pending("other", task_name="other")))
        run(store(busy_site.store, TaskResult.failed(begun("fails"), ValueError("no"))))
        expect(page.get_by_role("link", name="1 new")).to_be_visible(timeout=SOON)


def test_typing(busy_site: Site) -> None:
    """A field with the focus, what stands in it and where one is in it stay, whatever comes."""
    run(store(busy_site.store, begun("beside")))
    with busy_site.page("tasks") as page:
        is_live(page)
        box = page.locator("#find")
        box.click()
        page.keyboard.type("status:fai")
        page.keyboard.press("ArrowLeft")
        run(store(busy_site.store, TaskResult.success(begun("beside"), 1), begun("new-while-typing")))
        expect(page.get_by_role("link", name=re.compile("new$"))).to_be_visible(timeout=SOON)
        expect(page.locator("main tbody tr", has_text="beside").first).to_contain_text("success")
        expect(box).to_be_focused()
        expect(box).to_have_value("status:fai")
        page.keyboard.type("X")
        expect(box).to_have_value("status:faXi")


def test_chosen(busy_site: Site) -> None:
    """A row that is chosen, and has the focus, stays so when it changes."""
    run(store(busy_site.store, begun("chosen")))
    with busy_site.page("tasks") as page:
        is_live(page)
        row = page.locator("main tbody tr", has_text="chosen")
        row.get_by_role("checkbox").check()
        run(store(busy_site.store, TaskResult.success(begun("chosen"), 1)))
        expect(row).to_contain_text("success", timeout=SOON)
        expect(row.get_by_role("checkbox")).to_be_checked()
        expect(row.get_by_role("checkbox")).to_be_focused()


def test_task(busy_site: Site) -> None:
    """The page of a task follows it to its end."""
    run(store(busy_site.store, begun("followed")))
    with busy_site.page("tasks/followed") as page:
        is_live(page)
        expect(page.locator("main")).to_contain_text("running")
        run(store(busy_site.store, TaskResult.success(begun("followed"), {"answer": 42})))
        expect(page.locator("main .badge").first).to_contain_text("success", timeout=2 * SOON)


def test_hidden(busy_site: Site) -> None:
    """A tab that nobody sees has no stream; when it is seen again it has caught up."""
    with busy_site.page("tasks") as page:
        is_live(page)
        page.evaluate("""() => {
          Object.defineProperty(document, 'hidden', {configurable: true, get: () => true});
          document.dispatchEvent(new Event('visibilitychange'));
        }""")
        is_live(page, "off")
        run(store(busy_site.store, begun("while-hidden")))
        page.evaluate("""() => {
          Object.defineProperty(document, 'hidden', {configurable: true, get: () => false});
          document.dispatchEvent(new Event('visibilitychange'));
        }""")
        is_live(page)
        expect(page.get_by_role("link", name="1 new")).to_be_visible(timeout=SOON)


@pytest.mark.parametrize("status", [404, 503, 0])
def test_polling(busy_site: Site, status: int) -> None:
    """Where there is no stream, as the server or a proxy refuses it (0: it is cut off), the page asks."""
    watched = busy_site.watched()
    watched.allowed += [f"status {status}: GET .*/events", "failed request: .*/events"]
    watched.allowed.append("Failed to load resource")

    def refuse(route: Route) -> None:
        if status:
            route.fulfill(status=status)
        else:
            route.abort("connectionrefused")

    watched.context.route("**/events*", refuse)
    page = watched.open("tasks")
    is_live(page, "poll", timeout=POLLED)
    run(store(busy_site.store, begun(f"polled-{status}")))
    expect(page.get_by_role("link", name="1 new")).to_be_visible(timeout=POLLED)
    busy_site.check()


def test_restart(browser: Browser, own_store: str, tmp_path: Path) -> None:
    """A page that was open while its server was started again is live again, and has missed nothing."""
    with Served(own_store, tmp_path / "log") as served:
        site = Site(browser, served.base, link=served.link)
        allowed = ("Failed to load resource", "failed request", "ERR_INCOMPLETE_CHUNKED_ENCODING")
        with site.page("tasks", allowed=allowed) as page:
            is_live(page)
            served.stop()
            run(store(own_store, begun("while-down")))
            served.start()
            is_live(page, timeout=3 * SOON)
            expect(page.get_by_role("link", name=re.compile("1 new|Many"))).to_be_visible(timeout=2 * POLLED)
            run(store(own_store, begun("afterwards")))
            expect(page.get_by_role("link", name=re.compile("2 new|Many"))).to_be_visible(timeout=POLLED)
