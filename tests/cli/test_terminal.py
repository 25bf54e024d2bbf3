"""What a user sees in a terminal."""

from __future__ import annotations

import asyncio
import termios
from pathlib import Path

import pytest

import flowstore
from flowstore import TaskResult
from tests.cli.support import invoke
from tests.cli.terminal import Terminal


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> str:
    """More tasks than fit on a screen, and enough for a bar to be seen."""
    url = f"sqlite:///{tmp_path_factory.mktemp('many') / 'many.db'}"

    async def put() -> None:
        async with flowstore.connect(url) as backend:
            for start in range(0, 4000, 500):
                tasks = (
                    TaskResult.pending(f"task-{n:05}", task_name="mail.send")
                    for n in range(start, start + 500)
                )
                await backend.store_many(tasks)

    asyncio.run(put())
    return url


@pytest.mark.parametrize("columns", [80, 40])
def test_a_listing_fits(shop: str, columns: int) -> None:
    """No line is broken: what may be cut ends with an ellipsis, and there are colours."""
    with Terminal("ls", "status:failed", url=shop, columns=columns) as terminal:
        assert terminal.ended() == 0
        lines = terminal.text.splitlines()
        assert [line[:6] for line in lines] == ["STATUS", "FAILED", "FAILED"]
        assert terminal.screen.buffer[1][0].fg == "red"
        assert all(len(line) <= columns for line in lines)
    assert "\x1b" not in invoke("ls", "status:failed", url=shop).out


def test_no_colour(shop: str) -> None:
    with Terminal("ls", url=shop, NO_COLOR="1") as terminal:
        assert terminal.ended() == 0
        assert b"\x1b[3" not in terminal.written


def test_a_pager_for_what_does_not_fit(many: str, tmp_path: Path) -> None:
    pager = tmp_path / "pager"
    pager.write_text('#!/bin/sh\nread first\necho "paged: $first"\ncat > /dev/null\n')
    pager.chmod(0o755)
    with Terminal("ls", url=many, PAGER=str(pager)) as terminal:
        assert terminal.ended() == 0
        assert "paged: " in terminal.text
        assert "task-03999" not in terminal.text
    for arguments in (["ls", "--limit", "5"], ["ls", "--no-pager"]):
        with Terminal(*arguments, url=many, PAGER=str(pager)) as terminal:
            assert terminal.ended() == 0
            assert "paged: " not in terminal.text


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 5), ("\n", 5)])
def test_a_prompt(own_shop: str, answer: str, code: int) -> None:
    with Terminal("rm", "task-0", url=own_shop) as terminal:
        terminal.until("[y/N]")
        terminal.type(answer)
        assert terminal.ended() == code
        assert ("nothing was done" in terminal.text) is (code == 5)
    assert invoke("show", "task-0", url=own_shop).code == (3 if code == 0 else 0)


def test_ctrl_c_at_a_prompt(own_shop: str) -> None:
    with Terminal("rm", "task-0", url=own_shop) as terminal:
        terminal.until("[y/N]")
        terminal.type("\x03")
        assert terminal.ended() == 130
        assert "Traceback" not in terminal.text
    assert invoke("show", "task-0", url=own_shop).code == 0


def test_a_bar_that_goes_away(many: str, tmp_path: Path) -> None:
    """It is drawn on stderr while something lasts, and leaves the cursor and no line behind."""
    with Terminal("copy", many.removeprefix("sqlite:///"), str(tmp_path / "copy.db"), url="") as terminal:
        assert terminal.ended() == 0
        assert b"copy " in terminal.written
        assert terminal.text == "4,000 tasks"
        assert not terminal.screen.cursor.hidden


def test_ctrl_c_restores_the_terminal(many: str) -> None:
    """In the middle of a bar: 130, the cursor is back, and the modes are as they were."""
    with Terminal("tail", url=many) as terminal:
        terminal.until(lambda shown: b"\x1b" in shown.written or shown.process.poll() is None)
        _until_open(terminal, many.removeprefix("sqlite:///"))
        terminal.type("\x03")
        assert terminal.ended() == 130
        assert not terminal.screen.cursor.hidden
        assert "Traceback" not in terminal.text
        assert terminal.modes[3] & termios.ECHO


def _until_open(terminal: Terminal, path: str) -> None:
    folder = Path(f"/proc/{terminal.process.pid}/fd")
    terminal.until(lambda _: any(str(each.resolve()) == path for each in folder.iterdir()))
