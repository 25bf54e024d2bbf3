"""What is kept of who has changed what."""

from __future__ import annotations

import logging

import httpx
import pytest

from flowstore import BaseResultBackend, TaskResult
from flowstore.web import RIGHTS, Access
from flowstore.web.addresses import segment
from tests.web.conftest import Made
from tests.web.support import FROM_HERE, World, asking


async def test_changes_are_logged(
    client: httpx.AsyncClient, backend: BaseResultBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """Who, from where, what and of what, on a logger of its own; what is only looked at is not."""
    caplog.set_level(logging.INFO, "flowstore.web.audit")
    await client.get("/tasks/acme-failed")
    assert [record for record in caplog.records if record.name == "flowstore.web.audit"] == []
    await client.post("/tasks/acme-failed/label", data={"add": "seen"}, headers=FROM_HERE)
    [record] = [record for record in caplog.records if record.name == "flowstore.web.audit"]
    assert record.getMessage() == "label /tasks/acme-failed/label by anyone from 127.0.0.1: 303"


async def test_no_line_is_forged(
    made: Made, world: World, backend: BaseResultBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """A name with a line break in it writes one line, as an escape."""
    caplog.set_level(logging.INFO, "flowstore.web.audit")
    odd = "x\n2026-11-26 delete by rosa"
    await backend.store(odd, TaskResult.pending(odd))
    async with asking(made(Access("mallory\nby rosa", RIGHTS, namespaces=None))) as client:
        await client.post(f"/tasks/{segment(odd)}/cancel", headers=FROM_HERE)
        await client.post("/tasks/a%0ab/cancel", headers=FROM_HERE)
    lines = [record.getMessage() for record in caplog.records if record.name == "flowstore.web.audit"]
    assert len(lines) == 1
    assert "\n" not in lines[0]
    assert "mallory\\nby rosa" in lines[0]


async def test_the_store_keeps_who_it_was(made: Made, world: World, backend: BaseResultBackend) -> None:
    """Each action is an operation with its query, its reason, and how many tasks it has changed."""
    async with asking(made(Access("ida", RIGHTS, namespaces=None))) as client:
        form = {"reason": "not needed"}
        await client.post("/tasks/acme-pending/cancel", data=form, headers=FROM_HERE)
        text = (await client.get("/operations")).text
    operation = (await backend.actions.all())[0]
    assert (operation.by, operation.action.name, operation.done) == ("ida", "cancel", 1)
    assert operation.action.reason == "not needed"
    assert "ida" in text
    assert "not needed" in text
