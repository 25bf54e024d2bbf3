"""Encoded values above a size, compressed: bodies of records, data, checkpoints, what an app says.

Values are JSON, which begins with "{". What is compressed begins with a header, 9 bytes:

    1 byte    how: 1 zlib (RFC 1950), 2 one frame of zstd (RFC 8878)
    8 bytes   how many bytes of JSON there are, an unsigned number, big-endian
    the rest  the stream

The size comes first, so that a reader refuses what is too large before it has made any of it, and can tell
the size of a value of which only the beginning was read. A stream that holds more or less than the header
says is damaged. No frame of zstd has a window of more than 2 MiB: that is what its reader has to set aside.

zstd writes blocks, of which nothing can be read before their end. So the first ones are small, and the
beginning of a stream has some of the beginning of the value.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from importlib import import_module
from struct import Struct
from typing import Any, Final, NamedTuple

from flowstore._values.refusals import DecodeError, Unsupported

_HEADER: Final = Struct(">BQ")
HEADER_BYTES: Final = _HEADER.size
"""Of so many bytes of a value ``plain_size`` can tell."""

ZLIB: Final = 1
ZSTD: Final = 2
_TAGS: Final = frozenset(range(1, 9))
"""Control characters, with none of which JSON begins; those above two are for what is to come."""

_ZLIB_LEVEL: Final = 1
"""Three times as fast as the default of 6, for a tenth more bytes: the event loop stands still meanwhile."""
_WINDOW_LOG: Final = 21
_FIRST_BLOCK: Final = 256
_BLOCK_GROWTH: Final = 4
_LAST_SMALL_BLOCK: Final = 2**16  # those of zstd itself have at most twice as many
_EXTRA: Final = "pip install 'flowstore[zstd]', or use Python 3.14 or later"


class Stream(NamedTuple):
    """What was made of a stream. ``is_whole``: it ends where its bytes do."""

    plain: bytes
    is_whole: bool


@cache
def zstd() -> Any | None:
    """The module: that of Python 3.14, or the same for older ones; None where there is neither."""
    for name in ("compression.zstd", "backports.zstd"):
        with suppress(ImportError):
            return import_module(name)
    return None


def best() -> int:
    """How this program compresses."""
    return ZLIB if zstd() is None else ZSTD


def is_compressed(data: bytes) -> bool:
    return bool(data) and data[0] in _TAGS


def plain_size(data: bytes) -> int:
    """How many bytes of JSON it is; of what is compressed, as its header says. Its beginning will do.

    Of less than ``HEADER_BYTES`` of something compressed nobody can tell: those are counted.
    """
    return _opened(data)[1] if is_compressed(data) and len(data) >= HEADER_BYTES else len(data)


def compress(data: bytes, how: int | None = None) -> bytes:
    """The JSON compressed; as it is if that would not be smaller, or if it is compressed already.

    ``how``: ZLIB or ZSTD; None: the best that this program has.
    """
    if is_compressed(data):
        return data
    how = best() if how is None else how
    made = _HEADER.pack(how, len(data)) + (_zlib_stream if how == ZLIB else _zstd_stream)(data)
    return made if len(made) < len(data) else data


def decompress(data: bytes, max_bytes: int) -> bytes:
    """The JSON; what is not compressed comes back as it is.

    Raises DecodeError if it is damaged, or takes more than ``max_bytes``, of which nothing is made then, and
    Unsupported if this program cannot read it.
    """
    if data.startswith(b"{") or not is_compressed(data):  # nearly always the first
        return data
    how, size, stream = _opened(data)
    if size > max_bytes:
        raise DecodeError(f"{size} bytes, compressed; the limit is {max_bytes}")
    made = _read(how, stream, size + 1)
    if len(made.plain) != size or not made.is_whole:
        raise DecodeError(f"compressed, and not the {size} bytes that it says")
    return made.plain


def beginning(data: bytes, most: int) -> bytes:
    """The first bytes of the JSON, at most ``most``: as many as can be told from what was read of it.

    Raises what ``decompress`` raises, but not for a stream that is cut.
    """
    if not is_compressed(data):
        return data[:most]
    if len(data) < HEADER_BYTES or most < 1:
        return b""
    how, _, stream = _opened(data)
    return _read(how, stream, most).plain


def _opened(data: bytes) -> tuple[int, int, memoryview]:
    """How it is compressed, the size of the JSON, and the stream."""
    if len(data) < HEADER_BYTES:
        raise DecodeError("compressed, and cut")
    how, size = _HEADER.unpack_from(data)
    return how, size, memoryview(data)[HEADER_BYTES:]


def _read(how: int, stream: memoryview, most: int) -> Stream:
    read = _READERS.get(how)
    if read is None:
        raise Unsupported(f"compressed in a way that a newer flowstore knows ({how}); upgrade flowstore")
    return read(stream, most)


def _zlib_stream(data: bytes) -> bytes:
    return zlib.compress(data, _ZLIB_LEVEL)


def _read_zlib(stream: memoryview, most: int) -> Stream:
    reader = zlib.decompressobj()
    try:
        plain = reader.decompress(stream, most)
    except zlib.error as error:
        raise DecodeError(f"compressed, and damaged: {error}") from error
    return Stream(plain, reader.eof and not reader.unused_data)


def _zstd_stream(data: bytes) -> bytes:
    module = _zstd_here()
    writer = module.ZstdCompressor(options={module.CompressionParameter.window_log: _WINDOW_LOG})
    writer.set_pledged_input_size(len(data))  # a small value then takes a small window
    blocks, last = [], 0
    for end in _small_blocks(len(data)):
        blocks.append(writer.compress(data[last:end], writer.FLUSH_BLOCK))
        last = end
    return b"".join((*blocks, writer.compress(memoryview(data)[last:], writer.FLUSH_FRAME)))


def _small_blocks(size: int) -> Iterator[int]:
    """Where the first blocks end."""
    end = _FIRST_BLOCK
    while end < size and end <= _LAST_SMALL_BLOCK:
        yield end
        end *= _BLOCK_GROWTH


def _read_zstd(stream: memoryview, most: int) -> Stream:
    module = _zstd_here()
    reader = module.ZstdDecompressor(options={module.DecompressionParameter.window_log_max: _WINDOW_LOG})
    try:
        plain = reader.decompress(stream, most)
    except module.ZstdError as error:
        raise DecodeError(f"compressed, and damaged: {error}") from error
    return Stream(plain, reader.eof and not reader.unused_data)


def _zstd_here() -> Any:
    module = zstd()
    if module is None:
        raise Unsupported(f"compressed with zstd, which this program does not have: {_EXTRA}")
    return module


_READERS: Final[dict[int, Callable[[memoryview, int], Stream]]] = {ZLIB: _read_zlib, ZSTD: _read_zstd}
