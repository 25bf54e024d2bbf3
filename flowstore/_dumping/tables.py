"""Rows of flat columns, written to a CSV or Parquet file as they come."""

from __future__ import annotations

import csv
import io
import os
import secrets
from collections.abc import AsyncIterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from importlib import import_module
from json import dumps
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, Protocol

from flowstore._core.threads import in_thread
from flowstore._dumping.files import check_target
from flowstore.errors import MissingPackage
from flowstore.jsonable import to_jsonable

Kind = Literal["text", "int", "float", "bool", "time", "json"]
"""What a column holds: "time" aware datetimes, "json" any values, as texts of JSON. Any may be None."""
Format = Literal["csv", "parquet"]
Row = Mapping[str, Any]

FORMATS: Final = ("csv", "parquet")


def format_of(path: Path, wanted: Format | None) -> Format:
    """``wanted``, or else what the name of the file says. Raises ValueError."""
    found = path.suffix.removeprefix(".").lower() if wanted is None else wanted
    if found == "csv":
        return "csv"
    if found == "parquet":
        return "parquet"
    if wanted is None:
        known = "a name that ends in .csv or .parquet, or a format"
        raise ValueError(f"path: expected {known}, got {path.name!r:.80}")
    raise ValueError(f"format: expected one of {', '.join(FORMATS)}, or None, got {wanted!r:.80}")


class _Table(Protocol):
    def write(self, rows: Sequence[Row]) -> None: ...

    def end(self) -> None: ...


async def write_table(
    path: Path,
    columns: Mapping[str, Kind],
    rows: AsyncIterable[Sequence[Row]],
    table: Format,
    *,
    overwrite: bool = False,
) -> int:
    """Write the rows, step by step, and give the file its name once all of it is there; how many rows.

    A row has all ``columns``, and nothing else. With Parquet each step is a row group of its own. Raises
    FileExistsError, unless with ``overwrite``, and MissingPackage where pyarrow is not installed.
    """
    made = _File(path, columns, overwrite)
    count = 0
    try:
        await in_thread(made.open, table)
        async for some in rows:
            await in_thread(made.write, some)
            count += len(some)
        await in_thread(made.finish)
    finally:
        await in_thread(made.close)
    return count


class _File:
    """A file under another name, until it is whole."""

    def __init__(self, path: Path, columns: Mapping[str, Kind], overwrite: bool) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        self._columns = columns
        self._overwrite = overwrite
        self._file: BinaryIO | None = None
        self._table: _Table | None = None

    def open(self, table: Format) -> None:
        self._check_target()
        make = _Csv if table == "csv" else _parquet()
        self._file = open(self._part, "xb")  # noqa: SIM115  # see close
        self._table = make(self._file, self._columns)

    def write(self, rows: Sequence[Row]) -> None:
        assert self._table is not None
        self._table.write(rows)

    def finish(self) -> None:
        assert self._table is not None
        assert self._file is not None
        self._table.end()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._check_target()
        os.replace(self._part, self._path)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            with suppress(FileNotFoundError):
                self._part.unlink()

    def _check_target(self) -> None:
        check_target(self._path, self._overwrite)


class _Csv:
    """UTF-8, with a line of names first. None is an empty field, a time is in ISO format."""

    def __init__(self, file: BinaryIO, columns: Mapping[str, Kind]) -> None:
        self._file = file
        self._columns = columns
        self._put([[*columns]])

    def write(self, rows: Sequence[Row]) -> None:
        self._put([[self._cell(row[name], kind) for name, kind in self._columns.items()] for row in rows])

    def end(self) -> None:
        """There is nothing behind the rows."""

    def _put(self, rows: Sequence[Sequence[object]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        self._file.write(text.getvalue().encode(errors="backslashreplace"))

    def _cell(self, value: Any, kind: Kind) -> object:
        value = flat(value, kind)
        return value.isoformat() if isinstance(value, datetime) else value


def _parquet() -> Any:
    try:
        pyarrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise MissingPackage("a Parquet file", "pyarrow", "parquet") from None
    kinds = {
        "text": pyarrow.string(),
        "json": pyarrow.string(),
        "bool": pyarrow.bool_(),
        "int": pyarrow.int64(),
        "float": pyarrow.float64(),
        "time": pyarrow.timestamp("us", "UTC"),
    }

    class Parquet:
        def __init__(self, file: BinaryIO, columns: Mapping[str, Kind]) -> None:
            self._columns = columns
            self._schema = pyarrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
            self._writer = parquet.ParquetWriter(file, self._schema)

        def write(self, rows: Sequence[Row]) -> None:
            arrays = [
                pyarrow.array([flat(row[name], kind) for row in rows], kinds[kind])
                for name, kind in self._columns.items()
            ]
            self._writer.write_table(pyarrow.table(arrays, schema=self._schema))

        def end(self) -> None:
            self._writer.close()

    return Parquet


def flat(value: Any, kind: Kind) -> Any:
    """The value of a cell. Lone surrogates, which no file of UTF-8 can hold, become ``\\udXXX``."""
    if value is None:
        return None
    if kind == "json":
        value = dumps(to_jsonable(value), ensure_ascii=False)
    elif kind == "text":
        value = str(value)
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
