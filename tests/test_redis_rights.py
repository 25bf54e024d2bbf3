"""The ACL rules of docs/servers.md: each role can do what it is for, and no rule of it can be missed.

A server notes every command that it refuses, inside of scripts too, and also where flowstore goes on without.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

import flowstore.backends.redis
from flowstore import AccessDenied, CorruptRecord, RedisBackend, StorageError, TaskResult
from flowstore.backends.redis import listener
from flowstore.backends.redis.calls import _PARTS
from flowstore.testing import ManualClock
from flowstore.testing.calls import CALLS
from flowstore.testing.support import IS_STRESS, START, failed
from tests.servers import SERVER_KINDS, Server, start_server

PAGE: Final = Path(__file__).parent.parent / "docs" / "servers.md"
LUA: Final = files(flowstore.backends.redis) / "lua"
NAMESPACE: Final = "shop"
PREFIX: Final = f"flowstore:{{{NAMESPACE}}}:"
DONE_WITHOUT: Final = {"client|setinfo", "client|maint_notifications", "client", "sismember"}
"""What is tried and not needed: to say which driver it is, and the register of namespaces."""


def rules_of(role: str) -> list[str]:
    found = re.search(rf"^ACL SETUSER {role} reset on >\S+ (.*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert found is not None, f"docs/servers.md has no rules of {role}"
    return found[1].split()


def commands_of(role: str) -> list[str]:
    return [rule[1:] for rule in rules_of(role) if rule[0] == "+"]


@pytest.fixture(scope="module", params=SERVER_KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    started = start_server(request.param)
    yield started
    started.stop()


def allow(admin: Any, role: str, *more: str) -> None:
    admin.execute_command("ACL", "SETUSER", role, "reset", "on", ">p", *rules_of(role), *more)
    admin.execute_command("ACL", "LOG", "RESET")


def refused(admin: Any) -> set[str]:
    """What the server has refused since ``allow``, and had not to be allowed."""
    return {entry["object"] for entry in admin.acl_log()} - DONE_WITHOUT


class Play(NamedTuple):
    """What a role does: with ``backend``, whose user it is, and with the database behind its back."""

    backend: RedisBackend
    clock: ManualClock
    admin: Any


def plant(admin: Any) -> None:
    """What makes scripts take their rare turns: totals, more groups of errors than are kept, foreign keys."""
    admin.set(f"{PREFIX}s:f", f"{START.timestamp() // 86_400 + 0.5:.1f}")
    old = b"\x80" + bytes(23)
    groups = {f"g{number}": old for number in range(2_001)}
    admin.hset(f"{PREFIX}p", mapping=groups)
    admin.zadd(f"{PREFIX}p:last", dict.fromkeys(groups, 0))
    admin.hset(f"{PREFIX}r:odd-one", "no", "record")
    admin.set(f"{PREFIX}w:odd", "no set")
    admin.set(f"{PREFIX}i:failed:name:odd", "no sorted set")


async def produce(play: Play) -> None:
    """Store, read and wait, whatever is in the store already."""
    backend = play.backend
    for _ in range(42):
        await backend.store("t", TaskResult.pending("t"), overwrite=True)
    await backend.store("t", TaskResult.success("t", "x" * 200_000), overwrite=True, ttl=60)
    await backend.store("t", TaskResult.success("t", "x" * 2_000), overwrite=True, ttl=None)
    await backend.wait_for("t", 30)
    await backend.get("t", load_result=False)
    await backend.store_many([failed("a"), failed("b", task_name="n")], ttl=5)
    play.clock.advance(10)
    await backend.get_many(["t", "a"])
    async with asyncio.TaskGroup() as group:
        group.create_task(backend.wait_for("odd", 30))
        await asyncio.to_thread(once, lambda: "cmdstat_ping" in play.admin.info("commandstats"))
        await backend.store("odd", failed("odd"))
    with suppress(CorruptRecord):
        await backend.store("o", failed("o", task_name="odd"))


async def work(play: Play) -> None:
    """All that there is to do with tasks."""
    backend = play.backend
    await produce(play)
    await backend.store("t0", TaskResult.running("t0", task_name="n", labels=["x"]), ttl=60)
    await backend.set_progress("t0", 1)
    await backend.data.set("t0", "key", 1)
    await backend.checkpoints.save("t0", 1, keep=1)
    play.admin.delete(f"{PREFIX}k:checkpoint:t0")  # as it was before there was an order
    await backend.checkpoints.save("t0", 2, keep=1)
    await look(play)
    await backend.data.delete("t0", "key")
    await backend.purge_expired()
    await backend.clear()


async def look(play: Play) -> None:
    """Every way to read."""
    for name in LOOKS:
        await CALLS[name](play.backend)
    await play.backend.stats.total(since=datetime.min.replace(tzinfo=UTC))
    await play.backend.get("t", load_result=False)
    await play.backend.count_by_status("running", name="n", labels=["x"])
    await play.backend.count_by_status("running", until=START + timedelta(days=1))


LOOKS: Final = (
    *("get_many", "exists", "page", "page, by finish", "iter_ids", "search", "count_by_status"),
    *("count_by_status, capped", "data.all", "data.get", "checkpoints.latest", "workers.all", "app.data.all"),
    *("families.children", "facets.names", "history.of", "history.page", "stats.total", "stats.by"),
    *("stats.names", "errors.groups", "errors.get", "integrity.verify", "archive.digest"),
)
PLAYS: Final[dict[str, Callable[[Play], Awaitable[None]]]] = {"producer": produce, "worker": work}


def once(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that listens asks after 20 ms whether the server is there."""
    monkeypatch.setattr(listener, "_QUIET", 0.02)


async def play(server: Server, admin: Any, role: str, *more: str) -> None:
    """The play of ``role``, with its rules and then ``more``, up to what cannot be done with these."""
    admin.flushdb()
    admin.script_flush()
    plant(admin)
    allow(admin, role, *more)
    admin.config_resetstat()
    clock = ManualClock()
    url = server.url.replace("//", f"//{role}:p@")
    options: dict[str, Any] = {"namespace": NAMESPACE, "clock": clock, "history_limit": 36}
    with suppress(StorageError, ExceptionGroup):
        async with RedisBackend(url, **options, purge_interval=None) as backend:
            await PLAYS[role](Play(backend, clock, admin))


def used(admin: Any) -> set[str]:
    """The commands that were called since the statistics were reset, by scripts too."""
    statistics = admin.info("commandstats")
    return {name.removeprefix("cmdstat_").lower().partition("|")[0] for name in statistics}


@pytest.mark.parametrize("role", PLAYS)
async def test_rules_suffice_and_are_used(server: Server, admin: Any, role: str) -> None:
    """Nothing is refused, not even what flowstore would do without; and each command is called.

    So each is needed: a server looks at the rights to every command that is called.
    """
    await play(server, admin, role)
    assert refused(admin) == set()
    assert {command.partition("|")[0] for command in commands_of(role)} - used(admin) == set()


@pytest.mark.parametrize("role", PLAYS)
async def test_no_rule_can_be_missed(server: Server, admin: Any, role: str) -> None:
    """Each is taken away in turn, and the server refuses something: of the commands just that one."""
    for rule in ("resetkeys", "resetchannels"):
        await play(server, admin, role, rule)
        assert refused(admin), rule
    for command in commands_of(role)[:: 1 if IS_STRESS else 6]:
        name = command.partition("|")[0]  # before 7.0 a subcommand cannot be taken away
        await play(server, admin, role, f"-{name}")
        assert {command, name} & {entry["object"] for entry in admin.acl_log()}


async def test_a_reader_may_read_and_nothing_else(server: Server, admin: Any) -> None:
    """Every listing, count, figure and check, in a store that somebody else keeps."""
    plant(admin)
    clock = ManualClock()
    options: dict[str, Any] = {"namespace": NAMESPACE, "clock": clock, "purge_interval": None}
    async with RedisBackend(server.url, **options) as keeping:
        await produce(Play(keeping, clock, admin))
        await keeping.store("t0", TaskResult.running("t0", task_name="n", labels=["x"]))
        await keeping.data.set("t0", "key", 1)
        await keeping.checkpoints.save("t0", 1, keep=1)
    admin.delete(f"{PREFIX}s:f")  # so that no day is in the totals yet
    admin.execute_command("ACL", "SETUSER", "reader", "reset", "on", ">p", "+@all", "~*")
    admin.config_resetstat()
    url = server.url.replace("//", "//reader:p@")
    async with RedisBackend(url, **options) as backend:
        allow(admin, "reader")
        admin.script_flush()
        await look(Play(backend, clock, admin))
        assert refused(admin) == set()
        assert {command.partition("|")[0] for command in commands_of("reader")} - used(admin) == set()
        stored = admin.dbsize()
        with pytest.raises(AccessDenied):
            await backend.store("t2", failed("t2"))
        with pytest.raises(AccessDenied):
            await backend.clear()
        assert admin.dbsize() == stored


def extras(of: str) -> list[str]:
    """The rules in the line of docs/servers.md about what else may be allowed, which begins with ``of``."""
    found = re.search(rf"^- {of}.*?(?=^-|^$)", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/servers.md does not say what {of} takes"
    return re.findall(r"[+~][\w:|]+", found[0])


async def test_what_else_may_be_allowed(server: Server, admin: Any) -> None:
    """A look at the server and at the register of namespaces, and another database."""
    more = ["`app.namespaces`", "`facts`", "`\\+select`"]
    allow(admin, "worker", *(rule for of in more for rule in extras(of)))
    url = server.url.replace("//", "//worker:p@").replace("/0", "/1")
    async with RedisBackend(url, namespace=NAMESPACE) as backend:
        facts = await backend.facts()
        assert None not in (facts.server, facts.size, facts.clock_skew, *facts.policies.values())
        assert await backend.app.namespaces() == [NAMESPACE]
        await backend.drop_namespace()
    tried = {entry["object"] for entry in admin.acl_log()}
    assert {name for name in tried if not name.startswith("client")} == set()


async def test_another_database_takes_a_right(server: Server, admin: Any) -> None:
    """Which none of the roles has."""
    allow(admin, "worker")
    url = server.url.replace("//", "//worker:p@").replace("/0", "/1")
    with pytest.raises(AccessDenied, match="select"):
        await RedisBackend(url, namespace=NAMESPACE).open()


ROLES: Final = {
    "worker": ({*_PARTS} - {"facts", "migrate", "read_old"}, {"get", "mget", "scan", "set"}),
    "producer": ({"commit", "watch", "heads", "fence"}, {"get", "mget", "set"}),
    "reader": (
        {"audit", "blocks", "counts", "facets", "forget", "groups", "heads", "items", "matches", "moves"}
        | {"ranges", "series", "totals"},
        {"get", "mget", "scan"},
    ),
}
"""The scripts of each role, and the commands that it sends besides."""
SPARED: Final = {"producer": {"strlen"}}
"""What none of the calls of a role makes a script do: to look at the sizes of values that it exports."""
NOT_SENT: Final = {"reader": {"ping", "subscribe"}}
CONNECTING: Final = {"client|setname", "eval", "evalsha", "ping", "subscribe"}


def called_in(scripts: Iterable[str], known: Container[str]) -> set[str]:
    text = "".join((LUA / f"{part}.lua").read_text("utf-8") for one in scripts for part in _PARTS[one])
    words = {word.lower() for word in re.findall(r"'([A-Z]{3,})'", re.sub("--.*", "", text))}
    return {word for word in words if word in known}


@pytest.mark.parametrize("role", ROLES)
def test_rules_are_those_of_the_scripts(admin: Any, role: str) -> None:
    """Of all commands in the Lua files of a role, and for one that reads those that only read."""
    scripts, sent = ROLES[role]
    known = admin.command()
    needed = called_in(scripts, known) | sent
    if role == "reader":
        needed = {command for command in needed if "readonly" in known[command]["flags"]}
    listed = commands_of(role)
    assert listed == sorted(listed)
    assert set(listed) - CONNECTING == needed - SPARED.get(role, set())
    assert set(listed) & CONNECTING == CONNECTING - NOT_SENT.get(role, set())


def test_what_only_a_migration_calls(admin: Any) -> None:
    """Is in the page, behind the rules of a worker."""
    migrating = called_in({"migrate", "read_old"}, admin.command())
    assert [f"+{command}" for command in migrating - {*commands_of("worker")}] == extras(
        "A namespace of format 2"
    )
