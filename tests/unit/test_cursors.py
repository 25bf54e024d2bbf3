"""Page tokens by themselves: whoever computes the digest, too, gets no further than a place in a listing."""

from __future__ import annotations

import base64
import tracemalloc

import pytest

from flowstore import InvalidCursor
from flowstore._values import cursors
from flowstore.engine import Position

QUERY = ("default", ("failed",), None, True)


def forge(place: bytes) -> str:
    """With a digest that is right."""
    raw = cursors._AFTER + cursors._digest(cursors._AFTER, place, QUERY) + place
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.mark.parametrize("sort", [0, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize("task_id", ["t", "\0", "x" * 512, "\N{SNAKE}"])
def test_a_token_is_read_as_it_was_made(sort: int, task_id: str) -> None:
    """Any sort key, any id."""
    position = Position(sort, task_id)
    token = cursors.encode(position, *QUERY)
    assert cursors.decode(token, *QUERY) == position
    assert token == forge(sort.to_bytes(8, "big", signed=True) + task_id.encode())


@pytest.mark.parametrize("task_id", [b"", b"\xff", b"\xed\xa0\x80", b"x" * 513])
def test_ids_that_nobody_can_have_stored(task_id: bytes) -> None:
    """Empty, not UTF-8, too long: InvalidCursor, not an error of Unicode or of the storage."""
    with pytest.raises(InvalidCursor):
        cursors.decode(forge(bytes(8) + task_id), *QUERY)


@pytest.mark.parametrize(
    "query",
    [
        ("Default", ("failed",), None, True),
        ("default", ("failed", "success"), None, True),
        ("default", ("failed",), "name", True),
        ("default", ("failed",), None, False),
    ],
)
def test_a_token_of_another_query(query: tuple[object, ...]) -> None:
    """Of another namespace, other statuses, name or order."""
    with pytest.raises(InvalidCursor, match="other arguments"):
        cursors.decode(cursors.encode(Position(1, "t"), *query), *QUERY)


def test_a_token_that_is_far_too_long() -> None:
    """It is refused by its length: nothing of its size is made of it, which would take the loop's time."""
    token = "x" * 2**24
    tracemalloc.start()
    try:
        with pytest.raises(InvalidCursor):
            cursors.decode(token, *QUERY)
        assert tracemalloc.get_traced_memory()[1] < 2**16
    finally:
        tracemalloc.stop()


def test_tokens_of_both_directions() -> None:
    """What comes before a position, or the end, is told apart from what comes behind it."""
    position = Position(1, "t")
    back, end = (cursors.encode(at, *QUERY, is_backwards=True) for at in (position, None))
    assert cursors.decode_place(back, *QUERY) == (position, True)
    assert cursors.decode_place(end, *QUERY) == (None, True)
    assert cursors.decode_place(cursors.encode(position, *QUERY), *QUERY) == (position, False)
    for token in (back, end):
        with pytest.raises(InvalidCursor, match="backwards"):
            cursors.decode(token, *QUERY)
        with pytest.raises(InvalidCursor, match="other arguments"):
            cursors.decode_place(token, *QUERY[1:])
