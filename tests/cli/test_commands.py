"""Every command: its help, its examples, and what it prints in each format."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import flowstore
from flowstore.cli._commands import COMMANDS
from tests.cli.support import Ran, golden, invoke, seed

ROOT = Path(flowstore.__file__).parents[1]
FORMATS = ("table", "json", "jsonl", "csv", "ids")

# What each command that only reads prints, but for ls, which has a module of its own.
READING = {
    "show": ["show", "task-1", "task-2"],
    "show-error": ["show", "task-3", "--part", "error"],
    "show-result": ["show", "task-2", "--part", "result"],
    "show-args": ["show", "task-2", "--part", "args"],
    "show-tries": ["show", "task-1", "--part", "tries"],
    "show-data": ["show", "nightly", "--part", "data"],
    "wait": ["wait", "task-1", "task-2"],
    "stats": ["stats", "--since", "2026-03-01"],
    "stats-by-name": ["stats", "--by", "name", "--since", "ever"],
    "stats-by-status": ["stats", "--by", "status", "--since", "ever"],
    "errors": ["errors", "--since", "2026-02-01", "--order", "last"],
    "tree": ["tree", "task-1"],
    "runs": ["runs", "name:nightly"],
    "history": ["history", "task-1"],
    "diff": ["diff", "task-1"],
    "workers": ["workers"],
    "apps": ["apps"],
    "operations": ["operations"],
    "get": ["get", "nightly"],
    "verify": ["verify"],
    "requeue": ["requeue", "status:failed", "--dry-run"],
    "rm": ["rm", "task-0", "--dry-run"],
}


@pytest.mark.usefixtures("at_noon")
@pytest.mark.parametrize("output", FORMATS)
@pytest.mark.parametrize("name", READING)
def test_what_it_prints(shop: str, name: str, output: str) -> None:
    """The same in each format as tests/cli/golden has it, and JSON that can be read."""
    ran = invoke(*READING[name], "-o", output, "--time", "utc", url=shop)
    golden(f"{name}/{output}", steady(ran))
    assert "\x1b" not in ran.out + ran.err
    assert "Traceback" not in ran.err


def steady(ran: Ran) -> Ran:
    """Without what differs from run to run: the end of a time up to now, and what is a moment ago."""
    out = re.sub(r'("(?:end|ended_per_minute)": ?)("[^"]+"|[\d.]+(?:e-\d+)?)', r"\1ANY", ran.out)
    out = re.sub(r"(?<=Z),20\d\d-[^,]*Z(?=,\d)", ",END", out)
    return ran._replace(out=re.sub(r" +\d+\.\d$", " RATE", out, flags=re.MULTILINE))


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name: str) -> None:
    """It begins with the two examples, and fits a terminal of 80 columns."""
    ran = invoke(name, "--help", COLUMNS="80")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[:2] == [f"$ {example}" for example in COMMANDS[name].examples]
    assert max(map(len, lines)) <= 80
    assert COMMANDS[name].summary.split(";")[0][:30] in ran.out


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with the store, and an environment in which ``flowstore`` is a command."""
    folder = tmp_path_factory.mktemp("examples")
    url = f"sqlite:///{folder / 'shop.db'}"
    seed(url)
    assert invoke("export", "--to", str(folder / "tasks.jsonl.gz"), url=url).code == 0
    assert invoke("copy", str(folder / "shop.db"), str(folder / "copy.db")).code == 0
    command = folder / "bin" / "flowstore"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m flowstore "$@"\n')
    command.chmod(0o755)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("FLOWSTORE_")},
        "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "FLOWSTORE_URL": "sqlite:///shop.db",
        "XDG_CONFIG_HOME": str(folder),
    }
    return folder, environment


@pytest.fixture
def own_shell(shell: tuple[Path, dict[str, str]], tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """The same in a folder of its own, as examples change what is there."""
    folder, environment = shell
    copy = tmp_path / "shop"
    shutil.copytree(folder, copy)
    return copy, environment


NOT_QUIET = {"diff": 1, "doctor": 1}
"""Commands whose answer here is "no": attempts differ, and the SQLite of this Python may be an old one."""


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "serve"])
def test_examples(own_shell: tuple[Path, dict[str, str]], name: str) -> None:
    """They run as they stand, in a shell."""
    folder, environment = own_shell
    for example in COMMANDS[name].examples:
        ran = subprocess.run(
            ["bash", "-o", "pipefail", "-c", example],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        expected = {0, NOT_QUIET.get(name, 0)}
        assert ran.returncode in expected, f"{example}: {ran.stderr}"
        assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("example", COMMANDS["serve"].examples)
def test_examples_of_serve(own_shell: tuple[Path, dict[str, str]], example: str) -> None:
    """They serve, print the link to come in, and stop when they are told to."""
    folder, environment = own_shell
    port = [] if "--port" in example else ["--port", "0"]  # the standing one may be taken
    served = subprocess.Popen(
        [*shlex.split(example), *port],
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert served.stderr is not None
    try:
        printed = ""
        while "enter?token=" not in printed:
            line = served.stderr.readline()
            assert line, printed
            printed += line
    finally:
        served.send_signal(signal.SIGTERM)
        served.wait(30)
        served.stderr.close()
    assert served.returncode in (0, -signal.SIGTERM, 128 + signal.SIGTERM)


def test_all_commands_are_listed() -> None:
    ran = invoke("--help")
    assert ran.code == 0
    for name, command in COMMANDS.items():
        assert re.search(rf"│ {name} +{re.escape(command.summary[:20])}", ran.out), name
    assert "complete-words" not in ran.out


def test_a_closed_pipe_is_quiet(own_shell: tuple[Path, dict[str, str]]) -> None:
    """Whoever reads the first line only hears of nothing else."""
    folder, environment = own_shell
    command = (
        "for n in 1 2 3; do flowstore ls -o jsonl --limit 7; done | head -1 | wc -l; echo ${PIPESTATUS[@]}"
    )
    ran = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stderr == ""
    assert ran.stdout.split()[0] == "1"


def test_without_the_extra() -> None:
    """One sentence says what is missing, and how to get it."""
    program = (
        "import sys; sys.modules['cyclopts'] = None\nfrom flowstore.cli import run\nsys.exit(run(['ls']))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("flowstore: the command line needs cyclopts")
    assert "flowstore[cli]" in ran.stderr
    assert "Traceback" not in ran.stderr
