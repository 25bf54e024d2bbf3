"""``flowstore completion``: what a shell is told while somebody types."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.support import invoke


def told(url: str, *words: str) -> list[str]:
    ran = invoke("complete-words", "--", *words, url=url)
    assert (ran.code, ran.err) == (0, "")
    return ran.out.splitlines()


def test_words_that_are_known(shop: str) -> None:
    assert told(shop, "ver") == ["verify"]
    assert told(shop, "ls", "--na") == ["--namespace"]
    assert told(shop, "export", "--fo") == ["--format"]
    assert told(shop, "ls", "-o", "j") == ["json", "jsonl"]
    assert told(shop, "ls", "st") == ["status:", "started:"]
    assert told(shop, "ls", "status:f") == ["status:failed"]
    assert told(shop, "ls", "-status:f") == ["-status:failed"]
    assert told(shop, "ls", "--fields", "status,na") == ["status,name"]
    assert told(shop, "import", "") == []


def test_what_is_in_the_store(shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was typed in the line, if any was."""
    assert told(shop, "ls", "name:m") == ["name:mail.send"]
    assert told(shop, "ls", "label:") == ["label:eu", "label:us"]
    assert told(shop, "ls", "worker:w") == ["worker:w1", "worker:w2"]
    assert told(shop, "ls", "-n", "de") == ["default"]
    assert told("", "--url", shop, "ls", "name:n") == ["name:nightly"]
    (tmp_path / "flowstore.toml").write_text(f'[profiles.shop]\nurl = "{shop}"\n')
    monkeypatch.chdir(tmp_path)
    assert told("", "--profile", "") == ["shop"]
    assert told("", "--profile", "shop", "ls", "name:r") == ["name:report.render"]


@pytest.mark.parametrize("url", ["", "sqlite:///none.db", "redis://127.0.0.1:1/0", "nonsense://x"])
def test_silent_whatever_is_wrong(url: str) -> None:
    assert told(url, "ls", "name:") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(shell: str) -> None:
    """Each shell that is there takes its script; the others are as they were read."""
    script = invoke("completion", shell).out
    assert "flowstore complete-words -- " in script
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=script, text=True, check=True, timeout=20)


def test_bash_completes(shop: str, tmp_path: Path) -> None:
    program = tmp_path / "flowstore"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m flowstore "$@"\n')
    program.chmod(0o755)
    line = (
        'eval "$(flowstore completion bash)"; COMP_WORDS=(flowstore ls name:m); COMP_CWORD=2; '
        '_flowstore; echo "${COMPREPLY[@]}"'
    )
    ran = subprocess.run(
        ["bash", "-c", line],
        env={**os.environ, "FLOWSTORE_URL": shop, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout == "name:mail.send\n"
