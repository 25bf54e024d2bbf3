"""What a program loads when it starts: no more than it uses."""

from __future__ import annotations

import ast
import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import flowstore
import flowstore.features
import flowstore.runs

PACKAGES = [flowstore, flowstore.features, flowstore.runs]

ONE_PAGE = """
import asyncio, sys
from flowstore import connect

async def main():
    async with connect("sqlite:///" + sys.argv[1]) as backend:
        return await backend.page(limit=50)

assert asyncio.run(main()).items == []
"""


def loaded(code: str, *args: str) -> set[str]:
    """The modules that a program with this code has loaded at its end."""
    program = f"{code}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program, *args], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def told(package: ModuleType) -> dict[str, str]:
    """What the imports for type checkers say of each name: the module that it is in."""
    assert package.__file__ is not None
    tree = ast.parse(Path(package.__file__).read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    return {
        alias.name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_are_told_where_the_names_are(package: ModuleType) -> None:
    """The table, the imports for type checkers and __all__ agree, and each name is there."""
    assert vars(package)["_MODULES"] == told(package)
    assert told(package).keys() - {"RedisBackend", "RedisClusterBackend"} == set(package.__all__)
    for name, module in told(package).items():
        assert getattr(package, name) is getattr(import_module(module), name)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_that_is_not_there(package: ModuleType) -> None:
    """It is told as any module tells it."""
    with pytest.raises(AttributeError, match=f"^module '{package.__name__}' has no attribute 'Nothing'$"):
        _ = package.Nothing
    with pytest.raises(ImportError, match="cannot import name 'Nothing'"):
        exec(f"from {package.__name__} import Nothing")


@pytest.mark.parametrize("package", PACKAGES)
def test_all_names_are_listed_and_taken(package: ModuleType) -> None:
    """By dir before they are used, and by a star import."""
    code = f"import {package.__name__} as it; assert set(it.__all__) <= set(dir(it)); print(*dir(it))"
    assert "pydantic" not in loaded(code)
    names: dict[str, object] = {}
    exec(f"from {package.__name__} import *", names)
    assert set(package.__all__) <= names.keys()


def test_modules_are_attributes() -> None:
    """A program may say flowstore.errors after ``import flowstore``."""
    loaded("import flowstore; flowstore.errors.UnknownTask; flowstore.models.TaskResult; flowstore.runs.Run")


def test_pickles_load_what_they_need() -> None:
    """In a program that has imported nothing yet."""
    data = pickle.dumps(flowstore.TaskResult.success("a", 1))
    code = f"import pickle; assert pickle.loads({data!r}).result == 1"
    assert "flowstore.runs.runs" not in loaded(code)


def test_importing_flowstore_loads_next_to_nothing() -> None:
    """Least of all what takes longest."""
    found = {
        name for name in loaded("import flowstore") if name.startswith(("flowstore", "pydantic", "asyncio"))
    }
    assert found == {"flowstore", "flowstore._lazily"}


def test_a_page_needs_no_features(tmp_path: Path) -> None:
    """Nor runs, nor what moves data, nor other storages."""
    found = loaded(ONE_PAGE, str(tmp_path / "x.db"))
    assert "flowstore.backends.sqlite.engine" in found
    unwanted = ("flowstore.features", "flowstore._dumping", "flowstore.backends.redis", "redis")
    assert [name for name in found if name.startswith(unwanted)] == []
    assert {name for name in found if name.startswith("flowstore.runs")} == {
        "flowstore.runs",
        "flowstore.runs.place",
    }


async def test_a_feature_is_made_once() -> None:
    """From then on it is an attribute like any other."""
    async with flowstore.InMemoryBackend() as backend:
        assert "data" not in vars(backend)
        assert backend.data is backend.data is vars(backend)["data"]
        assert backend.runs is backend.runs is vars(backend)["runs"]
