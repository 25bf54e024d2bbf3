"""Which store a command is about: arguments, profiles in files, the environment, and no password anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowstore.cli._exits import CommandError
from flowstore.cli._settings import Common, Settings, masked, settings_of
from tests.cli.support import invoke

PASSWORD = "s3cret"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: nothing in it, above it, at home and in the environment says more."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    for name in ("URL", "URL_FILE", "NAMESPACE", "PROFILE", "OUTPUT", "TIME", "COLOR"):
        monkeypatch.delenv(f"FLOWSTORE_{name}", raising=False)
    return tmp_path


def chosen(**given: str) -> Settings:
    return settings_of(Common(**given))  # type: ignore[arg-type]


def test_nearer_settings_win(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument, a profile that was typed, the environment, and a profile that the environment names."""
    (folder / "flowstore.toml").write_text(
        'url = "redis://file/0"\nnamespace = "file"\n'
        '[profiles.prod]\nurl = "redis://prod/0"\n[profiles.test]\nurl = "redis://test/0"\n'
    )
    assert chosen().url == "redis://file/0"
    monkeypatch.setenv("FLOWSTORE_PROFILE", "test")
    assert (chosen().url, chosen().namespace) == ("redis://test/0", "file")
    monkeypatch.setenv("FLOWSTORE_URL", "redis://env/0")
    assert chosen().url == "redis://env/0"
    assert chosen(profile="prod").url == "redis://prod/0"
    assert chosen(profile="prod", url="redis://argument/0").url == "redis://argument/0"
    monkeypatch.setenv("FLOWSTORE_NAMESPACE", "env")
    assert (chosen().namespace, chosen(namespace="argument").namespace) == ("env", "argument")


def test_the_nearest_file_wins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """flowstore.toml before pyproject.toml, this folder before the one above, and home last."""
    below = folder / "a" / "b"
    below.mkdir(parents=True)
    (folder / "home").mkdir()
    (folder / "home" / "flowstore.toml").write_text('[profiles.home]\nurl = "redis://home/0"\n')
    (folder / "pyproject.toml").write_text('[tool.flowstore]\nurl = "redis://above/0"\n')
    monkeypatch.chdir(below)
    assert chosen().url == "redis://above/0"
    assert chosen(profile="home").url == "redis://home/0"
    (folder / "a" / "pyproject.toml").write_text('[project]\nname = "x"\n')
    assert chosen().url == "redis://above/0"
    (folder / "a" / "flowstore.toml").write_text('url = "redis://a/0"\n')
    assert chosen().url == "redis://a/0"


def test_files_that_settings_name_are_beside_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "flowstore.toml").write_text(
        'url = "shop.db"\n[profiles.file]\nurl_file = "secret"\n[profiles.at]\nurl = "@secret"\n'
        '[profiles.sqlite]\nurl = "sqlite:///a.db?mode=660"\n[profiles.whole]\nurl = "sqlite:////data/a.db"\n'
    )
    (folder / "secret").write_text(f"redis://:{PASSWORD}@host/0\n")
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    assert chosen().url == f"sqlite:///{folder}/shop.db"
    assert chosen(profile="file").url == f"redis://:{PASSWORD}@host/0"
    assert chosen(profile="at").url == f"redis://:{PASSWORD}@host/0"
    assert chosen(profile="sqlite").url == f"sqlite:///{folder}/a.db?mode=660"
    assert chosen(profile="whole").url == "sqlite:////data/a.db"


def test_either_form_of_the_url_hides_the_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "flowstore.toml").write_text('url_file = "secret"\n')
    (folder / "secret").write_text("redis://secret/0")
    assert chosen().url == "redis://secret/0"
    monkeypatch.setenv("FLOWSTORE_URL", "redis://env/0")
    assert chosen().url == "redis://env/0"


def test_a_path_is_a_url(folder: Path) -> None:
    assert chosen(url="a%b?c#d.db").url == "sqlite:///a%25b%3Fc%23d.db"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("url = 3\n", "url: expected a text"),
        ('password = "x"\n', "password: expected a text for one of url, url_file"),
        ("[profiles\n", "flowstore.toml: cannot be read"),
        ('output = "xml"\nurl = "a"\n', "output: expected one of table, json, jsonl, csv, ids; got 'xml'"),
    ],
)
def test_what_a_file_has_wrong(folder: Path, content: str, expected: str) -> None:
    (folder / "flowstore.toml").write_text(content)
    with pytest.raises(CommandError) as caught:
        settings_of(Common())
    assert expected in caught.value.message


def test_unknown_profiles_and_no_url_at_all(folder: Path) -> None:
    (folder / "flowstore.toml").write_text('[profiles.prod]\nurl = "a.db"\n')
    with pytest.raises(CommandError, match="there is no 'prd'; known are: prod"):
        chosen(profile="prd")
    with pytest.raises(CommandError, match="which store"):
        chosen()


@pytest.mark.parametrize("content", ["", "redis://a/0\nredis://b/0\n"])
def test_a_file_has_one_url(folder: Path, content: str) -> None:
    (folder / "secret").write_text(content)
    with pytest.raises(CommandError, match="expected one line with a URL"):
        chosen(url="@secret")
    with pytest.raises(CommandError, match="cannot be read"):
        chosen(url="@nothing")


BADLY_WRITTEN = [
    f"redis://:{PASSWORD}@localhost:1/0",
    f"redis://user:{PASSWORD}@localhost:1/0",
    f"redis://:a/{PASSWORD}@localhost:1/0",
    f"redis://:a@{PASSWORD}@localhost:1/0",
    f"redis://:a?{PASSWORD}@localhost:1/0",
    f"redis://:a#{PASSWORD}@localhost:1/0",
    f"redis://localhost:1/0?password={PASSWORD}",
    f"REDIS+SENTINEL://:{PASSWORD}@localhost:1/0",
]


@pytest.mark.parametrize("url", BADLY_WRITTEN)
@pytest.mark.parametrize("command", [["ls"], ["doctor"], ["doctor", "-o", "json"], ["metrics"]])
def test_no_password_is_printed(url: str, command: list[str]) -> None:
    """Whether the URL can be used or not, and whether it was typed or came out of the environment."""
    ran = invoke(*command, url=url)
    assert ran.code in (2, 4)
    assert PASSWORD not in ran.out + ran.err
    typed = invoke(*command, "--url", url)
    assert typed.code == 2
    assert "--url: has a password" in typed.err
    assert PASSWORD not in typed.out + typed.err


def test_arguments_of_copy_and_verify_are_urls_too(shop: str) -> None:
    for command in (["copy", shop, BADLY_WRITTEN[0]], ["verify", BADLY_WRITTEN[2]]):
        ran = invoke(*command, url=shop)
        assert (ran.code, PASSWORD in ran.err) == (2, False)


@pytest.mark.parametrize("url", ["redis://user@host/0", "sqlite:///a:b@c.db", "sqlite:///x?mode=660"])
def test_what_is_no_password(url: str) -> None:
    assert masked(url) == url
    assert masked("redis://user:pass@host/0?password=x&db=1") == "redis://user:***@host/0?password=***&db=1"


def test_all_by_the_environment(shop: str) -> None:
    variables = {"FLOWSTORE_OUTPUT": "csv", "FLOWSTORE_TIME": "utc", "FLOWSTORE_NAMESPACE": "default"}
    assert invoke("ls", "id:task-1", url=shop, **variables).out.startswith("task_id,")
    assert invoke("ls", "id:task-1", "-o", "ids", url=shop, **variables).out == "task-1\n"
    assert invoke("ls", url=shop, FLOWSTORE_OUTPUT="xml").code == 2
