"""From arguments to exit codes: how errors are told, signals, closed pipes and missing packages."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowstore.cli._running import with_command_first
from tests.cli.support import invoke

PROGRAM = [sys.executable, "-m", "flowstore"]


def shell(line: str, url: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of bash, in which ``flowstore`` is this program."""
    function = f'flowstore() {{ "{sys.executable}" -m flowstore "$@"; }}; set -o pipefail; '
    return subprocess.run(
        ["bash", "-c", function + line],
        env={**os.environ, "FLOWSTORE_URL": url, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-n", "x", "ls", "a"], ["ls", "-n", "x", "a"]),
        (["-nx", "-ojson", "-q", "--no-pager", "ls"], ["ls", "-nx", "-ojson", "-q", "--no-pager"]),
        (["--url=a.db", "ls", "-q"], ["ls", "--url=a.db", "-q"]),
        (["--version"], ["--version"]),
        (["-n", "x"], ["-n", "x"]),
        ([], []),
    ],
)
def test_common_options_before_the_command(arguments: list[str], expected: list[str]) -> None:
    assert with_command_first(arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["lss"], 2, 'Unknown command "lss". Did you mean "ls"?'),
        (["ls", "--output", "xml"], 2, 'Invalid value "xml" for --output'),
        (["ls", "status:"], 2, "status:"),
        (["show", "none-such"], 3, "there is no task 'none-such'"),
        (["ls", "-n", "other"], 3, "there is no namespace 'other'; there are: default"),
        (["ls", "--url", "redis://localhost:1/0"], 4, "Redis: Error 111"),
        (["ls", "--url", "none.db"], 4, "none.db: there is no such file"),
        (["rm", "task-0"], 2, "nobody can be asked here"),
    ],
)
def test_errors_are_sentences_or_json(shop: str, arguments: list[str], code: int, expected: str) -> None:
    ran = invoke(*arguments, url=shop)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("flowstore: ")
    assert expected in ran.err
    if "--output" not in arguments:
        as_json = invoke(*arguments, "-o", "json", url=shop)
        assert (as_json.code, as_json.out) == (code, "")
        error = json.loads(as_json.err)["error"]
        assert error["code"] == code
        assert expected in error["message"]
        assert error.keys() == {"code", "kind", "message", "hint"}


def test_a_hint_names_the_help_that_there_is(shop: str) -> None:
    assert "hint: flowstore --help" in invoke("lss", url=shop).err
    assert "hint: flowstore ls --help" in invoke("ls", "--limit", "x", url=shop).err


COMMANDS_WITH_OUTPUT = [
    "ls",
    "show task-1",
    "stats",
    "export --to -",
    "verify -o json",
    "doctor",
    "metrics",
    "--help",
]


FORKING = """\
import os, sys
import rich.table, rich.progress, flowstore.sync, flowstore.cli.moving, flowstore.cli.figures
from flowstore.__main__ import main
for line in sys.argv[1:]:
    reading, writing = os.pipe()
    os.close(reading)
    child = os.fork()
    if not child:
        os.dup2(writing, 1)
        sys.argv = ["flowstore", *line.split()]
        main()
    os.close(writing)
    print(f"{line}: {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}", flush=True)
"""
"""Runs each command in a process of its own whose reader has gone; the modules are loaded once."""


def test_a_closed_pipe_is_quiet(shop: str) -> None:
    """For each command: 141 for who asks, and not a word."""
    ran = subprocess.run(
        [sys.executable, "-c", FORKING, *COMMANDS_WITH_OUTPUT],
        env={**os.environ, "FLOWSTORE_URL": shop},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert re.sub(r"7 tasks, sha256 .*\n|7 records and .*\n", "", ran.stderr) == ""
    assert ran.stdout.splitlines() == [f"{command}: 141" for command in COMMANDS_WITH_OUTPUT]


def test_the_first_of_many_lines(own_shop: str) -> None:
    ran = shell("flowstore ls -o jsonl --fields task_id | head -1; flowstore ls 2>&1 | head -1", own_shop)
    assert ran.stdout.splitlines()[0] == '{"task_id":"task-5"}'
    assert ran.stderr == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals(shop: str, number: signal.Signals, code: int) -> None:
    """A command that waits ends at once, with the code that shells know."""
    waiting = subprocess.Popen(
        [*PROGRAM, "wait", "task-5", "task-4", "--timeout", "60s"],
        env={**os.environ, "FLOWSTORE_URL": shop, "PYTHONFAULTHANDLER": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _until_open(waiting.pid, shop.removeprefix("sqlite:///"))
    waiting.send_signal(number)
    out, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, out) == (code, "")
    assert "Traceback" not in err


def _until_open(pid: int, path: str) -> None:
    """Until the process has the file open, and with it all signals in its hands."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            if os.path.realpath(descriptor) == path:
                return
        time.sleep(0.02)
    raise AssertionError(f"{path} was not opened")


def test_python_m_is_the_command(shop: str) -> None:
    ran = subprocess.run(
        [*PROGRAM, "ls", "id:task-1", "-o", "ids"],
        env={**os.environ, "FLOWSTORE_URL": shop},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "task-1\n", "")


BLOCKED = """\
import sys
sys.modules[sys.argv.pop(1)] = None
from flowstore.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("package", "command", "extra"),
    [
        ("cyclopts", ["ls"], "flowstore[cli]"),
        ("uvicorn", ["serve"], "flowstore[web]"),
        ("prometheus_client", ["metrics"], "flowstore[prometheus]"),
    ],
)
def test_a_missing_extra_is_one_sentence(shop: str, package: str, command: list[str], extra: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", BLOCKED, package, *command],
        env={**os.environ, "FLOWSTORE_URL": shop},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert extra in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
