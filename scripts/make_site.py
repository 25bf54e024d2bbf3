"""Builds the site of docs/ in build/site, offline: ``python -m scripts.make_site``.

docs/ is copied to build/docs, links that leave it are made to fit, and what is generated is added: the
reference (scripts/make_reference.py), and llms.txt from the navigation in zensical.toml. ``--pages`` stops
there. The site is then built in zensical's strict mode, which refuses links and anchors that lead nowhere,
and checked (scripts/check_site.py).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from scripts import check_site
from scripts.make_reference import ROOT, Found, documented, entry, exported, find, is_error, tree

SOURCE: Final = ROOT / "docs"
PAGES: Final = ROOT / "build" / "docs"
SITE: Final = ROOT / "build" / "site"
REPOSITORY: Final = "https://github.com/flowstore/flowstore/blob/main/"
FENCED: Final = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)
LINK: Final = re.compile(r"(?<=\]\()([^()\s]+)(?=\))")

BACKENDS: Final = ("connect", "BaseResultBackend", "InMemoryBackend", "SQLiteBackend", "RedisBackend")
OPTIONS: Final = ("ConnectOptions", "BackendOptions", "TrackOptions", "Filters", "Selection", "ActionOptions")
HANDLES: Final = ("TrackedTask", "RunningWorker", "SharedTrips", "Observer")
FEATURES: Final = (
    *("Data", "Checkpoints", "History", "Families", "Facets", "Workflows", "Integrity", "Statistics"),
    *("Errors", "Workers", "App", "AppData", "Archive", "Retention", "Actions"),
)
OF_RUNS: Final = {
    "Runs": "flowstore.runs",
    "RunningRun": "flowstore.runs",
    "Datasets": "flowstore.runs",
    "RunsArchive": "flowstore.runs.archive",
    "RunsRetention": "flowstore.runs.retaining",
}


class Page(NamedTuple):
    title: str
    about: str
    entries: list[Found]
    modules: tuple[str, ...] = ()
    """Whose docstrings and exports follow."""


def reference() -> dict[str, Page]:
    """The pages of the reference, by the names of their files."""
    backend = [_found("flowstore", name) for name in (*BACKENDS, *OPTIONS, *HANDLES)]
    features = [_found("flowstore.base", name) for name in FEATURES if name != "AppData"]
    features += [_found("flowstore.features.data", "AppData")]
    features += [_found(module, name) for name, module in OF_RUNS.items()]
    shown = {found.node for found in (*backend, *features)}
    rest = [found for name in exported("flowstore") if (found := _found("flowstore", name)).node not in shown]
    errors = [found for found in rest if is_error(found)]
    models = [found for found in rest if not is_error(found)]
    hosts = sorted(path.stem for path in (ROOT / "flowstore" / "integrations").glob("[a-z]*.py"))
    testing = ("flowstore.testing", "flowstore.testing.faults")
    return {
        "backend.md": Page(
            "Interface of backends", "The backends, their methods and their options.", backend
        ),
        "features.md": Page(
            "Interface of features", "The objects on a backend, such as `backend.workers`.", features
        ),
        "models.md": Page("Models and functions", "What calls take and return.", models),
        "errors.md": Page(
            "Errors with their attributes", "Every error that flowstore raises, from `flowstore`.", errors
        ),
        "sync.md": Page("flowstore.sync", "The interface without `await`.", [], ("flowstore.sync",)),
        "typed.md": Page("flowstore.typed", "Typed results by id.", [], ("flowstore.typed",)),
        "testing.md": Page("flowstore.testing", "The kit for tests of backends.", [], testing),
        "web.md": Page("flowstore.web", "The page, as an ASGI application.", [], ("flowstore.web",)),
        "engine.md": Page("flowstore.engine", "What a storage implements.", [], ("flowstore.engine",)),
        "integrations.md": Page(
            "flowstore.integrations",
            "One module for each task queue, web framework or telemetry package.",
            [],
            tuple(f"flowstore.integrations.{host}" for host in hosts),
        ),
    }


def _found(module: str, name: str) -> Found:
    found = find(module, name)
    if found is None:
        raise LookupError(f"{module}.{name} is not defined anywhere in flowstore")
    return found


def reference_page(page: Page) -> str:
    parts = [f"# {page.title}\n\n{page.about} Generated from the source.\n", *map(entry, page.entries)]
    for module in page.modules:
        if len(page.modules) > 1:
            parts.append(f"\n## {module}\n")
        parts.append(documented(tree(module)))
        found = [entry(_found(module, name)) for name in exported(module)]
        parts += [
            re.sub(r"^##", "###", each, flags=re.MULTILINE) if len(page.modules) > 1 else each
            for each in found
        ]
    return "".join(parts)


def retargeted(text: str, change: Callable[[str], str]) -> str:
    """With the targets of the links outside of fenced blocks changed."""
    parts = FENCED.split(text)
    parts[::2] = [LINK.sub(lambda target: change(target[1]), part) for part in parts[::2]]
    return "".join(parts)


def without_escapes(text: str) -> str:
    """Tables without the backslash before a bar in code, which a code host needs and zensical would show."""
    cells = re.compile(r"`[^`\n]*`")
    row = re.compile(r"^\|.*$", re.MULTILINE)
    return row.sub(lambda line: cells.sub(lambda code: code[0].replace("\\|", "|"), line[0]), text)


def from_docs(target: str) -> str:
    """What is not on the site is in the repository."""
    if target.startswith("../CHANGELOG.md"):
        return target.replace("../CHANGELOG.md", "changelog.md")
    return REPOSITORY + target.removeprefix("../") if target.startswith("../") else target


def navigation(items: Iterable[Any], section: str = "") -> Iterator[tuple[str, str, str | None]]:
    """Section, path and title (None: that of the page) of each page, in order."""
    for item in items:
        if isinstance(item, str):
            yield section, item, None
            continue
        [(title, inside)] = item.items()
        if isinstance(inside, str):
            yield section, inside, title
        else:
            yield from navigation(inside, f"{section}, {title}" if section else title)


def pages_of_the_site() -> list[tuple[str, str, str | None]]:
    return [*navigation(tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))["project"]["nav"])]


def title_of(text: str) -> str:
    return text.partition("\n")[0].removeprefix("# ").replace("`", "")


def first_sentence(text: str) -> str:
    """Of a page: of its first paragraph that is prose, without the markup."""
    paragraphs = FENCED.sub("", text).split("\n\n")[1:]
    prose = next(each.strip() for each in paragraphs if re.match(r"[A-Za-z`*\[]", each.strip()))
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", " ".join(prose.split())).replace("**", "")
    return re.split(r"(?<=[.:?!])\s+(?=[A-Z`])", plain)[0]


def llms_txt(folder: Path) -> str:
    """The navigation as https://llmstxt.org describes it: for each page a link and what it is for."""
    text = (folder / "index.md").read_text("utf-8")
    lines = [f"# {title_of(text)}", "", f"> {first_sentence(text)}"]
    last = None
    for section, path, _ in pages_of_the_site():
        if path == "index.md":
            continue
        if section != last:
            lines += ["", f"## {section}" if section else "## Start", ""]
            last = section
        text = (folder / path).read_text("utf-8")
        lines.append(f"- [{title_of(text)}]({path.removesuffix('.md')}.html): {first_sentence(text)}")
    return "\n".join(lines) + "\n"


def make_pages(folder: Path) -> None:
    """What zensical builds the site of, in place of what is in ``folder``."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(SOURCE, folder)
    for path in folder.rglob("*.md"):
        path.write_text(without_escapes(retargeted(path.read_text("utf-8"), from_docs)), "utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    (folder / "changelog.md").write_text(
        retargeted(changes, lambda target: target.removeprefix("docs/")), "utf-8"
    )
    (folder / "reference").mkdir()
    for name, page in reference().items():
        (folder / "reference" / name).write_text(reference_page(page), "utf-8")
    (folder / "llms.txt").write_text(llms_txt(folder), "utf-8")


def main(arguments: list[str]) -> int:
    make_pages(PAGES)
    if "--pages" in arguments:
        return 0
    shutil.rmtree(SITE, ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    return subprocess.call(command, cwd=ROOT) or check_site.main([str(SITE)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
