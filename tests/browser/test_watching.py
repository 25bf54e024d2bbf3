"""The watch itself: each thing that may go wrong in a page is noticed, on pages where it does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, Route

from tests.browser.corpus import CORPUS, MARK
from tests.browser.watching import Watched, ask, axe

BASE: Final = "http://page.test/"
STRICT: Final = "default-src 'none'; script-src 'self'; style-src 'self'"


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    context = browser.new_context()
    yield Watched(context, BASE)
    context.close()


def shown(watched: Watched, body: str, *, policy: str = "", status: int = 200) -> Page:
    """A page of that body; nothing is really asked for."""

    def answer(route: Route) -> None:
        if route.request.url != BASE:
            route.abort("connectionrefused") if "refused" in route.request.url else route.fulfill(body="")
            return
        headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy}
        page = f"<!doctype html><html lang=en><title>x</title><main><h1>x</h1>{body}</main></html>"
        route.fulfill(status=status, headers=headers, body=page)

    watched.context.route("**/*", answer)
    return watched.open()


WRONG: Final = {
    "console: error: broken": "<script>console.error('broken')</script>",
    "console: warning: odd": "<script>console.warn('odd')</script>",
    "page error: thrown": "<script>throw new Error('thrown')</script>",
    "foreign request: http://evil.test/x.png": "<img alt='' src='http://evil.test/x.png'>",
    "failed request: http://page.test/refused": "<script src='/refused'></script>",
    "called: alert\\(1\\)": "<script>alert(1)</script>",
    'markup: <a href="javascript:': "<a href='javascript:alert(1)'>x</a>",
    "markup: <p onclick=": "<p onclick='x()'>x</p>",
    "markup: <iframe": "<iframe title=x></iframe>",
}


@pytest.mark.parametrize("noticed", WRONG)
def test_noticed(watched: Watched, noticed: str) -> None:
    shown(watched, WRONG[noticed])
    with pytest.raises(AssertionError, match=noticed):
        watched.check()


@pytest.mark.parametrize("body", ["<script>let x = 1</script>", "<p style='color: red'>x</p>"])
def test_policy(watched: Watched, body: str) -> None:
    """What the content policy forbids is reported."""
    shown(watched, body, policy=STRICT)
    with pytest.raises(AssertionError, match=r"CSP: (script|style)-src"):
        watched.check()


def test_status(watched: Watched) -> None:
    shown(watched, "", status=500)
    with pytest.raises(AssertionError, match="status 500: GET"):
        watched.check()


def test_dialog(watched: Watched) -> None:
    """One that the trap does not catch, as it stops the page itself."""
    page = shown(
        watched, "<script>onbeforeunload = event => event.preventDefault()</script><button>x</button>"
    )
    page.get_by_role("button").click()  # without which a page may not ask
    page.close(run_before_unload=True)
    watched.context.new_page().goto(BASE)
    with pytest.raises(AssertionError, match="dialog: beforeunload"):
        watched.check()


INERT: Final = {
    *(
        "javascript",
        "data",
        "jinja",
        "expressions",
        "css",
        "bidi",
        "invisible",
        "escape",
        "line ends",
        "entities",
    ),
    *(
        "slashes",
        "address",
        "percent",
        "dots",
        "query",
        "formula",
        "wide",
        "right to left",
        "combining",
        "long",
    ),
    *(
        "double quote",
        "single quote",
        "unquoted",
        "backtick",
        "title",
        "textarea",
        "comment",
        "cdata",
        "meta",
    ),
}


@pytest.mark.parametrize("name", [name for name in CORPUS if name not in INERT])
def test_corpus_bites(watched: Watched, name: str) -> None:
    """Text that is put in unescaped is noticed, whatever the policy would hold back."""
    shown(watched, CORPUS[name], policy=STRICT)
    with pytest.raises(AssertionError, match=r"markup|CSP|foreign|called"):
        watched.check()


@pytest.mark.parametrize("name", ["double quote", "single quote"])
def test_attributes_bite(watched: Watched, name: str) -> None:
    quote = CORPUS[name][0]
    page = shown(watched, f"<input aria-label=x value={quote}{CORPUS[name]}{quote}>")
    assert ask(page, "markup", MARK)


def test_hidden(watched: Watched) -> None:
    page = shown(watched, f"<p>{CORPUS['bidi']}</p>")
    assert ask(page, "hidden")


def test_axe(watched: Watched) -> None:
    page = shown(watched, "<img src='/x.png'><input><p lang=xx>x</p>")
    found = "\n".join(axe(page))
    assert "image-alt" in found
    assert "label:" in found


def test_overflow(watched: Watched) -> None:
    page = shown(watched, "<style>main { width: 3000px }</style>x")
    assert ask(page, "overflow")
    page = shown(watched, "<p>x</p>")
    assert ask(page, "overflow") == []
