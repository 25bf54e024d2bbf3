"""What stands before every page: where a request comes from, how large it is, what a browser is told."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urlencode

import httpx
import pytest

from flowstore import BaseResultBackend, InMemoryBackend
from flowstore.web import ANYONE_DANGEROUS, RIGHTS, Access, create_app
from flowstore.web.guard import MOST_BODY
from flowstore.web.routes import ROUTES, Route
from tests.web.conftest import Made
from tests.web.support import FROM_HERE, PAGES, World, asking

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
PROGRAM = Access("robot", RIGHTS, namespaces=None, is_by_header=True)


@pytest.mark.parametrize("path", ["/", "/nothing", "/healthz", "/api/v1/tasks", "/tasks?limit=7", "/enter"])
async def test_headers(path: str, client: httpx.AsyncClient) -> None:
    """On every answer, also on those that refuse."""
    headers = (await client.get(path)).headers
    assert headers["content-security-policy"] == POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert not [name for name in headers if name.startswith("access-control")]


async def test_no_other_origin_is_let_in(client: httpx.AsyncClient) -> None:
    """A preflight of another site is answered as any method that is not in the table."""
    asked = {"origin": "http://evil.test", "access-control-request-method": "POST"}
    answer = await client.options("/tasks", headers=asked)
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


LABEL = "/tasks/acme-failed/label"
CSRF: list[tuple[dict[str, str], int, int]] = [
    # headers, for a browser, for a program with a header of its own
    ({"sec-fetch-site": "same-origin"}, 303, 303),
    ({"sec-fetch-site": "same-site"}, 403, 403),
    ({"sec-fetch-site": "cross-site"}, 403, 403),
    ({"sec-fetch-site": "none"}, 403, 403),
    ({"sec-fetch-site": "cross-site", "origin": "http://testserver"}, 403, 403),
    ({"sec-fetch-site": ""}, 403, 403),
    ({"origin": "http://testserver"}, 303, 303),
    ({"origin": "https://testserver"}, 403, 403),
    ({"origin": "http://testserver:8080"}, 403, 403),
    ({"origin": "http://testserver.evil.test"}, 403, 403),
    ({"origin": "http://evil.test"}, 403, 403),
    ({"origin": "null"}, 403, 403),
    ({"origin": ""}, 403, 403),
    ({"referer": "http://testserver/tasks"}, 403, 303),
    ({}, 403, 303),
]


@pytest.mark.parametrize(("headers", "browser", "program"), CSRF)
async def test_writes_come_from_the_page(
    headers: dict[str, str], browser: int, program: int, made: Made, world: World, backend: BaseResultBackend
) -> None:
    for access, expected in ((ANYONE_DANGEROUS, browser), (PROGRAM, program)):
        async with asking(made(access)) as client:
            answer = await client.post(LABEL, data={"add": f"by {access.user}"}, headers=headers)
        assert answer.status_code == expected
        task = await backend.get("acme-failed")
        assert task is not None
        assert (f"by {access.user}" in task.labels) == (expected == 303)


async def test_public_url(backend: BaseResultBackend, world: World) -> None:
    """Behind a proxy that ends https and changes the host, browsers name what they see."""
    app = create_app(backend, access=ANYONE_DANGEROUS, public_url="https://ops.example.org/flow/")
    async with asking(app) as client:
        for origin, status in (
            ("https://ops.example.org", 303),
            ("http://ops.example.org", 403),
            ("https://example.org", 403),
            ("https://ops.example.org.evil.test", 403),
        ):
            answer = await client.post(LABEL, data={"add": "x"}, headers={"origin": origin})
            assert answer.status_code == status, origin


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((name, 200) for name in ("localhost", "localhost:8787", "127.0.0.1:1", "[::1]:8787", "LOCALHOST")),
        *(
            (name, 421)
            for name in ("evil.test", "evil.test:8787", "localhost.evil.test", "127.0.0.1.evil.test")
        ),
        *((name, 421) for name in ("", "evil.test@localhost:x", "[", "localhost\\@evil.test", "0.0.0.0")),
    ],
)
async def test_dns_rebinding(host: str, status: int) -> None:
    """A page of this machine answers to no name that somebody else has made to point to it."""
    app = create_app(InMemoryBackend(), access=ANYONE_DANGEROUS, hosts={"localhost", "127.0.0.1", "::1"})
    async with asking(app) as client:
        answer = await client.get("/healthz", headers={"host": host})
    assert answer.status_code == status


async def test_two_hosts(client: httpx.AsyncClient) -> None:
    """Who sends two of them to confuse a proxy is answered to the first or not at all."""
    app = create_app(InMemoryBackend(), access=ANYONE_DANGEROUS, hosts={"localhost"})
    async with asking(app) as other:
        answer = await other.get("/healthz", headers=[("host", "evil.test"), ("host", "localhost")])
    assert answer.status_code == 421


async def test_large_bodies(client: httpx.AsyncClient, backend: BaseResultBackend) -> None:
    answer = await client.post(LABEL, content=b"add=" + b"x" * MOST_BODY, headers={**FROM_HERE, **FORM})
    assert answer.status_code == 413
    for length in ("-1", "1e9", "x", "\xb2"):
        headers = [(b"sec-fetch-site", b"same-origin"), (b"content-length", length.encode("latin-1"))]
        answer = await client.post(LABEL, headers=headers)
        assert answer.status_code == 413


FORM = {"content-type": "application/x-www-form-urlencoded"}


async def test_a_body_without_an_end(made: Made, world: World) -> None:
    """A body that does not say how long it is is read up to the bound, and no further."""
    sent = 0

    async def receive() -> dict[str, Any]:
        nonlocal sent
        sent += 1
        assert sent < 100, "it is read on and on"
        return {"type": "http.request", "body": b"x" * 8_192, "more_body": True}

    answers = []

    async def send(message: Any) -> None:
        answers.append(message.get("status"))

    headers = [(b"sec-fetch-site", b"same-origin"), (b"content-type", FORM["content-type"].encode())]
    scope = {
        "type": "http",
        "method": "POST",
        "path": LABEL,
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "scheme": "http",
        "server": ("testserver", 80),
        "http_version": "1.1",
    }
    await made(ANYONE_DANGEROUS)(scope, receive, send)
    assert answers[0] == 413
    assert sent <= MOST_BODY // 8_192 + 1


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'{"add": "x"}', "application/json"),
        (b"add=x", "text/plain"),
        (b"--x\r\n\r\n--x--", "multipart/form-data; boundary=x"),
        (b"add=%ff", FORM["content-type"]),
        (b"add=\xff", FORM["content-type"]),
        (b"&".join(b"a%d=1" % number for number in range(1_001)), FORM["content-type"]),
    ],
)
async def test_what_is_no_form(content: bytes, kind: str, client: httpx.AsyncClient) -> None:
    answer = await client.post(LABEL, content=content, headers={**FROM_HERE, "content-type": kind})
    assert answer.status_code == 400


BAD: list[tuple[str, str]] = [
    ("limit", "1"),
    ("limit", "1000000"),
    ("limit", "-50"),
    ("limit", "\u0665\u0660"),  # digits to Python
    ("cursor", "garbage"),
    ("cursor", "e30="),
    ("cursor", "x" * 3_000),
    ("q", "statsu:failed"),
    ("q", "x" * 3_000),
    ("q", " ".join("label:a" for _ in range(21))),
    ("q", "status:"),
    ("window", "1000000d"),
    ("window", "-1h"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
async def test_bounds(name: str, value: str, client: httpx.AsyncClient) -> None:
    """Each parameter has bounds; one that is out of them is named, and nothing is asked of the store."""
    path = "/" if name == "window" else "/tasks"
    for at in (path, "/api/v1/stats" if name == "window" else "/api/v1/tasks"):
        answer = await client.get(at, params={name: value})
        assert answer.status_code == 400
        assert name in answer.text or "limit" in name or "term" in answer.text
        assert len(answer.text) < 10_000


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("errors/{group}/decide", {"what": "resolve", "reason": "x" * 513}),
        ("errors/{group}/decide", {"what": "ignore", "more": "0"}),
        ("errors/{group}/decide", {"what": "ignore", "more": "-1"}),
        ("errors/{group}/decide", {"what": "ignore", "until": "0"}),
        ("errors/{group}/decide", {"what": "ignore", "until": "soon"}),
        ("errors/{group}/decide", {"what": "burn"}),
        ("tasks/acme-failed/label", {"add": "x" * 513}),
        ("tasks/acme-failed/label", {}),
        ("tasks/acme-failed/cancel", {"reason": "x" * 1_001}),
        ("workers/host:1/free", {"what": "requeue", "reason": "x" * 5_000, "id": "\u202e" * 2_000, "x": "1"}),
        ("workers/host:1/free", {"what": ""}),
        ("bulk", {"action": "expire", "ttl": "soon", "which": "all", "q": "status:failed"}),
        ("bulk", {"action": "fail", "error": "x" * 5_000, "which": "all", "q": "status:failed"}),
        ("bulk", {"action": "burn", "which": "all"}),
        ("bulk", {"action": "delete", "which": "chosen"}),
    ],
)
async def test_forms_have_bounds(
    path: str, form: dict[str, str], client: httpx.AsyncClient, world: World, backend: BaseResultBackend
) -> None:
    """What is out of them is refused before anything is done."""
    before = [task async for task in backend.iter_search("")]
    answer = await client.post("/" + path.format(group=world.group), data=form, headers=FROM_HERE)
    assert answer.status_code == (303 if form.get("what") == "requeue" else 400), answer.text[-800:]
    if answer.status_code == 400:
        assert [task async for task in backend.iter_search("")] == before


async def test_text_of_a_parameter_is_text(client: httpx.AsyncClient) -> None:
    """What is refused is shown, and not obeyed."""
    evil = '"><script>alert(1)</script>'
    for name in ("limit", "cursor", "q", "window", "namespace"):
        for route in PAGES:
            answer = await client.get(route.path if "{" not in route.path else "/tasks", params={name: evil})
            assert "<script>alert" not in answer.text


BOUNDED: Final = [route for route in ROUTES if route.method == "GET" and route.name != "events"]
ODD: Final = ("", "\x00", "-1", "99999999999", "\u202e'\"<é", "since:99999999d -run:>9d", "id:" + "a" * 600)
NAMES: Final = (
    *("q", "cursor", "limit", "window", "namespace", "state", "order", "a", "b", "said", "columns", "facets"),
    *("single", "longer", "when", "selects", "id", "last", "name"),
)


@pytest.mark.parametrize("route", BOUNDED, ids=lambda each: each.name)
async def test_odd_parameters(route: Route, client: httpx.AsyncClient, world: World) -> None:
    """Whatever is asked, and of whatever page: it is answered, or refused, and no error of the server."""
    path = world.path(route)
    for name in NAMES:
        for value in ODD:
            address = f"{path}{'&' if '?' in path else '?'}{urlencode({name: value})}"
            assert (await client.get(address)).status_code < 500, (name, value)
    for part in ("~", "~!", "%2e%2e", "%00", "%ff", "x" * 800):
        odd = re.sub(r"\{[a-z]+\}", part, route.path)
        if odd != route.path:
            assert (await client.get(odd)).status_code in (400, 404), part
