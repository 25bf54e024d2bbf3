"""``flowstore completion``: scripts for shells, and the values that they ask for while somebody types."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

from flowstore._faces.suggestions import STORED, suggestions
from flowstore.cli._commands import COMMANDS
from flowstore.cli._options import options_of
from flowstore.cli._queries import Words
from flowstore.cli._settings import Common, profiles, settings_of

if TYPE_CHECKING:
    from flowstore import BaseResultBackend

Shell = Literal["bash", "zsh", "fish"]
_SECONDS = 0.3
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
    if (found := await suggestions(None, current)) or not _is_stored(current):
        return _typable(found)
    async with _store(_typed(words[:-1])) as backend:
        return _typable(await suggestions(backend, current, 50))


def _is_stored(word: str) -> bool:
    return word.removeprefix("-").partition(":")[0] in STORED


def _typable(words: Iterable[str]) -> list[str]:
    """Without those that a shell would have to be told in quotes."""
    return [word for word in words if not any(each.isspace() or each in "\"'\\`$<>|&;()" for each in word)]


def _beginning(prefix: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(prefix)]


def _options_of(commands: list[str]) -> list[str]:
    return options_of(commands[-1] if commands else "")


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
        opened(settings.url, read_only=True, namespace=namespace or settings.namespace) as backend,
    ):
        yield backend


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
