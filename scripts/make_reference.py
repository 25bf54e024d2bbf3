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


class Found(NamedTuple):
    module: str
    node: Definition


@cache
def tree(module: str) -> ast.Module:
    path = ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text("utf-8"))


def exported(module: str) -> list[str]:
    """The names in ``__all__``, or else those of its own that begin with no underscore, in their order."""
    for node in tree(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    own = [node.name for node in tree(module).body if isinstance(node, Definition)]
    return [name for name in dict.fromkeys(own) if not name.startswith("_")]


def find(module: str, name: str) -> Found | None:
    """Where ``name`` is defined, through imports; None if it is a constant or an alias."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flowstore"):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return find(node.module or "", alias.name)
    for definition in tree(module).body:
        if isinstance(definition, Definition) and definition.name == name:
            return Found(module, definition)
    return None


def is_error(found: Found) -> bool:
    """Whether it derives from FlowstoreError."""
    if found.node.name == "FlowstoreError":
        return True
    bases = [find(found.module, ast.unparse(base)) for base in getattr(found.node, "bases", [])]
    return any(base is not None and is_error(base) for base in bases)


def text(docstring: str) -> str:
    """A docstring, which is plain text with code in double backticks, as Markdown. Indented blocks stay."""
    lines = []
    for line in CODE.sub(lambda code: code[1].replace("\n", " "), docstring).splitlines():
        parts = CODE.split(line)
        if not line.startswith("    "):
            parts[::2] = [re.sub(r"([*_<\[\\])", r"\\\1", part) for part in parts[::2]]
            parts[1::2] = [f"`{part[2:-2]}`" for part in parts[1::2]]
        lines.append("".join(parts))
    return "\n".join(lines)


def documented(node: Definition | ast.Module) -> str:
    docstring = ast.get_docstring(node)
    return f"\n{text(docstring)}\n" if docstring else ""


def signature(node: Functions, name: str) -> str:
    """On one line if it fits, and otherwise with a line for each argument."""
    arguments = node.args
    known = [*arguments.posonlyargs, *arguments.args]
    if known and known[0].arg in ("self", "cls"):
        (arguments.posonlyargs or arguments.args).pop(0)
    begin = f"{'async ' if isinstance(node, ast.AsyncFunctionDef) else ''}def {name}("
    end = f") -> {ast.unparse(node.returns)}" if node.returns else ")"
    shown = ast.unparse(arguments)
    if len(begin + shown + end) > 88 and shown:
        call = ast.parse(f"def f({shown}): ...").body[0]
        assert isinstance(call, ast.FunctionDef)
        shown = "".join(f"\n    {each}," for each in split(call.args)) + "\n"
    return begin + shown + end


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
        if isinstance(node, Functions) and (not node.name.startswith("_") or node.name == "__init__"):
            groups.setdefault(node.name, []).append(node)
    for name, group in groups.items():
        overloads = [node for node in group if is_marked(node, "overload")] or group[:1]
        shown = "\n".join(signature(node, name) for node in overloads)
        marks = "@property\n" if is_marked(group[0], "property") else ""
        told = next((docs for node in group if (docs := documented(node))), "")
        if name == "__init__" and not told and shown == "def __init__()":
            continue
        yield f"\n{'#' * level} {prefix}{name.replace('_', chr(92) + '_')}\n\n```py\n{marks}{shown}\n```\n{told}"


def entry(found: Found) -> str:
    """A class with its fields and methods, or a function."""
    node = found.node
    if not isinstance(node, ast.ClassDef):
        return "".join(functions([node], 2, ""))
    fields = [
        ast.unparse(each)
        for each in node.body
        if (isinstance(each, ast.AnnAssign) and not ast.unparse(each.target).startswith("_"))
        or (isinstance(each, ast.Assign) and re.match(r"[a-zA-Z]", ast.unparse(each.targets[0])))
    ]
    head = f"class {node.name}" + (f"({', '.join(map(ast.unparse, node.bases))})" if node.bases else "")
    body = "".join(f"\n    {each}" for each in fields if not each.startswith("model_config"))
    shown = f"\n## {node.name}\n\n```py\n{head}{':' if body else ''}{body}\n```\n{documented(node)}"
    return shown + "".join(functions(node.body, 3, f"{node.name}."))
