"""How things are printed: colours, times, fields, CSV, wide characters, and the pager."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import pytest

import flowstore
from flowstore import TaskResult
from flowstore.cli._output import Column, Kind, Out
from flowstore.cli._settings import Common, settings_of
from tests.cli.support import invoke

NASTY = "\x1b[31mred\x1b]0;title\x07\r\n\u202e"


class Terminal(io.StringIO):
    """A stream that says that somebody looks at it."""

    def isatty(self) -> bool:
        return True


def out_of(stream: io.StringIO, **given: object) -> Out:
    return Out(settings_of(Common(url="x.db", **given)), stream)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("environment", "color", "on_terminal", "in_pipe"),
    [
        ({}, "auto", True, False),
        ({"NO_COLOR": "1"}, "auto", False, False),
        ({"NO_COLOR": ""}, "auto", True, False),
        ({"FORCE_COLOR": "1"}, "auto", True, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, "auto", False, False),
        ({"NO_COLOR": "1"}, "always", True, True),
        ({"FORCE_COLOR": "1"}, "never", False, False),
    ],
)
def test_when_there_are_colours(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    color: str,
    on_terminal: bool,
    in_pipe: bool,
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for stream, expected in ((Terminal(), on_terminal), (io.StringIO(), in_pipe)):
        out = out_of(stream, color=color)
        out.text("done", style="green")
        out.flush()
        assert ("\x1b[32m" in stream.getvalue()) is expected


def test_json_has_no_colours(shop: str) -> None:
    ran = invoke("ls", "-o", "json", url=shop, FORCE_COLOR="1")
    assert "\x1b" not in ran.out
    assert "\x1b[" in invoke("ls", "--color", "always", url=shop).out


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("relative", "1h ago"),
        ("utc", "2026-03-01 10:58:30+00:00"),
        ("epoch", "1772362710.000000"),
        ("local", "2026-03-01 05:58:30-05:00"),
    ],
)
@pytest.mark.usefixtures("at_noon")
def test_times(shop: str, form: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "EST5EDT")
    time.tzset()
    try:
        assert expected in invoke("ls", "id:task-3", "--time", form, url=shop).out
    finally:
        monkeypatch.undo()
        time.tzset()


def test_fields_of_each_format(shop: str) -> None:
    def printed(output: str) -> str:
        return invoke("ls", "id:task-3", "-o", output, "--fields", "task_id,retries", url=shop).out

    assert printed("table") == "TASK ID  RETRIES\ntask-3   1\n"
    assert json.loads(printed("json")) == [{"task_id": "task-3", "retries": 1}]
    assert json.loads(printed("jsonl")) == {"task_id": "task-3", "retries": 1}
    assert printed("csv") == "task_id,retries\ntask-3,1\n"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_cell_of_csv_is_no_formula(start: str) -> None:
    stream = io.StringIO()
    kind: Kind[str] = Kind((), lambda text: {"v": 1, "text": text, "number": -1})
    out_of(stream, output="csv", fields="text,number").items(kind, [f"{start}cmd|'/C calc'!A0"])
    cell = stream.getvalue().partition("\n")[2]
    assert cell.lstrip('"').startswith("'" + start)
    assert cell.endswith(",-1\n")


def test_wide_characters_do_not_break_columns() -> None:
    """Of a column that is not cut, each character may take two cells, and what is behind it stays in line."""
    from rich.cells import cell_len

    stream = io.StringIO()
    columns = (Column[str]("name", str), Column[str]("end", lambda _: "|"))
    out_of(stream).table(columns, ["報告書", "ok", "e\u0301"])
    assert {cell_len(line.partition("|")[0]) for line in stream.getvalue().splitlines()[1:]} == {8}


def test_text_of_a_store_controls_no_terminal(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/nasty.db"

    async def put() -> None:
        async with flowstore.connect(url) as backend:
            task = TaskResult.pending("a\nb", task_name=NASTY)
            failed = TaskResult.failed(TaskResult.running(task, worker_id=NASTY), ValueError(NASTY))
            await backend.store(task.task_id, failed)

    asyncio.run(put())
    for command in (["ls"], ["ls", "-o", "ids"], ["show", "a\nb"], ["verify"], ["export", "--to", "x.html"]):
        if command[0] == "export":
            command[-1] = str(tmp_path / "x.html")
        ran = invoke(*command, url=url)
        assert ran.code == 0
        assert not {"\x1b", "\x07", "\r", "\u202e"} & {*ran.out, *ran.err}
    page = (tmp_path / "x.html").read_text()
    assert not {"\x1b", "\x07", "\r", "\u202e"} & {*page}


LINES = "\n".join(map(str, range(100)))


@pytest.mark.parametrize("pager", ["", "cat", "no-such-program-there-is"])
def test_without_a_pager_it_is_printed(pager: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER", pager)
    stream = Terminal()
    out = out_of(stream)
    out.text(LINES)
    out.flush()
    assert stream.getvalue() == LINES + "\n"


def test_when_a_pager_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only on a terminal, only if it does not fit, and not if it was said."""
    seen = tmp_path / "seen"
    monkeypatch.setenv("PAGER", f"tee {seen}")
    for stream, text, options in (
        (io.StringIO(), LINES, {}),
        (Terminal(), "short", {}),
        (Terminal(), LINES, {"no_pager": True}),
        (Terminal(), LINES, {"output": "jsonl"}),
    ):
        out = out_of(stream, **options)
        out.text(text)
        out.flush()
        assert stream.getvalue() == text + "\n"
        assert not seen.exists()
    stream = Terminal()
    out = out_of(stream)
    out.text(LINES)
    out.flush()
    assert (stream.getvalue(), seen.read_text()) == ("", LINES + "\n")
