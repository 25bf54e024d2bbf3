"""``flowstore operations``, and what a terminal is asked before one of them is begun."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import Sequence

import pytest

import flowstore
from flowstore import Operation, TaskResult
from tests.cli.support import invoke

pytestmark = pytest.mark.usefixtures("at_noon")


def fill(url: str, count: int) -> None:
    asyncio.run(_fill(url, count))


async def _fill(url: str, count: int) -> None:
    async with flowstore.connect(url) as backend:
        await backend.store_many(TaskResult.pending(f"m{n}", task_name="mail") for n in range(count))


def start(url: str, query: str) -> Operation:
    """One that is begun, as by a program that was killed."""

    async def started() -> Operation:
        async with flowstore.connect(url) as backend:
            return await backend.actions.start("cancel", query, by="ada", reason="a test")

    return asyncio.run(started())


@pytest.mark.parametrize("output", ["table", "json", "jsonl", "csv", "ids"])
def test_formats(own_store: str, output: str) -> None:
    """The newest first; what was stored by the real clock is not the same each time."""
    invoke("requeue", "task-1", "-y", "--by", "ada", "--reason", "the relay is back", url=own_store)
    invoke("rm", "status:success", "-y", "--by", "bob", url=own_store)
    ran = invoke("operations", "-o", output, url=own_store)
    if output == "json":
        assert [each["id"] for each in json.loads(ran.out)] == ["2", "1"]
    elif output == "jsonl":
        assert [json.loads(line)["by"] for line in ran.out.splitlines()] == ["bob", "ada"]
    elif output == "ids":
        assert ran.out == "2\n1\n"
    elif output == "csv":
        assert [line.split(",")[:4] for line in ran.out.splitlines()[1:]] == [
            ["2", "done", "status:success", "bob"],
            ["1", "done", "id:task-1", "ada"],
        ]
    else:
        words = [line.split() for line in ran.out.splitlines()]
        assert words[0] == ["ID", "ACTION", "STATE", "DONE", "FAILED", "STARTED", "BY", "QUERY", "REASON"]
        assert [line[:5] for line in words[1:]] == [
            ["2", "remove", "done", "2", "0"],
            ["1", "requeue", "done", "1", "0"],
        ]
        assert ran.out.endswith("the relay is back\n")


def test_pages(own_shop: str) -> None:
    for n in range(3):
        invoke("label", "task-0", "--add", f"l{n}", "-y", url=own_shop)
    assert invoke("operations", "--limit", "2", "-o", "ids", url=own_shop).out == "3\n2\n"
    assert invoke("operations", "--before", "2", "-o", "ids", url=own_shop).out == "1\n"


def test_one(own_shop: str) -> None:
    invoke("cancel", "task-5", "task-1", "-y", "--by", "ada", "--reason", "a test", url=own_shop)
    shown = dict(line.split(None, 1) for line in invoke("operations", "1", url=own_shop).out.splitlines())
    assert shown["query"] == "id:task-5,task-1"
    assert (shown["by"], shown["reason"], shown["state"]) == ("ada", "a test", "done")
    assert shown["effect"] == "1 cancelled, 1 left alone (finished 1)"
    assert json.loads(invoke("operations", "1", "-o", "json", url=own_shop).out)["matched"] == 2


def test_gone_on_with(own_store: str) -> None:
    begun = start(own_store, "status:pending,running")
    assert invoke("operations", begun.id, "-o", "json", url=own_store).out.count('"state": "running"') == 1
    ran = invoke("operations", "--resume", begun.id, "-o", "json", url=own_store)
    assert (ran.code, json.loads(ran.out)["done"]) == (0, 3)


def test_aborted(own_store: str) -> None:
    begun = start(own_store, "status:pending,running")
    ran = invoke("operations", "--abort", begun.id, "-o", "jsonl", url=own_store)
    assert (ran.code, json.loads(ran.out)["state"], json.loads(ran.out)["done"]) == (0, "aborted", 0)
    ran = invoke("operations", "--resume", begun.id, url=own_store)
    assert ran.code == 5
    assert "effect     0 cancelled, then aborted\n" in ran.out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["99"], 3, "there is no operation '99'"),
        (["--resume", "99"], 3, "there is no operation '99'"),
        (["--abort", "99"], 3, "there is no operation '99'"),
        (["first"], 3, "there is no operation 'first'"),
        (["1", "--abort", "1"], 2, "expected one of an id, --abort and --resume"),
        (["--limit", "0"], 2, "limit"),
        (["--before", "x"], 2, "before"),
    ],
    ids=str,
)
def test_refused(shop: str, words: list[str], code: int, said: str) -> None:
    ran = invoke("operations", *words, url=shop)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert "has stopped" not in ran.err


class Terminal:
    """A command whose stdin, stdout and stderr are a terminal of 80 columns."""

    def __init__(self, url: str, *words: str) -> None:
        self._master, slave = pty.openpty()
        environment = {**os.environ, "FLOWSTORE_URL": url, "TERM": "xterm", "COLUMNS": "80", "NO_COLOR": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _IN_TERMINAL, *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)
        self.shown = ""

    def expect(self, *texts: str) -> None:
        """Read until one of them was shown."""
        seen = len(self.shown)
        while not any(text in self.shown[seen:] for text in texts):
            if not self._read():
                raise AssertionError(f"expected {texts}, got {self.shown}")

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def end(self) -> int:
        """Its exit code, once it has shown all."""
        while self._read():
            pass
        os.close(self._master)
        return self._process.wait()

    def _read(self) -> bool:
        try:
            data = os.read(self._master, 65_536)
        except OSError:  # Linux says so once the last process has closed its side
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)


_IN_TERMINAL = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from flowstore.cli import run
sys.exit(run(sys.argv[1:]))
"""


def ended(terminal: Terminal, answers: Sequence[tuple[str, str]]) -> int:
    for question, answer in answers:
        terminal.expect(question)
        terminal.type(f"{answer}\n")
    return terminal.end()


@pytest.mark.parametrize(("answer", "code", "done"), [("y", 0, True), ("n", 5, False), ("", 5, False)])
def test_asked(own_shop: str, answer: str, code: int, *, done: bool) -> None:
    terminal = Terminal(own_shop, "requeue", "status:failed")
    assert ended(terminal, [("requeue 2 tasks (mail.send 2)? [y/N] ", answer)]) == code
    assert ("nothing was done" in terminal.shown) is not done
    assert ("2 requeued · operation 1" in terminal.shown) is done


def test_over_a_thousand_are_typed(own_shop: str) -> None:
    """A yes is not enough; and for more than a hundred the audit wants to know why."""
    fill(own_shop, 1_200)
    terminal = Terminal(own_shop, "cancel", "name:mail")
    assert ended(terminal, [("type 1200 to go on: ", "y")]) == 5
    terminal = Terminal(own_shop, "cancel", "name:mail", "--limit", "1100")
    assert ended(terminal, [("type 1100 to go on: ", "1,100"), ("why? ", "sent twice")]) == 0
    assert "1,100 cancelled" in terminal.shown
    kept = json.loads(invoke("operations", "1", "-o", "json", url=own_shop).out)
    assert (kept["action"]["reason"], kept["done"]) == ("sent twice", 1_100)


def test_interrupted(own_shop: str) -> None:
    """What was done stays done, its user is told how to go on, and that goes on at once."""
    fill(own_shop, 6_000)
    terminal = Terminal(own_shop, "cancel", "name:mail", "-y")
    terminal.expect(*(f" {done}/6000" for done in range(500, 6_000, 500)))
    terminal.type("\x03")
    assert terminal.end() == 130
    assert "flowstore operations --resume 1 goes on" in " ".join(terminal.shown.split())
    assert terminal.shown.rstrip().endswith("flowstore: interrupted")
    assert "\x1b[?25h" in terminal.shown.rpartition("\x1b[?25l")[2], "the cursor is hidden"
    stopped = json.loads(invoke("operations", "1", "-o", "json", url=own_shop).out)
    assert stopped["state"] == "running"
    assert 500 <= stopped["done"] < 6_000
    ran = invoke("operations", "--resume", "1", "-o", "json", url=own_shop)
    assert (ran.code, json.loads(ran.out)["done"]) == (0, 6_000)


@pytest.mark.parametrize("command", ["stats", "workers"])
def test_watched(shop: str, command: str) -> None:
    """Until Ctrl-C; the terminal is as it was, with the last that was shown."""
    terminal = Terminal(shop, command, "-w")
    terminal.expect(" UTC")
    terminal.type("\x03")
    assert terminal.end() == 130
    assert "\x1b[?25h\x1b[?1049l" in terminal.shown
    assert terminal.shown.rstrip().endswith("flowstore: interrupted")
