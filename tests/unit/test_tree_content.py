"""An entry as the text of a file: for people to read, and back byte for byte or not at all."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, PrivateAttr

from flowstore._values.codec import Codec
from flowstore.testing.support import START
from flowstore.times import to_micros
from flowstore.typed.storage import Kind, Stored, Trouble
from flowstore.typed.tree.content import Header, entry_of, header_of, is_ours, written

KIND = Kind("lab", "Report")
NOW = to_micros(START)


class Report(BaseModel, extra="allow"):
    title: str = "none"
    score: float = 0.5
    taken: dict[Any, Any] | None = None
    _note: Any = PrivateAttr(None)


class Plain(BaseModel):
    title: str = "none"
    score: float = 1e22


CODEC = Codec({"lab:Report": Report, "lab:Plain": Plain})
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("ab$", max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)
VALUES = st.recursive(
    st.none() | st.floats(allow_nan=False) | st.integers() | st.text() | st.binary() | st.datetimes(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=8,
)


def header(data: bytes, kind: Kind = KIND, expires_at: int | None = NOW + 5) -> Header:
    return Header(kind, 3, NOW, NOW + 1, expires_at, len(data))


def encoded(value: object) -> bytes:
    return CODEC.encode_fields({"result": value})


@given(VALUES, st.dictionaries(st.text(min_size=1), VALUES, max_size=2), VALUES)
def test_models_come_back_byte_for_byte(value: Any, extra: dict[str, Any], note: Any) -> None:
    """Whatever the codec makes of them, with extra and private fields and those that were set."""
    model = Report.model_validate(
        {"taken": {"x": value}, **{f"x{name}": each for name, each in extra.items()}}
    )
    model._note = note
    data = encoded(model)
    text = written(header(data), data)
    assert entry_of("id", text) == Stored("id", *header(data), data)
    assert "form" not in json.loads(text)


@given(JSON, st.sampled_from([None, (",", ":"), (", ", ": ")]))
def test_anything_else_comes_back_too(value: Any, separators: tuple[str, str] | None) -> None:
    """Any JSON, however it is spelled."""
    data = json.dumps({"result": value}, ensure_ascii=separators is None, separators=separators).encode()
    assert entry_of("id", written(header(data), data)) == Stored("id", *header(data), data)


@pytest.mark.parametrize("deep", [90, 180, 240, 600])
def test_deeply_nested(deep: int) -> None:
    """Deeper than can be indented, it is kept as a text."""
    data = b'{"result":{"$model":["lab:Report",{"x":' + b"[" * deep + b"]" * deep + b'},["x"],null,null]}}'
    assert entry_of("id", written(header(data), data)).data == data


def test_it_is_written_for_people() -> None:
    """The header first, then the fields and nothing around them. These bytes are a stored format."""
    data = encoded(Plain(title="Zürich", score=0.25))
    kind = Kind("lab", "Plain")
    assert written(header(data, kind), data).decode() == (
        '{\n  "flowstore": 1,\n  "model_type": "Plain",\n  "namespace": "lab",\n  "version": 3,\n'
        '  "created_at": "2026-01-01T00:00:00.000000Z",\n  "updated_at": "2026-01-01T00:00:00.000001Z",\n'
        '  "expires_at": "2026-01-01T00:00:00.000005Z",\n  "size": 96,\n  "checksum": "246c5cc8",\n'
        '  "data": {\n    "title": "Zürich",\n    "score": 0.25\n  }\n}\n'
    )


def test_what_else_a_model_has_stands_before_its_data() -> None:
    """Only where not all fields were set, or there is more."""
    for model, expected in (
        (Report(title="x"), [["title"], {}, {"_note": None}]),
        (Plain(title="x"), [["title"], None, None]),
        (Plain(title="x", score=1), None),
    ):
        document = json.loads(written(header(data := encoded(model)), data))
        assert document.get("model") == expected or document["form"] == "json"
        assert list(document)[-1] == "data"


def test_the_header_is_read_without_the_data() -> None:
    """From the beginning of the file, cut anywhere behind it."""
    data = encoded(Report(title="x" * 100_000))
    text = written(header(data), data)
    assert header_of("id", text[:4_096]) == Stored("id", *header(data))
    assert header_of("id", text[:200]) is None


def test_formatted_anew_by_hand() -> None:
    """Another layout, another order or another spelling of numbers is no damage."""
    data = encoded(Report(taken={"x": 1e22, "y": "é", "z": 1e-7}))
    document = json.loads(written(header(data), data))
    turned = dict(reversed(document.items()))
    for text in (
        json.dumps(document),
        json.dumps(document, indent=7),
        json.dumps({"flowstore": turned.pop("flowstore"), **turned}, indent="\t"),
        "\ufeff\r\n" + json.dumps(document, indent=1).replace("\n", "\r\n").replace("1e+22", "1.0E22"),
        json.dumps(document).replace("00:00:00.000000Z", "01:00:00+01:00"),
    ):
        assert entry_of("id", text.encode()) == Stored("id", *header(data), data)


def test_every_changed_byte_is_found() -> None:
    """Or changes nothing."""
    data = encoded(Report(title="résumé", taken={"n": [1, 2.5]}))
    whole = entry_of("id", text := written(header(data), data))
    for at in range(len(text)):
        for mask in (1, 16, 128):
            damaged = text[:at] + bytes([text[at] ^ mask]) + text[at + 1 :]
            found = entry_of("id", damaged)
            assert found == whole or found.trouble, damaged


def test_every_cut_is_found() -> None:
    """At least the closing brace is missing; of the marker itself nobody can tell."""
    data = encoded(Report())
    text = written(header(data), data)
    for end in range(1, len(text) - 1):
        trouble = entry_of("id", text[:end]).trouble
        assert trouble is (Trouble.DAMAGED if is_ours(text[:end]) else Trouble.FOREIGN)


@pytest.mark.parametrize("text", [b"", b"\0" * 5_000])
def test_what_a_loss_of_power_leaves_is_damage(text: bytes) -> None:
    """On some file systems a file has its name before its content."""
    assert entry_of("id", text).trouble is Trouble.DAMAGED
    assert not is_ours(text)


@pytest.mark.parametrize(
    "text", [b"{}", b'{"name": "left-pad"}', b"[1]", b"\xff\xfe", b'{"a": 1, "flowstore": 1}']
)
def test_files_of_others(text: bytes) -> None:
    """Ours begin with the marker."""
    assert entry_of("id", text).trouble is Trouble.FOREIGN


def test_a_newer_format() -> None:
    """It is left alone, with a word about what to do."""
    found = entry_of("id", b'{"flowstore": 2, "what": "ever"}')
    assert found.trouble is Trouble.FOREIGN
    assert found.reason == "an entry of format 2; this flowstore knows formats up to 1: upgrade flowstore"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 4}, "its checksum does not agree"),
        ({"version": "3"}, "it is not as it was written: a field of another type"),
        (
            {"created_at": "yesterday"},
            "it is not as it was written: expected a time in ISO format, found 'yesterday'",
        ),
        ({"created_at": "2026-01-01T00:00:00"}, "it is not as it was written: "),
        ({"namespace": "other"}, "its checksum does not agree"),
        ({"data": {"title": "y", "score": 1.0}}, "its checksum does not agree"),
        ({"data": 7}, "it is not as it was written: "),
        ({"expires_at": None}, "its checksum does not agree"),
        ({"size": None}, "it is not as it was written: a field of another type"),
        ({"checksum": None}, "its checksum does not agree"),
    ],
)
def test_what_is_damaged_says_why(change: dict[str, Any], reason: str) -> None:
    """And of what type it was, if that can be read."""
    data = encoded(Plain(title="x", score=1))
    document = json.loads(written(header(data, Kind("lab", "Plain")), data))
    found = entry_of("id", json.dumps({**document, **change}).encode())
    assert (found.trouble, found.kind.name) == (Trouble.DAMAGED, "Plain")
    assert found.reason.startswith(reason)
    del document["checksum"]
    assert entry_of("id", json.dumps(document).encode()).reason == "it has no checksum"


def test_times_far_away() -> None:
    """Those that a ttl may lead to."""
    far = to_micros(datetime.max.replace(tzinfo=START.tzinfo) - timedelta(days=1))
    data = encoded(Report())
    assert entry_of("id", written(header(data, expires_at=far), data)).expires_at == far
