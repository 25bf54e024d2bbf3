"""Writes the reference of the public interface as Markdown, from signatures and docstrings.

Used by scripts/make_site.py, as the pages are kept nowhere. The source is read, not imported, so none of the
packages that integrations are for has to be installed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
Functions = ast.FunctionDef | ast.AsyncFunctionDef
CODE: Final = re.compile(r"(``.+?``)", re.DOTALL)
INSIDE: Final = {"core", "place", "attempt"}
"""An argument of constructors that are not for users, who get these objects from a backend."""


class Found(NamedTuple):
    module: str
    node: ast.stmt


@cache
def tree(module: str) -> ast.Module:
    path = ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text("utf-8"))


def exported(module: str) -> list[str]:
    """The names in ``__all__``, or else those of its own that begin with no underscore, in their order."""
    for node in tree(module).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and ast.unparse(targets(node)[0]) == "__all__":
            return [str(name) for name in ast.literal_eval(node.value or ast.List([]))]
    own = [node.name for node in tree(module).body if isinstance(node, Definition)]
    return [name for name in dict.fromkeys(own) if not name.startswith("_")]


def find(module: str, name: str) -> Found | None:
    """Where ``name`` is defined, through imports; None if it is nowhere in flowstore."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flowstore"):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return find(node.module or "", alias.name)
    for node in tree(module).body:
        names = [node.name] if isinstance(node, Definition) else map(ast.unparse, targets(node))
        if name in names:
            return Found(module, node)
    return None


def targets(node: ast.stmt) -> list[ast.expr]:
    return (
        node.targets
        if isinstance(node, ast.Assign)
        else [node.target]
        if isinstance(node, ast.AnnAssign)
        else []
    )


def is_error(found: Found) -> bool:
    """Whether it derives from FlowstoreError."""
    if not isinstance(found.node, ast.ClassDef):
        return False
    bases = [find(found.module, ast.unparse(base)) for base in found.node.bases]
    return found.node.name == "FlowstoreError" or any(base is not None and is_error(base) for base in bases)


def text(docstring: str) -> str:
    """A docstring, which is plain text with code in double backticks, as Markdown. Indented blocks stay."""
    lines = []
    for line in CODE.sub(lambda code: code[1].replace("\n", " "), docstring).splitlines():
        parts = CODE.split(line)
        if not line.startswith("    "):
            parts[::2] = [re.sub(r"([*_\[\\])", r"\\\1", part).replace("<", "&lt;") for part in parts[::2]]
            parts[::2] = [re.sub(r"docs/([\w-]+)\.md", r"[\1](../\1.md)", part) for part in parts[::2]]
            parts[1::2] = [f"`{part[2:-2]}`" for part in parts[1::2]]
        lines.append("".join(parts))
    return re.sub(r"^::\n\n|:(:\n)", r"\1", "\n".join(lines), flags=re.MULTILINE)


def documented(node: Definition | ast.Module) -> str:
    docstring = ast.get_docstring(node)
    return f"\n{text(docstring)}\n" if docstring else ""


def signature(node: Functions, name: str) -> str:
    """On one line if it fits, and otherwise with a line for each argument; without ``self``."""
    begin = f"{'async ' if isinstance(node, ast.AsyncFunctionDef) else ''}def {name}("
    end = f") -> {ast.unparse(node.returns)}" if node.returns else ")"
    shown = [each for each in split(node.args) if each not in ("self", "cls")]
    line = begin + ", ".join(shown) + end
    return line if len(line) <= 88 else begin + "".join(f"\n    {each}," for each in shown) + f"\n{end}"


def split(arguments: ast.arguments) -> Iterator[str]:
    """Each argument with its default; ``*`` and ``/`` where they belong."""
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [*[None] * (len(plain) - len(arguments.defaults)), *arguments.defaults]
    for number, (each, default) in enumerate(zip(plain, defaults, strict=True), 1):
        yield argument(each, default)
        if number == len(arguments.posonlyargs):
            yield "/"
    if arguments.vararg or arguments.kwonlyargs:
        yield f"*{ast.unparse(arguments.vararg)}" if arguments.vararg else "*"
    for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield argument(each, default)
    if arguments.kwarg:
        yield f"**{ast.unparse(arguments.kwarg)}"


def argument(each: ast.arg, default: ast.expr | None) -> str:
    return ast.unparse(each) + (f" = {ast.unparse(default)}" if default else "")


def is_marked(node: Definition, name: str) -> bool:
    return any(ast.unparse(each).rpartition(".")[2] == name for each in node.decorator_list)


def functions(nodes: Iterable[ast.stmt], level: int, prefix: str) -> Iterator[str]:
    """The public ones under a heading each; overloads of one name under one."""
    groups: dict[str, list[Functions]] = {}
    for node in nodes:
        if isinstance(node, Functions) and not node.name.startswith("_"):
            groups.setdefault(node.name, []).append(node)
    for name, group in groups.items():
        overloads = [node for node in group if is_marked(node, "overload")] or group[:1]
        shown = "\n".join(signature(node, name) for node in overloads)
        label = f' {{: data-toc-label="{name}" }}' if prefix else ""
        marks = "@property\n" if is_marked(group[0], "property") else ""
        told = next((docs for node in group if (docs := documented(node))), "")
        yield f"\n{'#' * level} `{prefix}{name}`{label}\n\n```py\n{marks}{shown}\n```\n{told}"


def field(node: ast.stmt) -> str | None:
    """A public attribute, without what only validation needs; None for any other statement."""
    if not targets(node) or re.match(r"_|model_config\b", name := ast.unparse(targets(node)[0])):
        return None
    if isinstance(node, ast.Assign):
        return ast.unparse(node)
    assert isinstance(node, ast.AnnAssign)
    kind, value = node.annotation, node.value
    if isinstance(kind, ast.Subscript) and ast.unparse(kind.value) == "Annotated":
        assert isinstance(kind.slice, ast.Tuple)
        kind = kind.slice.elts[0]
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "Field":
        given = {each.arg: each.value for each in value.keywords}
        made = given.get("default_factory")
        value = ast.Call(made, [], []) if made else given.get("default")
    return f"{name}: {ast.unparse(kind)}" + (f" = {ast.unparse(value)}" if value else "")


def entry(found: Found) -> str:
    """A class with its fields and methods, a function, or a constant."""
    node = found.node
    if isinstance(node, ast.Assign | ast.AnnAssign):
        name = ast.unparse(targets(node)[0])
        after = tree(found.module).body[tree(found.module).body.index(node) + 1 :][:1]
        told = ast.get_docstring(ast.Module(after, []))
        return f"\n## `{name}`\n\n```py\n{ast.unparse(node)}\n```\n" + (f"\n{text(told)}\n" if told else "")
    if not isinstance(node, ast.ClassDef):
        return "".join(functions([node], 2, ""))
    fields = [shown for each in node.body if (shown := field(each))]
    made = [each for each in node.body if isinstance(each, Functions) and each.name == "__init__"]
    if made and not INSIDE & {each.arg for each in made[0].args.args}:
        call = signature(made[0], "__init__").removesuffix(" -> None")
        fields += [call.replace("\n", "\n    ")] if call != "def __init__()" else []
    head = f"class {node.name}" + (f"({', '.join(map(ast.unparse, node.bases))})" if node.bases else "")
    body = "".join(f"\n    {each}" for each in fields)
    shown = f"\n## `{node.name}`\n\n```py\n{head}{':' if body else ''}{body}\n```\n{documented(node)}"
    return shown + "".join(functions(node.body, 3, f"{node.name}."))
