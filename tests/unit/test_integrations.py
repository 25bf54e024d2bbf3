"""What the integrations share: how a package that is missing is told, and whose backend is closed."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import flowstore
from flowstore import InMemoryBackend, MissingPackage, _packages, sync
from flowstore.integrations._stores import attached, attached_sync

ROOT = Path(flowstore.__file__).parent / "integrations"
HOSTS = sorted(path.stem for path in ROOT.glob("[a-z]*.py"))


def test_a_missing_package_names_the_extra() -> None:
    with (
        pytest.raises(MissingPackage) as caught,
        _packages.needed("the adapter", "redis", "redis", "no_such_module"),
    ):
        import_module("no_such_module")
    assert re.fullmatch(
        r"the adapter needs redis\S*>=5\.0\.1, which is not installed: pip install 'flowstore\[redis\]'",
        str(caught.value),
    )


def test_a_package_that_is_too_old_tells_its_version() -> None:
    with pytest.raises(MissingPackage) as caught, _packages.needed("the adapter", "redis"):
        from redis import NoSuchName  # type: ignore[attr-defined]  # noqa: F401
    assert f"but version {_packages._version('redis')} is installed" in str(caught.value)


def test_what_the_package_itself_lacks_is_passed_on() -> None:
    with pytest.raises(ModuleNotFoundError) as caught, _packages.needed("the adapter", "redis"):
        import_module("no_such_module")
    assert not isinstance(caught.value, MissingPackage)


@pytest.mark.parametrize("extra", ["redis", "no-such-extra"])
def test_requirements_are_those_of_the_extra(extra: str) -> None:
    assert _packages.requirement("redis", extra).startswith("redis")


async def test_a_backend_that_was_given_is_not_own() -> None:
    async with InMemoryBackend() as backend:
        assert attached(backend, {}).backend is backend
        assert not attached(backend, {}).is_own


def test_a_backend_is_made_from_a_url() -> None:
    made = attached("memory://", {"namespace": "other"})
    assert made.is_own
    assert made.backend.namespace == "other"


def test_a_synchronous_backend_is_attached_likewise() -> None:
    made = attached_sync("memory://", {})
    assert made.is_own
    with made.backend as backend:
        assert attached_sync(backend, {}).backend is backend


@pytest.mark.parametrize("attach", [attached, attached_sync])
@pytest.mark.parametrize("given", [1, object()])
def test_anything_else_is_refused(attach: Any, given: object) -> None:
    with pytest.raises(TypeError, match=f"backend: expected a .* URL as str, got {type(given).__name__}"):
        attach(given, {})


async def test_the_other_face_is_refused() -> None:
    """A backend of asyncio where threads call, and the other way round."""
    async with InMemoryBackend() as backend:
        with pytest.raises(TypeError, match=r"backend: expected a backend of flowstore\.sync, or a URL"):
            attached_sync(backend, {})  # type: ignore[arg-type]
    store = sync.connect("memory://")
    with pytest.raises(TypeError, match="backend: expected a backend, or a URL"):
        attached(store, {})  # type: ignore[arg-type]


async def test_options_are_for_urls() -> None:
    async with InMemoryBackend() as backend:
        with pytest.raises(TypeError, match="ttl: is an option"):
            attached(backend, {"ttl": 1})


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_that_is_not_installed_is_one_sentence(host: str) -> None:
    """With nothing to import but the dependencies of flowstore, the module says which extra it needs."""
    program = f"""
import sys
from importlib.abc import MetaPathFinder

import flowstore, flowstore.sync, flowstore.integrations._stores, flowstore._packages

OWN = {{"flowstore", *sys.stdlib_module_names, *(name.partition(".")[0] for name in sys.modules)}}

class Nothing(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] not in OWN:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Nothing())
try:
    import flowstore.integrations.{host}
except ImportError as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    if done.stdout:  # one that needs no package at all prints nothing
        assert re.fullmatch(
            r"MissingPackage .*needs .*, which is not installed: pip install 'flowstore\[[\w-]+\]'\n",
            done.stdout,
        )
