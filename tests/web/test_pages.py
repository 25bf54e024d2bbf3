"""Every page: whole, strict, and with nothing in it that only looks like text."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Final

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

import flowstore.web
from flowstore import BaseResultBackend, TaskResult
from flowstore.web import ANYONE_DANGEROUS, Access
from flowstore.web.addresses import segment
from flowstore.web.pages import tasks
from flowstore.web.routes import ROUTES
from tests.web.conftest import Made
from tests.web.support import FORMS, FROM_HERE, HERE, PAGES, Page, World, asking

ROOT: Final = Path(flowstore.web.__file__).parent
TEMPLATES: Final = sorted((ROOT / "templates").rglob("*.html"))
ADDRESSES: Final = {"href", "src", "action", "formaction"}


def name_of(route: object) -> str:
    return str(getattr(route, "name", route))


def check(answer: httpx.Response) -> None:
    """The markup does nothing by itself: no script, no style, no address of a scheme."""
    page = Page(answer)
    assert page.scripts == []
    for tag, attributes in page.elements:
        assert tag not in ("style", "base", "iframe", "object", "embed", "meta http-equiv")
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name != "style", (tag, value)
            if name in ADDRESSES:
                assert not re.match(r"\s*[a-z]+:", value or "", re.IGNORECASE), (tag, name, value)
    ids = [found for _, attributes in page.elements if (found := attributes.get("id"))]
    assert len(ids) == len({*ids}), sorted(each for each in ids if ids.count(each) > 1)


@pytest.mark.parametrize("route", PAGES, ids=name_of)
async def test_page(route: object, client: httpx.AsyncClient, world: World) -> None:
    answer = await client.get(world.path(route))  # type: ignore[arg-type]
    assert answer.status_code == 200
    check(answer)
    if name_of(route) not in ("rows", "value"):
        page = Page(answer)
        assert len(page.all("h1")) == 1
        assert len(page.all("main")) == 1
        [html] = page.all("html")
        assert html["lang"] == "en"
        assert next(link["href"] for link in page.all("a")) == "#main"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
async def test_pages_that_refuse(status: int, client: httpx.AsyncClient, made: Made, world: World) -> None:
    """They are pages, too, and say what one can do."""
    if status == 401:
        async with asking(made(lambda request: None)) as nobody:
            answer = await nobody.get("/tasks")
    elif status == 405:
        answer = await client.put("/tasks", headers=FROM_HERE)
    elif status == 403:
        answer = await client.post("/tasks/acme-failed/delete")
    else:
        answer = await client.get({400: "/tasks?limit=1", 404: "/nothing/here"}[status])
    assert answer.status_code == status
    check(answer)
    page = Page(answer)
    assert len(page.all("h1")) == 1
    for link in page.links:
        if "/static/" in link:
            assert (await client.get(link)).status_code == 200


async def test_preview(client: httpx.AsyncClient, world: World) -> None:
    """The page that a form leads to before anything is done."""
    answer = await client.post("/bulk", data=FORMS["bulk"], headers=FROM_HERE)
    assert answer.status_code == 200
    check(answer)


@pytest.mark.parametrize("prefix", ["", "/a/b"])
@pytest.mark.parametrize("kind", ["starlette", "fastapi"])
async def test_mounted(prefix: str, kind: str, app: ASGIApp, world: World) -> None:
    """Under any prefix of any application all that a page leads to is below it, and is there."""
    async with asking(mounted(kind, prefix, app)) as client:
        leads: set[str] = set()
        for route in PAGES:
            answer = await client.get(prefix + world.path(route))
            assert answer.status_code == 200, route
            leads |= {*Page(answer).links}
        assert all(link.startswith(f"{prefix}/") for link in leads), leads
        for link in leads:
            if "/static/" in link or "{" in link:
                assert (await client.get(link)).status_code == 200, link
        missing = [link for link in leads if is_page(link) and (await client.get(link)).status_code != 200]
        assert not missing
        for route in ROUTES:
            if route.method == "POST":
                answer = await client.post(
                    prefix + world.path(route), data=FORMS.get(route.name, {}), headers=FROM_HERE
                )
                if answer.status_code == 303:
                    target = httpx.URL(str(answer.url)).join(answer.headers["location"])
                    assert target.path.startswith(f"{prefix}/"), route
                    assert (await client.get(target)).status_code in (200, 404), route


def is_page(link: str) -> bool:
    """Whether it can be asked for by GET: forms lead to addresses that cannot, and the stream has no end."""
    last = link.rpartition("/")[2]
    posted = {route.path.rpartition("/")[2] for route in ROUTES if route.method == "POST"}
    return last not in posted and last not in ("events", "rows")


def mounted(kind: str, prefix: str, app: ASGIApp) -> ASGIApp:
    if kind == "starlette":
        return Starlette(routes=[Mount(prefix or "/", app)])
    from fastapi import FastAPI

    outer = FastAPI()
    outer.mount(prefix or "/", app)
    return outer


async def test_without_the_last_slash(app: ASGIApp, world: World) -> None:
    async with asking(mounted("fastapi", "/a/b", app)) as client:
        answer = await client.get("/a/b")
        assert answer.status_code == 307
        assert answer.headers["location"] == f"{HERE}/a/b/"


ODD: Final = (
    "a/b",
    "..",
    ".",
    "a?b=c",
    "a#b",
    "50%",
    "%2e%2e",
    "ü",
    "a b",
    "~dGVzdA",
    "-",
    "a" * 400,
    "'\"<>",
    "\u202e",
)


@pytest.mark.parametrize("odd", ODD, ids=ascii)
async def test_ids_of_any_characters(odd: str, client: httpx.AsyncClient, backend: BaseResultBackend) -> None:
    """Whatever an id is made of, its page is one link away from the list, and is about it."""
    await backend.store(odd, TaskResult.pending(odd, task_name=odd, labels=[odd]))
    listed = Page(await client.get("/tasks"))
    assert f"/tasks/{segment(odd)}" in listed.links
    answer = await client.get(f"/tasks/{segment(odd)}")
    assert answer.status_code == 200
    check(answer)
    for link in [each for each in Page(answer).links if "/tasks" in each and is_page(each)]:
        assert (await client.get(link)).status_code == 200, link


@pytest.mark.parametrize(
    "part", ["~", "~!", "~dGVzdA==", "~dGVzd", "-x", "~_w", "%00", "a%2fb", "~" + "A" * 5_000]
)
async def test_parts_that_no_link_has(part: str, client: httpx.AsyncClient) -> None:
    """They name nothing, and are not another name of something."""
    for path in ("/tasks", "/runs", "/errors", "/names", "/workers", "/operations", "/api/v1/tasks"):
        assert (await client.get(f"{path}/{part}")).status_code == 404, path


async def test_a_task_that_is_no_text_alone(client: httpx.AsyncClient, backend: BaseResultBackend) -> None:
    """What hides, or turns around what stands beside it, is shown as an escape."""
    hidden = "safe\u202eexe.txt\x1b[31m\x00\u200b"
    await backend.store("h", TaskResult.failed(TaskResult.pending("h", task_name=hidden), ValueError(hidden)))
    for path in ("/tasks", "/tasks/h"):
        text = (await client.get(path)).text
        assert "\\u202e" in text
        assert not {"\u202e", "\x1b", "\x00", "\u200b"} & {*text}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates(template: Path) -> None:
    """None marks text as markup, or has a script, a style or a handler in it."""
    text = template.read_text("utf-8")
    assert not re.search(r"\|\s*safe\b|Markup|autoescape|{%-?\s*do\b", text)
    assert not re.search(r"\sstyle\s*=|\son[a-z]+\s*=|javascript:|<style|http-equiv", text, re.IGNORECASE)
    for script in re.findall(r"<script\b[^>]*>(.*?)</script>", text, re.DOTALL):
        assert script == ""


def test_nothing_from_elsewhere() -> None:
    """No file of the page names another origin, but for what an SVG is."""
    for path in [*TEMPLATES, *(ROOT / "static").iterdir()]:
        found = re.findall(r"https?://[^\s\"')]+", path.read_text("utf-8"))
        assert [each for each in found if not each.startswith("http://www.w3.org/")] == [], path


def test_text_of_the_store_is_never_marked() -> None:
    """Markup is made where times are, of what can be nothing but a time, and nowhere else."""
    for path in ROOT.rglob("*.py"):
        text = path.read_text("utf-8")
        if path.name != "looks.py":
            assert "Markup" not in text, path
    looks = (ROOT / "looks.py").read_text("utf-8")
    assert re.findall(r"Markup\((.*)", looks) == [
        '"")',
        '"") if at is None else _time(at.astimezone(UTC), showing.ago(at, now), "ago")',
        '\'<time datetime="{}" title="{}" data-as="{}">{}</time>\').format(',
    ]


async def test_columns_of_a_narrowed_reader(made: Made, world: World) -> None:
    """Who sees a part of the store only still has all pages that can be narrowed, and they are whole."""
    async with asking(made(Access("x", ANYONE_DANGEROUS.can, filters="label:acme"))) as client:
        for route in PAGES:
            answer = await client.get(world.path(route))
            assert answer.status_code in ((404,) if route.is_whole else (200, 303)), route
            check(answer)


async def test_a_long_search_goes_on(
    client: httpx.AsyncClient, backend: BaseResultBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search for text stops soon and says how far it has looked; who goes on is given more time."""
    monkeypatch.setattr(tasks, "_SECONDS", 0.000_001)
    await backend.store_many([TaskResult.success(f"s{n:04}", f"value {n}") for n in range(2_000)])
    answer = await client.get("/tasks", params={"q": '"value 7" status:success'})
    onwards = re.compile(r'href="([^"]+longer=1[^"]*)">go on<')
    seen: set[str] = set()
    steps = 0
    while found := onwards.search(answer.text):
        answer = await client.get("/" + unescape(found[1]))
        seen |= {link for link in Page(answer).links if "/tasks/s" in link}
        steps += 1
    assert 1 <= steps < 5
    assert "/tasks/s0007" in seen
