"""Whatever bytes are found where a record should be: data that flowstore could have written, or an error.

The corpus holds bodies that are read and bodies that are refused; what is made of them here is fuzzed
further. ``nox -s stress`` tries ten times as many.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowstore import NotSerializable, TaskStatus, UnreadableRecord, Unresolved
from flowstore._values.checks import with_check
from flowstore._values.codec import Codec, DecodeError
from flowstore._values.leaves import READERS
from flowstore._values.records import Records
from flowstore._values.types import BY_TAG
from flowstore.engine import Entry
from flowstore.testing.contract.values import SAMPLE_TYPES, is_same
from flowstore.testing.samples import sample_entry
from flowstore.testing.support import EFFORT

CORPUS = Path(__file__).parents[1] / "corpus"
READ = sorted(CORPUS.glob("read/*.json"))
REFUSED = sorted(CORPUS.glob("refused/*.json"))
UNRESOLVED = sorted(CORPUS.glob("unresolved/*.json"))
SEEDS = [path.read_bytes() for path in (*READ, *REFUSED, *UNRESOLVED)]

CODEC = Codec({cls.__name__: cls for cls in SAMPLE_TYPES})
RECORDS = Records(CODEC, ttl=None, failure_ttl=None)
FUZZED = settings(max_examples=400 * EFFORT, deadline=None, database=None)

TOKENS = ['"', "{", "}", "[", "]", ",", ":", "\\u0024", '"$', "$", "null", "1e999", "-", "\n"]
PIECES = st.binary(max_size=4) | st.sampled_from(TOKENS).map(str.encode)
TAGS = st.sampled_from([*READERS, *BY_TAG, "$nothing", "$", "x"])
NAMES = st.sampled_from(["Colour", "Access", "Point", "Order", "os:system", "RED", "x", "y", "number"])
TEXTS = st.sampled_from(["0x10", "nan", "AA==", "2026-01-01", "12:00:00", "UTC", "1E+999", "\ud800"])
NUMBERS = st.integers() | st.floats() | st.sampled_from([2**63, 10**30])
LEAVES = st.none() | st.booleans() | NUMBERS | st.text(max_size=4) | NAMES | TEXTS
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=3)
        | st.dictionaries(TAGS, inner | st.lists(inner, max_size=4), min_size=1, max_size=1)
        | st.tuples(NAMES, st.dictionaries(NAMES, inner, max_size=3)).map(list)
    ),
    max_leaves=15,
)
HEAD_FIELDS = ["error", "started_at", "finished_at", "worker_id", "parent_id", "labels", "progress", "result"]
ERRORS = st.recursive(
    st.none() | LEAVES,
    lambda inner: st.fixed_dictionaries(
        {"type": LEAVES, "message": LEAVES},
        optional={"args": st.lists(LEAVES) | LEAVES, "traceback": LEAVES, "cause": inner},
    ),
    max_leaves=20,
)
HEADS = st.dictionaries(st.sampled_from(HEAD_FIELDS), JSON | ERRORS).map(json.dumps).map(str.encode)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A body of the corpus after some cuts, insertions and transplants."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        other = draw(st.sampled_from(SEEDS))
        begin, length = draw(st.integers(0, len(other))), draw(st.integers(0, 20))
        piece = draw(PIECES | st.just(other[begin : begin + length]))
        data[place : place + draw(st.integers(0, 6))] = piece
    return bytes(data)


def failure(call: Callable[[], object], kind: type[Exception]) -> str | None:
    """What it says, when it is of this kind."""
    try:
        call()
    except kind as error:
        return str(error)
    return None


def check(data: bytes) -> None:
    """DecodeError, and a short one; or values that could have been stored, as they come back as they are."""
    refusal = failure(partial(CODEC.decode_fields, data), DecodeError)
    if refusal is not None:
        assert len(refusal) < 300
        return
    for value in CODEC.decode_fields(data).values():
        assert repr(value)
        refusal = failure(partial(CODEC.encode_fields, {"v": value}), NotSerializable)
        if refusal is None:
            assert is_same(CODEC.decode_fields(CODEC.encode_fields({"v": value}))["v"], value)
        else:
            assert "nested deeper than 100" in refusal or "stands for a value" in refusal


@pytest.mark.parametrize("path", READ, ids=lambda path: path.stem)
def test_corpus_of_data(path: Path) -> None:
    """Read, and what is read can be stored."""
    assert CODEC.decode_fields(path.read_bytes())
    check(path.read_bytes())


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_corpus_of_attacks(path: Path) -> None:
    """Wrong tags, truncated bytes, pickles: refused."""
    with pytest.raises(DecodeError):
        CODEC.decode_fields(path.read_bytes())


@pytest.mark.parametrize("path", UNRESOLVED, ids=lambda path: path.stem)
def test_corpus_of_unknown_types(path: Path) -> None:
    """What the data names is never looked up: a stand-in shows it, and cannot be stored."""
    [value] = CODEC.decode_fields(path.read_bytes()).values()
    assert isinstance(value, Unresolved)
    check(path.read_bytes())


@FUZZED
@given(mutated())
def test_fuzzed_bytes(data: bytes) -> None:
    """The corpus, cut and spliced."""
    check(data)


@FUZZED
@given(st.dictionaries(st.sampled_from(["result", "args", "kwargs"]), JSON), st.booleans())
def test_fuzzed_tags(fields: dict[str, Any], is_ascii: bool) -> None:
    """Valid JSON with tags around anything."""
    check(json.dumps(fields, ensure_ascii=is_ascii).encode(errors="surrogatepass"))


FACETS = st.lists(st.text(max_size=3) | st.sampled_from(["run:" + "x" * 600, "child:p", "worker:"])).map(
    tuple
)
TIMES = st.none() | st.integers() | st.integers(-(2**70), 2**70)
ENTRIES = st.builds(
    Entry,
    id=st.just("t"),
    status=st.sampled_from([*TaskStatus, "", "done", "\ud800"]),
    stage=st.integers(),
    version=st.integers(),
    submitted_at=TIMES,
    started_at=TIMES,
    finished_at=TIMES,
    due_at=TIMES,
    updated_at=st.integers(),
    expires_at=TIMES,
    fixed=FACETS,
    facets=FACETS,
    check=st.integers(-(2**63), 2**63 - 1),
    head=HEADS | mutated(),
    body=JSON.map(lambda value: json.dumps({"result": value}).encode()) | mutated(),
    progress=st.none() | mutated() | HEADS.map(with_check),
)


@FUZZED
@given(ENTRIES, st.booleans())
@example(sample_entry("t", body=b"0{", body_size=9), True)
def test_fuzzed_records(entry: Entry, is_checked: bool) -> None:
    """Huge counts, times and names in the columns, anything in the head: a result, or UnreadableRecord."""
    if is_checked and "\ud800" not in entry.status:  # as if another program had written it, checksum and all
        entry = RECORDS.checked(entry)
    refusal = failure(partial(RECORDS.decode, entry), UnreadableRecord)
    if refusal is None:
        assert RECORDS.decode(entry).status in TaskStatus
    else:
        assert refusal.startswith("stored record of task 't' cannot be read")
        assert len(refusal) < 500


CHILD = """
import sys
from contextlib import suppress
from flowstore.testing.samples import sample_entry
from tests.unit.test_fuzz import CODEC, RECORDS, SEEDS, UnreadableRecord, DecodeError

def decode_all():
    for data in SEEDS:
        with suppress(DecodeError):
            CODEC.decode_fields(data)
        for head, body in ((data, b"{}"), (b"{}", data)):
            with suppress(UnreadableRecord):
                RECORDS.decode(RECORDS.checked(sample_entry("t", status="failed", head=head, body=body)))

decode_all()  # what is imported when it is first needed
HARMLESS = {"object.__getattr__", "object.__setattr__"}
events = []
sys.addaudithook(lambda event, arguments: event in HARMLESS or events.append((event, arguments)))
decode_all()
print(*events, sep="\\n", end="")
"""


def test_decoding_imports_calls_and_opens_nothing() -> None:
    """Of all that Python has an audit event for, reading the whole corpus does nothing."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=60, cwd=CORPUS.parents[1]
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ""
