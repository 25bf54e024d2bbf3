"""Modules that a test writes, imports and reloads. What they register is in the namespace "modules"."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from flowstore.typed.registry import clear_registry

_HEAD = """
import dataclasses, enum, uuid
import typing_extensions as te
from typing import *
from pydantic import *
from flowstore.typed.registry import DEFAULT_REGISTRY, register_model
"""


class Modules:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.names: set[str] = set()

    def run(self, name: str, text: str, *, anew: bool = False) -> ModuleType:
        """Import the module, or reload it if it is imported. ``anew``: import it once more instead."""
        self.names.add(name)
        (self._folder / f"{name}.py").write_text(_HEAD + text)
        importlib.invalidate_caches()
        if anew:
            sys.modules.pop(name, None)
        module = sys.modules.get(name)
        return importlib.import_module(name) if module is None else importlib.reload(module)


@contextmanager
def written_modules(folder: Path) -> Iterator[Modules]:
    modules = Modules(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setattr(sys, "dont_write_bytecode", True)  # which two writings in one second would share
        yield modules
    for name in modules.names:
        sys.modules.pop(name, None)
    clear_registry("modules")
