"""Compressed values: the bytes, their bounds, and what is made of those that are damaged or unknown."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstore import CorruptRecord, UnreadableRecord
from flowstore._values import compression
from flowstore._values.codec import Codec, DecodeError
from flowstore._values.compression import (
    HEADER_BYTES,
    ZLIB,
    ZSTD,
    beginning,
    compress,
    decompress,
    is_compressed,
    plain_size,
)
from flowstore._values.reading import cut_short, decode
from flowstore._values.records import Records
from flowstore._values.refusals import Unsupported
from flowstore._waiting.portions import Portions
from flowstore.stand_ins import NOT_LOADED, Excerpt
from flowstore.testing.samples import sample_entry
from flowstore.testing.support import EFFORT

HOWS = (ZLIB, ZSTD)
LIMIT = 64 * 2**20
FUZZED = settings(max_examples=200 * EFFORT, deadline=None, database=None)
TEXTS = st.text(max_size=40) | st.integers(0, 3_000).map("ab".__mul__) | st.binary(max_size=99).map(bytes.hex)
VALUES = st.dictionaries(TEXTS, st.lists(TEXTS, max_size=9), max_size=9).map(json.dumps).map(str.encode)
HOW = st.sampled_from(HOWS)


def rows(size: int) -> bytes:
    """JSON of about so many bytes, which compresses about as well as real values."""
    found = ",".join(json.dumps({"id": n, "name": f"{n * 7919 % 104729:x}"}) for n in range(size // 30))
    return f'{{"result":[{found}]}}'.encode()


def header(how: int, size: int) -> bytes:
    return struct.pack(">BQ", how, size)


def zstd() -> Any:
    module = compression.zstd()
    assert module is not None, "the extra flowstore[zstd] is not installed"
    return module


@pytest.fixture
def without_zstd(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a program that has it neither from Python nor from the extra."""
    for name in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    compression.zstd.cache_clear()
    yield
    compression.zstd.cache_clear()


@FUZZED
@given(VALUES, HOW)
def test_what_is_compressed_comes_back(plain: bytes, how: int) -> None:
    """Byte for byte, and never takes more bytes than before."""
    made = compress(plain, how)
    assert decompress(made, len(plain)) == plain
    assert plain_size(made) == len(plain)
    assert len(made) < len(plain) if is_compressed(made) else made is plain
    assert compress(made, how) is made


@FUZZED
@given(VALUES, HOW, st.data())
def test_any_beginning(plain: bytes, how: int, data: st.DataObject) -> None:
    """Of however many stored bytes: the beginning of the value, at most as long as asked for."""
    made = compress(plain, how)
    cut = made[: data.draw(st.integers(0, len(made)))]
    most = data.draw(st.integers(0, len(plain) + 9))
    found = beginning(cut, most)
    assert plain.startswith(found)
    assert len(found) <= most
    if len(cut) == len(made):
        assert found == plain[:most]
    if is_compressed(made) and len(cut) >= HEADER_BYTES:
        assert plain_size(cut) == len(plain)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("size", [2_000, 100_000, 3_000_000])
def test_a_beginning_says_something(how: int, size: int) -> None:
    """zstd writes blocks of 128 KiB, of which nothing could be read; so the first ones are small."""
    plain = rows(size)
    made = compress(plain, how)
    for stored in (400, 2_000, 10_000):
        if stored < len(made):
            assert len(beginning(made[:stored], 10**9)) >= stored / 4


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("size", [300, 5_000, 2**16 + 7, 2**21 + 9, 9_000_000])
def test_sizes_around_blocks_and_windows(how: int, size: int) -> None:
    """Each comes back, and is a good deal smaller."""
    plain = rows(size)
    made = compress(plain, how)
    assert decompress(made, len(plain)) == plain
    assert len(made) < 0.7 * len(plain) or size < 1_000


def test_what_is_compressed_by_the_library_of_this_program() -> None:
    """zstd if there is one."""
    assert compress(rows(5_000))[0] == ZSTD


@pytest.mark.parametrize("plain", [b"", b"{}", b"{" + os.urandom(500)])
def test_what_does_not_get_smaller_stays(plain: bytes) -> None:
    """The very same bytes."""
    for how in HOWS:
        assert compress(plain, how) is plain
    assert decompress(plain, 0) is plain


@pytest.mark.parametrize("how", HOWS)
def test_the_limit_holds_for_what_comes_out(how: int) -> None:
    """Exactly; and nothing of it is made."""
    plain = b'{"result":"' + b"x" * 20_000_000 + b'"}'
    made = compress(plain, how)
    assert len(made) < 100_000
    assert decompress(made, len(plain)) == plain
    tracemalloc.start()
    with pytest.raises(DecodeError, match=f"^{len(plain)} bytes, compressed; the limit is {len(plain) - 1}$"):
        decompress(made, len(plain) - 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize("how", HOWS)
def test_a_bomb_that_says_it_is_small(how: int) -> None:
    """As much is made as it says, and a byte to find out; zlib copies what is left of the stream."""
    bomb = header(how, 1_000) + compress(b"x" * 200_000_000, how)[HEADER_BYTES:]
    tracemalloc.start()
    with pytest.raises(DecodeError, match="not the 1000 bytes that it says"):
        decompress(bomb, LIMIT)
    assert len(beginning(bomb, 5_000)) == 5_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(bomb) + 100_000


def test_a_window_that_is_too_large() -> None:
    """zstd would set aside 128 MiB for a frame of some bytes."""
    module = zstd()
    options = {module.CompressionParameter.window_log: 27}
    writer = module.ZstdCompressor(options=options)
    stream = writer.compress(b"x" * 1_000) + writer.flush()
    with pytest.raises(DecodeError, match=r"^compressed, and damaged: .*memory"):
        decompress(header(ZSTD, 1_000) + stream, LIMIT)


@pytest.mark.parametrize("how", HOWS)
def test_every_truncation_is_found(how: int) -> None:
    """Wherever it is cut, the header included."""
    made = compress(rows(3_000), how)
    for end in range(1, len(made)):
        with pytest.raises(DecodeError, match=r"^compressed, and "):
            decompress(made[:end], LIMIT)


@pytest.mark.parametrize("how", HOWS)
def test_what_follows_a_stream_is_damage(how: int) -> None:
    """Also a second stream."""
    made = compress(rows(3_000), how)
    for more in (b"x", made[HEADER_BYTES:]):
        with pytest.raises(DecodeError, match="not the"):
            decompress(made + more, LIMIT)


@FUZZED
@given(VALUES, HOW, st.data())
def test_damage_raises_one_error_only(plain: bytes, how: int, data: st.DataObject) -> None:
    """Whatever the bytes; what comes out of them never has more than they say."""
    made = bytearray(compress(plain, how))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(made) - 1))
        made[place] = data.draw(st.integers(0, 255))
    with suppress(DecodeError):
        assert len(decompress(bytes(made), LIMIT)) <= LIMIT
    with suppress(DecodeError):
        assert len(beginning(bytes(made), 100)) <= 100


@pytest.mark.parametrize("how", range(3, 9))
def test_a_way_that_is_not_known(how: int) -> None:
    """It is of a newer program, and not damaged."""
    for size in (10, 2**63):
        with pytest.raises((Unsupported, DecodeError), match=r"newer flowstore|the limit"):
            decompress(header(how, size) + b"stream", LIMIT)
    with pytest.raises(Unsupported, match=rf"newer flowstore knows \({how}\); upgrade"):
        beginning(header(how, 10) + b"stream", 5)


@pytest.mark.usefixtures("without_zstd")
def test_a_program_without_zstd() -> None:
    """It writes zlib, and says of what another one wrote what is missing."""
    assert compress(rows(5_000))[0] == ZLIB
    with pytest.raises(Unsupported, match=r"pip install 'flowstore\[zstd\]', or use Python 3.14"):
        decompress(header(ZSTD, 10) + b"stream", LIMIT)


def test_nothing_is_loaded_until_it_is_needed() -> None:
    """Neither by the import nor by a backend without the option."""
    code = "import sys, flowstore; {}; print(any('zstd' in name for name in sys.modules))"
    for made, expected in (("InMemoryBackend()", "False"), ("InMemoryBackend(compress_over=9)", "True")):
        program = code.format(f"flowstore.{made}")
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert ran.stdout.strip() == expected


def entry_of(body: bytes, **changes: Any) -> Any:
    records = Records(Codec(), ttl=None, failure_ttl=None)
    return records.checked(sample_entry("t", body=body, **changes))


def records_of(**options: Any) -> Records:
    return Records(Codec(**options), ttl=None, failure_ttl=None)


@pytest.mark.parametrize("how", HOWS)
def test_the_checksum_is_that_of_the_stored_bytes(how: int) -> None:
    """Each flipped bit of a compressed body is found before anything is made of it."""
    entry = entry_of(compress(rows(1_500), how))
    value: Any = decode(entry, Codec()).result
    assert len(value) == 50
    for place in range(0, len(entry.body), 7):
        body = bytearray(entry.body)
        body[place] ^= 1 << place % 8
        with pytest.raises(CorruptRecord, match="checksum"):
            decode(entry._replace(body=bytes(body)), Codec())
        shown = records_of().cut(entry._replace(body=bytes(body)), 100)
        if not is_compressed(bytes(body)):  # the bit was in the first byte; of a beginning nobody can tell
            continue
        with pytest.raises(CorruptRecord, match="checksum"):
            decode(shown, Codec())


@pytest.mark.usefixtures("without_zstd")
def test_a_record_of_another_program_is_not_called_damaged() -> None:
    """Whole or its beginning; the error tells the remedy. A task that is requeued keeps its values."""
    body = header(ZSTD, 5_000) + b"stream of zstd"
    records = records_of()
    for entry in (entry_of(body), records.cut(entry_of(body), 100), records.cut(entry_of(body), 12)):
        with pytest.raises(UnreadableRecord, match=r"flowstore\[zstd\]") as caught:
            records.decode(entry)
        assert not isinstance(caught.value, CorruptRecord)
    assert records.arguments_of(body) is body


def test_the_limit_of_a_reader() -> None:
    """As for what is not compressed."""
    body = compress(b'{"result":"' + b"x" * 5_000 + b'"}')
    with pytest.raises(CorruptRecord, match="5013 bytes, compressed; the limit is 4000"):
        records_of(max_bytes=4_000).decode(entry_of(body))


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("most", [0, 5, 8, 9, 200, 3_000, 10**6])
def test_a_beginning_of_a_record(how: int, most: int) -> None:
    """However it was read, by an engine that cuts or whole: at most so much, and the size of all JSON."""
    plain = rows(20_000)
    whole = entry_of(compress(plain, how))
    stored = len(whole.body)
    read = whole if stored <= most else whole._replace(body=whole.body[:most], body_size=stored)
    for entry in (read, whole):
        shown = records_of().cut(entry, most)
        if most >= len(plain):
            assert shown == whole
            continue
        assert shown.body is not None
        if len(entry.body) < HEADER_BYTES:  # of that nothing can be told
            assert records_of().decode(shown).result is NOT_LOADED
            continue
        assert plain.startswith(shown.body)
        assert len(shown.body) <= most
        assert shown.body_size == len(plain)
        value: Any = records_of().decode(shown).result
        assert value.size == len(plain) if isinstance(value, Excerpt) else most < 300
        assert cut_short(shown, most // 2).body_size == len(plain)


def test_arguments_of_a_compressed_body() -> None:
    """Without the result, compressed or not; and as it is where there is none."""
    both = json.dumps({"result": "r" * 900, "args": ["a" * 900], "kwargs": {}}).encode()
    arguments = json.dumps({"args": ["a" * 900]}).encode()
    for how in HOWS:
        kept = records_of().arguments_of(compress(both, how))
        assert json.loads(kept) == {"args": ["a" * 900], "kwargs": {}}
        stays = compress(arguments, how)
        assert json.loads(decompress(records_of().arguments_of(stays), LIMIT)) == json.loads(arguments)


def test_portions_weigh_what_comes_out() -> None:
    """A read of many small bodies that are large once they are read is followed by a small one."""
    heavy, light = Portions(), Portions()
    heavy.answered([entry_of(compress(b'{"result":"' + b"x" * 3_000_000 + b'"}'))] * 32)
    light.answered([entry_of(b'{"result":"x"}')] * 32)
    assert (heavy.size, light.size) == (1, 128)


def test_zlib_is_what_others_read() -> None:
    """The stream is that of the standard, behind the header."""
    plain = rows(5_000)
    made = compress(plain, ZLIB)
    assert made[:HEADER_BYTES] == header(ZLIB, len(plain))
    assert zlib.decompress(made[HEADER_BYTES:]) == plain
    assert zstd().decompress(compress(plain, ZSTD)[HEADER_BYTES:]) == plain
