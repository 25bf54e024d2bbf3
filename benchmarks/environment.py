"""What is installed in an environment, printed as JSON: python -m benchmarks.environment."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from importlib.metadata import distributions
from pathlib import Path
from typing import Any


def environment() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "packages": dict(sorted((found.name.lower(), found.version) for found in distributions())),
    }


def machine(folder: str) -> dict[str, Any]:
    """``folder`` is where the SQLite files are: on a tmpfs a durable commit costs nothing."""
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "file system": _file_system(folder),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _file_system(folder: str) -> str:
    path = Path(folder).resolve()
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    holding = [(where, kind) for where, kind in mounts if path.is_relative_to(where)]
    return max(holding, key=lambda mount: len(mount[0]), default=("", "unknown"))[1]


if __name__ == "__main__":
    print(json.dumps(environment()))
