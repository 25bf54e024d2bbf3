"""docs/advisories.md names tests that exist, and all of them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_names_the_tests() -> None:
    page = (ROOT / "docs" / "advisories.md").read_text("utf-8")
    tests = (ROOT / "tests" / "web" / "test_advisories.py").read_text("utf-8")
    named = set(re.findall(r"`(test_\w+)`", page))
    assert named == set(re.findall(r"^(?:async )?def (test_\w+)", tests, re.MULTILINE))
    for file in re.findall(r"`(test_\w+\.py)`", page):
        assert (ROOT / "tests" / "web" / file).is_file()
