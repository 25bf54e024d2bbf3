"""The engine and the backend that docs/writing-a-backend.md shows, taken from the page itself."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "writing-a-backend.md"


def _from_page() -> ModuleType:
    programs = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    [source] = [program for program in programs if "class ToyEngine" in program]
    module = ModuleType("toy")
    sys.modules[module.__name__] = module  # where typing looks for what annotations name
    exec(compile(source, str(PAGE), "exec"), module.__dict__)
    return module


_toy = _from_page()
ToyEngine: Any = _toy.ToyEngine
ToyBackend: Any = _toy.ToyBackend
