"""The fingerprint of an error: the same for all failures that an operator would call the same error.

It covers the type, the message without its volatile parts, and the places in the program: the innermost of
its own frames, by function and file, without line numbers, which move with every edit. It is stored, so the
same error must have the same one in all processes, on all platforms and under all versions of Python.
Therefore it is made of nothing but text: the machine is not asked where its packages are.

The texts are the work of others. No pattern here backtracks over more than a few characters, and a part that
opens and is never closed, as a quotation in a message that was cut, reaches to the end of its line; so none
is looked at twice. What a fingerprint costs grows with the length of the texts, and these are bounded.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from flowstore._errors.showing import Described, frames_alone

NORMALISER: Final = 1
"""The version of the rules below. Whoever changes what a text becomes raises it: all of them are new then."""

MAX_FRAMES: Final = 5
MAX_READ_CHARS: Final = 2_048
"""How much of a message is looked at."""
MAX_KEPT_CHARS: Final = 512
"""How much of a message is told apart, once its volatile parts are replaced."""

_PERSON: Final = f"flowstore fp {NORMALISER}".encode()
_DIGEST_BYTES: Final = 8

# Closed or not: a text that was cut has no closing quote. An apostrophe within a word opens nothing.
_QUOTED: Final = re.compile(
    r"""
      '(?:(?<!\w')|(?<=\b[bBfFrRuU]'))(?:[^'\\\n]|\\.?|'(?=\w))*+'?+
    | "(?:(?<!\w")|(?<=\b[bBfFrRuU]"))(?:[^"\\\n]|\\.?|"(?=\w))*+"?+
    | `[^`\n]*+`?+
    | “[^”\n]*+”?+
    | \u2018(?:[^\u2019\n]|(?<=\w)\u2019(?=\w))*+\u2019?+    # curly; and the apostrophe is the closing one
    | «[^»\n]*+»?+
    | =\([^()\n]*+\)?+                                   # Key (id)=(x), of PostgreSQL
    """,
    re.VERBOSE,
)
_BRACE: Final = re.compile(r"[{}]")
_NAME_IN_A_DATE: Final = (
    "(?:Mon(?:day)?|Tue(?:sday)?|Wed(?:nesday)?|Thu(?:rsday)?|Fri(?:day)?|Sat(?:urday)?|Sun(?:day)?"
    "|Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?"
    r"|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)[.,]?+\s++"
)
# Whatever is volatile has one of these characters. Words without any, which are most, are passed over.
_SUSPECT: Final = re.compile(rf"(?<!\S)((?:{_NAME_IN_A_DATE}){{0,3}}+)([^\s\d@/\\]*+[\d@/\\]\S*+)")
_UNIT: Final = (
    "(?:ns|us|µs|μs|ms|nanoseconds?|microseconds?|milliseconds?|s|secs?|seconds?|m|mins?|minutes?"
    "|h|hrs?|hours?|d|days?|weeks?)(?![A-Za-z])"
)
_PART: Final = re.compile(
    r"""
      (?P<url>(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]*+://[^\s<>]*+)
    | (?P<email>(?<![\w.+-])[\w.+-]++@[\w.-]++)
    | (?P<id>
        (?<![A-Za-z0-9])[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}(?![A-Za-z0-9])
      | (?<![A-Za-z0-9])0[xX][0-9A-Fa-f]++
      )
    | (?P<time>
        (?<!\d)\d{4}-\d\d-\d\d(?!\d)(?:[T_]\d\d:?\d\d(?::?\d\d)?(?:[.,]\d++)?+(?:Z|[+-]\d\d:?\d\d)?)?
      | (?<![\w:.])\d{1,3}:\d\d:\d\d(?:[.,]\d++)?+(?:Z|[+-]\d\d:?\d\d)?(?![\w:])
      | (?<![\w.])(?:\d++(?:\.\d++)?+(?:ns|us|µs|μs|ms|secs?|s|mins?|m|hrs?|h|d)(?![A-Za-z]))++(?!\w)
      )
    | (?P<ip>
        (?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![.\w])(?::\d{1,5})?+
      | (?<![\w:])\[?(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])\]?+(?::\d{1,5})?+
      )
    | (?P<path>
        (?<![\w./\\~])(?:~|\.\.?)?/[^\s:;,()<>|]++
      | (?<![A-Za-z0-9])[A-Za-z]:[\\/][^\s:;,()<>|]*+
      | (?<!\S)\\\\[^\s:;,()<>|]++
      | (?<![\w./-])[\w.-]++(?:/[\w.-]++)++(?:(?<=\.[a-z])|(?<=\.[a-z]\w)|(?<=\.[a-z]\w\w)|(?<=\.[a-z]\w\w\w))
      )
    | (?P<token>
        (?<![A-Za-z0-9+/_-])
        (?=[a-z0-9+/_-]*+[A-Z])(?=[A-Z0-9+/_-]*+[a-z])(?=[A-Za-z+/_-]*+\d)[A-Za-z0-9+/_-]{20,}+={0,2}
      | (?<![A-Za-z0-9])(?=[A-Za-z]*+\d)(?=\d*+[A-Za-z])[A-Za-z0-9]{16,}+
      )
    | (?P<n>
        (?<![A-Za-z0-9])[+-]?+\d++(?:[.,_]\d++)*+(?:[eE][+-]?\d++)?+[A-Za-z0-9]*+
      | (?<![A-Za-z0-9])(?=[A-Fa-f]*+\d)[0-9A-Fa-f]{8,}+(?![A-Za-z0-9])
      | (?<![A-Za-z0-9])(?=[A-Za-z0-9]{8})[A-Za-z]++\d++[A-Za-z][A-Za-z0-9]*+
      | (?<=[A-Za-z])\d++[A-Za-z0-9]*+
      )
    """,
    re.VERBOSE,
)
_ALIKE: Final = re.compile(r"<(\w++)>(?:[\s,;:/|\]-]*+<\1>)++")
_COUNTED: Final = re.compile(r"<n> (sub-exception|validation error)s?\b")
_DURATION: Final = re.compile(rf"<n>\s?{_UNIT}")
_TIMES: Final = re.compile(r"(?:<n>[\s,]*+)?+<time>(?:[\s,]*+<(?:time|n)>)*+(?:\s?[AP]M\b)?")


def normalised(message: str) -> str:
    """The message in one line, with placeholders for what differs from one failure to the next.

    ``<n>``: numbers, short hexadecimal ids and the rest of a word from its first digit. ``<id>``: UUIDs,
    addresses in memory and long ids. ``<time>``: dates, times and durations. ``<ip>``: with the port.
    ``<email>``, ``<url>``, ``<path>``. ``<text>``: what is in quotes or braces. Several of a kind in a row,
    as in a list, become one. Only the first MAX_READ_CHARS are looked at, and at most MAX_KEPT_CHARS are
    returned.
    """
    text = _QUOTED.sub("<text>", message[:MAX_READ_CHARS])
    if "{" in text:
        text = _without_braces(text)
    text = " ".join(_SUSPECT.sub(_without_parts, text).split())
    if "<" in text:
        text = _ALIKE.sub(r"<\1>", text)
        text = _COUNTED.sub(r"<n> \1s", text)
        text = _TIMES.sub("<time>", _DURATION.sub("<time>", text))
    return text[:MAX_KEPT_CHARS]


def _without_braces(text: str) -> str:
    """Objects of JSON and dicts of Python as ``<text>``; one that is never closed reaches to the end."""
    kept: list[str] = []
    depth = end = 0
    for brace in _BRACE.finditer(text):
        if brace[0] == "{":
            if depth == 0:
                kept += text[end : brace.start()], "<text>"
            depth += 1
        elif depth:
            depth -= 1
            end = brace.end()
    if depth == 0:
        kept.append(text[end:])
    return "".join(kept)


def _without_parts(suspect: re.Match[str]) -> str:
    names, word = suspect.groups()
    if names:  # of days or months, but only before a number
        names = "<time> " if word[0].isdigit() else names
    return names + _PART.sub(_placeholder, word)


def _placeholder(part: re.Match[str]) -> str:
    kind = part.lastgroup
    return "<id>" if kind == "token" else f"<{kind}>"


# A line of a frame starts with two blanks; a line of source below it with four or more.
_FRAME: Final = re.compile(r'  File "(?<![^\n]  File ")([^"\n]*+)", line \d++, in ([^\n]++)(?!\n\.\.\. \d)')
_FRAME_OF_A_GROUP: Final = re.compile(
    r'  \|   File "(?<![^\n]  \|   File ")([^"\n]*+)", line \d++, in ([^\n]++)(?!\n\.\.\. \d)'
)
_HEADER_WORDS: Final = "Traceback (most recent call last):"
_HEADER: Final = re.compile(r"^(?:  \+ Exception Group )?Traceback \(most recent call last\):", re.MULTILINE)
_FIRST_MEMBER: Final = re.compile(r"^  \+-\+---", re.MULTILINE)
_INLINED: Final = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>"})
"""Frames until Python 3.11, and no more since."""

_OWN, _INSTALLED, _STANDARD = range(3)
_IS_INSTALLED: Final = re.compile(r"(?:^|[/\\])(?:site|dist)-packages[/\\]")
# As Cython names its sources, from the directory where they were compiled.
_IS_COMPILED: Final = re.compile(r"[^/\\<:][^:\n]*+(?<=\.p(?:yx|xd|xi))")
_IS_STANDARD: Final = re.compile(
    r"^<frozen |[/\\]lib(?:64)?[/\\](?:python|pypy)\d[\d.]*+t?[/\\]|[/\\]python\d++t?\.zip[/\\]|\\Lib\\"
)
_IS_VOLATILE: Final = re.compile(r"(?=[a-fA-F_.-]*+\d)[\dA-Fa-f_.-]{7,}+|\d++|ipykernel_\d++|tmp\w{8}")
_MAX_FILE_CHARS: Final = 1_024


def fingerprint(error: Described) -> str:
    """16 hexadecimal digits, by the rules of version NORMALISER.

    They stand for the type of the error, its message as ``normalised`` has it, the places of its innermost
    frames, and the type of its root cause: an error that wraps whatever went wrong below is told apart by
    what that was. A group of exceptions takes in the fingerprint of its first one, the one that failed
    first; nothing of the others, as how many of them there are is a matter of chance.
    """
    parts = [error.type, normalised(error.message), "\n".join(_places(frames_alone(error)))]
    root = error.cause
    while root is not None:
        parts[3:] = [root.type]
        root = root.cause
    if error.exceptions:
        parts.append("first: " + fingerprint(error.exceptions[0]))
    text = "\0".join(parts).encode(errors="replace")
    return blake2b(text, digest_size=_DIGEST_BYTES, person=_PERSON).hexdigest()


def _places(traceback: str) -> list[str]:
    """File and function of at most MAX_FRAMES frames, the innermost first.

    Those of the program itself; if there are none those of installed packages, and else those of Python's own
    library. One that calls itself counts once, however deep it was.
    """
    found: tuple[list[str], ...] = [], [], []
    for file, function in reversed(_frames(traceback)):
        if function in _INLINED:
            continue
        kind, name = _file(file[-_MAX_FILE_CHARS:])
        place = f"{name} {function}"
        if not found[kind] or found[kind][-1] != place:
            found[kind].append(place)
            if len(found[_OWN]) == MAX_FRAMES:
                break
    return next(filter(None, found), [])[:MAX_FRAMES]


def _frames(traceback: str) -> list[tuple[str, str]]:
    """Files and functions of the error itself, not of what led to it or is in its group."""
    if _HEADER_WORDS in traceback and (headers := [*_HEADER.finditer(traceback)]):
        traceback = traceback[headers[-1].start() :]
        if traceback.startswith("  +"):
            first = _FIRST_MEMBER.search(traceback)
            return _FRAME_OF_A_GROUP.findall(traceback, 0, first.start() if first else len(traceback))
    return _FRAME.findall(traceback)


@lru_cache(512)
def _file(name: str) -> tuple[int, str]:
    """Whose it is, and its name without where it is installed: with its directory, as tasks/mail.py."""
    kind = _OWN
    if _IS_INSTALLED.search(name) or _IS_COMPILED.fullmatch(name):
        kind = _INSTALLED
    elif _IS_STANDARD.search(name):
        kind = _STANDARD
    if name.startswith("<"):  # <string>, or <ipython-input-5-0a1b2c>
        return kind, normalised(name)
    parts = name.replace("\\", "/").split("/")[-2:]
    stem, dot, suffix = parts.pop().partition(".")
    return kind, "/".join([*map(_lasting, parts), _lasting(stem) + dot + suffix])


def _lasting(part: str) -> str:
    """A directory or a file, but for the names of releases, of cells in notebooks and of temporary ones."""
    return "<id>" if _IS_VOLATILE.fullmatch(part) else part
