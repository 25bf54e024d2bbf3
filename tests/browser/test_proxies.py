"""Behind nginx: under a prefix that it strips or keeps, and with https that ends there."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from flowstore import TaskResult
from tests.browser.conftest import run
from tests.browser.crawling import Crawler, crawled
from tests.browser.pages import PAGES
from tests.browser.serving import Mounted, Nginx, Served, free_port
from tests.browser.shop_events import IMPORT
from tests.browser.sites import Site
from tests.browser.stores import store

_PASS: Final = "proxy_pass http://127.0.0.1:{port}{path};"
_TLS: Final = "listen 127.0.0.1:%PORT% ssl; ssl_certificate cert.pem; ssl_certificate_key key.pem;"


def certificate(folder: Path) -> None:
    """Signed by itself, for localhost."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ["-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(["openssl", "req", *options, *key, *files], check=True, capture_output=True)


def serve_stripped(stack: ExitStack, own_store: str, folder: Path) -> tuple[str, dict[str, bool]]:
    """``flowstore serve`` knows nothing of /ops/, which nginx takes away; who it is nginx says."""
    port = free_port()
    public = f"http://localhost:{port}/ops/"
    auth = ["--auth", "header:X-Forwarded-User", "--trusted-proxy", "127.0.0.1/32", "--public-url", public]
    served = stack.enter_context(Served(own_store, folder / "log", *auth, has_link=False))
    server = f"""
    listen 127.0.0.1:%PORT%;
    location /ops/ {{ {_PASS.format(port=served.port, path="/")} proxy_set_header X-Forwarded-User rosa; }}"""
    stack.enter_context(Nginx(folder / "nginx", server, port=port))
    return public, {}


def mounted_kept(stack: ExitStack, own_store: str, folder: Path) -> tuple[str, dict[str, bool]]:
    """An application mounts the page under /a/b/, which nginx leaves as it is."""
    mounted = stack.enter_context(Mounted(own_store, folder / "log", "/a/b"))
    server = f"listen 127.0.0.1:%PORT%; location / {{ {_PASS.format(port=mounted.port, path='')} }}"
    nginx = stack.enter_context(Nginx(folder / "nginx", server))
    return f"{nginx.base}a/b/", {}


def mounted_stripped(stack: ExitStack, own_store: str, folder: Path) -> tuple[str, dict[str, bool]]:
    """The same application under /outer/, which nginx takes away: the application is told its root path."""
    mounted = stack.enter_context(Mounted(own_store, folder / "log", "/a/b", root_path="/outer"))
    server = f"listen 127.0.0.1:%PORT%; location /outer/ {{ {_PASS.format(port=mounted.port, path='/')} }}"
    nginx = stack.enter_context(Nginx(folder / "nginx", server))
    return f"{nginx.base}outer/a/b/", {}


def mounted_secret(stack: ExitStack, own_store: str, folder: Path) -> tuple[str, dict[str, bool]]:
    """Nobody has told the application of /secret/, which nginx takes away."""
    mounted = stack.enter_context(Mounted(own_store, folder / "log", "/a/b"))
    server = f"listen 127.0.0.1:%PORT%; location /secret/ {{ {_PASS.format(port=mounted.port, path='/')} }}"
    nginx = stack.enter_context(Nginx(folder / "nginx", server))
    return f"{nginx.base}secret/a/b/", {}


def mounted_tls(stack: ExitStack, own_store: str, folder: Path) -> tuple[str, dict[str, bool]]:
    """https as far as nginx, http behind it."""
    mounted = stack.enter_context(Mounted(own_store, folder / "log", "/a/b"))
    certificate(folder / "nginx")
    server = f"{_TLS} location / {{ {_PASS.format(port=mounted.port, path='')} }}"
    nginx = stack.enter_context(Nginx(folder / "nginx", server, scheme="https"))
    return f"{nginx.base}a/b/", {"ignore_https_errors": True}


WAYS: Final = [serve_stripped, mounted_kept, mounted_stripped, mounted_secret, mounted_tls]


@pytest.fixture(params=WAYS, ids=[way.__name__ for way in WAYS])
def proxied(
    request: pytest.FixtureRequest, browser: Browser, own_store: str, tmp_path: Path
) -> Iterator[Site]:
    with ExitStack() as stack:
        base, options = request.param(stack, own_store, tmp_path)
        yield Site(browser, base, **options)


def nothing(page: Page) -> None:
    """The crawler itself asks for all links, and the watch sees what is answered."""


def test_links(proxied: Site) -> None:
    """Every link, form and resource of every page stays below the prefix, and is answered."""
    crawler: Crawler = crawled(proxied, nothing, *PAGES.values(), most=120, alike=6)
    assert not crawler.outside
    assert crawler.forms
    for form in crawler.forms:
        assert form.startswith(proxied.base), form
    assert {*crawler.files.values()} == {200}, crawler.files


def test_redirects(proxied: Site) -> None:
    """The address without a slash, a form that asks and one that changes something stay below the prefix."""
    with proxied.page("tasks") as page:
        if "secret" not in proxied.base:  # nobody can lead back to what he has not been told
            page.goto(proxied.base.rstrip("/"), wait_until="load")
            assert page.url == proxied.base
        page.locator("#find").fill("status:failed")
        page.locator("#find").press("Enter")
        page.wait_for_url(f"{proxied.base}tasks?*status*failed*")
        page.goto(f"{proxied.base}tasks/{IMPORT}", wait_until="load")
        page.get_by_role("button", name="Make pending again").click()
        page.wait_for_url(f"{proxied.base}tasks/{IMPORT}?*")
        expect(page.locator("h1")).to_contain_text("pending")


def test_live(proxied: Site, own_store: str) -> None:
    """What another process stores is told at once: the proxy does not keep the stream to itself."""
    with proxied.page("tasks") as page:
        expect(page.locator("html")).to_have_attribute("data-live", "on")
        run(store(own_store, TaskResult.pending("brand-new", task_name="mail.send_receipt")))
        expect(page.get_by_text("1 new")).to_be_visible(timeout=5_000)


def test_secure_cookie(browser: Browser, own_store: str, tmp_path: Path) -> None:
    """The cookie of a link that was used over https is sent over https alone."""
    port = free_port()
    certificate(tmp_path / "nginx")
    public = f"https://localhost:{port}/"
    with Served(own_store, tmp_path / "log", "--public-url", public) as served:
        server = f"{_TLS} location / {{ {_PASS.format(port=served.port, path='')} }}"
        with Nginx(tmp_path / "nginx", server, port=port, scheme="https"):
            link = f"https://localhost:{port}/{served.link.split('/', 3)[3]}"
            site = Site(browser, public, link=link, ignore_https_errors=True)
            watched = site.watched()
            watched.open("tasks")
            cookies = watched.context.cookies()
            assert {urlsplit(public).hostname} == {cookie["domain"] for cookie in cookies}
            assert all(cookie["secure"] and cookie["httpOnly"] for cookie in cookies)
            assert {cookie["sameSite"] for cookie in cookies} == {"Lax"}
            site.check()
