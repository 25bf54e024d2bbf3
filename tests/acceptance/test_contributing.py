"""docs/contributing.md names files, names and layers that exist."""

from __future__ import annotations

import re
from pathlib import Path

from tests.unit.test_layers import LAYERS

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "contributing.md").read_text("utf-8")
FILE = re.compile(r"`((?:flowstore|tests|examples)/[\w./]*|pyproject\.toml)`")
NAMED = re.compile(FILE.pattern + r" \((?:[^()]*`\w+`)+[^()]*\)")


def test_named_files_exist() -> None:
    """Each path leads somewhere."""
    named = set(FILE.findall(DOCUMENT))
    assert len(named) > 40
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_named_parts_are_in_their_files() -> None:
    """What stands in parentheses behind a file is a name in it."""
    found = 0
    for match in NAMED.finditer(DOCUMENT):
        text = (ROOT / match[1]).read_text("utf-8") if (ROOT / match[1]).is_file() else ""
        for name in re.findall(r"`(\w+)`", match[0].partition("(")[2]):
            assert re.search(rf"\b{name}\b", text), f"{name} in {match[1]}"
            found += 1
    assert found > 20


def test_the_tree_is_that_of_the_layers() -> None:
    """In the order in which the test of the layers has them."""
    table = DOCUMENT.partition("| layer |")[2].partition("\n\n")[0]
    listed = [re.findall(r"`flowstore/(\w+)(?:\.py|/)`", row.split("|")[1]) for row in table.splitlines()[2:]]
    assert [sorted(rooms) for rooms in listed] == [sorted(rooms) for rooms in LAYERS if rooms != ("",)]
    assert "flowstore/engine/" in DOCUMENT
