"""Every check of the project. Plain ``nox`` runs lint, types, tests and wheel."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "tests", "wheel"]
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False

PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def _group(name: str) -> list[str]:
    project = nox.project.load_toml("pyproject.toml")
    return list(nox.project.dependency_groups(project, name))


def _install(session: nox.Session) -> None:
    session.install("-e", ".[testing,examples]", *_group("test"))


def _found(version: str) -> str | None:
    """The interpreter of that version that really runs; shims of version managers may not."""
    candidates = [shutil.which(f"python{version}")]
    candidates += sorted(str(path) for path in Path.home().glob(f".pyenv/versions/{version}*/bin/python"))
    for candidate in filter(None, candidates):
        if subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
            return candidate
    return None


@nox.session
def demo(session: nox.Session) -> None:
    """A task queue with worker processes on SQLite, over the files of the Python installation."""
    session.install(".[examples]")
    session.run("python", "examples/quickstart.py", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests but the building of the wheel, on the running interpreter."""
    _install(session)
    session.run("pytest", "--ignore=tests/acceptance/test_wheel.py", *session.posargs)


@nox.session(python=[python for version in PYTHONS if (python := _found(version))])
def matrix(session: nox.Session) -> None:
    """The tests on every CPython >= 3.11 that is found."""
    tests(session)


@nox.session
def lint(session: nox.Session) -> None:
    session.install(*_group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    _install(session)
    session.install(*_group("types"), "nox")
    session.run("mypy", "flowstore", "tests", "examples", "noxfile.py")


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel and use it in a clean environment away from the checkout."""
    _install(session)
    session.run("pytest", "tests/acceptance/test_wheel.py", *session.posargs)
