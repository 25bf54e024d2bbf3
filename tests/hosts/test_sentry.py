"""Sentry, with its own SDK and a transport that keeps what would be sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import Any, ClassVar

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.dedupe import DedupeIntegration
from sentry_sdk.transport import Transport

import flowstore
import flowstore.sync
from flowstore import StorageUnavailable, TaskResult, WaitTimeout
from flowstore.integrations.sentry import Sentry
from flowstore.testing.contract.leaving import unavailable
from flowstore.testing.insides import replaced_verb


class Kept(Transport):
    events: ClassVar[list[dict[str, Any]]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        event = envelope.get_event()
        if event is not None:
            self.events.append(dict(event))


@pytest.fixture
def events() -> Iterator[list[dict[str, Any]]]:
    """What is sent. The SDK is initialised without what patches other modules for good."""
    Kept.events.clear()
    with sentry_sdk.isolation_scope():
        sentry_sdk.init(
            dsn="https://key@localhost/1",
            transport=Kept,
            default_integrations=False,
            auto_enabling_integrations=False,
            integrations=[DedupeIntegration()],
        )
        yield Kept.events
        sentry_sdk.get_client().close(0)
        sentry_sdk.get_global_scope().set_client(None)


def crumbs(event: dict[str, Any]) -> list[tuple[str, Any]]:
    """What each breadcrumb of flowstore says, and of which task."""
    values = event.get("breadcrumbs", {}).get("values", [])
    return [(crumb["message"], crumb["data"].get("task_id")) for crumb in values]


async def test_tags(events: list[dict[str, Any]], url: str) -> None:
    """An event that is sent inside of a block has the task, also from threads; outside it has none."""
    async with flowstore.connect(url, observers=[Sentry()]) as backend:
        async with backend.track("t1", name="report", worker_id="w"):
            sentry_sdk.capture_message("inside")
            async with backend.track("t2"):
                await asyncio.to_thread(sentry_sdk.capture_message, "in a thread")
        sentry_sdk.capture_message("outside")
    inside, thread, outside = events
    assert inside["tags"] == {"flowstore.task_id": "t1", "flowstore.task_name": "report"}
    assert inside["contexts"]["flowstore"] == {
        "namespace": "default",
        "worker_id": "w",
        "task_id": "t1",
        "task_name": "report",
        "retries": 0,
    }
    assert thread["tags"]["flowstore.task_id"] == "t2"
    assert not outside.get("tags")
    assert "flowstore" not in outside["contexts"]


async def test_breadcrumbs(events: list[dict[str, Any]], url: str) -> None:
    """What went before: in the block, and around it what became of its task."""
    async with flowstore.connect(url, observers=[Sentry()]) as backend:
        async with backend.track("t"):
            with pytest.raises(WaitTimeout):
                await backend.wait_for("other", 0.01)
            with (
                replaced_verb(backend, "read", unavailable, in_storage=True),
                pytest.raises(StorageUnavailable),
            ):
                await backend.get("t")
            await backend.store("t", TaskResult.cancelled("t"))
            sentry_sdk.capture_message("inside")
        sentry_sdk.capture_message("outside")
    inside, outside = map(crumbs, events)
    assert inside == [
        ("a task begins", "t"),
        ("a wait has ended", "other"),
        ("a call of the storage was given up", None),
    ]
    assert outside == [("a task begins", "t"), ("a task has ended", "t")]


async def test_tasks_side_by_side(events: list[dict[str, Any]]) -> None:
    """Each has its own tags and breadcrumbs."""

    async def work(name: str) -> None:
        async with backend.track(name):
            await asyncio.sleep(0)
            with pytest.raises(WaitTimeout):
                await backend.wait_for(f"of {name}", 0.01)
            sentry_sdk.capture_message(name)

    async with flowstore.connect("memory://", observers=[Sentry()]) as backend:
        await asyncio.gather(*(work(f"t{n}") for n in range(5)))
    for event in events:
        assert event["tags"] == {"flowstore.task_id": event["message"]}
        assert [task for text, task in crumbs(event) if "wait" in text] == [f"of {event['message']}"]


@pytest.mark.parametrize("capture_failures", [False, True])
async def test_failures(events: list[dict[str, Any]], url: str, capture_failures: bool) -> None:
    """They are sent on request, once, with the task; those that are tried again are not."""
    async with flowstore.connect(url, observers=[Sentry(capture_failures=capture_failures)]) as backend:
        for attempt in range(2):
            try:
                async with backend.track("t", retry_on=ValueError, max_retries=1):
                    raise ValueError(f"attempt {attempt}")
            except ValueError as error:
                if attempt:
                    sentry_sdk.capture_exception(error)  # as the queue around does
    [event] = events
    assert event["exception"]["values"][0]["value"] == "attempt 1"
    assert event.get("tags", {}) == ({"flowstore.task_id": "t"} if capture_failures else {})


def test_threads(events: list[dict[str, Any]], url: str) -> None:
    """flowstore.sync: what the thread of the block sends has its task."""
    with flowstore.sync.connect(url, observers=[Sentry()]) as store:
        with store.track("t1"):
            sentry_sdk.capture_message("inside")
        sentry_sdk.capture_message("outside")
    inside, outside = events
    assert inside["tags"] == {"flowstore.task_id": "t1"}
    assert not outside.get("tags")


async def test_without_sentry(url: str) -> None:
    """Where a program has not initialised it, nothing happens."""
    async with flowstore.connect(url, observers=[Sentry(capture_failures=True)]) as backend:
        async with backend.track("t") as task:
            task.result = 1
        assert (await backend.wait_for("t", 30)).unwrap() == 1


async def test_blocks_that_cross(events: list[dict[str, Any]]) -> None:
    """Where they end in another order than they began, nothing of them is left."""

    async def steps(name: str) -> AsyncGenerator[None, None]:
        async with backend.track(name):
            yield

    async with flowstore.connect("memory://", observers=[Sentry()]) as backend:
        first, second = steps("a"), steps("b")
        await anext(first)
        await anext(second)
        await anext(first, None)
        sentry_sdk.capture_message("inside of the second")
        await anext(second, None)
        sentry_sdk.capture_message("outside")
    assert events[0]["tags"] == {"flowstore.task_id": "b"}
    assert not events[1].get("tags")


async def test_generators(events: list[dict[str, Any]], caplog: pytest.LogCaptureFixture) -> None:
    """A block that ends in another context than it began in."""

    async def steps() -> AsyncGenerator[None, None]:
        async with backend.track("t"):
            yield

    async with flowstore.connect("memory://", observers=[Sentry()]) as backend:
        walk = steps()
        await asyncio.create_task(begin(walk))
        await anext(walk, None)
        sentry_sdk.capture_message("outside")
    assert not events[0].get("tags")
    assert not caplog.records


async def begin(walk: AsyncGenerator[None, None]) -> None:
    await anext(walk)
