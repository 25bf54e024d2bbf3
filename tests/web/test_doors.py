"""Ways into a page that is served by itself."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from itsdangerous import TimestampSigner

from flowstore.web.doors import door_of
from flowstore.web.serving import Serving, application, from_environment
from tests.web.support import FROM_HERE, asking, living

LOOPBACK = "http://127.0.0.1:8787"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 's.db'}"


@asynccontextmanager
async def entered(serving: Serving, links: list[str] | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the page, whose store is closed afterwards."""
    told: list[str] = [] if links is None else links
    app = await asyncio.to_thread(application, serving, 8787, told.append)
    async with living(app), asking(app, LOOPBACK) as client:
        yield client


async def test_a_link_works_once(url: str) -> None:
    links: list[str] = []
    async with entered(Serving(url), links) as client:
        assert (await client.get("/tasks")).status_code == 401
        [link] = links
        answer = await client.get(f"/{link}")
        assert answer.status_code == 303
        assert answer.headers["location"] == "./"
        assert (await client.get("/tasks")).status_code == 200
        used = client.cookies
        client.cookies = httpx.Cookies()
        assert (await client.get(f"/{link}")).status_code == 403
        assert (await client.get("/tasks")).status_code == 401
        client.cookies = used
        assert (await client.get(f"/{link}")).status_code == 303  # who is in already need not know
        assert len(links) == 2
        client.cookies = httpx.Cookies()
        assert (await client.get(f"/{links[1]}")).status_code == 303


@pytest.mark.parametrize(
    ("serving", "is_secure"),
    [
        ({}, False),
        ({"public_url": "https://127.0.0.1/x/"}, True),
        ({"public_url": "http://127.0.0.1/"}, False),
    ],
)
async def test_the_cookie(serving: dict[str, str], is_secure: bool, url: str) -> None:
    """Out of reach of scripts and of other sites, only for the folder of the page, and for half a day."""
    links: list[str] = []
    async with entered(Serving(url, **serving), links) as client:  # type: ignore[arg-type]
        said = (await client.get(f"/{links[0]}")).headers["set-cookie"]
    parts = {part.strip().lower() for part in said.split(";")[1:]}
    assert parts == {"httponly", "max-age=43200", "samesite=lax", *(["secure"] if is_secure else [])}
    assert said.startswith("flowstore_8787=")


async def test_forged_cookies(url: str) -> None:
    """What another process has signed, another key, or nobody, opens nothing; nor does an old one."""
    links: list[str] = []
    secret = "s" * 32
    async with entered(Serving(url, secret=secret), links) as client:
        for cookie in (
            "in",
            "in.x.y",
            "",
            TimestampSigner("other", salt="flowstore.web.link", digest_method=hashlib.sha256)
            .sign(b"in")
            .decode(),
            TimestampSigner(secret, salt="another", digest_method=hashlib.sha256).sign(b"in").decode(),
            _Old(secret, salt="flowstore.web.link", digest_method=hashlib.sha256).sign(b"in").decode(),
        ):
            answer = await client.get("/tasks", headers={"cookie": f"flowstore_8787={cookie}"})
            assert answer.status_code == 401, cookie
        good = TimestampSigner(secret, salt="flowstore.web.link", digest_method=hashlib.sha256).sign(b"in")
        answer = await client.get("/tasks", headers={"cookie": f"flowstore_8787={good.decode()}"})
        assert answer.status_code == 200  # another process that has the same secret


class _Old(TimestampSigner):
    def get_timestamp(self) -> int:
        return super().get_timestamp() - 12 * 3_600 - 2


@pytest.mark.parametrize("token", ["", "x", "%00", "é", "x" * 5_000])
async def test_wrong_tokens(token: str, url: str) -> None:
    async with entered(Serving(url)) as client:
        answer = await client.get("/enter", params={"token": token})
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


async def test_rebinding(url: str) -> None:
    """The link itself is of no use by another name."""
    links: list[str] = []
    async with entered(Serving(url), links) as client:
        answer = await client.get(f"/{links[0]}", headers={"host": "evil.test:8787"})
        assert answer.status_code == 421
        assert len(links) == 1


async def test_read_only(url: str) -> None:
    """Nothing can be changed, and the backend is one that writes nothing itself."""
    assert Serving(url, is_read_only=True).options.get("read_only") is True
    assert "read_only" not in Serving(url).options, "as the URL says"
    links: list[str] = []
    async with entered(Serving(url, is_read_only=True), links) as client:
        await client.get(f"/{links[0]}")
        assert (await client.post("/bulk", headers=FROM_HERE)).status_code == 405
        assert (await client.post("/tasks/x/delete", headers=FROM_HERE)).status_code == 405


@pytest.fixture
def users(tmp_path: Path) -> Path:
    digest = hashlib.sha256(b"pepperopen sesame").hexdigest()
    path = tmp_path / "users"
    path.write_text(f"# who may come in\nrosa:correct:horse\n\nida:sha256$pepper${digest}\n")
    return path


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


async def test_passwords(url: str, users: Path) -> None:
    async with entered(Serving(url, host="0.0.0.0", auth=f"basic:@{users}")) as client:
        answer = await client.get("/tasks")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic ")
        for user, password, status in (
            ("rosa", "correct:horse", 200),
            ("ida", "open sesame", 200),
            ("ida", "correct:horse", 401),
            ("rosa", "", 401),
            ("rosa", "correct:horse ", 401),
            ("nobody", "correct:horse", 401),
            ("", "", 401),
        ):
            answer = await client.get("/system", headers=basic(user, password))
            assert answer.status_code == status, (user, password)
            assert status == 401 or user in answer.text
        for header in ("Basic", "Basic !!!", "Basic " + b64encode(b"\xff").decode(), "Bearer correct:horse"):
            assert (await client.get("/tasks", headers={"authorization": header})).status_code == 401
        answer = await client.post("/tasks/x/delete", headers=basic("rosa", "correct:horse"))
        assert answer.status_code == 403  # a browser sends a password by itself, whoever has asked it to


async def test_tokens(url: str, tmp_path: Path) -> None:
    """A program with a token of its own may write without a browser that says where it is."""
    path = tmp_path / "tokens"
    path.write_text(f"deploy:{'a' * 24}\n{'b' * 24}\n")
    async with entered(Serving(url, host="0.0.0.0", auth=f"token:@{path}")) as client:
        for token, user in (("a" * 24, "deploy"), ("b" * 24, "token")):
            headers = {"authorization": f"Bearer {token}"}
            assert user in (await client.get("/system", headers=headers)).text
            answer = await client.post("/bulk/start", headers=headers)
            assert answer.status_code == 400
        for token in ("", "deploy", "a" * 23, f"deploy:{'a' * 24}", "é" * 24):
            given = [(b"authorization", f"Bearer {token}".encode())]
            assert (await client.get("/tasks", headers=given)).status_code == 401


async def test_a_proxy_says_who(url: str) -> None:
    """Its header is believed from its addresses only, and if it stands there once."""
    for trusted, status in (("127.0.0.1", 200), ("10.0.0.0/8", 401)):
        serving = Serving(url, auth="header:X-Forwarded-User", trusted_proxies=(trusted,))
        async with entered(serving) as client:
            answer = await client.get("/system", headers={"x-forwarded-user": "rosa"})
            assert answer.status_code == status
            assert (status == 200) == ("rosa" in answer.text)
            assert (await client.get("/system")).status_code == 401
            assert (await client.get("/system", headers={"x-forwarded-user": " "})).status_code == 401
            twice = [("x-forwarded-user", "rosa"), ("x-forwarded-user", "mallory")]
            assert (await client.get("/system", headers=twice)).status_code == 401
            claimed = {"x-forwarded-user": "mallory", "x-forwarded-for": "127.0.0.1"}
            assert (await client.get("/system", headers=claimed)).status_code == status


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_closed_by_default(host: str) -> None:
    """Nobody serves a page to others by mistake."""
    with pytest.raises(ValueError, match="no auth is given"):
        Serving("memory://", host=host)
    assert Serving("memory://", host=host, is_open_to_all=True).hosts is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.3.2.1"])
def test_loopback_needs_no_auth(host: str) -> None:
    hosts = Serving("memory://", host=host, public_url="https://Ops.example.org/x").hosts
    assert hosts is not None
    assert hosts >= {"127.0.0.1", "localhost", "::1", host, "ops.example.org"}


def test_wrong_settings(tmp_path: Path, users: Path) -> None:
    """Each is named, and no secret is told."""
    for settings, expected in (
        ({"port": 70_000}, "port: expected 0 to 65535, got 70000"),
        ({"auth": "basic:@x", "is_open_to_all": True}, "auth: is given"),
        ({"public_url": "ops.example.org"}, "public_url: expected"),
        ({"secret": "short-secret"}, "secret: expected at least 32"),
    ):
        with pytest.raises(ValueError, match=expected) as raised:
            Serving("memory://", **settings)
        assert "short-secret" not in str(raised.value)
    granted = Serving("memory://").granted
    for auth, expected in (
        ("basic:rosa:hunter22", "auth: expected basic:@FILE"),
        ("magic", "auth: expected basic:@FILE"),
        ("header:X-User", "--trusted-proxy"),
        (f"basic:@{tmp_path / 'none'}", "cannot be read"),
        (f"token:@{users}", "expected tokens of at least 20"),
    ):
        with pytest.raises(ValueError, match=expected) as raised:
            door_of(auth, (), granted)
        assert "hunter22" not in str(raised.value)
        assert "horse" not in str(raised.value)
    users.chmod(0o666)
    with pytest.raises(ValueError, match="others may write it"):
        door_of(f"basic:@{users}", (), granted)
    with pytest.raises(ValueError, match="trusted_proxy: expected addresses"):
        door_of("header:X-User", ("10.0.0.0/99",), granted)


def test_environment() -> None:
    """Every setting has a variable, and one that is wrong is named."""
    variables = {
        "FLOWSTORE_URL": "redis://r/0",
        "FLOWSTORE_NAMESPACE": "shop",
        "FLOWSTORE_WEB_HOST": "0.0.0.0",
        "FLOWSTORE_WEB_PORT": "80",
        "FLOWSTORE_WEB_AUTH": "header:X-User",
        "FLOWSTORE_WEB_TRUSTED_PROXIES": "10.0.0.1, 10.1.0.0/16",
        "FLOWSTORE_WEB_PUBLIC_URL": "https://ops.example.org/",
        "FLOWSTORE_WEB_ALLOWED_HOSTS": "ops.example.org",
        "FLOWSTORE_WEB_READ_ONLY": "1",
        "FLOWSTORE_WEB_TITLE": "Shop",
        "FLOWSTORE_WEB_SECRET": "s" * 40,
    }
    serving = from_environment(variables)
    assert serving == Serving(
        "redis://r/0",
        "shop",
        "0.0.0.0",
        80,
        "header:X-User",
        ("10.0.0.1", "10.1.0.0/16"),
        "https://ops.example.org/",
        ("ops.example.org",),
        True,
        False,
        "Shop",
        False,
        "s" * 40,
    )
    assert "s" * 40 not in repr(serving)
    for name, value in (("FLOWSTORE_WEB_PORT", "http"), ("FLOWSTORE_WEB_READ_ONLY", "maybe")):
        with pytest.raises(ValueError, match=name):
            from_environment({**variables, name: value})
    with pytest.raises(ValueError, match="FLOWSTORE_URL"):
        from_environment({})


def test_the_secret_is_from_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments are seen by all users of a machine, so `flowstore serve` has none for it."""
    assert Serving("memory://").secret == ""
    monkeypatch.setenv("FLOWSTORE_WEB_SECRET", "s" * 40)
    assert Serving("memory://").secret == "s" * 40
