"""What a storage says whose driver is not there or too old, and what is loaded before one is asked for."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from flowstore import MissingPackage
from flowstore.backends.redis import OLDEST_DRIVER

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
NEEDS = f"MissingPackage: RedisBackend needs redis>={OLDEST_DRIVER}"
CURE = "pip install 'flowstore[redis]'"
WITHOUT_REDIS = "import sys; sys.modules['redis'] = None\n"
WITH_AN_OLD_ONE = """
import sys, types
sys.modules["redis"] = types.ModuleType("redis")
sys.modules["redis"].__version__ = "4.6.0"
"""
WITH_A_FOLDER = "import sys, types; sys.modules['redis'] = types.ModuleType('redis')\n"
WITH_A_BROKEN_ONE = """
import sys
from importlib.abc import MetaPathFinder

class Breaks(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "redis":
            raise ModuleNotFoundError("No module named 'jwt'", name="jwt")

sys.meta_path.insert(0, Breaks())
"""


def printed(program: str) -> str:
    """What a new interpreter prints; a warning is an error."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def refusal(before: str, call: str) -> str:
    """Of ``call``, in a new interpreter after ``before``."""
    attempt = (
        f"try:\n    {call}\nexcept ImportError as error:\n    print(f'{{type(error).__name__}}: {{error}}')"
    )
    return printed(f"{before}import flowstore\n{attempt}").strip()


@pytest.mark.parametrize(
    "call",
    [
        "from flowstore import RedisBackend",
        "flowstore.RedisBackend",
        "import flowstore.backends.redis",
        "flowstore.connect('redis://localhost')",
        "flowstore.connect('rediss://:s3cret@localhost')",
        "flowstore.connect('valkey://localhost')",
        "flowstore.connect('unix:///tmp/x.sock')",
    ],
)
def test_redis_without_its_driver(call: str) -> None:
    """One sentence, which names the extra."""
    assert refusal(WITHOUT_REDIS, call) == f"{NEEDS}, which is not installed: {CURE}"
    assert refusal(WITH_A_FOLDER, call) == f"{NEEDS}, which is not installed: {CURE}"


def test_redis_with_a_driver_that_is_too_old() -> None:
    """The sentence says which is there."""
    told = refusal(WITH_AN_OLD_ONE, "flowstore.connect('redis://localhost')")
    assert told == f"{NEEDS}, but version 4.6.0 is installed: {CURE}"


def test_a_driver_that_cannot_be_imported_says_so_itself() -> None:
    """It is installed; what it lacks in turn is not for flowstore to tell."""
    told = refusal(WITH_A_BROKEN_ONE, "flowstore.connect('redis://localhost')")
    assert told == "ModuleNotFoundError: No module named 'jwt'"


def test_the_extra_asks_for_what_the_backend_does() -> None:
    """One number, in two places."""
    extras = tomllib.loads(PROJECT.read_text("utf-8"))["project"]["optional-dependencies"]
    assert extras["redis"] == [f"redis[hiredis]>={OLDEST_DRIVER}"]


def test_missing_driver_pickles() -> None:
    """With what it is made of."""
    for parts in (
        ("RedisBackend", "redis>=5", "redis", None),
        ("RedisBackend", "redis>=5", "redis", "4.6.0"),
    ):
        sent = pickle.loads(pickle.dumps(MissingPackage(*parts)))
        assert (sent.feature, sent.package, sent.extra, sent.found) == parts


def test_memory_and_sqlite_without_redis(tmp_path: Path) -> None:
    """They store and find."""
    program = f"""
import asyncio, flowstore
from flowstore import TaskResult

async def main(url):
    async with flowstore.connect(url) as backend:
        await backend.store("t", TaskResult.success("t", 1))
        print((await backend.wait_for("t", 5)).unwrap())

for url in ("memory://", "sqlite:///{tmp_path}/x.db"):
    asyncio.run(main(url))
"""
    assert printed(WITHOUT_REDIS + program) == "1\n1\n"


def test_importing_flowstore_loads_no_driver() -> None:
    """Nor what only tests need; and the version is that of the installed package."""
    unwanted = {"redis", "hiredis", "aiosqlite", "sqlite3", "hypothesis", "pytest"}
    program = f"import flowstore, sys; print(flowstore.__version__, sorted({unwanted} & set(sys.modules)))"
    assert printed(program) == f"{version('flowstore')} []\n"


def test_the_kit_needs_no_pytest() -> None:
    """But for the contract, which says what it lacks."""
    program = """
import sys
sys.modules.update(dict.fromkeys(["pytest", "_pytest", "pytest_asyncio", "hypothesis"]))
import flowstore.testing, flowstore.testing.faults
try:
    import flowstore.testing.contract
except ModuleNotFoundError as error:
    print(error.name)
"""
    assert printed(program) == "pytest\n"


def test_a_star_import_needs_no_driver() -> None:
    """Nor does whatever looks at all that there is."""
    program = "from flowstore import *\nimport flowstore, inspect\n"
    shown = "print(connect.__name__, SQLiteBackend.__name__, len(inspect.getmembers(flowstore)) > 50)"
    assert printed(f"{WITHOUT_REDIS}{program}{shown}") == "connect SQLiteBackend True\n"
