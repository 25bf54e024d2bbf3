"""The bytes of a file, compressed or not: in parts, each of which can be read when the next is torn.

Each batch of lines is a part of its own: a member of gzip, a frame of zstd, or just the lines. Programs that
read either take any number of them as one stream. Where a file ends in the midst of one, as after a crash,
all parts before it are whole.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from io import BufferedReader
from typing import Any, BinaryIO, Final, Literal, cast

from flowstore._values.compression import zstd
from flowstore.errors import MissingPackage

Compression = Literal["none", "gzip", "zstd"]

COMPRESSIONS: Final = ("none", "gzip", "zstd")
_SUFFIXES: Final[dict[str, Compression]] = {".gz": "gzip", ".zst": "zstd"}
_MAGIC: Final[dict[bytes, Compression]] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_CHUNK: Final = 2**20
_GZIP: Final = 31
"""The ``wbits`` of zlib for one member of gzip."""
_LEVEL: Final = 5


def compression_of(name: str, wanted: Compression | None) -> Compression:
    """``wanted``, or else what the name of the file says."""
    if wanted is None:
        return next((kind for suffix, kind in _SUFFIXES.items() if name.endswith(suffix)), "none")
    if wanted not in COMPRESSIONS:
        raise ValueError(f"compress: expected one of {', '.join(COMPRESSIONS)}, or None, got {wanted!r:.80}")
    if wanted == "zstd":
        _zstd()
    return wanted


def packed(kind: Compression, data: bytes) -> bytes:
    if kind == "none":
        return data
    return gzip.compress(data, _LEVEL, mtime=0) if kind == "gzip" else cast(bytes, _zstd().compress(data))


def unpacking(file: BufferedReader) -> BinaryIO:
    """What the file holds, from its beginning. Raises EOFError or ValueError when read where it is torn."""
    kind = _found(file)
    if kind == "none":
        return file
    opened = gzip.open(file) if kind == "gzip" else _zstd().open(file)  # noqa: SIM115  # of the file
    return cast(BinaryIO, opened)


def torn() -> tuple[type[Exception], ...]:
    """What reading a compressed file raises where it is damaged or ends too early."""
    try:
        return EOFError, gzip.BadGzipFile, zlib.error, _zstd().ZstdError
    except MissingPackage:
        return EOFError, gzip.BadGzipFile, zlib.error


def parts(file: BinaryIO, kind: Compression) -> Iterator[tuple[bytes, int]]:
    """The whole parts of a file, from its beginning: what each holds, and where it ends in the file.

    One part is held at a time. Lines that are not compressed are a part each.
    """
    end = 0
    if kind == "none":
        for line in file:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            yield line, end
        return
    chunk = file.read(_CHUNK)
    while chunk:
        reader = zlib.decompressobj(_GZIP) if kind == "gzip" else _zstd().ZstdDecompressor()
        pieces = []
        while chunk and not reader.eof:
            try:
                pieces.append(reader.decompress(chunk))
            except torn():
                return
            end += len(chunk)
            chunk = b"" if reader.eof else file.read(_CHUNK)
        if not reader.eof:
            return
        chunk = reader.unused_data
        end -= len(chunk)
        yield b"".join(pieces), end
        chunk = chunk or file.read(_CHUNK)


def _found(file: BufferedReader) -> Compression:
    file.seek(0)
    first = file.read(4)
    file.seek(0)
    return next((kind for magic, kind in _MAGIC.items() if first.startswith(magic)), "none")


def _zstd() -> Any:
    module = zstd()
    if module is None:
        raise MissingPackage("compress='zstd'", "backports.zstd", "zstd")
    return module
