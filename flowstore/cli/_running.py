"""From the arguments of a command to its exit code."""

from __future__ import annotations

import inspect
import json
import os
import signal
import sys
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final, NoReturn

from flowstore.cli._exits import Exit, Failure, failure_of

_WITH_VALUE: Final = {
    *("--url", "--namespace", "-n", "--profile", "--output", "-o", "--fields", "--time", "--color"),
}
_WITHOUT: Final = {"--quiet", "-q", "--no-pager"}
"""Common options, which may precede the command."""


def run(arguments: Sequence[str]) -> int:
    """Carry out one command. Its errors are told on stderr; a defect of flowstore has its traceback."""
    from flowstore._packages import needed

    try:
        with needed("the command line", "cli", "cyclopts"):
            from cyclopts import CycloptsError

            from flowstore.cli import _options
            from flowstore.cli._commands import make_app
    except ImportError as error:
        print(f"flowstore: {error}", file=sys.stderr)
        return Exit.USAGE
    tokens = with_command_first(arguments)
    try:
        try:
            app = make_app()
            _options.command.set(tokens[0] if tokens else "")
            command, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
            code = command(*bound.args, **bound.kwargs)
            if inspect.iscoroutine(code):
                code = _awaited(code)
            sys.stdout.flush()
        except CycloptsError as error:
            return _tell(Failure(Exit.USAGE, "usage", str(error), _help_of(tokens)), tokens)
        except KeyboardInterrupt:
            return _tell(Failure(Exit.INTERRUPTED, "interrupted", "interrupted"), tokens)
        except SystemExit as end:
            if isinstance(end.__context__, BrokenPipeError):  # rich ends so, while help is printed
                return _closed_pipe()
            raise
        except Exception as error:
            only = _only(error)
            if isinstance(only, BrokenPipeError):
                raise only from None
            failure = failure_of(only)
            if failure is None:
                raise
            return _tell(failure, tokens)
    except BrokenPipeError:
        return _closed_pipe()
    return code if isinstance(code, int) else Exit.OK


def _awaited(command: Coroutine[Any, Any, object]) -> object:
    import asyncio

    with _terminated_cleanly():
        return asyncio.run(command)


@contextmanager
def _terminated_cleanly() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: what is open is closed, and a terminal has its cursor back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def with_command_first(arguments: Sequence[str]) -> list[str]:
    """Common options may stand before the command, and are read behind it."""
    place = 0
    while place < len(arguments):
        name, equals, _ = arguments[place].partition("=")
        if name in _WITH_VALUE:
            place += 1 if equals else 2
        elif name in _WITHOUT or _has_value_attached(name):
            place += 1
        else:
            break
    command, rest = arguments[place : place + 1], arguments[place + 1 :]
    return (
        [*command, *arguments[:place], *rest] if command and not command[0].startswith("-") else [*arguments]
    )


def _has_value_attached(word: str) -> bool:
    return word[:2] in ("-o", "-n") and len(word) > 2


def _help_of(tokens: Sequence[str]) -> str:
    from flowstore.cli._commands import COMMANDS

    return f"flowstore {tokens[0]} --help" if tokens and tokens[0] in COMMANDS else "flowstore --help"


def _only(error: Exception) -> Exception:
    """Out of a group the error that it is about, if it is one."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _tell(failure: Failure, tokens: Sequence[str]) -> int:
    from flowstore._faces.showing import plain

    with suppress(BrokenPipeError):
        if _is_json(tokens):
            document = {"code": int(failure.code), "kind": failure.kind, "message": failure.message}
            print(json.dumps({"error": {**document, "hint": failure.hint}}), file=sys.stderr)
        else:
            print("flowstore:", plain(failure.message, keep="\n"), file=sys.stderr)
            if failure.hint:
                print(f"  hint: {failure.hint}", file=sys.stderr)
    return failure.code


def _is_json(tokens: Sequence[str]) -> bool:
    """Whether JSON was asked for, as far as that is known of arguments that may be wrong."""
    asked = os.environ.get("FLOWSTORE_OUTPUT", "")
    for token, following in zip(tokens, [*tokens[1:], ""], strict=True):
        if token in ("-o", "--output"):
            asked = following
        elif token.startswith("--output="):
            asked = token.partition("=")[2]
        elif token.startswith("-o") and not token.startswith("--"):
            asked = token[2:].removeprefix("=")
    return asked in ("json", "jsonl")


def _closed_pipe() -> int:
    """Whoever reads has enough, as ``head`` has: nothing to tell, and nothing to flush at exit."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(devnull, stream.fileno())
    os.close(devnull)
    return Exit.CLOSED_PIPE
