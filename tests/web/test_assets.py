"""The files that a browser is given: known, small, kept for ever, and those from elsewhere unchanged."""

from __future__ import annotations

import gzip
import re
from hashlib import sha256
from pathlib import Path
from typing import Final

import httpx
import pytest

import flowstore.web
from flowstore.web.looks import asset_names, asset_path, vendored
from tests.web.support import Page, World

STATIC: Final = Path(flowstore.web.__file__).parent / "static"
OWN: Final = {"style.css", "page.js", "live.js", "theme.js", "icon.svg"}
CONTENT: Final = {path.name: path.read_bytes() for path in STATIC.iterdir()}
PATHS: Final = {name: asset_path(name) for name in CONTENT}
LICENCES: Final = {"0BSD", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Apache-2.0"}


def test_every_file_is_known() -> None:
    """What is not ours stands in ASSETS.toml with its licence and where it is from."""
    assert {*asset_names()} == OWN | {*vendored()}
    assert {path.name for path in STATIC.iterdir()} == {*asset_names()}
    for name, facts in vendored().items():
        assert {*facts} == {"package", "version", "license", "source", "sha256"}, name
        assert facts["license"] in LICENCES
        assert facts["package"] in facts["source"]
        assert facts["version"] in facts["source"]


@pytest.mark.parametrize("name", sorted(vendored()))
def test_vendored_files_are_unchanged(name: str) -> None:
    assert CONTENT[name]
    assert sha256(CONTENT[name]).hexdigest() == vendored()[name]["sha256"]


@pytest.mark.parametrize("name", sorted(OWN | {*vendored()}))
async def test_served(name: str, client: httpx.AsyncClient) -> None:
    """By an address that changes with the content, and only by that."""
    answer = await client.get(f"/{PATHS[name]}")
    assert answer.status_code == 200
    assert answer.content == CONTENT[name]
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    kinds = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    assert answer.headers["content-type"].startswith(kinds[name.rpartition(".")[2]])
    for wrong in (f"/static/0/{name}", f"/static/{'0' * 12}/{name}"):
        assert (await client.get(wrong)).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "../looks.py",
        "..%2flooks.py",
        "%2e%2e/looks.py",
        "....//looks.py",
        "/etc/passwd",
        "nothing.js",
        "",
        ".",
    ],
)
async def test_no_other_file(path: str, client: httpx.AsyncClient) -> None:
    known = PATHS["style.css"].rpartition("/")[0]
    answer = await client.get(f"/{known}/{path}")
    assert answer.status_code == 404
    assert "import" not in answer.text


async def test_first_view_is_small(client: httpx.AsyncClient, world: World) -> None:
    """A page with all that it loads has at most 60 KB, compressed; its sheet alone 14 KB, as it is."""
    assert len(CONTENT["style.css"]) <= 14 * 1_024
    for path in ("/", "/tasks", "/tasks/acme-failed"):
        answer = await client.get(path, headers={"accept-encoding": "gzip"})
        assert answer.headers["content-encoding"] == "gzip"
        files = [link for link in Page(answer).links if "/static/" in link]
        assert len(files) >= 4
        parts = [gzip.compress(answer.content, 4)]
        parts += [gzip.compress((await client.get(each)).content, 4) for each in files]
        assert sum(map(len, parts)) <= 60_000


def test_scripts_make_no_markup() -> None:
    """What our scripts put into a page is text: there is no way from a string to an element or to code."""
    for name in OWN:
        text = CONTENT[name].decode()
        found = re.findall(
            r"innerHTML|outerHTML\s*=|insertAdjacentHTML|document\.write|\beval\(|new Function", text
        )
        assert found == [], name


def test_the_wheel_has_them() -> None:
    """They are files of the package, which hatchling takes as they are: none is left out by .gitignore."""
    ignored = (STATIC.parents[2] / ".gitignore").read_text("utf-8").split()
    assert not any(name in ignored or f"*{Path(name).suffix}" in ignored for name in asset_names())
    assert "static" not in " ".join(ignored)
