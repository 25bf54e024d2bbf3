"""A real browser on the page of a real server. Runs where it is asked for by its path: nox -s browser."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
from playwright.sync_api import Browser, sync_playwright

from tests.browser import corpus, shop
from tests.browser.serving import Served, chromium_binary
from tests.browser.sites import Site
from tests.browser.watching import FLAGS
from tests.servers import Server, start_server

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]
STORAGES = ["sqlite", "valkey"]


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Its result. It has a thread of its own, as the loop of the browser runs in this one."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, coroutine).result()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_binary(), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A Valkey server, with the shop in database 1."""
    server = start_server("valkey")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shop_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the day of the shop, to be copied."""
    path = tmp_path_factory.mktemp("shop") / "shop.db"
    run(shop.fill(f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def shop_url(shop_file: Path, server: Server) -> Callable[[str], str]:
    """From a storage to the URL of the shop on it, which is only looked at."""
    filled: dict[str, str] = {}

    def url(storage: str) -> str:
        if storage == "sqlite":
            return f"sqlite:///{shop_file}"
        if storage not in filled:
            filled[storage] = server.url.removesuffix("/0") + "/1"
            run(shop.fill(filled[storage]))
        return filled[storage]

    return url


@pytest.fixture(scope="module", params=STORAGES)
def site(
    request: pytest.FixtureRequest,
    browser: Browser,
    shop_url: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """The shop on each storage, served, with a browser that is signed in; only to be looked at."""
    log = tmp_path_factory.mktemp("served") / "log"
    with Served(shop_url(request.param), log) as served:
        yield Site(browser, served.base, link=served.link)


def copied(shop_file: Path, folder: Path) -> str:
    """The URL of a shop to be changed."""
    for path in shop_file.parent.glob(f"{shop_file.name}*"):
        shutil.copy(path, folder / path.name)
    return f"sqlite:///{folder / shop_file.name}"


@pytest.fixture(scope="module", params=STORAGES)
def busy_site(
    request: pytest.FixtureRequest,
    browser: Browser,
    shop_file: Path,
    server: Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """A shop that the tests of a module change, each of them other tasks; its ``store`` is the URL."""
    folder = tmp_path_factory.mktemp("busy")
    if request.param == "sqlite":
        url = copied(shop_file, folder)
    else:
        url = server.url.removesuffix("/0") + "/3"
        with redis.Redis.from_url(url) as client:
            client.flushdb()
        run(shop.fill(url))
    with Served(url, folder / "log") as served:
        yield Site(browser, served.base, link=served.link, store=url)


@pytest.fixture
def own_store(shop_file: Path, tmp_path: Path) -> str:
    return copied(shop_file, tmp_path)


@pytest.fixture(scope="module", params=STORAGES)
def hostile_site(
    request: pytest.FixtureRequest,
    browser: Browser,
    server: Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """A store with the corpus in every field."""
    folder = tmp_path_factory.mktemp("hostile")
    url = (
        f"sqlite:///{folder / 'h.db'}" if request.param == "sqlite" else server.url.removesuffix("/0") + "/2"
    )
    run(corpus.fill(url))
    with Served(url, folder / "log") as served:
        yield Site(browser, served.base, link=served.link)
