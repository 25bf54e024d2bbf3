"""What a request asks for: each parameter is bounded here, and nowhere else."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import FormData, QueryParams

from flowstore import TaskQuery, parse_query
from flowstore._faces.figures import WINDOWS
from flowstore.text import MAX_ID_BYTES

LIMITS: Final = (50, 100, 200)
COLUMNS: Final = ("when", "try", "wait", "run", "worker", "labels")
SPANS: Final = {name: window.span for name, window in WINDOWS.items()}
MOST_CURSOR: Final = 2_048
MOST_TEXT: Final = 4_096


class BadRequest(Exception):
    """A parameter that cannot be: which, what it is, and what was expected."""

    def __init__(self, name: str, value: str, expected: str) -> None:
        super().__init__(name, value, expected)
        self.name = name
        self.value = value
        self.expected = expected

    def __str__(self) -> str:
        shown = self.value if len(self.value) <= 80 else self.value[:80] + "…"
        return f"{self.name}: expected {self.expected}, got {shown!r}"


class Asked:
    """The parameters of a request, by name; of several of one name the last."""

    def __init__(self, parameters: QueryParams | FormData) -> None:
        self._parameters = parameters

    def text(self, name: str, most: int = MOST_TEXT) -> str:
        """At most ``most`` characters, without blanks around; empty if it is not there."""
        value = self._parameters.get(name, "")
        if not isinstance(value, str):
            raise BadRequest(name, "a file", "text")
        value = value.strip()
        if len(value) > most:
            raise BadRequest(name, value, f"at most {most:,} characters")
        return value

    def brief(self, name: str) -> str:
        """Text that is kept as a name is: at most MAX_ID_BYTES in UTF-8."""
        value = self.text(name)
        if len(value.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES:
            raise BadRequest(name, value, f"at most {MAX_ID_BYTES} bytes")
        return value

    def one_of(self, name: str, known: tuple[str, ...], default: str) -> str:
        value = self.text(name) or default
        if value not in known:
            raise BadRequest(name, value, f"one of {', '.join(known)}")
        return value

    def flag(self, name: str) -> bool:
        return self.one_of(name, ("0", "1"), "0") == "1"

    @property
    def query_text(self) -> str:
        """As it was typed; see ``query``."""
        return self.text("q", 2_048)

    @property
    def query(self) -> TaskQuery:
        """Raises InvalidQuery."""
        return parse_query(self.query_text)

    @property
    def cursor(self) -> str | None:
        return self.text("cursor", MOST_CURSOR) or None

    @property
    def limit(self) -> int:
        return int(self.one_of("limit", tuple(map(str, LIMITS)), str(LIMITS[0])))

    @property
    def columns(self) -> tuple[str, ...]:
        """Of COLUMNS, those that a list of tasks is to have besides status and task."""
        given = self.text("columns", 200)
        if not given:
            return COLUMNS
        chosen = [] if given == "none" else given.split(",")
        for each in chosen:
            if each not in COLUMNS:
                raise BadRequest("columns", each, f"none, or some of {', '.join(COLUMNS)}")
        return tuple(each for each in COLUMNS if each in chosen)

    @property
    def window(self) -> str:
        """One of WINDOWS; SPANS has how long each is."""
        return self.one_of("window", tuple(WINDOWS), "24h")
