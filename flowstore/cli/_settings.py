"""Which store a command is about, and how it prints: arguments, the environment, and profiles in files.

What is nearer wins: an argument, then a ``--profile`` that was typed, then the environment, then the profile
that FLOWSTORE_PROFILE names or the settings that a file has for all.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import Group, Parameter

from flowstore.cli._exits import usage

Format = Literal["table", "json", "jsonl", "csv", "ids"]
Times = Literal["relative", "local", "utc", "epoch"]
Color = Literal["auto", "always", "never"]

_GROUP: Final = Group("Common options", sort_key=100)
_LOGIN: Final = re.compile(r"^[^/?#]*://(.*@)", re.DOTALL)
_SECRET: Final = re.compile(r"(?<=[?&])(password=)[^&]+")
_SETTINGS: Final = ("url", "url_file", "namespace", "output", "time", "color")
_DEFAULTS: Final = {"namespace": "default", "output": "table", "time": "relative", "color": "auto"}


@Parameter(name="*", group=_GROUP)
@dataclass(frozen=True)
class Common:
    """What every command understands."""

    url: str | None = None
    "The store: sqlite:///file.db, redis://host/0, a path of a file, or @FILE which holds the URL."
    namespace: Annotated[str | None, Parameter(alias="-n")] = None
    "The namespace in it."
    profile: str | None = None
    "The settings of that name in pyproject.toml or flowstore.toml."
    output: Annotated[Format | None, Parameter(alias="-o")] = None
    "How to print: table, json, jsonl, csv or ids."
    fields: str | None = None
    "Which columns or fields, and in which order: a,b,c."
    time: Times | None = None
    "How times are printed: relative, local, utc or epoch."
    color: Color | None = None
    "auto: on a terminal, unless NO_COLOR is set."
    quiet: Annotated[bool, Parameter(alias="-q")] = False
    "No notices and no progress on stderr."
    no_pager: bool = False
    "Never print through $PAGER, however long it is."


@dataclass(frozen=True)
class Settings:
    """What is in effect, of all that was said."""

    url: str
    namespace: str
    output: Format
    fields: tuple[str, ...] | None
    time: Times
    color: Color
    quiet: bool
    uses_pager: bool


def settings_of(common: Common, *, needs_url: bool = True) -> Settings:
    """Raises CommandError for what cannot be understood, or would show a password to other users."""
    chosen: dict[str, Any] = {**_DEFAULTS}
    files = _files()
    typed = common.profile is not None
    name = common.profile or os.environ.get("FLOWSTORE_PROFILE")
    profile = _profile(name, files)
    for layer in (_environment(), profile) if typed else (profile, _environment()):
        chosen = _over(chosen, layer)
    for setting in ("namespace", "output", "time", "color"):
        given = getattr(common, setting)
        if given is not None:
            chosen[setting] = given
    for setting, known in (("output", Format), ("time", Times), ("color", Color)):
        _check(setting, chosen[setting], known)
    return Settings(
        url=_url(common.url, chosen, needs_url),
        namespace=chosen["namespace"],
        output=chosen["output"],
        fields=None if common.fields is None else tuple(filter(None, common.fields.split(","))),
        time=chosen["time"],
        color=chosen["color"],
        quiet=common.quiet,
        uses_pager=not common.no_pager,
    )


def url_of(given: str) -> str:
    """What was typed as the URL of a store: itself, a path, or ``@FILE``. A password in it is refused."""
    if masked(given) != given:
        raise usage(
            "--url: has a password, which every user of this machine can see among the processes",
            "put the URL into FLOWSTORE_URL, into a profile, or into a file: --url @FILE",
        )
    if given.startswith("@"):
        return _read(Path(given[1:]))
    return given if "://" in given else _of_path(given)


def masked(url: str) -> str:
    """The URL for people to see: with ``***`` for a password, however badly it is written."""
    if url.startswith("sqlite:"):
        return url
    login = _LOGIN.match(url)
    if login is not None and ":" in login[1]:
        user = login[1].partition(":")[0]
        url = f"{url[: login.start(1)]}{user}:***@{url[login.end(1) :]}"
    return _SECRET.sub(r"\1***", url)


def _of_path(path: str) -> str:
    return "sqlite:///" + path.replace("%", "%25").replace("?", "%3F").replace("#", "%23")


def _url(given: str | None, chosen: Mapping[str, str], needs_url: bool) -> str:
    if given is not None:
        return url_of(given)
    if "url_file" in chosen:
        return _read(Path(chosen["url_file"]).expanduser())
    if "url" in chosen:
        url = chosen["url"]
        return url if "://" in url else url_of(url)
    if needs_url:
        raise usage(
            "which store? no URL was given",
            "--url sqlite:///file.db, the variable FLOWSTORE_URL, or a profile in flowstore.toml",
        )
    return ""


def _read(path: Path) -> str:
    try:
        text = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise usage(f"--url: the file {str(path)!r} cannot be read: {error}") from None
    if not text or "\n" in text:
        raise usage(f"--url: expected one line with a URL in {str(path)!r}, got {len(text.splitlines())}")
    return text


def _environment() -> dict[str, str]:
    named = ((setting, os.environ.get(f"FLOWSTORE_{setting.upper()}")) for setting in _SETTINGS)
    return {setting: value for setting, value in named if value}


def _files() -> list[tuple[Path, Mapping[str, Any]]]:
    """Those that there are, the nearest first, and what they say of flowstore."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    folders = [Path.cwd(), *Path.cwd().parents]
    found = []
    for folder in folders:
        for path, table in (
            (folder / "flowstore.toml", ()),
            (folder / "pyproject.toml", ("tool", "flowstore")),
        ):
            if path.is_file():
                found += _tables(path, table)
    own = home / "flowstore.toml"
    return found + (_tables(own, ()) if own.is_file() else [])


def _tables(path: Path, table: tuple[str, ...]) -> list[tuple[Path, Mapping[str, Any]]]:
    try:
        content: Any = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise usage(f"{path}: cannot be read: {error}") from None
    for name in table:
        content = content.get(name, {})
    return [(path, content)] if content else []


def _profile(name: str | None, files: list[tuple[Path, Mapping[str, Any]]]) -> dict[str, str]:
    """The settings of the nearest file, with those of its profile if one is named."""
    for path, content in files:
        named = content.get("profiles", {})
        if name is not None and name not in named:
            continue
        own = {key: value for key, value in content.items() if key != "profiles"}
        if name is not None:
            own = _over(own, named[name])
        for setting, value in own.items():
            if setting not in _SETTINGS or not isinstance(value, str):
                raise usage(f"{path}: {setting}: expected a text for one of {', '.join(_SETTINGS)}")
        return {setting: _beside(path, setting, value) for setting, value in own.items()}
    if name is not None:
        raise usage(f"--profile: there is no {name!r}; known are: {', '.join(profiles()) or 'none'}")
    return {}


def _beside(path: Path, setting: str, value: str) -> str:
    """The files that a file of settings names are relative to it, wherever a command is run."""
    if setting == "url_file":
        return str(path.parent / Path(value).expanduser())
    if setting == "url" and value.startswith("@"):
        return f"@{path.parent / Path(value[1:]).expanduser()}"
    if setting == "url" and "://" not in value:
        return str(path.parent / Path(value).expanduser())
    bare = value.removeprefix("sqlite:///")
    if setting == "url" and bare != value and not bare.startswith(("/", ":", "?")):
        return _of_path(str(path.parent)) + "/" + bare
    return value


def profiles() -> list[str]:
    """The names of all there are, for a shell that completes them."""
    return sorted({name for _, content in _files() for name in content.get("profiles", {})})


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of both, those of ``above`` first: either form of the URL takes the place of the other."""
    hidden = {"url", "url_file"} if above.keys() & {"url", "url_file"} else set()
    return {**{name: value for name, value in below.items() if name not in hidden}, **above}


def _check(setting: str, value: object, known: Any) -> None:
    if value not in known.__args__:
        raise usage(f"{setting}: expected one of {', '.join(known.__args__)}; got {value!r:.80}")
