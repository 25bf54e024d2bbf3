"""Which failures are one error, and what it costs to tell.

The pinned values are what is stored: whoever must change one raises NORMALISER.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from re import _constants, _parser  # type: ignore[attr-defined]
from textwrap import indent
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowstore import TaskError
from flowstore._errors import fingerprints
from flowstore._errors.fingerprints import MAX_KEPT_CHARS, NORMALISER, fingerprint, normalised
from flowstore.task_error import MAX_MESSAGE_CHARS, MAX_TRACEBACK_CHARS

MESSAGES: Final = {
    # psycopg and asyncpg
    'duplicate key value violates unique constraint "users_email_key"\n'
    "DETAIL:  Key (email)=(ann lee) already exists.": "duplicate key value violates unique constraint <text> "
    "DETAIL: Key (email)<text> already exists.",
    'connection to server at "10.1.2.3", port 5432 failed: refused': "connection to server at <text>, "
    "port <n> failed: refused",
    "canceling statement due to statement timeout": "canceling statement due to statement timeout",
    # SQLAlchemy
    "(psycopg2.errors.NotNullViolation) null value\n[SQL: INSERT INTO t (a) VALUES (%(a)s)]\n"
    "[parameters: {'a': None, 'b': {'c': 1}}]": "(psycopg<n>.errors.NotNullViolation) null value "
    "[SQL: INSERT INTO t (a) VALUES (%(a)s)] [parameters: <text>]",
    # redis
    "Error 111 connecting to 127.0.0.1:6379. Refused.": "Error <n> connecting to <ip>. Refused.",
    "Error -2 connecting to cache:6379. Name or service not known.": "Error <n> connecting to cache:<n>. "
    "Name or service not known.",
    "Timeout reading from 10.0.0.3:6379": "Timeout reading from <ip>",
    "MOVED 3999 127.0.0.1:6381": "MOVED <n> <ip>",
    # httpx, aiohttp, requests
    "Client error '404 Not Found' for url 'https://api.example.com/users/42?a=b'\n"
    "For more information check: https://developer.mozilla.org/404": "Client error <text> for url <text> "
    "For more information check: <url>",
    "502, message='Bad Gateway', url=URL('http://h:80/x')": "<n>, message=<text>, url=URL(<text>)",
    "HTTPSConnectionPool(host='api.example.com', port=443): Read timed out. (read timeout=30)": ""
    "HTTPSConnectionPool(host=<text>, port=<n>): Read timed out. (read timeout=<n>)",
    # boto
    "An error occurred (NoSuchKey) when calling the GetObject operation: The specified key does not exist. "
    "(RequestId: 79104EXAMPLEB723, HostId: 9Gjjt1m+cjU4OPvX9O9/8RuvnG41MRb/18Oux2o5H5MY7ISNTlXN+Dz9IG62/I"
    "LVxhAGI0qyPfg=)": "An error occurred (NoSuchKey) when calling the GetObject operation: "
    "The specified key does not exist. (RequestId: <id>, HostId: <id>)",
    # Python
    "'x'": "<text>",
    "": "",
    "it's no use": "it's no use",
    '"can\'t"': "<text>",
    "\u2018a b\u2019 is not \u2018it\u2019s 7\u2019": "<text> is not <text>",
    "it\u2019s no use, isn\u2019t it": "it\u2019s no use, isn\u2019t it",
    "input was \u2018a b": "input was <text>",
    "'it\\'s' is not b'\\x00'": "<text> is not b<text>",
    "Expecting value: line 1 column 1 (char 0)": "Expecting value: line <n> column <n> (char <n>)",
    "[Errno 2] No such file or directory: '/srv/a b/c.txt'": "[Errno <n>] No such file or directory: <text>",
    "'utf-8' codec can't decode byte 0xff in position 12: invalid start byte": "<text> codec can't decode "
    "byte <id> in position <n>: invalid start byte",
    "could not convert string to float: 'abc'": "could not convert string to float: <text>",
    "'NoneType' object has no attribute 'name'": "<text> object has no attribute <text>",
    "f() takes 1 argument but 2 were given": "f() takes <n> argument but <n> were given",
    "<Task pending name='Task-12' coro=<f() running at /srv/app/x.py:12>>": "<Task pending name=<text> coro="
    "<f() running at <path>:<n>>>",
    "<coroutine object f at 0x7f3a1b2c3d40> ended": "<coroutine object f at <id>> ended",
    "errors in a TaskGroup (1 sub-exception)": "errors in a TaskGroup (<n> sub-exceptions)",
    "errors in a TaskGroup (3 sub-exceptions)": "errors in a TaskGroup (<n> sub-exceptions)",
    # pydantic
    "1 validation error for User\nname\n  Field required [type=missing, input_value={'id': {'a': [1]}}, "
    "input_type=dict]\n    For further information visit https://errors.pydantic.dev/2.9/v/missing": "<n> "
    "validation errors for User name Field required [type=missing, input_value=<text>, input_type=dict] "
    "For further information visit <url>",
    # ids
    "task 8f14e45f-ceea-467f-9bd5-1234567890AB is lost": "task <id> is lost",
    "no document 507f1f77bcf86cd799439011": "no document <id>",
    "no ulid 01ARZ3NDEKTSV4RRFFQ69G5FAV": "no ulid <id>",
    "commit 3f2a9bc1 of job_12345 by user42": "commit <n> of job_<n> by user<n>",
    "no nanoid V1StGXR8_Z5jdHi6B-myT": "no nanoid <id>",
    # numbers, alone and in a row
    "missing: 1, 2, 3": "missing: <n>",
    "missing: 17": "missing: <n>",
    "missing: 'a', 'b'": "missing: <text>",
    "used 1,234.5 of 10MB, -5, 1e-9, 50%": "used <n> of <n>%",
    # times
    "deadline was 2026-11-26T16:31:25.123+00:00": "deadline was <time>",
    "deadline was 2026-11-26 16:31:25": "deadline was <time>",
    "deadline was Thu Nov 26 16:31:25 2026": "deadline was <time>",
    "deadline was Thu, 26 Nov 2026 16:31:25 GMT": "deadline was <time> GMT",
    "took 999ms": "took <time>",
    "took 1.5s": "took <time>",
    "took 1h30m": "took <time>",
    "took 0:00:05.123": "took <time>",
    "took 1 second": "took <time>",
    "took 30 seconds": "took <time>",
    "May be lost": "May be lost",
    # addresses and paths
    "mail to ann.lee+x@mail.example.com failed": "mail to <email> failed",
    "cannot reach [2001:db8::8a2e:370:7334]:443": "cannot reach <ip>",
    "cannot reach ::1": "cannot reach <ip>",
    "std::vector is no address": "std::vector is no address",
    "postgresql://ann:secret@db:5432/x is down": "<url> is down",
    r"cannot read C:\Users\ann\x.txt": "cannot read <path>",
    r"cannot read \\server\share\x.txt": "cannot read <path>",
    "cannot read ~/x.txt or ./y or src/app/models.py:12": "cannot read <path> or <path> or <path>:<n>",
    "text/html and/or application/json": "text/html and/or application/json",
    # cut short
    "input was 'abc and so": "input was <text>",
    'body was {"a": {"b": 1}': "body was <text>",
}


@pytest.mark.parametrize(("message", "expected"), MESSAGES.items())
def test_messages_of_the_real_world(message: str, expected: str) -> None:
    """What varies gives way to placeholders, and the words stay."""
    assert normalised(message) == expected


def test_what_is_normal_stays() -> None:
    """Placeholders are no parts themselves."""
    for expected in MESSAGES.values():
        if "%(" not in expected:
            assert normalised(expected) == expected


EMAILS: Final = st.from_regex(r"[a-z][a-z0-9._+-]{0,9}@[a-z]{2,9}\.example", fullmatch=True)
VOLATILE: Final = st.one_of(
    st.integers(0, 10**18).map(str),
    st.integers(1, 99_999).map(lambda number: f"{number / 7:.3f}"),
)


@given(VOLATILE, VOLATILE)
def test_numbers_are_one(one: str, other: str) -> None:
    """Wherever they stand."""
    for frame in ("{}", "took {} of it", "n={}", "({})", "job-{}", "x[{}]:", "#{}"):
        assert normalised(frame.format(one)) == normalised(frame.format(other))


@given(st.sampled_from([st.uuids(), st.datetimes(), st.ip_addresses(v=4), EMAILS]), st.data())
def test_ids_times_and_addresses_are_one(kind: st.SearchStrategy[Any], data: st.DataObject) -> None:
    one, other = data.draw(kind), data.draw(kind)
    for frame in ("{}", "no {} here", "({}),"):
        assert normalised(frame.format(one)) == normalised(frame.format(other))


@given(st.text(), st.text())
def test_what_repr_quotes_is_one(one: str, other: str) -> None:
    """Whatever quotes it has itself, as long as they are not those of the next word."""
    shown = [re.sub(r"\W'|'\W", " ", text) for text in (one, other)]
    assert normalised(f"no {shown[0]!r} here") == normalised(f"no {shown[1]!r} here")


@given(st.text(max_size=MAX_MESSAGE_CHARS), st.text(max_size=500))
@example("'\\", 'File "')
def test_any_text_has_one(message: str, traceback: str) -> None:
    """It fails on none, and is the same each time."""
    error = TaskError(type="E", message=message, traceback=traceback)
    assert re.fullmatch("[0-9a-f]{16}", fingerprint(error))
    assert fingerprint(error) == fingerprint(TaskError(type="E", message=message, traceback=traceback))
    assert len(normalised(message)) <= MAX_KEPT_CHARS


def raised(message: str, wrapped: Exception | None = None, depth: int = 1) -> TaskError:
    def descend(left: int) -> None:
        if left:
            descend(left - 1)
        raise ValueError(message) from wrapped

    try:
        descend(depth)
    except ValueError as error:
        return TaskError.from_exception(error)
    raise AssertionError("unreachable")


def elsewhere(message: str) -> TaskError:
    try:
        raise ValueError(message)
    except ValueError as error:
        return TaskError.from_exception(error)


def test_only_what_is_volatile_differs() -> None:
    """Then it is the same error."""
    first = fingerprint(raised("no user 17 at 10.0.0.1:80"))
    assert fingerprint(raised("no user 4 at 10.0.0.2:8080")) == first
    assert fingerprint(raised("no user 17 at 10.0.0.1:80", depth=3)) == first, "it calls itself more often"


def test_another_type_message_place_or_root_is_another_error() -> None:
    found = [
        raised("no user 17"),
        raised("no group 17"),
        elsewhere("no user 17"),
        raised("no user 17", KeyError("x")),
        raised("no user 17", OSError("x")),
        raised("no user 17").model_copy(update={"type": "KeyError"}),
        raised("no user 17").model_copy(update={"traceback": None}),
    ]
    assert len({*map(fingerprint, found)}) == len(found)


def test_what_the_root_says_does_not_matter() -> None:
    assert fingerprint(raised("a", OSError("x"))) == fingerprint(raised("a", OSError("y")))


def group(*errors: Exception) -> TaskError:
    try:
        raise ExceptionGroup("unhandled errors in a TaskGroup", errors)
    except ExceptionGroup as error:
        return TaskError.from_exception(error)


def test_groups_are_told_apart_by_their_first_exception() -> None:
    """By how many there are they are not."""
    one, many = group(ValueError("3")), group(ValueError("4"), KeyError("x"))
    assert fingerprint(one) == fingerprint(many) != fingerprint(group(KeyError("x")))
    nested = group(ExceptionGroup("inner", [ValueError("3")]))
    assert fingerprint(nested) == fingerprint(group(ExceptionGroup("inner", [ValueError("5")])))
    assert fingerprint(nested) != fingerprint(group(ExceptionGroup("inner", [KeyError("5")])))


OWN: Final = """\
  File "/srv/app/billing/tasks.py", line 12, in charge
    await client.post(url)
  File "/srv/app/billing/client.py", line 99, in post
    return self._decode(reply)
"""
SAME: Final = {
    "with carets of 3.11": '''\
  File "/srv/app/billing/tasks.py", line 12, in charge
    await client.post(url)
          ^^^^^^^^^^^^^^^^
  File "/srv/app/billing/client.py", line 99, in post
    return self._decode(reply)
           ~~~~~~~~~~~~^^^^^^^
''',
    "with lines of source of 3.13": '''\
  File "/srv/app/billing/tasks.py", line 12, in charge
    await client.post(
    ...<2 lines>...
    )
  File "/srv/app/billing/client.py", line 99, in post
''',
    "installed elsewhere, after an edit": OWN.replace("/srv/app", "/home/ann/work").replace("12", "140"),
    "on Windows": OWN.replace("/srv/app/billing/", "C:\\\\app\\billing\\"),
    "with frames of packages": '''\
  File "/usr/lib/python3.11/asyncio/runners.py", line 190, in run
    return runner.run(main)
  File "/srv/app/billing/tasks.py", line 12, in charge
  File "/srv/app/.venv/lib/python3.12/site-packages/tenacity/__init__.py", line 5, in call
  File "/srv/app/billing/client.py", line 99, in post
  File "/usr/lib/python3/dist-packages/httpx/_models.py", line 9, in json
  File "/opt/py/lib/python3.13t/json/decoder.py", line 3, in decode
  File "C:\\Users\\ann\\AppData\\Local\\Programs\\Python\\Python311\\Lib\\json\\decoder.py", line 3, in f
  File "<frozen importlib._bootstrap>", line 241, in _call_with_frames_removed
  File "asyncpg/protocol/protocol.pyx", line 207, in query
''',
    "with a comprehension of 3.11": OWN.replace(
        '  File "/srv/app/billing/client.py"', '  File "/srv/app/billing/tasks.py", line 3, in <listcomp>\n'
        '  File "/srv/app/billing/client.py"'
    ),
    "with source that looks like a frame": OWN.replace(
        "return self._decode(reply)", 'File "/x/y.py", line 3, in z'
    ),
    "repeated": OWN + "  [Previous line repeated 985 more times]\n",
    "whole": f"Traceback (most recent call last):\n{OWN}ValueError: x\n",
    "after a cause": 'Traceback (most recent call last):\n  File "/a/b.py", line 3, in c\nKeyError: 1\n\n'
    f"The above exception was the direct cause of the following exception:\n\n"
    f"Traceback (most recent call last):\n{OWN}ValueError: x\n",
    "of a group": f"  + Exception Group Traceback (most recent call last):\n{indent(OWN, '  | ')}"
    "  | ExceptionGroup: x (1 sub-exception)\n  +-+---------------- 1 ----------------\n"
    "    | Traceback (most recent call last):\n    |   File \"/a/b.py\", line 3, in c\n"
    "    |     f()\n    | KeyError: 'x'\n    +------------------------------------\n",
    "of a syntax error": OWN + '  File "<string>", line 1\n    1 +\n       ^\n',
    "cut": 'le "/srv/app/x/y.py", line 3, in z\n' + OWN,
    "cut within a name": '  File "/app/x/y.py", line 3, in abcd\n... 99 characters left out ...\nfg\n' + OWN,
}  # fmt: skip


@pytest.mark.parametrize("traceback", SAME.values(), ids=SAME)
def test_the_same_place(traceback: str) -> None:
    """However it is printed, and whatever was between."""
    plain = TaskError(type="ValueError", message="x", traceback=OWN)
    assert fingerprint(TaskError(type="ValueError", message="x", traceback=traceback)) == fingerprint(plain)


def frames(*places: str) -> str:
    return fingerprint(
        TaskError(
            type="E",
            message="",
            traceback="".join(
                f'  File "{file}", line 1, in {function}\n'
                for file, function in (place.split() for place in places)
            ),
        )
    )


def test_the_five_innermost_frames_count() -> None:
    """Not what called them."""
    inner = [f"/app/a/m{n}.py f{n}" for n in range(5)]
    assert frames("/app/a/x.py g", *inner) == frames("/app/a/y.py h", *inner) == frames(*inner)
    assert frames(*inner) != frames(*inner[1:])


def test_files_and_functions_tell_places_apart() -> None:
    places = [
        "/app/a/m.py f",
        "/app/b/m.py f",
        "/app/a/n.py f",
        "/app/a/m.py g",
        "/app/v1/m.py f",
        "/app/v2/m.py f",
    ]
    assert len({*map(frames, places)}) == len(places)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/srv/releases/20261126/m.py f", "/srv/releases/20261127/m.py f"),
        ("/srv/3f2a9bc1/m.py f", "/srv/0a1b2c3d4e5f/m.py f"),
        ("/tmp/ipykernel_12/3141.py f", "/tmp/ipykernel_9/271.py f"),
        ("<ipython-input-5-0a1b2c3d> f", "<ipython-input-6-4e5f6a7b> f"),
    ],
)
def test_releases_and_cells_of_notebooks_are_one_place(one: str, other: str) -> None:
    assert frames(one) == frames(other) != frames("/srv/x/m.py f")


def test_without_own_frames_the_others_count() -> None:
    """Those of packages before those of Python."""
    package, python = "/v/lib/python3.11/site-packages/a/b.py f", "/usr/lib/python3.11/json/decoder.py g"
    assert frames(package, python) == frames(package) != frames()
    assert frames(python) not in (frames(), frames("/usr/lib/python3.11/json/decoder.py h"))


def pinned() -> list[TaskError]:
    cause = TaskError(type="OSError", message="[Errno 5] x", module="builtins")
    return [
        TaskError(type="TimeoutError", message=""),
        TaskError(type="KeyError", message="'x'", traceback=OWN),
        TaskError(type="app.errors.Refused", message="user 17: é", traceback=OWN, cause=cause),
        TaskError(type="ExceptionGroup", message="x (1 sub-exception)", exceptions=(cause,)),
    ]


PINS: Final = ["a270408f9366ead8", "1974c4125504748f", "0887f393119c2738", "df77415e2d8ef77a"]


def test_pinned() -> None:
    """They are stored, so they stay."""
    assert NORMALISER == 1
    assert [fingerprint(error) for error in pinned()] == PINS


@pytest.mark.parametrize("seed", ["0", "1"])
def test_the_same_in_another_process(seed: str) -> None:
    script = "from tests.unit.test_fingerprints import *\nprint(*map(fingerprint, pinned()))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == PINS


PATTERNS: Final = {name: value for name, value in vars(fingerprints).items() if isinstance(value, re.Pattern)}


def repeats(node: Any) -> Iterator[tuple[Any, int]]:
    """The repeats in a parsed pattern: how they go on, and how often at most."""
    if isinstance(node, _parser.SubPattern | list):
        for part in node:
            yield from repeats(part)
    elif isinstance(node, tuple):
        if node[0] in (_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT):
            yield node[0], int(node[1][1])
        for part in node[1:]:
            yield from repeats(part)


@pytest.mark.parametrize("name", PATTERNS)
def test_no_pattern_can_go_back_far(name: str) -> None:
    """What repeats more than a few times gives nothing back, so there is nothing to try in a second way."""
    pattern = PATTERNS[name]
    for kind, most in repeats(_parser.parse(pattern.pattern, pattern.flags)):
        assert kind == _constants.POSSESSIVE_REPEAT or most <= 12


HOSTILE: Final = [
    *(
        "'",
        '"',
        "`",
        "'a ",
        '"a',
        "{",
        "{}",
        "=(",
        "1 ",
        "a/",
        "a.",
        "1:",
        "A1a/",
        "-",
        "a@",
        "a",
        "1",
        "0x",
        "\\",
    ),
    *(
        "/",
        "a1",
        "<n> ",
        "1,",
        "1.1.",
        "1s",
        "AAAAAAAAa1",
        "Mon ",
        "Mon Mon 1 ",
        "a://",
        "12:34:56",
        "\n",
        "' ",
        "[:",
    ),
    *("9f", "../", "<n>,<n>", "1-", "[", "é1", "1 ms", "\\'", "f:", "::", "+1e"),
]


def seconds(error: TaskError) -> float:
    """The least of three, in this thread alone, so that a busy machine does not count."""
    taken = []
    for _ in range(3):
        began = time.thread_time()
        fingerprint(error)
        taken.append(time.thread_time() - began)
    return min(taken)


@pytest.mark.parametrize("part", HOSTILE)
def test_hostile_texts_cost_little(part: str) -> None:
    """The longest message and traceback of the same few characters, again and again; they take about 1 ms."""
    long = TaskError(
        type="E",
        message=(part * MAX_MESSAGE_CHARS)[:MAX_MESSAGE_CHARS],
        traceback=(part * MAX_TRACEBACK_CHARS)[:MAX_TRACEBACK_CHARS],
    )
    assert seconds(long) < 0.05


@pytest.mark.parametrize(
    "part",
    [
        '  File "',
        '  File "a", line 1, in b\n',
        "Traceback (most recent call last):\n",
        '\n  File "a',
    ],
)
def test_hostile_tracebacks_cost_little(part: str) -> None:
    long = TaskError(type="E", message="", traceback=(part * MAX_TRACEBACK_CHARS)[:MAX_TRACEBACK_CHARS])
    assert seconds(long) < 0.05


def test_an_ordinary_error_costs_little() -> None:
    """Ten frames: about 25 us where it was measured, a store takes ten times as much."""
    text = OWN * 5
    error = TaskError(
        type="E", message="task 17: cannot reach 10.0.0.1:6379 after 3 tries (30.5 s)", traceback=text
    )
    assert seconds(error) < 0.002
