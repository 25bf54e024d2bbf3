"""The errors of the shop: raised by functions that look like a program's, for their tracebacks."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NoReturn

from flowstore import TaskError


class CardDeclined(Exception):
    """By the bank."""


class MissingAsset(LookupError):
    """Of an image that is not in the bucket."""


class RenderError(RuntimeError):
    """Of a document."""


def connect(host: str, port: int) -> NoReturn:
    raise TimeoutError(f"timed out after 10 s: {host}:{port}")


def send(address: str) -> None:
    try:
        connect("smtp.example.org", 587)
    except TimeoutError as error:
        error.add_note(f"while sending to {address}")
        raise


def charge(amount: str) -> NoReturn:
    raise CardDeclined(f"insufficient funds: {amount} EUR")


def open_asset(name: str) -> NoReturn:
    raise MissingAsset(f"no asset is called {name!r}")


def layout(page: int) -> NoReturn:
    raise ValueError(f"page {page} is empty")


def render(pages: int) -> None:
    try:
        layout(pages)
    except ValueError as error:
        raise RenderError("invoice could not be rendered") from error


def reindex(shards: int) -> None:
    errors = [ConnectionResetError(f"shard {number} hung up") for number in range(shards)]
    raise ExceptionGroup("some shards failed", errors)


def read_feed(line: int, column: str) -> NoReturn:
    raise KeyError(f"line {line}: no column {column}")


def notify() -> NoReturn:
    raise PermissionError("the gateway refused the key of the shop")


def _described(function: Callable[..., object], *arguments: object) -> TaskError:
    try:
        function(*arguments)
    except Exception as error:
        return _at_home(TaskError.from_exception(error))
    raise AssertionError(f"{function} raised nothing")


def _at_home(error: TaskError) -> TaskError:
    """As it would be in the shop, whose modules are in /srv/shop; without the frame of ``_described``."""
    text = error.traceback or ""
    text = re.sub(r'  File "[^"]*", line \d+, in _described\n(?:    .*\n)*', "", text)
    fields = {
        **{name: getattr(error, name) for name in TaskError.model_fields},
        "type": error.type.replace(__name__, "shop.errors"),
        "module": "shop.errors" if error.module == __name__ else error.module,
        "traceback": text.replace(__file__, "/srv/shop/jobs.py").replace(__name__, "shop.errors"),
        "cause": None if error.cause is None else _at_home(error.cause),
    }
    return TaskError(**fields)


SMTP_TIMEOUT: Final = _described(send, "jo@example.org")
CARD_DECLINED: Final = _described(charge, "129.00")
MISSING_ASSET: Final = _described(open_asset, "banner-large.png")
PRINTER_JAM: Final = _described(render, 7)
FAILURES: Final = {
    "search": _described(reindex, 3),
    "feed": _described(read_feed, 1204, "price"),
    "feed-late": _described(connect, "feeds.example.org", 443),
    "sms": _described(notify),
}
