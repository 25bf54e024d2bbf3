"""What of an exception is kept, and what is left out where there is too much of it."""

from __future__ import annotations

import pytest

from flowstore import TaskError, TaskResult


class Rude(Exception):
    def __str__(self) -> str:
        raise LookupError("no")


def test_what_str_raises_is_told() -> None:
    """In place of the message, by its type."""
    assert TaskError.from_exception(Rude("x")) == TaskError(
        type=f"{__name__}.Rude", message="<no message: reading it raised LookupError>", args=("x",)
    )


def test_head_and_tail_of_long_texts_are_kept() -> None:
    """And how much was left out in between; what fits is not touched."""
    message = "a" * 4_000 + "b" * 4_000
    described = TaskError.from_exception(ValueError(message))
    assert described.message.startswith("a" * 2_000)
    assert described.message.endswith("b" * 2_000)
    assert "... 3964 characters left out ..." in described.message
    assert TaskError.from_exception(ValueError("a" * 4_096)).message == "a" * 4_096


def test_arguments_are_kept_whole_or_not() -> None:
    """Plain ones, exactly as they are; one that is not plain, or is too long, and none is kept."""
    plain = (None, True, 1 - 2**63, 2.5, "x" * 4_096)
    assert TaskError.from_exception(ValueError(*plain)).args == plain
    for odd in (b"x", 2**63, float("nan"), "\ud800", "x" * 4_097, ["x"], type("Text", (str,), {})("x")):
        assert TaskError.from_exception(ValueError("x", odd)).args == ()


def test_the_first_causes_are_kept() -> None:
    """Sixteen of 5,000, those nearest to what was raised; the same of a chain made by hand."""
    chain = ValueError("root")
    described = TaskError(type="ValueError", message="root", args=("root",))
    for n in range(5_000):
        link = ValueError(n)
        link.__cause__ = chain
        chain = link
    for n in range(4_980, 5_000):
        described = TaskError(type="ValueError", message=str(n), args=(n,), cause=described)
    links = list(TaskError.from_exception(chain).chain())
    assert [link.message for link in links] == [str(n) for n in range(4_999, 4_983, -1)]
    assert links == list(described.chain())


def raised(error: Exception) -> Exception:
    """With a traceback."""
    try:
        raise error
    except Exception as caught:
        return caught


def test_what_is_in_a_group_is_told() -> None:
    """Each with its place, type, message and frames, below the frames of the group; sixteen at most."""
    inner = ExceptionGroup("inner", [raised(KeyError("k")), ValueError("v")])
    described = TaskError.from_exception(raised(ExceptionGroup("outer", [TypeError("t"), inner, OSError()])))
    assert described.message == "outer (3 sub-exceptions)"
    assert described.traceback is not None
    places = [line for line in described.traceback.splitlines() if not line.startswith(" ")]
    assert places == ["1: TypeError: t", "2.1: KeyError: 'k'", "2.2: ValueError: v", "3: OSError: "]
    assert described.traceback.count("in raised") == 2
    many = TaskError.from_exception(ExceptionGroup("many", [ValueError(n) for n in range(20)]))
    assert many.traceback == "".join(f"{n + 1}: ValueError: {n}\n" for n in range(16))


def test_a_group_that_is_too_deep_is_told_as_one() -> None:
    """Behind sixteen others."""
    group: Exception = ExceptionGroup("0", [ValueError()])
    for n in range(1, 100):
        group = ExceptionGroup(str(n), [group])
    place = ".".join(["1"] * 17)
    assert TaskError.from_exception(group).traceback == f"{place}: ExceptionGroup: 82 (1 sub-exception)\n"


def test_suppressed_context_is_left_out() -> None:
    """As in a traceback: ``raise ... from None`` has no cause, though something was being handled."""
    for suppressed, causes in ((True, []), (False, ["KeyError"])):
        error = ValueError("x")
        error.__context__ = KeyError("k")
        error.__suppress_context__ = suppressed
        assert [link.type for link in TaskError.from_exception(error).chain()][1:] == causes


def test_a_copy_is_as_valid_as_what_it_is_made_of() -> None:
    """Texts are cut, and what is no field is refused."""
    error = TaskError(type="x", message="y")
    assert len(error.model_copy(update={"message": "z" * 10_000}).message) <= 4_096
    with pytest.raises(ValueError, match="messages"):
        error.model_copy(update={"messages": "z"})
    result = TaskResult.failed("t", error)
    assert result.model_copy(update={"error": None}).error is None
    assert result.model_copy() == result.model_copy(update={}) == result
