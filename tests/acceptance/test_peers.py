"""flowstore with its Redis extra installs beside other queues and result stores, without pinning any."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flowstore.testing.support import IS_STRESS

pytestmark = pytest.mark.skipif(not IS_STRESS, reason="asks the package index: in the session stress only")

ROOT = Path(__file__).parents[2]
PEERS = [
    "arq",
    "saq[redis]",
    "taskiq-redis",
    "celery[redis]",
    "rq",
    "dramatiq[redis]",
    "huey[redis]",
    "streaq",
    "pydocket",
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    [built] = folder.glob("flowstore-*.whl")
    return built


def chosen(folder: Path, *requirements: str) -> dict[str, str]:
    """The version of each package that pip would install into an empty environment of this Python."""
    report = folder / "report.json"
    resolve = ["install", "--dry-run", "--ignore-installed", "--quiet", "--report", str(report)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *resolve, *requirements], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    packages = (each["metadata"] for each in json.loads(report.read_text("utf-8"))["install"])
    return {package["name"].lower(): package["version"] for package in packages}


@pytest.mark.parametrize("peer", PEERS)
def test_the_newest_peer_is_chosen(peer: str, wheel: Path, tmp_path: Path) -> None:
    """As without flowstore, and with it the newest redis-py that the peer can have."""
    name = peer.partition("[")[0]
    alone = chosen(tmp_path, peer)
    beside = chosen(tmp_path, f"{wheel}[redis]", peer)
    print(f"{name} {beside[name]}, redis {beside['redis']}")  # shown with -s or -rP
    assert beside[name] == alone[name]
    assert beside["redis"] == alone.get("redis", beside["redis"])
    assert {"flowstore", "redis", "hiredis"} <= beside.keys()
