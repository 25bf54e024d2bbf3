"""A store in which every field holds what an attacker would put there: the pages show it as text."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from playwright.sync_api import Page

from flowstore.web.addresses import segment
from tests.browser.corpus import CORPUS, MARK, as_id
from tests.browser.crawling import crawled
from tests.browser.sites import Site
from tests.browser.watching import ask


def check(page: Page) -> None:
    """Nothing of the store has become markup, and nothing in it turns around or hides what stands beside."""
    found = ask(page, "markup", MARK) + ask(page, "hidden")
    assert not found, f"{page.url}: {found}"


def test_every_page(hostile_site: Site) -> None:
    """All pages that any page leads to: whatever is stored, no script runs, and no policy has to hold it."""
    paths = ["", "tasks?limit=200", "runs", "errors", "names", "workers", "operations", "system", "apps"]
    crawler = crawled(hostile_site, check, *paths[:-1], most=700, alike=160)
    visited = {page.removeprefix(hostile_site.base).partition("?")[0] for page in crawler.pages}
    tasks = {page for page in visited if page.startswith("tasks/")}
    assert len(tasks) >= len(CORPUS)
    for kind in ("runs/", "errors/", "names/", "workers/"):
        assert len({page for page in visited if page.startswith(kind)}) > 10, (kind, sorted(visited))
    assert not crawler.outside
    assert {*crawler.files.values()} <= {200}, crawler.files


@pytest.mark.parametrize("name", CORPUS)
def test_task(hostile_site: Site, name: str) -> None:
    """A link to each id leads to its task, whatever is in it."""
    task_id = as_id(CORPUS[name])
    with hostile_site.page(f"tasks/{segment(task_id)}") as page:
        check(page)
        assert page.locator("h1").count() == 1


@pytest.mark.parametrize("name", CORPUS)
def test_parameters(hostile_site: Site, name: str) -> None:
    """What stands in the address is shown as text, too, or refused with the name of the parameter."""
    value = quote(CORPUS[name].replace("\ud800", ""), safe="")
    watched = hostile_site.watched()
    watched.allowed.append(r"status 40[04]: GET|Failed to load resource.*40[04]")
    page = watched.context.new_page()
    for path in (
        "tasks?q=",
        "tasks?cursor=",
        "?window=",
        "tasks?limit=",
        "tasks?columns=",
        "errors?state=",
        "runs?q=",
    ):
        answer = page.goto(f"{watched.base}{path}{value}")
        assert answer is not None
        assert answer.status in (200, 400), page.url
        check(page)
        if answer.status == 400:
            parameter = path.partition("?")[2].removesuffix("=")
            assert parameter in page.locator("main").inner_text()
    hostile_site.check()
