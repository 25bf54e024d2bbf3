"""What a command prints: tables for people, and JSON, CSV and ids for programs, on stdout alone.

A table has colours and is cut to its width on a terminal only. Notices, progress and errors go to stderr.
Everything out of a store is shown as text, whatever it holds: see ``plain`` in _faces/showing.py.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final, Generic, Literal, TextIO, TypeVar

from flowstore._faces.showing import ago, plain
from flowstore.cli._exits import usage
from flowstore.cli._settings import Settings
from flowstore.cli._widths import GAP, Place, Wanted, aligned, widths

T = TypeVar("T")

_NO_LIMIT: Final = 1_000_000
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
STYLES: Final = {
    "pending": "yellow",
    "running": "blue",
    "retrying": "magenta",
    "success": "green",
    "failed": "bold red",
    "cancelled": "bright_black",
}
"""Of statuses, and of what stands for one."""


@dataclass(frozen=True)
class Column(Generic[T]):
    """A column of a table. ``show``: its text, of an item. ``style``: of a cell, as rich names it.

    ``may_shrink``: it is cut where the terminal is too narrow, and others are not.
    """

    name: str
    show: Callable[[T], str]
    is_right: bool = False
    may_shrink: bool = False
    style: Callable[[T], str | None] | None = None

    @property
    def head(self) -> str:
        return self.name.upper().replace("_", " ")


@dataclass(frozen=True)
class Kind(Generic[T]):
    """How items of one kind are printed. ``as_json``: all of one, as JSON. ``id_of``: what ``-o ids`` prints.

    ``csv``: the fields of that JSON which CSV has if no ``--fields`` were given. ``as_row``: the same JSON,
    with one text for what CSV has no form for; None: there is nothing such in it.
    """

    columns: Sequence[Column[T]]
    as_json: Callable[[T], dict[str, Any]]
    id_of: Callable[[T], str] | None = None
    csv: Sequence[str] = ()
    as_row: Callable[[T], dict[str, Any]] | None = None


def clock() -> datetime:
    """The time by which ages are told."""
    return datetime.now(UTC)


class Out:
    """Where a command prints, in the format that was asked for."""

    def __init__(self, settings: Settings, stdout: TextIO | None = None) -> None:
        self.settings = settings
        self.format = settings.output
        self.stdout = stdout or sys.stdout
        self._paged: list[str] | None = [] if self.is_terminal and self.format == "table" else None

    @property
    def is_terminal(self) -> bool:
        return self.stdout.isatty()

    @property
    def now(self) -> datetime:
        return clock()

    @property
    def is_for_people(self) -> bool:
        return self.format == "table"

    @cached_property
    def is_coloured(self) -> bool:
        if self.settings.color != "auto":
            return self.settings.color == "always"
        if os.environ.get("NO_COLOR"):
            return False
        return (self.is_terminal or bool(os.environ.get("FORCE_COLOR"))) and self.is_for_people

    @property
    def height(self) -> int:
        """Of the terminal, in lines."""
        return shutil.get_terminal_size().lines

    @property
    def width(self) -> int:
        """Of the terminal, in cells; without one there is no limit."""
        return shutil.get_terminal_size().columns if self.is_terminal else _NO_LIMIT

    def time(self, at: datetime | None) -> str:
        """As ``--time`` says; None: empty."""
        if at is None:
            return ""
        if self.settings.time == "relative":
            return ago(at, self.now)
        if self.settings.time == "epoch":
            return f"{at.timestamp():.6f}"
        zoned = at.astimezone(UTC if self.settings.time == "utc" else None)
        return zoned.isoformat(" ", "seconds")

    def note(self, text: str) -> None:
        """A notice on stderr, unless ``--quiet``."""
        if not self.settings.quiet:
            self.flush()
            print(text, file=sys.stderr, flush=True)

    def text(self, text: str, *, style: str | None = None) -> None:
        """Lines for people, as they are: the caller has made ``plain`` what comes out of a store."""
        if style is not None and self.is_coloured:
            from rich.text import Text

            text = self._rendered(Text(text, style=style))
        self._write(text if text.endswith("\n") else text + "\n")

    def document(self, document: Mapping[str, Any]) -> None:
        """One object, for programs; for people a command prints what it likes instead."""
        if self.format == "json":
            self._write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        else:
            self._write(_line(document))

    def items(self, kind: Kind[T], items: Iterable[T]) -> None:
        """All at once."""
        printer = self.printer(kind)
        printer.add([*items])
        printer.end()

    def printer(self, kind: Kind[T]) -> Printer[T]:
        """For items that come one by one, or in batches: nothing waits for the last of them."""
        return Printer(self, kind)

    def table(self, columns: Sequence[Column[T]], items: Sequence[T], *, has_head: bool = True) -> None:
        """A table for people, whatever the format is."""
        from rich.cells import cell_len

        rows = [[column.show(item) for column in columns] for item in items]
        wanted = [
            Wanted(max([head, *(cell_len(row[n]) for row in rows)]), head, column.may_shrink)
            for n, column in enumerate(columns)
            for head in [len(column.head) if has_head else 0]
        ]
        if not self.is_terminal and not self.is_coloured:
            heads = [[column.head for column in columns]] if has_head else []
            places = [
                Place(each.cells, column.is_right) for each, column in zip(wanted, columns, strict=True)
            ]
            self._write(aligned([*heads, *rows], places, cell_len))
            return
        from rich.table import Table
        from rich.text import Text

        table = Table(
            box=None, pad_edge=False, show_header=has_head, header_style="bold", padding=(0, GAP, 0, 0)
        )
        shown = widths(wanted, self.width)
        for column, width in zip(columns, shown, strict=True):
            if not width:
                continue
            justify: Literal["left", "right"] = "right" if column.is_right else "left"
            table.add_column(column.head, justify=justify, no_wrap=True, overflow="ellipsis", width=width)
        for item, row in zip(items, rows, strict=True):
            styles = [(column.style and column.style(item)) or "" for column in columns]
            cells = map(Text, row, styles)
            table.add_row(*(cell for cell, width in zip(cells, shown, strict=True) if width))
        self._write(self._rendered(table))

    def flush(self) -> None:
        """Print what was held back to be paged."""
        held, self._paged = self._paged, [] if self._paged is not None else None
        text = "".join(held or ())
        if not text:
            return
        pager = os.environ.get("PAGER", "less")
        if self.settings.uses_pager and text.count("\n") >= self.height and pager not in ("", "cat"):
            with suppress(FileNotFoundError, BrokenPipeError):
                environment = {"LESS": "FRX", **os.environ}
                subprocess.run(shlex.split(pager), input=text.encode(), env=environment, check=False)
                return
        self.stdout.write(text)
        self.stdout.flush()

    def _write(self, text: str) -> None:
        if self._paged is None:
            self.stdout.write(text)
            self.stdout.flush()
        else:
            self._paged.append(text)

    @contextmanager
    def captured(self) -> Iterator[list[str]]:
        """What is printed meanwhile is collected in the list, and nowhere else."""
        before, self._paged = self._paged, []
        try:
            yield self._paged
        finally:
            self._paged = before

    def live(self) -> None:
        """Hold nothing back any more: what follows is printed as it comes."""
        self.flush()
        self._paged = None

    def _rendered(self, what: Any) -> str:
        """By rich, without blanks at the ends of lines."""
        from rich.console import Console

        buffer = io.StringIO()
        console = Console(
            file=buffer,
            width=self.width,
            force_terminal=self.is_coloured,
            color_system="standard" if self.is_coloured else None,
            no_color=not self.is_coloured,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
        )
        console.print(what, soft_wrap=False)
        return "".join(line.rstrip() + "\n" for line in buffer.getvalue().splitlines())


class Printer(Generic[T]):
    """Prints items of one kind as they come."""

    def __init__(self, out: Out, kind: Kind[T]) -> None:
        self._out = out
        self._kind = kind
        self._count = 0
        self._columns = _columns(kind, out.settings.fields) if out.is_for_people else ()

    def add(self, items: Sequence[T]) -> None:
        """In a table each batch has columns as wide as it needs; the first has their names."""
        if not items:
            return
        if self._out.is_for_people:
            self._out.table(self._columns, items, has_head=not self._count)
        else:
            self._out._write("".join(self._lines(items)))
        self._count += len(items)

    def end(self) -> None:
        """There are no more."""
        if self._out.format == "json":
            self._out._write("\n]\n" if self._count else "[]\n")

    def _lines(self, items: Sequence[T]) -> Iterator[str]:
        if self._out.format == "ids":
            id_of = self._kind.id_of
            if id_of is None:
                raise usage("-o ids: what this prints has no ids")
            yield from (plain(id_of(item)) + "\n" for item in items)
            return
        fields = self._out.settings.fields
        is_csv = self._out.format == "csv"
        as_json = self._kind.as_row if is_csv and self._kind.as_row else self._kind.as_json
        documents = [_only(as_json(item), fields) for item in items]
        if is_csv:
            names = fields or self._kind.csv or tuple(documents[0])
            yield _csv(names, documents, has_head=not self._count)
            return
        for number, document in enumerate(documents, self._count):
            if self._out.format == "jsonl":
                yield _line(document)
            else:
                text = json.dumps(document, indent=2, ensure_ascii=False)
                yield ("[\n" if number == 0 else ",\n") + text


def _line(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False) + "\n"


def _only(document: dict[str, Any], fields: Sequence[str] | None) -> dict[str, Any]:
    if fields is None:
        return document
    return {name: document.get(name) for name in fields}


def _columns(kind: Kind[T], fields: Sequence[str] | None) -> Sequence[Column[T]]:
    if fields is None:
        return kind.columns
    known = {column.name: column for column in kind.columns}

    def of_json(name: str) -> Column[T]:
        return Column(name, lambda item: plain(_cell(kind.as_json(item).get(name))), may_shrink=True)

    return [known.get(name) or of_json(name) for name in fields]


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _csv(names: Sequence[str], documents: Iterable[Mapping[str, Any]], *, has_head: bool) -> str:
    """A cell that a spreadsheet would take for a formula gets a quote mark in front."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if has_head:
        writer.writerow(names)
    for document in documents:
        cells = ((document.get(name), _cell(document.get(name))) for name in names)
        writer.writerow(
            "'" + cell if isinstance(value, str) and cell.startswith(_FORMULA) else cell
            for value, cell in cells
        )
    return buffer.getvalue()
