"""docs/reliability.md names for each promise a test that exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "reliability.md").read_text("utf-8")
NAME = re.compile(r"`([\w./]+::(?:\w+::)?test_\w+)`")
TOPICS = {
    "Waiting",
    "Writing",
    "Redis and Valkey",
    "Clusters",
    "SQLite",
    "Every backend",
    "Integrity",
    "Without await",
    "Typed results",
    "Runs",
    "Hostile input",
    "Secrets",
}


def names_in(path: Path) -> Iterator[str]:
    """Those of a module; those of its classes as ``Class::name``. Nothing is imported."""
    for node in ast.parse(path.read_text("utf-8")).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        for function in inside:
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                yield prefix + function.name


def existing() -> set[str]:
    contract = {name for path in (ROOT / "flowstore" / "testing").rglob("*.py") for name in names_in(path)}
    own = {
        f"{path.relative_to(ROOT).as_posix()}::{name}"
        for path in (ROOT / "tests").rglob("*.py")
        for name in names_in(path)
    }
    return {name for name in contract | own if name.rpartition("::")[2].startswith("test_")}


def tables() -> dict[str, list[str]]:
    """Under each heading of the first part the rows of its table."""
    promised = DOCUMENT.partition("\n## What is not promised\n")[0]
    topics = re.split(r"^## (.*)\n", promised, flags=re.MULTILINE)[1:]
    rows = [re.findall(r"^\| (?!promised).*$", text, re.MULTILINE) for text in topics[1::2]]
    return dict(zip(topics[::2], rows, strict=True))


def test_named_tests_exist() -> None:
    """Each of them, in the tests or in the contract."""
    named = NAME.findall(DOCUMENT)
    assert len(named) == DOCUMENT.count("::test_") > 80
    assert set(named) - existing() == set()


def test_each_promise_has_a_test() -> None:
    """Each topic has promises, in a table of two columns; each row names a test."""
    found = tables()
    assert found.keys() == TOPICS
    for topic, rows in found.items():
        assert len(rows) >= 4, topic
        for row in rows:
            promise, shown = row.strip("| ").split(" | ")
            assert promise.endswith("."), row
            assert NAME.sub("", shown).strip(", ") == "", row
            assert NAME.search(shown), row
