"""Compare the files in vendor/ with the packages of npm that they are from.

``python -m tests.browser.vendored FOLDER``: where ``npm pack`` has written these packages.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import tarfile
import tomllib
from pathlib import Path
from typing import Any, Final

VENDOR: Final = Path(__file__).parent / "vendor"


def differences(folder: Path) -> list[str]:
    """What is not as it was packed; empty if all is."""
    named = tomllib.loads((VENDOR / "VENDORED.toml").read_text("utf-8"))
    found = [each for name, package in named.items() for each in _differences(folder, name, package)]
    known = {file for package in named.values() for file in package["files"]} | {"VENDORED.toml"}
    return found + [f"{path.name}: of no package" for path in VENDOR.iterdir() if path.name not in known]


def _differences(folder: Path, name: str, package: dict[str, Any]) -> list[str]:
    path = folder / f"{name}-{package['version']}.tgz"
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    wrong = [] if package["integrity"] == f"sha512-{digest}" else [f"{path.name}: sha512-{digest}"]
    with tarfile.open(path) as archive:
        for file, source in package["files"].items():
            member = archive.extractfile(source["from"])
            assert member is not None, f"{path.name} has no {source['from']}"
            ours = (VENDOR / file).read_bytes()
            if ours != member.read():
                wrong.append(f"{file}: not that of {path.name}")
            if hashlib.sha256(ours).hexdigest() != source["sha256"]:
                wrong.append(f"{file}: sha256 {hashlib.sha256(ours).hexdigest()}")
    return wrong


if __name__ == "__main__":
    if found := differences(Path(sys.argv[1])):
        sys.exit("\n".join(found))
    print("vendored files are those of their packages")
