"""docs/cli.md tells the truth: its commands print what it says, and it names what there is."""

from __future__ import annotations

import re
import shlex
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flowstore.cli._commands import COMMANDS
from flowstore.cli._exits import Exit
from flowstore.cli._output import Out
from tests.cli.support import WRITES, invoke, seed

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)


def test_what_its_commands_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, in one folder. FLOWSTORE_GOLDEN=write writes it, to be looked at."""
    monkeypatch.chdir(tmp_path)
    seed("sqlite:///demo.db", now=datetime.now(UTC))

    def run(block: re.Match[str]) -> str:
        commands = [line[2:] for line in block[1].splitlines() if line.startswith("$ ")]
        return "```console\n" + "".join(map(_session, commands)) + "```"

    text = PAGE.read_text("utf-8")
    assert text.count("```console") >= 10
    printed = CONSOLE.sub(run, text)
    if WRITES:
        PAGE.write_text(printed, "utf-8")
    assert printed == PAGE.read_text("utf-8")


def _session(command: str) -> str:
    ran = invoke(*shlex.split(command)[1:], url="sqlite:///demo.db")
    printed = (ran.out + ran.err).replace(str(Path.cwd()), "/home/me")
    return f"$ {command}\n" + "".join(line.rstrip() + "\n" for line in printed.splitlines())


def test_it_names_all_there_is() -> None:
    text = PAGE.read_text("utf-8")
    assert [name for name in COMMANDS if f"`{name}`" not in text and f"`{name} " not in text] == []
    codes = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", text, re.M) for code in row.split(",")}
    assert codes == {*map(int, Exit), 143}
    assert max(map(len, text.splitlines())) <= 135


def test_its_settings_are_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flowstore.cli._settings import Common, settings_of

    found = re.search(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    assert tomllib.loads(found[1])["profiles"].keys() == {"prod"}
    (tmp_path / "flowstore.toml").write_text(found[1].replace("/run/secrets/", ""))
    (tmp_path / "flowstore-url").write_text("redis://host/0")
    monkeypatch.chdir(tmp_path)
    for name in ("URL", "PROFILE", "NAMESPACE", "TIME"):
        monkeypatch.delenv(f"FLOWSTORE_{name}", raising=False)
    settings = settings_of(Common(profile="prod"))
    assert (settings.url, settings.namespace, settings.time) == ("redis://host/0", "shop", "utc")
    assert Out(settings).time(datetime(2026, 3, 1, tzinfo=UTC)) == "2026-03-01 00:00:00+00:00"
