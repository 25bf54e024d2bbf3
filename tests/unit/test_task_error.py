"""What of an exception is kept, and what is left out where there is too much of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstore import TaskError, TaskResult
from flowstore._values.encoding import encode_head
from flowstore._values.reading import MAX_HEAD_BYTES
from flowstore.testing.support import EFFORT


class Rude(Exception):
    def __str__(self) -> str:
        raise LookupError("no")


def test_what_str_raises_is_told() -> None:
    """In place of the message, by its type."""
    assert TaskError.from_exception(Rude("x")) == TaskError(
        type=f"{__name__}.Rude",
        message="<no message: reading it raised LookupError>",
        args=("x",),
        module=__name__,
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
    kind = {"type": "ValueError", "module": "builtins"}
    described = TaskError.model_validate({**kind, "message": "root", "args": ("root",)})
    for n in range(5_000):
        link = ValueError(n)
        link.__cause__ = chain
        chain = link
    for n in range(4_980, 5_000):
        fields = {**kind, "message": str(n), "args": (n,), "cause": described}
        described = TaskError.model_validate(fields)
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


def test_module_and_name_are_told_apart() -> None:
    """Also of a nested class; where the module is not known, the name is the full one."""

    class Inner(Exception):
        pass

    place = "test_module_and_name_are_told_apart.<locals>"
    described = TaskError.from_exception(Inner())
    assert (described.module, described.qualname) == (__name__, f"{place}.Inner")
    assert described.type == f"{__name__}.{place}.Inner"
    builtin = TaskError.from_exception(KeyError())
    assert (builtin.type, builtin.module, builtin.qualname) == ("KeyError", "builtins", "KeyError")
    old = TaskError(type="app.errors.Mine", message="")
    assert (old.module, old.qualname) == (None, "app.errors.Mine")
    for odd in (7, "x" * 513, "\ud800"):
        kind = type("Odd", (Exception,), {"__module__": odd})
        assert TaskError.from_exception(kind()).module is None


def noted(error: Exception, *notes: str) -> Exception:
    for note in notes:
        error.add_note(note)
    return error


def test_notes_are_told() -> None:
    """Of the error, of its cause, of a group and of its members."""
    group = noted(ExceptionGroup("g", [noted(KeyError(), "of a member", "")]), "of the group")
    error = noted(ValueError(), "first", "second")
    error.__cause__ = group
    described = TaskError.from_exception(error)
    assert described.notes == ("first", "second")
    assert described.cause is not None
    assert described.cause.notes == ("of the group",)
    assert [member.notes for member in described.cause.exceptions] == [("of a member", "")]
    assert not described.is_cut


def test_the_first_notes_are_kept() -> None:
    """Sixteen, of 4,096 characters together; the last one that is kept may be a part."""
    many = TaskError.from_exception(noted(ValueError(), *map(str, range(20))))
    assert many.notes == tuple(map(str, range(16)))
    assert many.is_cut
    long = TaskError.from_exception(noted(ValueError(), "a" * 2_000, "b" * 3_000, "c"))
    assert [note[:1] + note[-1:] for note in long.notes] == ["aa", "bb"]
    assert "characters left out" in long.notes[1]
    assert len("".join(long.notes)) <= 4_096
    assert long.is_cut
    assert long.model_copy(update={"message": "x"}).notes == long.notes


def test_what_is_in_the_place_of_notes_harms_nothing() -> None:
    """No list, no text: it is left out, and everything else is told."""
    for notes, kept in ((7, ()), ("note", ()), (("x",), ()), (["x", 7, "y"], ("x", "y"))):
        error = ValueError("x")
        vars(error)["__notes__"] = notes
        described = TaskError.from_exception(error)
        assert (described.message, described.args, described.notes) == ("x", ("x",), kept)
        assert described.is_cut


def failing_group() -> Exception:
    """Of a group with two members, and an exception with a cause."""
    caused = TypeError("t")
    caused.__cause__ = OSError(2, "x")
    inner = ExceptionGroup("inner", [raised(KeyError("k")), ValueError("v")])
    return raised(ExceptionGroup("outer", [caused, inner]))


def test_exceptions_of_a_group_are_data() -> None:
    """With their causes and groups; an operator finds them in the traceback, too, with their last frames."""
    described = TaskError.from_exception(failing_group())
    assert not described.is_cut
    first, second = described.exceptions
    assert first.cause is not None
    assert (first.type, first.args, first.cause.args) == ("TypeError", ("t",), (2, "x"))
    assert [(each.type, each.args) for each in second.exceptions] == [
        ("KeyError", ("k",)),
        ("ValueError", ("v",)),
    ]
    assert second.exceptions[0].traceback is not None
    assert second.exceptions[0].traceback.count("in raised") == 1
    assert described.traceback is not None
    assert described.traceback.count("in raised") == 2
    assert "2.1: KeyError: 'k'\n  File" in described.traceback


def test_exceptions_left_out_are_counted() -> None:
    """Those of a wide group, and those that are too deep; both are said on the way to them."""
    wide = TaskError.from_exception(ExceptionGroup("many", [ValueError(n) for n in range(20)]))
    assert [member.args for member in wide.exceptions] == [(n,) for n in range(16)]
    assert (wide.exceptions_left_out, wide.is_cut) == (4, True)
    deep: Exception = ExceptionGroup("0", [ValueError(), ValueError()])
    for n in range(1, 100):
        deep = ExceptionGroup(str(n), [deep])
    error, levels = TaskError.from_exception(deep), 0
    while error.exceptions:
        assert (error.exceptions_left_out, error.is_cut) == (0, True)
        [error], levels = error.exceptions, levels + 1
    assert (levels, error.exceptions_left_out) == (17, 1)


def test_large_groups_are_told_in_a_few_words() -> None:
    """Each exception gets its part of the room; the longest texts are cut first, then causes left out."""
    trees: list[Exception] = [ExceptionGroup("x", [ValueError("y" * 4_000)] * 16) for _ in range(16)]
    described = TaskError.from_exception(ExceptionGroup("all", [TypeError("small"), *trees[1:]]))
    assert described.exceptions[0].message == "small"
    assert len(described.exceptions) == 16
    assert all(member.exceptions for member in described.exceptions[1:])
    assert len(encode_head(TaskResult.failed("t", described))) < 120_000
    hand = TaskError(type="x", message="y", exceptions=(TaskError(type="x", message="\1" * 4_096),) * 16)
    assert len(hand.exceptions) == 16
    assert all(len(member.message) <= 1_024 and member.is_cut for member in hand.exceptions)


CUT: dict[str, dict[str, Any]] = {
    "type": {"type": "x" * 4_097},
    "message": {"message": "x" * 4_097},
    "traceback": {"traceback": "x" * 16_385},
    "args": {"args": ("x",) * 17},
    "notes": {"notes": ("x",) * 17},
    "note": {"notes": ("x" * 4_097,)},
    "exceptions": {"exceptions": (TaskError(type="x", message=""),) * 17},
    "left out": {"exceptions_left_out": 1},
}


@pytest.mark.parametrize("fields", CUT.values(), ids=CUT)
def test_what_was_cut_says_so(fields: dict[str, Any]) -> None:
    """Of errors made by hand as well; so do those of which it is the cause or a member."""
    sound: dict[str, Any] = {"type": "x", "message": "y"}
    cut = TaskError.model_validate({**sound, **fields})
    assert cut.is_cut
    assert type(cut.message) is type(cut.type) is str
    for above in ({"cause": cut}, {"exceptions": (cut,)}, {"cause": TaskError(**sound, cause=cut)}):
        assert TaskError.model_validate({**sound, **above}).is_cut
    for whole in ({"message": "x" * 4_096}, {"traceback": "x" * 16_384}, {"message": "\ud800"}):
        assert not TaskError.model_validate({**sound, **whole}).is_cut


def test_what_an_exception_had_to_leave_out_is_said() -> None:
    """Causes, and arguments that are not plain. Those of a group are its members, and not missed."""
    circle = ValueError("x")
    circle.__cause__ = KeyError("k")
    circle.__cause__.__cause__ = circle
    assert not TaskError.from_exception(circle).is_cut
    assert not TaskError.from_exception(ExceptionGroup("g", [circle])).is_cut
    assert TaskError.from_exception(ValueError([1])).is_cut
    chain = ValueError()
    for _ in range(16):
        last, chain = chain, ValueError()
        chain.__cause__ = last
    assert TaskError.from_exception(chain).is_cut
    assert chain.__cause__ is not None
    assert not TaskError.from_exception(chain.__cause__).is_cut


def test_a_plain_error_is_stored_as_before_with_its_module() -> None:
    """What an error has not takes no byte."""
    head = json.loads(encode_head(TaskResult.failed("t", ValueError("x"))))
    assert head == {"error": {"type": "ValueError", "message": "x", "args": ["x"], "module": "builtins"}}


def largest(exceptions: tuple[TaskError, ...], cause: TaskError | None) -> TaskError:
    """With every text at its bound, in characters that JSON escapes as six."""
    return TaskError(
        type="\1" * 4_096,
        message="\1" * 4_096,
        args=(*(-(2**63),) * 15, "\1" * 4_096),
        traceback="\1" * 16_384,
        module="\1" * 512,
        notes=("\1" * 256,) * 16,
        exceptions=exceptions,
        exceptions_left_out=2**62,
        cause=cause,
    )


UNLISTED = {
    "task_name": "\1" * 512,
    "worker_id": "\1" * 512,
    "labels": frozenset(f"{n:03}" + "\1" * 509 for n in range(256)),
}


def head_of(error: TaskError) -> int:
    """Bytes, with all the fields that may be in a head; it raises if they are too many."""
    return len(encode_head(TaskResult.failed("t", error), UNLISTED))


def test_the_largest_error_fits() -> None:
    """Sixteen causes, each a group of groups, and all at their bounds."""
    error = largest((), None)
    inner = largest((error,) * 20, error)
    for _ in range(17):
        error = largest((inner,) * 20, error)
    assert len(list(error.chain())) == 16
    assert MAX_HEAD_BYTES * 0.9 < head_of(error) < MAX_HEAD_BYTES


TEXTS = st.builds(str.__mul__, st.sampled_from("a\1\N{SNAKE}"), st.sampled_from([0, 1, 256, 5_000, 20_000]))
LEAVES = st.builds(
    TaskError,
    type=TEXTS,
    message=TEXTS,
    args=st.lists(
        st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
    ),
    traceback=st.none() | TEXTS,
    module=st.none() | TEXTS,
    notes=st.lists(TEXTS, max_size=20),
)
ERRORS = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        lambda error, members, copies, cause: error.model_copy(
            update={"exceptions": tuple(members * copies), "cause": cause}
        ),
        inner,
        st.lists(inner, max_size=3),
        st.integers(1, 8),
        st.none() | inner,
    ),
    max_leaves=12,
)


@settings(max_examples=60 * EFFORT, deadline=None, database=None)
@given(ERRORS)
def test_every_error_fits_and_comes_back(error: TaskError) -> None:
    """Whatever is below what; and the bounds of what is within its bounds change nothing."""
    assert head_of(error) < MAX_HEAD_BYTES
    assert TaskError.model_validate(error.model_dump(exclude_defaults=True)) == error
    assert TaskError.model_validate_json(error.model_dump_json()) == error


KINDS = st.sampled_from([ValueError, KeyError, SystemExit, type("\1" * 4_096, (Exception,), {})])
EXCEPTIONS = st.recursive(
    st.builds(lambda kind, *args: kind(*args), KINDS, TEXTS, st.integers()),
    lambda inner: st.builds(
        lambda text, members, copies: BaseExceptionGroup(text, members * copies),
        TEXTS,
        st.lists(inner, min_size=1, max_size=3),
        st.integers(1, 8),
    ),
    max_leaves=12,
)


@settings(max_examples=60 * EFFORT, deadline=None, database=None)
@given(st.lists(st.tuples(EXCEPTIONS, st.lists(TEXTS, max_size=5)), min_size=1, max_size=20), st.data())
def test_every_exception_fits(errors: list[tuple[BaseException, list[str]]], data: st.DataObject) -> None:
    """With causes anywhere, in circles too, and notes."""
    pool = [error for error, _ in errors]
    for group in list(pool):
        pool += group.exceptions if isinstance(group, BaseExceptionGroup) else ()
    for error, notes in errors:
        for note in notes:
            error.add_note(note)
        error.__cause__ = data.draw(st.sampled_from(pool))
    for error, _ in errors:
        described = TaskError.from_exception(error)
        assert head_of(described) < MAX_HEAD_BYTES
        assert TaskError.model_validate_json(described.model_dump_json(exclude_defaults=True)) == described
