"""``--watch``: a terminal shows what is, and is left as it was; a pipe has each change."""

from __future__ import annotations

import asyncio
import json
import time

import flowstore
from flowstore import TaskResult
from flowstore.cli.listing import ls
from tests.cli.beside import beside
from tests.cli.terminal import Terminal

ENTER, LEAVE, CLEAR = b"\x1b[?1049h\x1b[?25l", b"\x1b[?25h\x1b[?1049l", b"\x1b[H\x1b[J"


def a_task(task_id: str) -> TaskResult:
    return TaskResult.running(TaskResult.pending(task_id, task_name="mail.send"), worker_id="w1")


def put(url: str, *tasks: TaskResult) -> None:
    async def store() -> None:
        async with flowstore.connect(url) as backend:
            for task in tasks:
                await backend.store(task.task_id, task)

    asyncio.run(store())


def test_a_listing_on_a_terminal(own_shop: str) -> None:
    """A task comes and goes with its status; Ctrl-C leaves the last list, the cursor and the modes."""
    with Terminal("ls", "-w", "status:running", url=own_shop) as terminal:
        terminal.until("nightly")
        assert terminal.written.startswith(ENTER)
        put(own_shop, a_task("new"))
        assert "task-4" in terminal.until(lambda shown: "new" in shown.text.split())
        put(own_shop, TaskResult.success(a_task("new"), 1))
        terminal.until(lambda shown: "new" not in shown.text.split())
        terminal.type("\x03")
        assert terminal.ended() == 130
        _, _, left = terminal.written.partition(LEAVE)
        assert b"task-4" in left
        assert CLEAR not in left
        assert not terminal.screen.cursor.hidden


def test_no_more_than_four_times_a_second(own_shop: str) -> None:
    """However many changes there are."""
    with Terminal("ls", "-w", url=own_shop) as terminal:
        terminal.until("nightly")
        before, begun = terminal.written.count(CLEAR), time.monotonic()
        put(own_shop, *(a_task(f"new-{number}") for number in range(60)))
        terminal.until("new-59")
        most = 4 * (time.monotonic() - begun) + 1
        assert 1 <= terminal.written.count(CLEAR) - before <= most


def test_what_does_not_fit_is_cut(own_shop: str) -> None:
    with Terminal("ls", "-w", url=own_shop, lines=6) as terminal:
        text = terminal.until("UTC")
        assert len(text.splitlines()) <= 6
        assert "…" in text.splitlines()[-2]


def test_a_task_until_it_is_finished(own_shop: str) -> None:
    """Its progress is seen, and in the end all of it, on the screen that stays."""
    put(own_shop, a_task("new"))
    with Terminal("show", "new", "-w", url=own_shop) as terminal:
        terminal.until("RUNNING")

        async def work() -> None:
            async with flowstore.connect(own_shop) as backend:
                await backend.set_progress("new", 1, 4, "page 1")
                await asyncio.to_thread(terminal.until, "progress    1 of 4, 25%  page 1")
                await backend.store("new", TaskResult.success(a_task("new"), {"pages": 4}))

        asyncio.run(work())
        assert terminal.ended() == 0
        assert "SUCCESS" in terminal.text
        assert '{"pages": 4}' in terminal.text
        assert not terminal.screen.cursor.hidden


def test_a_task_that_goes_away(own_shop: str) -> None:
    put(own_shop, a_task("new"))
    with Terminal("show", "new", "-w", url=own_shop) as terminal:
        terminal.until("RUNNING")

        async def remove() -> None:
            async with flowstore.connect(own_shop) as backend:
                await backend.delete("new")

        asyncio.run(remove())
        assert terminal.ended() == 3
        assert "Traceback" not in terminal.text


async def test_a_listing_on_a_pipe(own_store: str) -> None:
    """Each change of what was asked for is a line of JSON."""
    async with beside(ls, own_store, "name:mail.send", watch=True) as (command, backend):
        await backend.store("other", TaskResult.running(TaskResult.pending("other", task_name="report")))
        await backend.store("new", a_task("new"))
        await command.printed('"new"')
        await backend.store("new", TaskResult.success(a_task("new"), 1))
        await command.printed('"success"')
        lines = [json.loads(line) for line in command.out.splitlines()]
        assert [(line["task_id"], line["status"]) for line in lines] == [
            ("new", "running"),
            ("new", "success"),
        ]
