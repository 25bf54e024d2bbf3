"""Writes the synchronous classes from the asynchronous ones: TARGETS names the modules.

Run ``python -m scripts.make_sync`` after a change of these. Names, arguments, types and docstrings are kept.
What a docstring says of ``await`` and of event loops is replaced as scripts/sync_words.py says. This fails
where a phrase is no longer there, or one is left that only makes sense in asynchronous code.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from scripts.sync_words import OF_LOOPS, WORDS

PACKAGE: Final = Path(__file__).parents[1] / "flowstore"
WIDTH: Final = 110

TARGETS: Final = {
    "sync/generated.py": [
        *("Actions", "AppData", "App", "Archive", "Checkpoints", "Data", "Errors", "Facets"),
        *("Families", "History", "Integrity", "Retention", "Statistics", "Workers", "Workflows"),
        *("TrackedTask", "RunningWorker", "RunningRun", "Datasets"),
        *("RunsRetention", "RunsArchive", "Runs", "BaseResultBackend"),
    ],
    "typed/generated.py": ["AsyncResultsManager"],
}
"""The modules to write, and the classes to write there, each after those that it refers to."""
CLASSES: Final = {
    "Actions": "features/actions.py",
    "AppData": "features/data.py",
    "App": "features/app.py",
    "Archive": "features/archive.py",
    "Checkpoints": "features/checkpoints.py",
    "Data": "features/data.py",
    "Errors": "features/errors.py",
    "Facets": "features/facets.py",
    "Families": "features/families.py",
    "History": "features/history.py",
    "Retention": "features/retention.py",
    "Integrity": "features/integrity.py",
    "Statistics": "features/statistics.py",
    "Workers": "features/workers.py",
    "Workflows": "features/workflows.py",
    "TrackedTask": "_core/tracking.py",
    "RunningWorker": "features/running_worker.py",
    "RunningRun": "runs/running.py",
    "Datasets": "runs/datasets.py",
    "RunsArchive": "runs/archive.py",
    "RunsRetention": "runs/retaining.py",
    "Runs": "runs/runs.py",
    "BaseResultBackend": "base.py",
    "AsyncResultsManager": "typed/manager.py",
}
"""The asynchronous classes and their modules."""
BACKEND: Final = "BaseResultBackend"
RENAMED: Final = {BACKEND: "ResultBackend", "AsyncResultsManager": "ResultsManager"}
BASES: Final = {
    BACKEND: ("flowstore.sync.store", "Store"),
    "AsyncResultsManager": ("flowstore.typed.face", "ManagerFace"),
}
"""What classes stand on that are made by the program itself; all others come from one of these."""
BLOCKS: Final = {"TrackedTask", "RunningWorker", "RunningRun"}
STREAMS: Final = {"as_completed", "watch", "watch_changes", "watch_status"}
"""Iterators whose items are waited for; all others walk over what is stored."""
INTERNAL: Final = {"joined", "left"}
"""By which a block tells its worker that it is under way: no face of users."""
BODIES: Final = {
    "BaseResultBackend.close": ["self._link.close()"],
    "BaseResultBackend.end_waits": ["self._link.end_waits()"],
    "BaseResultBackend.register_types": ["self._link.register_types(types)"],
    "AsyncResultsManager.close": ["self._close()"],
    "AsyncResultsManager.use": ["self._use(target, base_dir, options)"],
    "Actions.on_requeue": [
        "self._link.always(lambda backend: backend.actions.on_requeue(hook))",
        "return hook",
    ],
    "Actions.on_cancel": [
        "self._link.always(lambda backend: backend.actions.on_cancel(hook))",
        "return hook",
    ],
    "Datasets.save": ["return fed(self._link, rows, lambda given: self._its.save(run_id, given, name))"],
    "RunsArchive.copy_to": [
        "call = self._its.copy_to(",
        "    runs_across(other), run_id, group=group, on_conflict=on_conflict, progress=progress",
        ")",
        "return self._run(call)",
    ],
    "Archive.copy_to": [
        "call = self._its.copy_to(",
        "    across(other),",
        "    statuses,",
        "    task_ids=taken(task_ids),",
        "    on_conflict=on_conflict,",
        "    progress=progress,",
        "    **selection,",
        ")",
        "return self._run(call)",
    ],
    "TrackedTask.progress": [
        "report = awaited(lambda: self._its.progress(done, total, note))",
        "return self._run(report)",
    ],
}
"""What is more than a call of the same method in the loop."""
OF_BODIES: Final = {
    "taken(": ("flowstore.sync.feeding", "taken"),
    "fed(": ("flowstore.sync.feeding", "fed"),
    "awaited(": ("flowstore.sync.faces", "awaited"),
    "    across(": ("flowstore.sync.copying", "across"),
    "runs_across(": ("flowstore.sync.copying", "runs_across"),
}
"""The functions that BODIES call, and where they are."""
TAKEN: Final = re.compile(r"\bIterable\[")
"""What is handed over as an iterable: it is gone through in the thread of the caller."""
ATTRIBUTES: Final = {
    "BaseResultBackend": {"namespace": "str"},
    "TrackedTask": {"result": "T", "outcome": "TaskResult[T] | None", "is_stored": "bool"},
    "RunningRun": {"result": "Any", "checkpoint": "Checkpoint[Any] | None"},
    "RunningWorker": {"worker_id": "str", "is_draining": "bool", "is_lost": "bool"},
}
OTHERWISE: Final = {"Target": "flowstore.typed.face", "Destination": "flowstore.sync.copying"} | {
    "RunsDestination": "flowstore.sync.copying"
}
"""Types that a synchronous class has another one for, of the same name, and where that is."""
ASSIGNED: Final = {"result"}

HEADER: Final = '''"""The synchronous classes. Do not change them: scripts/make_sync.py writes them."""

from __future__ import annotations
'''


class Module:
    """A module of asynchronous classes: its text, its classes, and where its names come from."""

    def __init__(self, path: str) -> None:
        self.text = (PACKAGE / path).read_text("utf-8")
        self.name = f"flowstore.{path.removesuffix('.py').replace('/', '.')}"
        self.tree = ast.parse(self.text)
        self.sources = {
            alias.asname or alias.name: node.module
            for node in self._loaded(self.tree.body)
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        }

    def _loaded(self, steps: list[ast.stmt]) -> Iterator[ast.stmt]:
        """With the imports for type checkers."""
        for step in steps:
            if isinstance(step, ast.If) and self.source(step.test) == "TYPE_CHECKING":
                yield from step.body
            yield step

    def class_named(self, name: str) -> ast.ClassDef:
        return next(node for node in self.tree.body if isinstance(node, ast.ClassDef) and node.name == name)

    def source(self, node: ast.expr) -> str:
        return " ".join((ast.get_source_segment(self.text, node) or "").split())

    def origin(self, name: str) -> str:
        return OTHERWISE.get(name) or self.sources.get(name, self.name)


class Face:
    """The synchronous class of one asynchronous class, and what has to be imported for it."""

    def __init__(self, name: str, imports: set[tuple[str, str]]) -> None:
        self.name = name
        self.module = Module(CLASSES[name])
        self.node = self.module.class_named(name)
        self._imports = imports

    def lines(self) -> Iterator[str]:
        generic = any("Generic" in self.module.source(each) for each in self.node.bases)
        if generic:
            self._imports |= {("typing", "Generic"), ("flowstore.models", "T")}
        own = RENAMED.get(self.name, self.name)
        yield f"class {own}({self._base(generic)}{', Generic[T]' if generic else ''}):"
        yield from self._docstring(self.node, self.name, "    ")
        yield from self._attributes()
        for each in self.node.body:
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and is_public(each.name):
                yield ""
                yield from self._method(each)

    def _base(self, generic: bool) -> str:
        if self.name in BASES:
            self._imports.add(BASES[self.name])
            return BASES[self.name][1]
        base = "BlockFace" if self.name in BLOCKS else "Face"
        self._imports.add((self.module.name, f"{self.name} as Async{self.name}"))
        self._imports.add(("flowstore.sync.faces", base))
        return f"{base}[Async{self.name}{'[T]' if generic else ''}]"

    def _docstring(
        self, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, key: str, indent: str
    ) -> Iterator[str]:
        text = ast.get_docstring(node)
        if text is None:
            return
        for old, new in WORDS.get(key, ()):
            text = replaced(text, old, new, WIDTH - len(indent), key)
        if found := OF_LOOPS.search(text):
            raise SystemExit(f"{key}: its docstring says {found[0]!r}; WORDS should replace that")
        lines = f'"""{text}'.splitlines()
        if len(lines) == 1:
            yield f'{indent}{lines[0]}"""'
            return
        yield from (f"{indent}{line}".rstrip() for line in lines)
        yield f'{indent}"""'

    def _attributes(self) -> Iterator[str]:
        """Features, made on first use, are objects of their own; what ``__init__`` assigns is looked up."""
        attributes, parts = dict(ATTRIBUTES.get(self.name, {})), dict(self._parts())
        unknown = self._assigned() ^ (attributes.keys() | parts.keys())
        if unknown:
            raise SystemExit(f"{self.name}: {sorted(unknown)} in ATTRIBUTES and __init__ differ")
        if parts:
            yield from self._constructor(parts)
        for name, kind in attributes.items():
            self._note_names(ast.parse(kind, mode="eval").body)
            yield from ["", "    @property", f"    def {name}(self) -> {kind}:"]
            yield f"        return self._its.{name}"
            if name in ASSIGNED:
                yield from ["", f"    @{name}.setter", f"    def {name}(self, {name}: {kind}) -> None:"]
                yield f"        self._its.{name} = {name}"

    def _init(self) -> list[ast.stmt]:
        found = [each for each in self.node.body if getattr(each, "name", "") == "__init__"]
        return found[0].body if found and isinstance(found[0], ast.FunctionDef) else []

    def _assigned(self) -> set[str]:
        """The public attributes of the asynchronous object."""
        targets = [
            target
            for step in self._init()
            for target in (step.targets if isinstance(step, ast.Assign) else [getattr(step, "target", None)])
        ]
        names = {target.attr for target in targets if isinstance(target, ast.Attribute)}
        return {name for name in names if not name.startswith("_")} | {name for name, _ in self._lazy()}

    def _lazy(self) -> Iterator[tuple[str, str]]:
        """The features that are made when they are first used, and their classes."""
        for step in self.node.body:
            made = step.value if isinstance(step, ast.AnnAssign) else None
            if isinstance(made, ast.Call) and self.module.source(made.func) == "on_first_use":
                assert isinstance(step, ast.AnnAssign)
                yield self.module.source(step.target), self.module.source(step.annotation)

    def _parts(self) -> Iterator[tuple[str, str]]:
        for step in self._init():
            if isinstance(step, ast.Assign) and isinstance(step.value, ast.Call):
                target, kind = step.targets[0], self.module.source(step.value.func)
                if isinstance(target, ast.Attribute) and kind in CLASSES and target.attr[0] != "_":
                    yield target.attr, kind
        yield from self._lazy()

    def _constructor(self, parts: dict[str, str]) -> Iterator[str]:
        if self.name == BACKEND:
            self._imports |= {("collections.abc", "Callable"), ("flowstore.base", "BaseResultBackend")}
            yield from ["", "    def __init__(self, make: Callable[[], BaseResultBackend]) -> None:"]
            yield "        super().__init__(make)"
            path = "backend"
        else:
            self._imports |= {("collections.abc", "Callable"), ("flowstore.base", "BaseResultBackend")}
            self._imports |= {("flowstore.sync.links", "Link"), ("typing", "Any")}
            of = f"Callable[[BaseResultBackend], Async{self.name}]"
            yield from ["", f"    def __init__(self, link: Link[Any], of: {of}) -> None:"]
            yield "        super().__init__(link, of)"
            path = "of(backend)"
        for name, kind in parts.items():
            yield f"        self.{name} = {kind}(self._link, lambda backend: {path}.{name})"

    def _method(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
        key = f"{self.name}.{node.name}"
        decorators = [self.module.source(each) for each in node.decorator_list]
        for each in decorators:
            self._note(each.split(".")[0])
            yield f"    @{each}"
        returned, made = self._returned(node)
        wanted = [*self._parameters(node)]
        stub = "overload" in decorators
        yield from laid_out(f"    def {node.name}(", wanted, f") -> {returned}:{' ...' if stub else ''}")
        if stub:
            return
        yield from self._docstring(node, key, "        ")
        yield from self._body(node, key, decorators, made)

    def _body(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef, key: str, decorators: list[str], made: str
    ) -> Iterator[str]:
        if key in BODIES:
            self._imports |= {origin for name, origin in OF_BODIES.items() if name in "".join(BODIES[key])}
            yield from (f"        {line}" for line in BODIES[key])
        elif "property" in decorators:
            yield f"        return self._its.{node.name}"
        elif decorators and decorators[0].endswith(".setter"):
            yield f"        self._its.{node.name} = {node.args.args[1].arg}"
        elif made in BLOCKS:
            if node.args.kwarg is not None:
                self._imports.add(("flowstore.sync.faces", "check_options"))
                yield "        check_options(options)"
            self._note_taken(passed := [*_passed(node)])
            yield from laid_out(f"        block = self._its.{node.name}(", passed, ")")
            yield f"        return {made}(self._link, block)"
        else:
            yield from self._call(node, made)

    def _call(self, node: ast.FunctionDef | ast.AsyncFunctionDef, made: str) -> Iterator[str]:
        call, passed = f"self._its.{node.name}(", [*_passed(node)]
        self._note_taken(passed)
        if made == "iterator":
            yield from laid_out(f"        items = {call}", passed, ")")
            yield f"        return self._{'stream' if node.name in STREAMS else 'walk'}(items)"
        elif isinstance(node, ast.AsyncFunctionDef):
            yield from laid_out(f"        call = {call}", passed, ")")
            yield f"        {'' if made == 'None' else 'return '}self._run(call)"
        else:
            yield from laid_out(f"        {'' if made == 'None' else 'return '}{call}", passed, ")")

    def _note_taken(self, passed: list[str]) -> None:
        if any("taken(" in each for each in passed):
            self._imports.add(("flowstore.sync.feeding", "taken"))

    def _returned(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[str, str]:
        """The return annotation, and what kind of thing that is."""
        assert node.returns is not None
        kind, inner = node.returns, None
        if isinstance(kind, ast.Subscript) and isinstance(kind.value, ast.Name):
            inner = kind.value.id
        if inner == "AsyncGenerator" and isinstance(kind, ast.Subscript):
            assert isinstance(kind.slice, ast.Tuple)
            item = kind.slice.elts[0]
            self._note_names(item)
            self._imports.add(("collections.abc", "Generator"))
            return f"Generator[{self.module.source(item)}, None, None]", "iterator"
        if inner == "Awaitable" and isinstance(kind, ast.Subscript):
            kind = kind.slice
        self._note_names(kind)
        source = self.module.source(kind)
        return source, inner if inner in BLOCKS else source

    def _parameters(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
        given = node.args
        defaults = [None] * (len(given.args) - len(given.defaults)) + list(given.defaults)
        for each, default in zip(given.args, defaults, strict=True):
            yield self._parameter(each, default)
        if given.vararg is not None:
            yield f"*{self._parameter(given.vararg, None)}"
        elif given.kwonlyargs:
            yield "*"
        for each, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
            yield self._parameter(each, default)
        if given.kwarg is not None:
            yield f"**{self._parameter(given.kwarg, None)}"

    def _parameter(self, each: ast.arg, default: ast.expr | None) -> str:
        text = each.arg
        if each.annotation is not None:
            self._note_names(each.annotation)
            text += f": {self.module.source(each.annotation)}"
        if default is not None:
            self._note_names(default)
            text += f"{' = ' if each.annotation is not None else '='}{self.module.source(default)}"
        return text

    def _note_names(self, node: ast.expr) -> None:
        for each in ast.walk(node):
            if isinstance(each, ast.Name):
                self._note(each.id)

    def _note(self, name: str) -> None:
        if not hasattr(builtins, name) and name not in CLASSES and name not in ASSIGNED | {"info"}:
            self._imports.add((self.module.origin(name), name))


def is_public(name: str) -> bool:
    return not name.startswith("_") and name not in INTERNAL


def _passed(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    yield from (_handed_over(each) for each in node.args.args[1:])
    if node.args.vararg is not None:
        yield f"*{node.args.vararg.arg}"
    yield from (f"{each.arg}={_handed_over(each)}" for each in node.args.kwonlyargs)
    if node.args.kwarg is not None:
        yield f"**{node.args.kwarg.arg}"


def _handed_over(each: ast.arg) -> str:
    is_taken = each.annotation is not None and TAKEN.search(ast.unparse(each.annotation))
    return f"taken({each.arg})" if is_taken else each.arg


def laid_out(start: str, items: list[str], end: str) -> Iterator[str]:
    """A call or signature as ruff formats it: in one line, in three, or with a line for each item."""
    line, indent = start + ", ".join(items) + end, " " * (len(start) - len(start.lstrip()))
    if len(line) <= WIDTH:
        yield line
        return
    yield start
    inner = f"{indent}    {', '.join(items)}"
    if len(inner) <= WIDTH:
        yield inner
    else:
        yield from (f"{indent}    {item}," for item in items)
    yield f"{indent}{end}"


def replaced(text: str, old: str, new: str, width: int, key: str) -> str:
    """``old``, which may run over several lines of a paragraph, by ``new``; the paragraph is filled again."""
    paragraphs = text.split("\n\n")
    for number, paragraph in enumerate(paragraphs):
        flat = " ".join(paragraph.split())
        if old in flat or old.strip() in flat:
            changed = flat.replace(old if old in flat else old.strip(), new).strip()
            # The first line begins behind three quotes
            paragraphs[number] = filled(changed, width, 3 if number == 0 else 0)
            return "\n\n".join(paragraphs)
    raise SystemExit(f"{key}: its docstring no longer says {old!r}; change WORDS in {Path(__file__).name}")


def filled(text: str, width: int, taken: int) -> str:
    lines, line = [], " " * taken
    for word in text.split(" "):
        if len(line) + len(word) + 1 > width and line.strip():
            lines.append(line)
            line = ""
        line = f"{line} {word}" if line.strip() else f"{line}{word}"
    return "\n".join([*lines, line])[taken:]


def imported(imports: set[tuple[str, str]]) -> Iterator[str]:
    """The import statements, as ruff sorts them."""
    modules = sorted({module for module, _ in imports}, key=lambda name: (_group(name), name))
    group = 0
    for module in modules:
        if _group(module) != group:
            group = _group(module)
            yield ""
        names = sorted((name for each, name in imports if each == module), key=_as_sorted)
        plain = [name for name in names if " as " not in name]
        renamed = [name for name in names if " as " in name]
        yield from (f"from {module} import {name}" for name in renamed if not _is_late(name, plain))
        if plain:
            yield from _import(module, plain)
        yield from (f"from {module} import {name}" for name in renamed if _is_late(name, plain))


def _group(module: str) -> int:
    """The standard library, other packages, flowstore itself."""
    top = module.split(".")[0]
    return 0 if top in sys.stdlib_module_names else 2 if top == PACKAGE.name else 1


def _is_late(name: str, plain: list[str]) -> bool:
    return bool(plain) and _as_sorted(plain[0]) < _as_sorted(name)


def _import(module: str, names: list[str]) -> Iterator[str]:
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= WIDTH:
        yield line
        return
    yield f"from {module} import ("
    yield from (f"    {name}," for name in names)
    yield ")"


def _as_sorted(name: str) -> tuple[int, str]:
    kind = 0 if len(name) > 1 and name.isupper() else 1 if name[0].isupper() else 2
    return kind, name.lower()


def generated(target: str) -> str:
    imports: set[tuple[str, str]] = set()
    classes = [list(Face(name, imports).lines()) for name in TARGETS[target]]
    body = "\n\n\n".join("\n".join(lines) for lines in classes)
    return f"{HEADER}\n{chr(10).join(imported(imports))}\n\n\n{body}\n"


if __name__ == "__main__":
    for target in TARGETS:
        (PACKAGE / target).write_text(generated(target), "utf-8")
