"""Every action, by its buttons, with script and without: what it does to the store, and what it says."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

import flowstore
from flowstore import ErrorState, TaskError, TaskResult, TaskStatus
from tests.browser.conftest import run
from tests.browser.pages import PAGES
from tests.browser.serving import Served
from tests.browser.shop_day import Clock
from tests.browser.sites import Site
from tests.browser.stores import read, store
from tests.browser.watching import ask

FAILED = "tasks?q=status%3Afailed+name%3Amail.send_receipt"
SCRIPT = pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])


def pending(task_id: str) -> TaskResult:
    return TaskResult.pending(task_id, task_name="mail.send_receipt")


def failed(task_id: str, message: str = "of a test") -> TaskResult:
    return TaskResult.failed(pending(task_id), TaskError(type="TestError", message=message))


def status(site: Site, task_id: str) -> TaskStatus | None:
    task = run(read(site.store, task_id))
    return None if task is None else task.status


@SCRIPT
def test_requeue(busy_site: Site, script: bool) -> None:
    task_id = f"requeued-{script}"
    run(store(busy_site.store, failed(task_id)))
    with busy_site.page(f"tasks/{task_id}", java_script_enabled=script) as page:
        page.get_by_role("button", name="Make pending again").click()
        expect(page.locator("h1")).to_contain_text("pending")
        expect(page.get_by_role("status").first).to_be_visible()
    assert status(busy_site, task_id) is TaskStatus.PENDING


@SCRIPT
def test_cancel(busy_site: Site, script: bool) -> None:
    task_id = f"cancelled-{script}"
    run(store(busy_site.store, pending(task_id)))
    with busy_site.page(f"tasks/{task_id}", java_script_enabled=script) as page:
        page.locator("summary", has_text="Cancel…").click()
        page.locator("form[action$=cancel]").get_by_label("Reason").fill("not wanted <b>any more</b>")
        page.get_by_role("button", name="Cancel it").click()
        expect(page.locator("h1")).to_contain_text("cancelled")
        expect(page.locator("main")).to_contain_text("not wanted <b>any more</b>")
    assert status(busy_site, task_id) is TaskStatus.CANCELLED


@SCRIPT
def test_delete(busy_site: Site, script: bool) -> None:
    task_id = f"deleted-{script}"
    run(store(busy_site.store, failed(task_id)))
    with busy_site.page(f"tasks/{task_id}", java_script_enabled=script) as page:
        page.locator("summary", has_text="Remove…").click()
        page.get_by_role("button", name="Remove it for ever").click()
        page.wait_for_url("**/tasks?*")
        expect(page.get_by_role("status").first).to_be_visible()
    assert status(busy_site, task_id) is None


def test_label(busy_site: Site) -> None:
    run(store(busy_site.store, failed("labelled")))
    with busy_site.page("tasks/labelled") as page:
        page.get_by_label("A label to add").fill("seen by <rosa>")
        page.get_by_role("button", name="Add").click()
        expect(page.get_by_role("link", name="seen by <rosa>")).to_be_visible()
        task = run(read(busy_site.store, "labelled"))
        assert task is not None
        assert task.labels == {"seen by <rosa>"}
        page.locator("summary", has_text="Take away").click()
        page.get_by_role("button", name=re.compile("^seen by <rosa>")).click()
        expect(page.get_by_role("link", name="seen by <rosa>")).to_have_count(0)


def choose(page: Page, action: str, *ids: str) -> None:
    for task_id in ids:
        page.locator("tr", has_text=task_id).get_by_role("checkbox").check()
    page.get_by_label("Action").select_option(action)
    page.get_by_role("button", name="Those chosen…").click()


@SCRIPT
def test_chosen(busy_site: Site, script: bool) -> None:
    """Those chosen in the list: first what would be done, then it is."""
    ids = [f"chosen-{script}-{number}" for number in range(4)]
    run(store(busy_site.store, *map(failed, ids)))
    with busy_site.page(
        "tasks?q=status%3Afailed+name%3Amail.send_receipt", java_script_enabled=script
    ) as page:
        choose(page, "requeue", *ids[:3])
        expect(page.get_by_role("heading", level=1)).to_contain_text("3 tasks?")
        assert {status(busy_site, task_id) for task_id in ids} == {TaskStatus.FAILED}
        page.get_by_label("Reason").fill("smtp is back")
        page.get_by_role("button", name="Requeue").click()
        page.wait_for_url("**/operations*")
        expect(page.locator("main tbody tr").first).to_contain_text("smtp is back")
    states = [status(busy_site, task_id) for task_id in ids]
    assert states == [*[TaskStatus.PENDING] * 3, TaskStatus.FAILED]


def test_given_up(busy_site: Site) -> None:
    """Who goes back has done nothing."""
    run(store(busy_site.store, failed("left-alone")))
    with busy_site.page(FAILED) as page:
        choose(page, "delete", "left-alone")
        expect(page.get_by_role("heading", level=1)).to_contain_text("1 tasks?")
        page.get_by_role("link", name="Back").click()
        page.wait_for_url("**/tasks?*")
        expect(page.locator("tr", has_text="left-alone")).to_be_visible()
    assert status(busy_site, "left-alone") is TaskStatus.FAILED


def ask_for_all(page: Page, *, count: str) -> None:
    """Label all that match, and type that there are so many."""
    page.get_by_label("Action").select_option("label")
    page.get_by_role("button", name="All that match…").click()
    page.get_by_label("A label to add").fill("reviewed")
    page.get_by_role("button", name="Go on").click()
    page.get_by_label("Reason").fill("the audit of November")
    page.get_by_label("How many are there?").fill(count)
    page.get_by_role("button", name="Label").click()


def test_all(busy_site: Site) -> None:
    """All that match, more than a thousand: with a reason, and their number typed."""
    path = "tasks?q=status%3Asuccess+name%3Amail.send_receipt"
    with busy_site.page(path, allowed=("status 400: POST", "Failed to load resource.*400")) as page:
        ask_for_all(page, count="17")
        expect(page.get_by_role("alert")).to_be_visible()
        shown = int(page.get_by_role("heading", level=1).inner_text().split()[1].replace(",", ""))
        page.get_by_label("Reason").fill("the audit of November")
        page.get_by_label("How many are there?").fill(str(shown))
        page.get_by_role("button", name="Label").click()
        assert shown > 1_000
        page.wait_for_url(re.compile("operations"))
        if not re.search(r"operations/\d+", page.url):
            page.locator("main tbody tr a").first.click()
        expect(page.locator("h1")).to_contain_text("done", timeout=20_000)
        expect(page.locator("main")).to_contain_text("the audit of November")
    assert run(labelled(busy_site.store, "reviewed")) == shown


async def labelled(url: str, label: str) -> int:
    async with flowstore.connect(url) as backend:
        return sum((await backend.count_by_status(label=label)).values())


def test_abort(busy_site: Site) -> None:
    """An operation that nobody carries out any more is ended by hand, and leaves the tasks alone."""
    run(store(busy_site.store, failed("not-aborted")))
    operation = run(started(busy_site.store, "id:not-aborted"))
    with busy_site.page(f"operations/{operation}") as page:
        page.get_by_role("button", name="Abort after this step").click()
        expect(page.locator("h1")).to_contain_text("aborted")
    assert status(busy_site, "not-aborted") is TaskStatus.FAILED


async def started(url: str, query: str) -> str:
    async with flowstore.connect(url) as backend:
        return (await backend.actions.start("requeue", query, by="rosa")).id


async def group_of(url: str, group: str) -> ErrorState:
    async with flowstore.connect(url) as backend:
        found = await backend.errors.get(group)
        assert found is not None
        return found.state


def test_errors(busy_site: Site) -> None:
    """Resolved, opened again, ignored for a time, and all of its tasks made pending again."""
    letters = ["alpha", "beta", "gamma"]
    tasks = [failed(f"of-group-{letter}", "of a group") for letter in letters]
    run(store(busy_site.store, *tasks))
    assert tasks[0].error is not None
    group = tasks[0].error.fingerprint
    with busy_site.page(f"errors/{group}") as page:
        page.get_by_role("button", name="Resolve").click()
        expect(page.locator("h1")).to_contain_text("resolved")
        assert run(group_of(busy_site.store, group)) is ErrorState.RESOLVED
        page.get_by_role("button", name="Open again").click()
        expect(page.get_by_role("button", name="Resolve")).to_be_visible()
        expect(page.locator("h1")).not_to_contain_text("resolved")
        page.locator("summary", has_text="Ignore…").click()
        page.get_by_label("for", exact=True).fill("7d")
        page.get_by_label("Reason").fill("known")
        page.get_by_role("button", name="Ignore", exact=True).click()
        expect(page.locator("h1")).to_contain_text("ignored")
        expect(page.locator("main")).to_contain_text("known")
        assert run(group_of(busy_site.store, group)) is ErrorState.IGNORED
        page.get_by_role("button", name="Make all pending again…").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("3 tasks?")
        page.get_by_role("button", name="Requeue").click()
        page.wait_for_url(re.compile("operations"))
        expect(page.locator("main")).to_contain_text("done", timeout=20_000)
    assert {status(busy_site, task.task_id) for task in tasks} == {TaskStatus.PENDING}


async def lose_worker(url: str, worker: str, *tasks: str) -> None:
    """Register one that was last seen an hour ago, with tasks that it runs."""
    clock = Clock()
    clock.at = datetime.now(UTC) - timedelta(hours=1)
    async with flowstore.connect(url, clock=clock) as backend:
        await backend.workers.register(worker)
        for task_id in tasks:
            running = TaskResult.running(pending(task_id), worker_id=worker, at=clock.at)
            await backend.store(task_id, running)


@pytest.mark.parametrize(
    ("what", "becomes"),
    [("requeue", TaskStatus.PENDING), ("fail", TaskStatus.FAILED)],
    ids=["requeue", "fail"],
)
def test_workers(busy_site: Site, what: str, becomes: TaskStatus) -> None:
    """The tasks of a silent worker are freed."""
    worker, ids = f"lost-{what}", [f"lost-{what}-1", f"lost-{what}-2"]
    run(lose_worker(busy_site.store, worker, *ids))
    with busy_site.page("workers") as page:
        page.get_by_role("link", name=worker).click()
        expect(page.locator("h1")).to_contain_text("silent")
        if what == "requeue":
            page.get_by_role("button", name="Make these pending again").click()
        else:
            page.locator("summary", has_text="Fail these…").click()
            page.locator("details form").get_by_label("Reason").fill("the machine is gone")
            page.get_by_role("button", name="Fail them").click()
        expect(page.get_by_text("It runs nothing.")).to_be_visible()
    assert {status(busy_site, task_id) for task_id in ids} == {becomes}


def test_read_only(browser: Browser, own_store: str, tmp_path: Path) -> None:
    """Who may only look is offered nothing else."""
    with Served(own_store, tmp_path / "log", "--read-only") as served:
        site = Site(browser, served.base, link=served.link)
        for path in PAGES.values():
            with site.page(path) as page:
                assert ask(page, "forms") == []
                assert page.locator("main input[type=checkbox]").count() == 0
