"""The documents as a site: links that lead somewhere, a navigation with every page, a complete reference."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

import flowstore
from flowstore._lazily import OnFirstUse
from scripts import check_site, make_reference, make_site

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
TUTORIAL = (DOCS / "tutorial.md").read_text("utf-8")
PROGRAM = re.compile(r"```python\n# (\w+)\.py\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
PROGRAMS = {name: (source, expected) for name, source, expected in PROGRAM.findall(TUTORIAL)}


@cache
def tokens(path: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(path.read_text("utf-8"))


@cache
def anchors(path: Path) -> set[str]:
    """Those that a code host gives to the headings."""
    found: Counter[str] = Counter()
    made = set()
    for before, token in zip(tokens(path), tokens(path)[1:], strict=False):
        if before.type == "heading_open":
            text = "".join(part.content for part in token.children or [])
            slug = slug_of(text)
            made.add(f"{slug}-{found[slug]}" if found[slug] else slug)
            found[slug] += 1
    return made


def slug_of(heading: str) -> str:
    kept = (each for each in heading.lower() if each in " -_" or unicodedata.category(each)[0] in "LNM")
    return "".join(kept).replace(" ", "-")


def links(path: Path) -> Iterator[str]:
    for token in tokens(path):
        for part in token.children or []:
            target = part.attrGet("href") or part.attrGet("src")
            if target is not None:
                yield str(target)


def dead(path: Path) -> Iterator[str]:
    """The links to files or headings that are not there."""
    for link in links(path):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = unquote(link).partition("#")
        to = (path.parent / target).resolve() if target else path
        if not to.exists() or (anchor and to.suffix == ".md" and anchor not in anchors(to)):
            yield link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    """Each relative link, and its anchor, by the rules of a code host."""
    assert [*dead(document)] == []


def test_dead_links_are_found(tmp_path: Path) -> None:
    """A file that is not there, a heading that is not there; not what stands in code."""
    page = tmp_path / "page.md"
    page.write_text("# A `b`: c & d\n[x](#a-b-c--d) [x](#b) [x](no.md) [x](page.md#c) `[x](y.md)`\n")
    assert [*dead(page)] == ["#b", "no.md", "page.md#c"]


def test_every_document_is_in_the_navigation() -> None:
    """Once, and nothing is there that does not exist."""
    generated = {"changelog.md", *(f"reference/{name}" for name in make_site.reference())}
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert Counter(path for _, path, _ in make_site.pages_of_the_site()) == Counter(generated | written)


@pytest.mark.parametrize("document", sorted(DOCS.rglob("*.md")), ids=lambda path: path.name)
def test_pages_begin_with_what_they_are_for(document: Path) -> None:
    """A title, and then a sentence, which llms.txt and search results show."""
    title, empty, first, *_ = document.read_text("utf-8").splitlines()
    assert title.startswith("# ")
    assert empty == ""
    assert re.match(r"[A-Za-z`]", first)
    assert len(make_site.first_sentence(document.read_text("utf-8"))) > 20


def test_the_reference_has_every_public_name() -> None:
    """Each of ``flowstore.__all__`` on one page, with a heading of its own; and each method of a backend."""
    pages = {name: make_site.reference_page(page) for name, page in make_site.reference().items()}
    own = "".join(pages[name] for name in ("backend.md", "features.md", "models.md", "errors.md"))
    headings = Counter(re.findall(r"^## `(\w+)`$", own, re.MULTILINE))
    assert {name: headings[name] for name in flowstore.__all__} == dict.fromkeys(flowstore.__all__, 1)
    methods = {
        name
        for name, value in vars(flowstore.BaseResultBackend).items()
        if not name.startswith("_") and not isinstance(value, OnFirstUse)
    }
    assert methods == set(re.findall(r"^### `BaseResultBackend\.(\w+)`", pages["backend.md"], re.MULTILINE))


def test_the_objects_on_a_backend_are_in_the_reference() -> None:
    page = make_site.reference_page(make_site.reference()["features.md"])
    backend = flowstore.InMemoryBackend()
    made = [
        getattr(backend, name)
        for name, value in vars(flowstore.BaseResultBackend).items()
        if isinstance(value, OnFirstUse) and name != "runs"  # it has a page of its own
    ]
    objects = {type(each).__name__ for each in made}
    assert len(objects) > 10
    assert {name for name in objects if f"\n## `{name}`\n" not in page} == set()


def test_docstrings_as_markdown() -> None:
    """Code stays as it is; what Markdown would take for markup does not; blocks keep their form."""
    shown = make_reference.text(
        "``a_b`` and ``c\nd``: *args, a_b <x> docs/rules.md\n\n::\n\n    x = ``*``[0]\n"
    )
    assert shown == "`a_b` and `c d`: \\*args, a\\_b &lt;x> [rules](../rules.md)\n\n    x = ``*``[0]"


def test_bars_in_tables() -> None:
    """A code host wants a backslash before a bar in code; on the site it would be shown."""
    assert make_site.without_escapes("| `a \\| b` | c |\n`x \\| y`\n") == "| `a | b` | c |\n`x \\| y`\n"


def test_fields_in_the_reference() -> None:
    """Their types and defaults, without what only validation needs."""
    page = make_site.reference_page(make_site.reference()["models.md"])
    shown = page.partition("class TaskResult(")[2].partition("```")[0]
    for line in (
        "task_id: Identifier",
        "result: T | None = None",
        "kwargs: dict[str, Any] = dict()",
        "retries: int = 0",
    ):
        assert f"    {line}\n" in shown


def test_links_that_leave_the_documents() -> None:
    """They lead to the repository; what stands in a block of code is left alone."""
    text = "[a](../flowstore/x.py) [b](../CHANGELOG.md) [c](rules.md#x)\n"
    code = "\n```py\n[a](../x)\n```\n"
    expected = f"[a]({make_site.REPOSITORY}flowstore/x.py) [b](changelog.md) [c](rules.md#x)\n"
    assert make_site.retargeted(text + code, make_site.from_docs) == expected + code


def test_pages_for_the_site(tmp_path: Path) -> None:
    """llms.txt has a line for each page but the first, with what it is for; each leads somewhere."""
    make_site.make_pages(tmp_path / "pages")
    lines = re.findall(
        r"^- \[.+\]\((.+)\.html\): .{20,}$", (tmp_path / "pages" / "llms.txt").read_text(), re.M
    )
    assert ["index.md", *(f"{path}.md" for path in lines)] == [
        path for _, path, _ in make_site.pages_of_the_site()
    ]
    assert all((tmp_path / "pages" / f"{path}.md").is_file() for path in lines)
    kept = (tmp_path / "pages" / "changelog.md").read_text("utf-8")
    assert "](docs/" not in kept


def test_faults_of_a_site_are_found(tmp_path: Path) -> None:
    """Links and anchors that lead nowhere, and whatever a browser would load from another origin."""
    (tmp_path / "a.html").write_text(
        '<h1 id="x">a</h1><a href="#x"></a><a href="b.html"></a><a href="a.html#y"></a>'
        '<a href="https://example.org/"></a><script src="https://cdn.example.org/x.js"></script>'
        '<img src="//img.example.org/x.png"><link rel="icon" href="icon.png">'
    )
    (tmp_path / "a.css").write_text("@font-face { src: url('https://fonts.example.org/x.woff2') }")
    assert [*check_site.problems(tmp_path)] == [
        "a.html: b.html: no such file",
        "a.html: a.html#y: no such anchor",
        "a.html: icon.png: no such file",
        "a.html: https://cdn.example.org/x.js: loaded from elsewhere",
        "a.html: //img.example.org/x.png: loaded from elsewhere",
        "a.css: https://fonts.example.org/x.woff2: loaded from elsewhere",
    ]
    (tmp_path / "empty").mkdir()
    assert [*check_site.problems(tmp_path / "empty")] == [f"{tmp_path / 'empty'}: no page is here"]


def tutorial_in_processes(folder: Path, url: str) -> None:
    """As the page says: the wait first, in a process of its own; and at the end with what it says last."""

    def start(name: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROGRAMS[name][0]],
            cwd=folder,
            env={**os.environ, "RESULTS": url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def check(name: str, process: subprocess.Popen[str], expected: str | None = None) -> None:
        said = process.communicate(timeout=60)
        assert (process.returncode, *said) == (0, expected or PROGRAMS[name][1], "")

    waiting = start("wait")
    try:
        check("submit", start("submit"))
        assert waiting.poll() is None
        check("worker", start("worker"))
        check("wait", waiting)
    finally:
        waiting.kill()
        waiting.wait()
    for name in ("operator_failed", "operator_requeue", "worker"):
        check(name, start(name))
    check("wait", start("wait"), re.findall(r"```text\n(.*?)```", TUTORIAL, re.DOTALL)[-1])
    check("submit", start("submit"), "[False, False, False]\n")


def test_the_tutorial_on_a_file(tmp_path: Path) -> None:
    """Its programs are processes on one SQLite file, and print what the page says."""
    tutorial_in_processes(tmp_path, "sqlite:///results.db")
    assert (tmp_path / "results.db").exists()


def test_the_tutorial_on_redis(redis_url: str, tmp_path: Path) -> None:
    """The same programs on a server print the same."""
    tutorial_in_processes(tmp_path, redis_url)
    assert not (tmp_path / "results.db").exists()
