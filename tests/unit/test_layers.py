"""The tree is what docs/contributing.md says: layers, without a circle, and rooms of a bearable size."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import flowstore

PACKAGE: Final = Path(flowstore.__file__).parent
MODULES: Final = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
LAYERS: Final = (
    ("_lazily",),
    ("text", "times", "stored_type", "stand_ins", "statuses"),
    ("fields",),
    ("_errors",),
    ("jsonable",),
    ("task_error", "errors", "tables"),
    ("_packages",),
    ("models", "frames"),
    ("_queries",),
    ("queries",),
    ("observing",),
    ("engine",),
    ("_observing",),
    ("_values",),
    ("_trips",),
    ("_waiting",),
    ("_core",),
    ("_dumping",),
    ("features",),
    ("runs",),
    ("base",),
    ("_local",),
    ("backends",),
    ("connecting", "current"),
    ("sync",),
    ("typed",),
    ("",),  # flowstore/__init__.py
    ("integrations",),
    ("_faces",),
    ("web",),
    ("cli", "__main__"),
    ("testing",),
)
"""From the bottom to the top; a module imports from its own layer and those below it."""
MOST_LINES: Final = 350
LOOKED_UP: Final = {
    "flowstore": 400,
    "flowstore.base": 720,
    "flowstore.errors": 500,
    "flowstore.runs.runs": 450,
    "flowstore.sync.generated": 3_000,
}
"""Lists of names, of verbs and of errors, with more words than code: they are looked up, not read through.

The last one is written by a script, and has the docstrings of all classes that it is made from.
"""
MOST_LINES_OF_A_CLASS: Final = 400


def imports(module: str) -> Iterator[str]:
    """The modules of flowstore that this one imports, wherever in its text, for type checkers too."""
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "flowstore":
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)


ARROWS: Final = {module: sorted(set(imports(module)) - {module}) for module in MODULES}


def layer(module: str) -> int:
    room = module.removeprefix("flowstore").lstrip(".").split(".")[0]
    return next(number for number, rooms in enumerate(LAYERS) if room in rooms)


@pytest.mark.parametrize("module", MODULES)
def test_no_arrow_goes_up(module: str) -> None:
    """Each module stands on those below it."""
    for target in ARROWS[module]:
        assert layer(target) <= layer(module), f"{module} imports {target}"


def test_there_is_no_circle() -> None:
    """Taking away whatever imports nothing that is left, all are taken away."""
    left = {module: set(targets) for module, targets in ARROWS.items()}
    while free := {module for module, targets in left.items() if not targets & left.keys()}:
        for module in free:
            del left[module]
    assert left == {}


@pytest.mark.parametrize("storage", ["memory", "sqlite", "redis"])
def test_storages_know_nothing_of_each_other(storage: str) -> None:
    """What two of them share lies below them."""
    own = f"flowstore.backends.{storage}"
    for module in MODULES:
        if module.startswith(own):
            assert not [
                target
                for target in ARROWS[module]
                if target.startswith("flowstore.backends.") and not target.startswith(own)
            ]


def test_engines_know_nothing_of_what_stands_on_them() -> None:
    """The interface, and the engines of the storages but for the constructors of their backends."""
    above = ("flowstore._core", "flowstore.features", "flowstore.base", "flowstore._waiting")
    for module, targets in ARROWS.items():
        is_engine = module.startswith("flowstore.backends.") and module.count(".") == 3
        if module.startswith("flowstore.engine") or (is_engine and not module.endswith(".backend")):
            assert not [target for target in targets if target.startswith(above)], module


@pytest.mark.parametrize("module", MODULES)
def test_rooms_are_small(module: str) -> None:
    """No module over 350 lines, no class over 400, but for what is looked up."""
    text = MODULES[module].read_text("utf-8")
    assert len(text.splitlines()) <= LOOKED_UP.get(module, MOST_LINES)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            most = LOOKED_UP.get(module, MOST_LINES_OF_A_CLASS)
            assert (node.end_lineno or 0) - node.lineno < most, node.name


def test_faces_use_the_public_face() -> None:
    """What a program of users could do; besides, what the faces share, and what is within their own room."""
    public = {module for module in MODULES if "._" not in module}
    inner = ("flowstore.backends.", "flowstore.base", "flowstore.features.")
    shared = ("flowstore._faces", "flowstore._packages")
    for module, targets in ARROWS.items():
        room = ".".join(module.split(".")[:2])
        if room in ("flowstore._faces", "flowstore.web", "flowstore.cli"):
            for target in targets:
                is_shared = target.startswith((*shared, room))
                assert is_shared or (target in public and not target.startswith(inner)), f"{module}: {target}"


def test_integrations_use_the_public_face() -> None:
    """What a program of users could do; besides, what they share in modules of their own."""
    public = {module for module in MODULES if "._" not in module}
    inner = ("flowstore.backends.", "flowstore.base", "flowstore.features.")
    for module, targets in ARROWS.items():
        if module.startswith("flowstore.integrations"):
            for target in targets:
                is_shared = target.startswith(("flowstore.integrations._", "flowstore._packages"))
                assert is_shared or (target in public and not target.startswith(inner)), f"{module}: {target}"


def test_only_one_module_of_the_kit_reaches_inside() -> None:
    """It uses the public face but for testing/insides.py, and the interface of storages."""
    inner = ("flowstore._", "flowstore.backends.", "flowstore.base", "flowstore.features.")
    for module, targets in ARROWS.items():
        if module.startswith("flowstore.testing") and module != "flowstore.testing.insides":
            reached = [target for target in targets if target.startswith(inner)]
            assert reached == [], f"{module} imports {reached}"
