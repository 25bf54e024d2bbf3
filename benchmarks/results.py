"""What a run of the benchmark found, as it is kept in JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Run:
    """One measure of one system in one round: its numbers, or the error that says why there are none."""

    measure: str
    system: str
    round: int
    numbers: dict[str, float] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0


@dataclass
class Results:
    plan: str
    date: str
    """When it began, ISO 8601 in UTC."""
    machine: dict[str, Any]
    servers: list[str]
    environments: dict[str, dict[str, Any]]
    """Python, SQLite and packages of the environment that a system ran in; "" is that of all others."""
    runs: list[Run] = field(default_factory=list)
    seconds: float = 0.0

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> Results:
        found = json.loads(path.read_text())
        runs = [Run(**run) for run in found.pop("runs")]
        return cls(runs=runs, **found)

    def version(self, system: str) -> str:
        """Of the package that a peer is named after; empty when it is not installed."""
        environment = self.environments.get(system) or self.environments.get("") or {}
        version: str = environment.get("packages", {}).get(system.split(" (")[0], "")
        return version
