"""Words that look like options, and are none of the command's."""

from __future__ import annotations

from contextvars import ContextVar
from difflib import get_close_matches
from typing import Final

from flowstore.cli._exits import CommandError, usage

command: Final = ContextVar("command", default="")
"""The name of the one that is carried out; empty: none is known."""


def no_option(word: str) -> CommandError:
    """What to raise for ``word``, which names the option that was meant, if there is one like it."""
    name = word.partition("=")[0]
    near = get_close_matches(name, options_of(command.get()), 1, 0.7)
    return usage(f"{name}: no such option", f"did you mean {near[0]}?" if near else "--help lists them")


def options_of(name: str) -> list[str]:
    """All options of a command, in each of their forms; of none those that stand before one."""
    from flowstore.cli._commands import COMMANDS, make_app

    if name not in COMMANDS:
        return ["--help", "--version"]
    app = make_app()
    arguments = app[name].assemble_argument_collection(default_parameter=app.default_parameter)
    return [each for argument in arguments for each in argument.names if each.startswith("-")]
