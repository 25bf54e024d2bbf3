"""Times, sizes, numbers and text out of a store, as people read them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from flowstore import TaskError

MOST_ID_CHARS: Final = 8
"""How much of an id that is nothing but hexadecimal digits is shown where there is little room."""

_HIDDEN: Final = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # control characters: a terminal obeys them
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidi marks: they turn what stands beside them around
    "\u200b\u2060\ufeff\u00ad"  # without width
    "\u2028\u2029"  # they end a line for a browser
    "\ud800-\udfff"  # surrogates: nothing can be written with them
    "\U000e0000-\U000e007f"  # tags, which nobody sees
    "]"
)
_HEXADECIMAL: Final = re.compile(r"[0-9a-f]{16,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BARS: Final = "▁▂▃▄▅▆▇█"
_SIZES: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def plain(text: str, *, keep: str = "") -> str:
    """``text`` as one can see it: what controls a terminal or hides from a reader is written as an escape.

    ``keep``: characters that stay as they are, such as line breaks in a place that has several lines.
    """
    return _HIDDEN.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()


def shortened(text: str, most: int) -> str:
    """At most ``most`` characters, the last of them an ellipsis if any are left out."""
    return text if len(text) <= most else text[: max(0, most - 1)] + "…"


def short_id(task_id: str) -> str:
    """The first eight digits of an id that is random and has no name in it; any other id as it is."""
    return plain(task_id[:MOST_ID_CHARS] if _HEXADECIMAL.fullmatch(task_id) else task_id)


def lasting(seconds: float | None) -> str:
    """How long something took: ``12ms``, ``1.24s``, ``44.0s``, ``3m 12s``, ``3d 4h``; None: empty."""
    if seconds is None:
        return ""
    if seconds < 0:
        return f"-{lasting(-seconds)}"
    if seconds < 0.9995:
        return f"{seconds * 1_000:.0f}ms"
    if seconds < 9.995:
        return f"{seconds:.2f}s"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    for length, part, unit, smaller in ((60, 1, "m", "s"), (3_600, 60, "h", "m"), (86_400, 3_600, "d", "h")):
        if whole < length * (60 if length < 3_600 else 24) or unit == "d":
            rest = whole % length // part
            return f"{whole // length:,}{unit} {rest}{smaller}" if rest else f"{whole // length:,}{unit}"
    raise AssertionError


def age(seconds: float) -> str:
    """As ``lasting``, with its first unit only and without fractions: ``44s``, ``3m``, ``2h``, ``12d``."""
    seconds = max(0.0, seconds)
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= length:
            return f"{int(seconds // length):,}{unit}"
    return f"{int(seconds)}s"


def ago(at: datetime | None, now: datetime) -> str:
    """``2m ago``, ``in 5m``, or ``now`` within a second; None: empty."""
    if at is None:
        return ""
    seconds = (now - at).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"{age(seconds)} ago" if seconds > 0 else f"in {age(-seconds)}"


def counted(number: int, *, is_exact: bool = True) -> str:
    """With separators; ``10,000+`` where there are at least so many."""
    return f"{number:,}" if is_exact else f"{number:,}+"


def count_of(number: int, noun: str) -> str:
    """``1 task``, ``1,204 tasks``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def sized(size: int | None) -> str:
    """Bytes: ``512 B``, ``64.0 KiB``, ``1.2 GiB``; None: empty."""
    if size is None:
        return ""
    if size < 1_024:
        return f"{size} B"
    number, unit = float(size), 0
    while number >= 1_023.95 and unit < len(_SIZES) - 1:
        number, unit = number / 1_024, unit + 1
    return f"{number:,.1f} {_SIZES[unit]}"


def share(part: float | None) -> str:
    """A share from 0 to 1 in percent: ``1.4%``; None: empty."""
    if part is None:
        return ""
    return f"{part:.0%}" if part in (0, 1) else f"{part:.1%}"


def error_line(error: TaskError | None) -> str:
    """Type and message on one line; None: empty."""
    if error is None:
        return ""
    name = error.type.rpartition(".")[2]
    first = " ".join(error.message.split())
    return plain(f"{name}: {first}" if first else name)


def sparkline(numbers: Sequence[float]) -> str:
    """A bar for each number, the highest for the greatest of them; a blank for 0."""
    most = max(numbers, default=0)
    if most <= 0:
        return " " * len(numbers)
    steps = len(_BARS) - 1
    return "".join(_BARS[round(steps * number / most)] if number > 0 else " " for number in numbers)
