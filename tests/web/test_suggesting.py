"""Suggestions for a query, columns and the side bar of the list of tasks."""

from __future__ import annotations

import httpx

from flowstore import BaseResultBackend
from flowstore.web import Access
from tests.web.conftest import Made
from tests.web.support import World, asking


async def test_suggestions(client: httpx.AsyncClient, world: World) -> None:
    """Terms, their values, and names that are stored; the words before stay."""
    assert (await client.get("/suggest", params={"q": "sta"})).json() == ["status:", "started:"]
    answer = await client.get("/suggest", params={"q": "since:1h status:f"})
    assert answer.json() == ["since:1h status:failed"]
    assert (await client.get("/suggest", params={"q": "-name:acm"})).json() == ["-name:acme.mail"]
    assert (await client.get("/suggest", params={"q": 'nonsense:"'})).json() == []


async def test_no_names_for_who_sees_a_part(made: Made, world: World) -> None:
    app = made(Access("ada", frozenset({"read"}), filters="label:acme"))
    async with asking(app) as client:
        assert (await client.get("/suggest", params={"q": "name:"})).json() == []
        assert (await client.get("/suggest", params={"q": "status:f"})).json() == ["status:failed"]
        assert "rival" not in (await client.get("/tasks", params={"facets": "1"})).text


async def test_columns_stand_in_the_address(client: httpx.AsyncClient, world: World) -> None:
    page = (await client.get("/tasks", params={"columns": "try"})).text
    assert ">Try</th>" in page
    assert ">Worker</th>" not in page
    assert "columns=when%2Ctry" in page  # a link that adds one
    refused = await client.get("/tasks", params={"columns": "try,price"})
    assert refused.status_code == 400
    assert "columns: expected" in refused.text


async def test_the_side_bar(client: httpx.AsyncClient, world: World) -> None:
    """What there is, with how many tasks; each is a term more."""
    page = (await client.get("/tasks", params={"q": "status:failed", "facets": "1"})).text
    assert "status%3Afailed+name%3A%22acme.mail%22" in page
    assert "rival" in page


async def test_the_beginning_of_a_fingerprint(client: httpx.AsyncClient, backend: BaseResultBackend) -> None:
    """It is searched for, and no index counts it: the list comes without figures."""
    [group, *_] = await backend.errors.groups()
    page = await client.get("/tasks", params={"q": f"error:{group.id[:4]}"})
    assert page.status_code == 200
    assert group.example_id in page.text
    assert 'class="count"' not in page.text
