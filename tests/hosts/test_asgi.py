"""Requests for tasks in Starlette, FastAPI and Litestar, in this process."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Any
from urllib.parse import quote, unquote

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar, asgi
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Mount

import flowstore
from flowstore import BaseResultBackend, Progress, TaskResult
from flowstore.integrations._asgi_asked import asked
from flowstore.integrations.asgi import Access, AccessRule, backend_of, lifespan, task_routes
from flowstore.testing.insides import listening, meanwhile, plant
from tests.hosts.asgi_client import serving

HOSTS = ["starlette", "fastapi", "litestar"]
VALUE = {"rows": [1, float("nan")], "raw": b"\xff"}


async def anyone(request: Request, task: TaskResult) -> Access:
    return Access.RESULT


def everything(request: Request, task: TaskResult) -> Access:
    return Access.ALL


def owner(request: Request, task: TaskResult) -> Access:
    is_theirs = task.meta.get("owner") == request.headers.get("x-user")
    return Access.RESULT if is_theirs else Access.NOTHING


def make_app(host: str, backend: BaseResultBackend | str, access: AccessRule = anyone) -> Any:
    routes = task_routes(access=access)
    if host == "litestar":
        return Litestar(
            [asgi("/jobs", is_mount=True, copy_scope=True)(routes)],
            lifespan=[lifespan(backend)],
            logging_config=None,
        )
    if host == "starlette":
        return Starlette(routes=[Mount("/jobs", routes)], lifespan=lifespan(backend))
    app = FastAPI(lifespan=lifespan(backend))
    app.mount("/jobs", routes)
    return app


@pytest.mark.parametrize("host", HOSTS)
async def test_states(host: str, backend: BaseResultBackend) -> None:
    """404 before it is stored, 202 with Retry-After until it is finished, then 200 with its result."""
    async with serving(make_app(host, backend)) as client:
        missing = await client.get("/jobs/t1")
        assert (missing.status_code, missing.json()) == (404, {"title": "Not Found", "status": 404})
        assert missing.headers["content-type"] == "application/problem+json"
        await backend.store("t1", TaskResult.running("t1", task_name="sum"))
        running = await client.get("/jobs/t1")
        assert (running.status_code, running.headers["retry-after"]) == (202, "1")
        assert (running.json()["status"], running.json()["task_name"]) == ("running", "sum")
        await backend.store("t1", TaskResult.success("t1", VALUE))
        finished = await client.get("/jobs/t1")
        assert (finished.status_code, "retry-after" in finished.headers) == (200, False)
        assert finished.json()["result"] == {"rows": [1, "nan"], "raw": "/w=="}
        assert finished.headers["cache-control"] == "no-store"
        assert finished.headers["content-type"] == "application/json"


async def test_a_wait_ends_with_the_task(backend: BaseResultBackend, url: str) -> None:
    """By push, and also if another backend of the same storage stores it."""
    await backend.store("t1", TaskResult.pending("t1"))
    async with (
        serving(make_app("fastapi", backend)) as client,
        flowstore.connect(url) as second,
    ):
        other = backend if url == "memory://" else second
        waits = [
            asyncio.ensure_future(client.get("/jobs/t1?wait=30s")),
            asyncio.ensure_future(client.get("/jobs/t1", headers={"Prefer": "respond-async, wait=30"})),
        ]
        await listening(backend, "t1")
        await other.store("t1", TaskResult.success("t1", 3))
        by_parameter, by_preference = await asyncio.wait_for(asyncio.gather(*waits), 10)
    assert by_parameter.json() == by_preference.json()
    assert (by_parameter.status_code, by_parameter.json()["result"]) == (200, 3)
    assert "preference-applied" not in by_parameter.headers
    assert by_preference.headers["preference-applied"] == "wait=30"


async def test_a_task_that_goes_during_a_wait(backend: BaseResultBackend) -> None:
    """Is 410, and 404 from then on."""
    await backend.store("t1", TaskResult.running("t1"))
    await backend.store("t2", TaskResult.running("t2"), ttl=0.2)
    async with serving(make_app("starlette", backend)) as client:
        deleted = asyncio.ensure_future(client.get("/jobs/t1?wait=30"))
        await listening(backend, "t1")
        await backend.delete("t1")
        gone = await asyncio.wait_for(deleted, 10)
        expired = await asyncio.wait_for(client.get("/jobs/t2?wait=30"), 10)
        assert (await client.get("/jobs/t1?wait=30")).status_code == 404
    assert (gone.status_code, gone.json()["title"]) == (410, "Gone")
    assert expired.status_code in (410, 404)  # the latter if it expired before it was looked at


async def test_a_wait_that_is_over(memory: BaseResultBackend) -> None:
    """Is answered with the state as it is then."""
    await memory.store("t1", TaskResult.pending("t1"))
    async with serving(make_app("starlette", memory)) as client:
        waiting = asyncio.ensure_future(client.get("/jobs/t1?wait=0.2s"))
        await listening(memory, "t1")
        await memory.store("t1", TaskResult.running("t1"))
        answer = await waiting
    assert (answer.status_code, answer.json()["status"]) == (202, "running")


@pytest.mark.parametrize(
    ("given", "applied"),
    [
        ("wait=0", "wait=0"),
        ("Wait = 0", "wait=0"),
        ('handling=lenient, wait="0"; x=1', "wait=0"),
        ("wait=0, wait=50", "wait=0"),
        ("wait=-1", None),
        ("wait", None),
        ("wait=soon", None),
        ("respond-async", None),
    ],
)
async def test_preferences(given: str, applied: str | None, memory: BaseResultBackend) -> None:
    """The first that can be read counts; what cannot be, is ignored."""
    await memory.store("t1", TaskResult.pending("t1"))
    async with serving(make_app("starlette", memory)) as client:
        answer = await asyncio.wait_for(client.get("/jobs/t1", headers={"Prefer": given}), 10)
    assert (answer.status_code, answer.headers.get("preference-applied")) == (202, applied)


async def test_no_wait_is_longer_than_the_longest(memory: BaseResultBackend) -> None:
    await memory.store("t1", TaskResult.pending("t1"))
    app = Starlette(routes=[Mount("/", task_routes(access=anyone, backend=memory, longest_wait=0.05))])
    async with serving(app) as client:
        answers = [
            await asyncio.wait_for(client.get("/t1?wait=999999999s"), 10),
            await asyncio.wait_for(client.get("/t1", headers={"Prefer": "wait=999999999"}), 10),
        ]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[1].headers["preference-applied"] == "wait=0.05"


@pytest.mark.parametrize(
    "given", ["", "-1", "nan", "inf", "1e3", "20m", "٢", "1s1", "9" * 5_000, "secret\r\n"]
)
async def test_waits_that_cannot_be_read(given: str, memory: BaseResultBackend) -> None:
    """Are 400, and are not repeated."""
    async with serving(make_app("starlette", memory)) as client:
        answer = await client.get("/jobs/t1", params={"wait": given})
    assert answer.json() == {
        "title": "Bad Request",
        "status": 400,
        "detail": "wait: expected seconds, such as 20 or 20s",
    }
    assert answer.headers["content-type"] == "application/problem+json"


async def test_etags(backend: BaseResultBackend) -> None:
    """Each state has its own: after progress, with another expiry, and when an id is used again."""
    seen: list[str] = []
    async with serving(make_app("starlette", backend)) as client:

        async def look() -> str:
            answer = await client.get("/jobs/t1", headers={"If-None-Match": ", ".join(seen)})
            assert answer.status_code in (200, 202)
            again = await client.get("/jobs/t1", headers={"If-None-Match": f'"x", {answer.headers["etag"]}'})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == answer.headers["etag"]
            return answer.headers["etag"]

        await backend.store("t1", TaskResult.running("t1"))
        seen.append(await look())
        await backend.set_progress("t1", 1, 2)
        seen.append(await look())
        await backend.expire("t1", 60)
        seen.append(await look())
        await backend.store("t1", TaskResult.success("t1", 1))
        seen.append(await look())
        await backend.delete("t1")
        await backend.store("t1", TaskResult.running("t1"))
        seen.append(await look())
        assert (await client.get("/jobs/t1", headers={"If-None-Match": "*"})).status_code == 304


SECRET = "s3cret"


def failing() -> TaskResult:
    try:
        raise ValueError("no paper")
    except ValueError as error:
        error.add_note(SECRET)
        values: dict[str, Any] = {"args": (SECRET,), "kwargs": {"key": SECRET}, "meta": {"token": SECRET}}
        names: dict[str, Any] = {"worker_id": SECRET, "labels": [SECRET], "parent_id": SECRET}
        return TaskResult.failed("t1", error, task_name="print", **values, **names)


@pytest.mark.parametrize("access", [Access.STATUS, Access.RESULT, Access.ALL])
async def test_what_is_shown(access: Access, backend: BaseResultBackend) -> None:
    """Error, traceback and arguments only to those who may see them."""
    await backend.store("t1", failing())
    async with serving(make_app("starlette", backend, lambda request, task: access)) as client:
        answer = await client.get("/jobs/t1")
    shown = answer.json()
    assert (answer.status_code, shown["status"], shown["task_name"]) == (200, "failed", "print")
    assert (SECRET in answer.text) == (access is Access.ALL)
    assert ("Traceback" in answer.text or "failing" in answer.text) == (access is Access.ALL)
    error = {"type": "ValueError", "message": "no paper"}
    match access:
        case Access.STATUS:
            assert "error" not in shown
        case Access.RESULT:
            assert shown["error"] == error
        case _:
            assert shown == flowstore.to_jsonable(await backend.get("t1"))


@pytest.mark.parametrize("access", [Access.STATUS, Access.RESULT, Access.ALL])
async def test_results_and_arguments(access: Access, memory: BaseResultBackend) -> None:
    """Results are for RESULT, arguments for ALL, also before the end."""
    app = make_app("starlette", memory, lambda request, task: access)
    async with serving(app) as client:
        await memory.store("t1", TaskResult.running("t1", args=(1,)))
        running = (await client.get("/jobs/t1")).json()
        await memory.store("t1", TaskResult.success("t1", 7, args=(1,)))
        finished = (await client.get("/jobs/t1")).json()
    assert finished.get("result") == (None if access is Access.STATUS else 7)
    for shown in (running, finished):
        assert ("args" in shown) == (access is Access.ALL)


async def test_what_may_not_be_seen_is_not_there(backend: BaseResultBackend) -> None:
    """The answers are the same to the last byte, with waits and streams, and for each method."""
    await backend.store("t1", TaskResult.pending("t1", meta={"owner": "ada"}))
    eve = {"X-User": "eve"}
    async with serving(make_app("fastapi", backend, owner)) as client:
        for path in ("", "?wait=20", "/events"):
            for method in ("GET", "HEAD", "POST"):
                others = await client.request(method, f"/jobs/t1{path}", headers=eve)
                missing = await client.request(method, f"/jobs/t2{path}", headers=eve)
                assert others.status_code == missing.status_code == (405 if method == "POST" else 404)
                assert (others.content, others.headers) == (missing.content, missing.headers)
        assert (await client.get("/jobs/t1", headers={"X-User": "ada"})).status_code == 202


class Rule:
    async def __call__(self, request: Request, task: TaskResult) -> Access:
        return Access.RESULT


@pytest.mark.parametrize("rule", [Rule(), lambda request, task: anyone(request, task), partial(anyone)])
async def test_forms_of_access(rule: AccessRule, memory: BaseResultBackend) -> None:
    """An object, a function that returns what is to be awaited, a partial."""
    await memory.store("t1", TaskResult.success("t1", 1))
    async with serving(make_app("starlette", memory, rule)) as client:
        assert (await client.get("/jobs/t1")).json()["result"] == 1


async def test_access_is_asked_again_after_a_wait(memory: BaseResultBackend) -> None:
    """Who may see a task may have changed with it."""
    await memory.store("t1", TaskResult.pending("t1", meta={"owner": "ada"}))
    async with serving(make_app("starlette", memory, owner)) as client:
        waiting = asyncio.ensure_future(client.get("/jobs/t1?wait=30", headers={"X-User": "ada"}))
        await listening(memory, "t1")
        await memory.store("t1", TaskResult.success("t1", 1, meta={"owner": "eve"}))
        assert (await waiting).status_code == 404


@pytest.mark.parametrize("host", HOSTS)
async def test_access_may_answer_itself(host: str, memory: BaseResultBackend) -> None:
    """An HTTPException is told as problem details, with its headers."""

    def nobody(request: Request, task: TaskResult) -> Access:
        raise HTTPException(401, "who are you?", {"WWW-Authenticate": "Bearer"})

    await memory.store("t1", TaskResult.pending("t1"))
    async with serving(make_app(host, memory, nobody)) as client:
        answer = await client.get("/jobs/t1")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json() == {"title": "Unauthorized", "status": 401, "detail": "who are you?"}


@pytest.mark.parametrize("answer", [True, None, 3, "ALL"])
async def test_an_access_that_is_none(answer: Any, memory: BaseResultBackend) -> None:
    """Is an error of the program, and shows nothing."""
    await memory.store("t1", TaskResult.success("t1", 1))
    async with serving(make_app("starlette", memory, lambda request, task: answer)) as client:
        with pytest.raises(TypeError, match="access: expected an Access"):
            await client.get("/jobs/t1")
    with pytest.raises(TypeError, match="access"):
        task_routes(access=None)  # type: ignore[arg-type]


IDS = [
    "a/b/c",
    "a b",
    "ü/☃",
    "50%",
    "%2F",
    "a?b#c",
    "events",
    "a/events",
    "a+b",
    "&=;:@",
    "'\"<>",
    "🙂",
    "a//b",
    "/a",
]


@pytest.mark.parametrize("host", HOSTS)
async def test_ids(host: str, memory: BaseResultBackend) -> None:
    """Any id, percent-encoded; its slashes may stay as they are but before a last ``events``."""
    await memory.store_many(TaskResult.success(task_id, task_id) for task_id in IDS)
    async with serving(make_app(host, memory)) as client:
        for task_id in IDS:
            answer = await client.get(f"/jobs/{quote(task_id, safe='')}")
            assert answer.json()["result"] == task_id
            followed = await client.get(f"/jobs/{quote(task_id, safe='')}/events")
            assert quote(task_id) in quote(followed.text.replace('\\"', '"'))
        assert (await client.get("/jobs/a/b/c")).json()["result"] == "a/b/c"
        assert (await client.get(f"/jobs/{quote('x' * 600)}")).status_code == 404
        assert (await client.get("/jobs/")).status_code == 404
        assert (await client.get("/jobs/%FF")).status_code == 404


@given(st.text(min_size=1, max_size=20), st.sampled_from(["", "/v1", "/v1/tasks/x"]), st.booleans())
def test_any_id_is_understood(task_id: str, root: str, is_events: bool) -> None:
    """Below whatever it is mounted, also under itself."""
    task_id = task_id.encode(errors="replace").decode()
    path = f"{root}/{task_id}" + ("/events" if is_events else "")
    sent = f"{quote(root)}/{quote(task_id, safe='')}" + ("/events" if is_events else "")
    scope = {"path": path, "root_path": root, "raw_path": sent.encode()}
    assert asked(scope) == (task_id, is_events)


@pytest.mark.parametrize("step", ["/", "/%41", "%2F"])
async def test_long_paths_take_no_time(step: str) -> None:
    """Whoever asks for one does not hold up the others. It names no task, as it is too long."""
    sent = f"/tasks{step * (60_000 // len(step))}"
    began = time.process_time()
    task_id, _ = asked({"path": unquote(sent), "root_path": "/tasks", "raw_path": sent.encode()})
    asked({"path": "/tasks/a", "root_path": "/tasks", "raw_path": sent.encode()})  # as rewritten on the way
    assert time.process_time() - began < 0.5
    assert len(task_id) > 512


async def test_without_the_path_as_it_was_sent() -> None:
    """As some servers do it, and what rewrites paths on the way: only the decoded one counts."""
    assert asked({"path": "/tasks/a/b", "root_path": "/tasks"}) == ("a/b", False)
    assert asked({"path": "/tasks/a%/events", "root_path": "/tasks"}) == ("a%", True)
    assert asked({"path": "/a", "root_path": "/x", "raw_path": b"/elsewhere"}) == ("a", False)


@pytest.mark.parametrize("host", HOSTS)
async def test_other_methods(host: str, memory: BaseResultBackend) -> None:
    """HEAD has the headers of GET; the rest is 405. No answer says anything of other origins."""
    await memory.store("t1", TaskResult.success("t1", 1))
    async with serving(make_app(host, memory)) as client:
        get, head = await client.get("/jobs/t1"), await client.head("/jobs/t1")
        assert (head.status_code, head.headers) == (200, get.headers)
        events = await client.head("/jobs/t1/events")
        assert (events.status_code, events.content) == (200, b"")
        assert events.headers["content-type"].startswith("text/event-stream")
        answers = [get, head, events]
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            refused = await client.request(method, "/jobs/t1", headers={"Origin": "https://elsewhere"})
            assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
            assert refused.json() == {"title": "Method Not Allowed", "status": 405}
            answers.append(refused)
    for answer in answers:
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_storage_that_is_down(caplog: pytest.LogCaptureFixture) -> None:
    """Is 503 with Retry-After, without where it is; the log has the reason."""
    backend = flowstore.connect("redis://127.0.0.1:1/0", op_timeout=0.3)
    app = Starlette(routes=[Mount("/", task_routes(access=anyone, backend=backend, retry_after=7))])
    async with serving(app) as client:
        for path in ("/t1", "/t1?wait=20", "/t1/events"):
            with caplog.at_level(logging.WARNING, "flowstore"):
                answer = await client.get(path)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
            assert answer.json()["detail"] == "the storage does not answer"
            assert "127.0.0.1" not in answer.text
            assert "a request for a task was answered 503: " in caplog.text
    await backend.close()


async def test_a_backend_that_is_closed(memory: BaseResultBackend) -> None:
    await memory.store("t1", TaskResult.pending("t1"))
    async with serving(make_app("starlette", memory)) as client:
        await memory.close()
        answer = await client.get("/jobs/t1")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["detail"] == "the service is stopping"


async def test_a_record_that_cannot_be_read(
    backend: BaseResultBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """Is 404 if it cannot be told whose it is, else 500; the log has the reason."""
    await plant(backend, TaskResult.success("t1"), head=b"[]")
    await plant(backend, TaskResult.success("t2", 1), body=b"?")
    async with serving(make_app("starlette", backend)) as client:
        assert (await client.get("/jobs/t1")).json() == {"title": "Not Found", "status": 404}
        assert (await client.get("/jobs/t1/events")).status_code == 404
        answer = await client.get("/jobs/t2")
    assert (answer.status_code, answer.json()["detail"]) == (500, "the record of the task cannot be read")
    assert "'t1'" in caplog.text
    assert "'t2'" in caplog.text


async def test_a_task_that_moves_on_while_it_is_read(memory: BaseResultBackend) -> None:
    """It is shown as it is then, to those who may see that; and is gone if it was deleted."""
    ada = {"X-User": "ada"}
    finished = TaskResult.success("t1", 1, meta={"owner": "ada"})

    async def give_away() -> None:
        await memory.store("t1", TaskResult.success("t1", 2, meta={"owner": "eve"}), overwrite=True)

    steps = [
        (lambda: memory.requeue("t1"), 202),
        (give_away, 404),
        (lambda: memory.delete("t1"), 410),
    ]
    async with serving(make_app("starlette", memory, owner)) as client:
        for step, status in steps:
            await memory.store("t1", finished, overwrite=True)
            meanwhile(memory, "read", step)
            answer = await client.get("/jobs/t1", headers=ada)
            assert (answer.status_code, "retry-after" in answer.headers) == (status, status == 202)
            assert "result" not in answer.json() or answer.json()["result"] is None


async def test_progress_is_shown(memory: BaseResultBackend) -> None:
    await memory.store("t1", TaskResult.running("t1"))
    await memory.set_progress("t1", 1, 4, "reading")
    async with serving(make_app("starlette", memory, lambda request, task: Access.STATUS)) as client:
        shown = (await client.get("/jobs/t1")).json()["progress"]
    assert Progress(**shown) == Progress(done=1, total=4, note="reading")


@pytest.mark.parametrize("host", HOSTS)
async def test_an_own_backend_lives_as_long_as_the_application(host: str, tmp_path: Any) -> None:
    """It is opened and closed with it, and anew if the application runs once more."""
    app = make_app(host, f"sqlite:///{tmp_path}/t.db")
    seen: list[BaseResultBackend] = []
    for number in range(2):
        async with serving(app) as client:
            seen.append(backend_of(app))
            await seen[-1].store(f"t{number}", TaskResult.success(f"t{number}", number))
            assert (await client.get(f"/jobs/t{number}")).json()["result"] == number
            assert (await client.get("/jobs/t0")).status_code == 200
    assert seen[0] is not seen[1]
    for backend in seen:
        with pytest.raises(flowstore.BackendClosed):
            await backend.get("t0")
