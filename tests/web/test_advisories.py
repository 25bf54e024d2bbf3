"""What was wrong with dashboards of task queues, each as a test of this one, by its published name."""

from __future__ import annotations

import json
from typing import Final

import httpx
import pytest

from flowstore import BaseResultBackend, InMemoryBackend, TaskResult
from flowstore.web import ANYONE_DANGEROUS, READ_ONLY, create_app
from flowstore.web.addresses import segment
from flowstore.web.guard import MOST_BODY
from flowstore.web.serving import Serving
from tests.web.conftest import Made
from tests.web.support import FROM_HERE, PAGES, Page, World, asking
from tests.web.test_pages import check

EVIL: Final = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}</textarea></title>"


async def clean(client: httpx.AsyncClient, *paths: str) -> None:
    """On none of the pages is the text anything but text."""
    for path in paths:
        answer = await client.get(path)
        assert answer.status_code == 200, (path, answer.text[:300])
        if answer.headers["content-type"].startswith("text/html"):
            check(answer)
            assert not [image for image in Page(answer).all("img") if image.get("src") == "x"]
            assert "<script>alert" not in answer.text
            assert "49</textarea>" not in answer.text
        else:
            disposition = answer.headers.get("content-disposition", "")
            assert disposition.startswith("attachment") or path.startswith("/api/")
            assert answer.headers["content-type"].partition(";")[0] in ("application/json", "text/plain")


# Stored cross-site scripting


async def test_sidekiq_1297_2309_hangfire_1441_rq_dashboard_526_exceptions(
    client: httpx.AsyncClient, backend: BaseResultBackend
) -> None:
    """The type, message, notes and traceback of an exception."""
    evil = type(EVIL, (Exception,), {"__module__": EVIL})(EVIL)
    evil.add_note(EVIL)
    evil.__cause__ = ValueError(EVIL)
    await backend.store("x", TaskResult.failed(TaskResult.pending("x", task_name="x"), evil))
    task = await backend.get("x")
    assert task is not None
    assert task.error is not None
    group = task.error.fingerprint
    await clean(client, "/", "/tasks", "/tasks/x", "/errors", f"/errors/{group}", "/tasks/x/value/record")


async def test_rq_dashboard_174_resque_cve_2023_50725_arguments_and_results(
    client: httpx.AsyncClient, backend: BaseResultBackend
) -> None:
    """Also as names of arguments, keys of data, and in what is downloaded."""
    task = TaskResult.success("x", {EVIL: [EVIL]}, args=(EVIL,), kwargs={EVIL: EVIL}, meta={EVIL[:60]: EVIL})
    await backend.store("x", task)
    await backend.data.set("x", EVIL, EVIL)
    parts = ("result", "args", "kwargs", "record")
    await clean(client, "/tasks/x", *(f"/tasks/x/value/{part}" for part in parts), "/api/v1/tasks/x")


async def test_resque_cve_2022_44303_1946_sidekiq_unique_jobs_cve_2024_25122_names(
    client: httpx.AsyncClient, backend: BaseResultBackend
) -> None:
    """Of tasks, workers and labels, and ids."""
    await backend.workers.register(EVIL, host=EVIL, info={"version": EVIL})
    task = TaskResult.running(EVIL, task_name=EVIL, worker_id=EVIL, labels=[EVIL])
    await backend.store(EVIL, task)
    part = segment(EVIL)
    paths = (
        "/",
        "/tasks",
        f"/tasks/{part}",
        "/runs",
        f"/runs/{part}",
        "/names",
        f"/names/{part}",
        "/workers",
    )
    await clean(client, *paths, f"/workers/{part}", "/system", f"/rows?id={part}")


async def test_temporal_cve_2024_2435_names_of_events(
    client: httpx.AsyncClient, backend: BaseResultBackend
) -> None:
    """In the timeline of a task."""
    await backend.store("x", TaskResult.running("x", task_name="x"))
    await backend.history.record("x", EVIL[:80], {EVIL[:60]: EVIL})
    await clean(client, "/tasks/x")


async def test_dkron_921_output(client: httpx.AsyncClient, backend: BaseResultBackend) -> None:
    """What a task says of its progress, and why one is to be cancelled."""
    await backend.store("x", TaskResult.running("x", task_name="x"))
    await backend.set_progress("x", 1, 2, EVIL)
    await clean(client, "/tasks", "/tasks/x")
    await backend.cancel("x", EVIL)
    await clean(client, "/tasks", "/tasks/x")


async def test_resque_1946_a_text_that_is_served_as_a_page(
    client: httpx.AsyncClient, backend: BaseResultBackend
) -> None:
    """A value that looks like a page is downloaded, as text, and no browser guesses otherwise."""
    await backend.store("x", TaskResult.success("x", f"<!doctype html><html>{EVIL}"))
    answer = await client.get("/tasks/x/value/result")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert not answer.headers["content-type"].startswith("text/html")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


# Reflected cross-site scripting


@pytest.mark.parametrize(
    "name", ["q", "window", "period", "substr", "cursor", "limit", "namespace", "a", "said"]
)
async def test_sidekiq_cve_2021_30151_cve_2023_1892_cve_2024_32887_parameters(
    name: str, client: httpx.AsyncClient, world: World
) -> None:
    for route in PAGES:
        answer = await client.get(world.path(route), params={name: EVIL})
        assert "<script>alert" not in answer.text
        if answer.headers["content-type"].startswith("text/html"):
            check(answer)


# Denial of service by parameters


async def test_sidekiq_cve_2022_23837_days(client: httpx.AsyncClient) -> None:
    """A time to look back at is one of five."""
    for window in ("1000000", "99999999d", "-1d", "9" * 4_000):
        for path in ("/", "/names", "/api/v1/stats"):
            assert (await client.get(path, params={"window": window})).status_code == 400


async def test_sidekiq_cve_2023_26141_poll_interval(client: httpx.AsyncClient) -> None:
    """How often a page asks again is said by nobody but the page."""
    text = (await client.get("/tasks?poll=0&interval=0&every=0&refresh=0")).text
    assert "http-equiv" not in text
    assert text.count("poll=0") == text.count("poll=0&amp;interval=0&amp;every=0&amp;refresh=0")


async def test_oban_web_2_12_5_texts_that_take_the_memory(client: httpx.AsyncClient) -> None:
    """Queries, cursors and forms are bounded before they are read."""
    for params in ({"q": "x" * 50_000}, {"cursor": "x" * 50_000}, {"q": "label:" + "a," * 1_000}):
        assert (await client.get("/tasks", params=params)).status_code == 400
    body = "add=" + "x" * MOST_BODY
    kind = {"content-type": "application/x-www-form-urlencoded"}
    answer = await client.post("/tasks/acme-failed/label", content=body, headers={**FROM_HERE, **kind})
    assert answer.status_code == 413


# Access


async def test_flower_cve_2022_30034_hangfire_1958_an_open_interface(made: Made, world: World) -> None:
    """The interface for programs asks who it is as the pages do."""
    async with asking(made(lambda request: None)) as client:
        for path in ("/api/v1/tasks", "/api/v1/tasks/acme-failed", "/api/v1/counts", "/metrics", "/events"):
            assert (await client.get(path)).status_code == 401


async def test_flower_prefect_cve_2024_8183_no_origin_is_allowed(client: httpx.AsyncClient) -> None:
    for origin in ("http://evil.test", "null", "http://testserver"):
        answer = await client.get("/api/v1/tasks", headers={"origin": origin})
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_prefect_ghsa_4hh5_2678_83fx_flowrra_forged_requests(
    client: httpx.AsyncClient, backend: BaseResultBackend
) -> None:
    """A form on another site does nothing, whatever the browser sends along; nor does one by GET."""
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "http://evil.test"}, {}):
        answer = await client.post("/tasks/acme-failed/delete", headers=headers)
        assert answer.status_code == 403
    for path in ("/tasks/acme-failed/delete", "/tasks/acme-failed/requeue", "/bulk/start"):
        assert (await client.get(path, headers=FROM_HERE)).status_code in (404, 405)
    assert await backend.exists("acme-failed")


def test_taskiq_dashboard_taskiq_admin_saq_streaq_open_by_default() -> None:
    """Nobody serves it to others, or mounts it, without saying who may come in."""
    assert Serving("memory://").host == "127.0.0.1"
    with pytest.raises(ValueError, match="no auth is given"):
        Serving("memory://", host="0.0.0.0")
    with pytest.raises(TypeError, match="access"):
        create_app(InMemoryBackend())  # type: ignore[call-arg]


async def test_oban_web_2_12_5_read_only_in_the_interface_only(
    made: Made, world: World, backend: BaseResultBackend
) -> None:
    before = [task async for task in backend.iter_search("")]
    async with asking(made(READ_ONLY)) as client:
        for path in ("/tasks/acme-failed/delete", "/tasks/acme-pending/cancel", "/workers/~aG9zdDox/free"):
            assert (await client.post(path, headers=FROM_HERE)).status_code == 405
    assert [task async for task in backend.iter_search("")] == before


# Reading what others have stored


async def test_pickle_backends_values_are_never_made_into_objects(
    client: httpx.AsyncClient, backend: BaseResultBackend
) -> None:
    """A value names a type; it is shown, and neither imported nor called."""
    tagged = {
        "$type": "os.system",
        "$value": ["touch /tmp/owned"],
        "__reduce__": "x",
        "py/object": "os.system",
    }
    await backend.store("x", TaskResult.success("x", tagged))
    answer = await client.get("/tasks/x")
    assert answer.status_code == 200
    assert "os.system" in answer.text
    assert json.dumps((await client.get("/api/v1/tasks/x")).json()).count("os.system") >= 2


# Complaints of users that were about safety


async def test_oban_web_2_12_4_names_that_break_links(
    client: httpx.AsyncClient, backend: BaseResultBackend
) -> None:
    name = "a/b?c#d%e&f=g;h"
    await backend.store(name, TaskResult.pending(name, task_name=name))
    listed = Page(await client.get("/tasks"))
    assert f"/tasks/{segment(name)}" in listed.links
    assert (await client.get(f"/tasks/{segment(name)}")).status_code == 200
    assert (await client.get(f"/names/{segment(name)}")).status_code == 200


async def test_oban_web_197_buttons_that_are_not_for_the_reader(made: Made, world: World) -> None:
    """Who may change nothing is shown no form that changes something."""
    async with asking(made(READ_ONLY)) as client:
        for route in PAGES:
            forms = Page(await client.get(world.path(route))).all("form")
            assert [form for form in forms if form.get("method") == "post"] == [], route
    async with asking(made(ANYONE_DANGEROUS)) as client:
        assert Page(await client.get("/tasks/acme-failed")).all("form")
