"""``flowstore completion``: scripts for shells, and the values that they ask for while somebody types."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

from flowstore.cli._commands import COMMANDS
from flowstore.cli._queries import Words
from flowstore.cli._settings import Common, profiles, settings_of

if TYPE_CHECKING:
    from flowstore import BaseResultBackend

Shell = Literal["bash", "zsh", "fish"]
_SECONDS = 0.3
_TERMS = (
    *("status", "name", "label", "worker", "parent", "root", "error", "id", "submitted", "started"),
    *("finished", "updated", "since", "until", "run", "wait", "tries", "is", "sort"),
)
_FIXED = {
    "status": ("pending", "running", "retrying", "success", "failed", "cancelled"),
    "is": ("root", "child"),
    "sort": ("submitted", "-submitted", "finished", "-finished"),
    "since": ("10m", "1h", "today", "1d", "7d"),
}
_OPTIONS = {
    "--output": ("table", "json", "jsonl", "csv", "ids"),
    "-o": ("table", "json", "jsonl", "csv", "ids"),
    "--time": ("relative", "local", "utc", "epoch"),
    "--color": ("auto", "always", "never"),
}
_COLUMNS = ("status", "time", "name", "id", "try", "run", "error")
_OF_FILES: Final = frozenset(("import", "backup", "copy", "verify", "--to", "--url"))


def completion(shell: Shell, /) -> None:
    """Print the completion script of a shell: source <(flowstore completion bash)

    Parameters
    ----------
    shell
        bash, zsh or fish.
    """
    sys.stdout.write(_SCRIPTS[shell])


def complete(*words: Words) -> None:
    """What the last of the words could become, a line each; the scripts ask for this. Never an error."""
    with suppress(Exception):  # whoever types is not to be disturbed, whatever is wrong
        for candidate in asyncio.run(_candidates([*words])):
            print(candidate)


async def _candidates(words: list[str]) -> list[str]:
    current, before = (words[-1] if words else ""), words[-2] if len(words) > 1 else ""
    commands = [word for word in words[:-1] if word in COMMANDS]
    if before in _OPTIONS:
        return _beginning(current, _OPTIONS[before])
    if before in ("--profile", "--namespace", "-n"):
        common = _typed(words[:-2])
        return _beginning(current, profiles() if before == "--profile" else await _namespaces(common))
    if before == "--fields":
        done, comma, last = current.rpartition(",")
        return [f"{done}{comma}{column}" for column in _beginning(last, _COLUMNS)]
    if before in _OF_FILES or (commands and commands[0] in _OF_FILES and not current.startswith("-")):
        return []  # the shell completes names of files
    if current.startswith("-") and ":" not in current:
        return _beginning(current, _options_of(commands))
    if not commands:
        return _beginning(current, COMMANDS)
    name, colon, value = current.partition(":")
    if not colon:
        return _beginning(current, [f"{term}:" for term in _TERMS])
    sign = "-" if name.startswith("-") else ""
    values = _FIXED.get(name.removeprefix("-")) or await _live(
        _typed(words[:-1]), name.removeprefix("-"), value
    )
    return [f"{sign}{name.removeprefix('-')}:{each}" for each in _beginning(value, values)]


def _beginning(prefix: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(prefix)]


def _options_of(commands: list[str]) -> list[str]:
    from flowstore.cli._commands import make_app

    app = make_app()
    if not commands:
        return ["--help", "--version"]
    arguments = app[commands[-1]].assemble_argument_collection(default_parameter=app.default_parameter)
    return [name for argument in arguments for name in argument.names if name.startswith("-")]


def _typed(words: list[str]) -> Common:
    """The store that was typed in this line already, as far as it was."""
    options = {"--url": "url", "--namespace": "namespace", "-n": "namespace", "--profile": "profile"}
    given: dict[str, Any] = {}
    for name, value in pairwise(words):
        if name in options:
            given[options[name]] = value
    return Common(**given)


async def _namespaces(common: Common) -> list[str]:
    async with _store(common, "default") as backend:
        return [*await backend.app.namespaces()]


@asynccontextmanager
async def _store(common: Common, namespace: str | None = None) -> AsyncIterator[BaseResultBackend]:
    from flowstore.cli._desk import check_exists, opened

    settings = settings_of(common)
    check_exists(settings.url)
    async with (
        asyncio.timeout(_SECONDS),
        opened(settings.url, namespace=namespace or settings.namespace) as backend,
    ):
        yield backend


async def _live(common: Common, term: str, prefix: str) -> list[str]:
    """Names, labels and workers that begin so, within a third of a second."""
    if term not in ("name", "label", "worker", "error"):
        return []
    async with _store(common) as backend:
        if term == "error":
            groups = await backend.errors.groups(limit=100)
            return [group.id for group in groups if group.id.startswith(prefix)]
        facets = {
            "name": backend.facets.names,
            "label": backend.facets.labels,
            "worker": backend.facets.workers,
        }
        found = await facets[term](prefix, limit=50, at_most=1)
        return [each.value for each in found if not any(c.isspace() or c in "\"'\\`$" for c in each.value)]


_SCRIPTS = {
    "bash": """\
_flowstore() {
    local line word
    COMPREPLY=()
    if ! _get_comp_words_by_ref -n : cur words cword 2>/dev/null; then
        cur=${COMP_WORDS[COMP_CWORD]} words=("${COMP_WORDS[@]}") cword=$COMP_CWORD
    fi
    while IFS= read -r line; do
        COMPREPLY+=("$line")
    done < <(flowstore complete-words -- "${words[@]:1:cword}" 2>/dev/null)
    [[ ${COMPREPLY[0]-} == *: ]] && compopt -o nospace
    declare -F __ltrim_colon_completions >/dev/null && __ltrim_colon_completions "$cur"
    return 0
}
complete -o bashdefault -o default -F _flowstore flowstore
""",
    "zsh": """\
#compdef flowstore
_flowstore() {
    local -a found
    found=("${(@f)$(flowstore complete-words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -z $found ]]; then
        _files
    else
        compadd -S '' -- ${(M)found:#*:}
        compadd -- ${found:#*:}
    fi
}
compdef _flowstore flowstore
""",
    "fish": """\
function __flowstore_complete
    set -l words (commandline -opc) (commandline -ct)
    flowstore complete-words -- $words[2..-1] 2>/dev/null
end
complete -c flowstore -a '(__flowstore_complete)'
""",
}
