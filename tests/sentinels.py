"""Sentinel groups for the tests: a master, its replicas, and the sentinels that watch over them."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import chain

from tests.servers import Server, binary_of, until

NAME = "mymaster"
_PERIODS = {  # ms, and by default up to 10 s
    "info-period": 200,
    "publish-period": 200,
    "ask-period": 100,
    "ping-period": 300,  # five of them is how old what a replica says may be, which is asked once a second
    "tilt-period": 500,  # for which a sentinel that was paused does nothing
}


class Watched(Server):
    """A server whose configuration is a file, in which it keeps whom it follows, as Sentinel asks it to."""

    def _configured(self) -> list[str]:
        file = self._folder / "server.conf"
        file.touch()
        return [str(file)]

    def follow(self, master: Server) -> None:
        self.call("REPLICAOF", "127.0.0.1", master.port)
        self.call("CONFIG", "REWRITE")


class Sentinel(Server):
    """One of those that watch. What it learns it keeps in a file, for the time after a ``restart``."""

    def _configured(self) -> list[str]:
        file = self._folder / "sentinel.conf"
        file.touch()
        return [str(file), "--sentinel"]

    def _launch(self) -> None:
        super()._launch()
        self.call("SENTINEL", "DEBUG", *chain(*_PERIODS.items()))

    def watch(self, master: Server, quorum: int, down_after: int) -> None:
        self.call("SENTINEL", "MONITOR", NAME, "127.0.0.1", master.port, quorum)
        times = {"down-after-milliseconds": down_after, "failover-timeout": max(2_000, 2 * down_after)}
        for name, ms in times.items():
            self.call("SENTINEL", "SET", NAME, name, ms)

    @property
    def master_port(self) -> int:
        return int(self.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)[1])

    def is_aware(self, replicas: int, sentinels: int) -> bool:
        """Whether it knows so many replicas in step with the master, and so many sentinels."""
        seen = [_fields(each) for each in self.call("SENTINEL", "REPLICAS", NAME)]
        good = [each for each in seen if (each[b"flags"], each[b"master-link-status"]) == (b"slave", b"ok")]
        others = [_fields(each)[b"flags"] for each in self.call("SENTINEL", "SENTINELS", NAME)]
        reached = [flags for flags in others if not {b"disconnected", b"s_down"} & set(flags.split(b","))]
        return len(good) == replicas and len(reached) == sentinels - 1


def _fields(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


class SentinelGroup:
    """A master with ``replicas``, and ``sentinels``: if ``quorum`` of these miss it, it counts as down.

    ``down_after`` is in ms: how long it has to be silent for that. ``options`` are added to the command line
    of the master and the replicas, as in ``options=("--appendonly", "yes", "--min-replicas-to-write", "1")``.
    A start that fails leaves neither process nor folder behind.
    """

    def __init__(
        self,
        kind: str,
        replicas: int = 2,
        sentinels: int = 3,
        quorum: int = 2,
        *,
        down_after: int = 500,
        options: tuple[str, ...] = (),
    ) -> None:
        self.servers: list[Watched] = []
        self.sentinels: list[Sentinel] = []
        binary = binary_of(kind)
        with ExitStack() as undo:
            undo.callback(self.stop)
            for _ in range(1 + replicas):
                self.servers.append(Watched(binary, "--repl-diskless-sync-delay", "0", *options))
            for replica in self.servers[1:]:
                replica.follow(self.servers[0])
            for _ in range(sentinels):
                self.sentinels.append(Sentinel(binary))
                self.sentinels[-1].watch(self.servers[0], quorum, down_after)
            self.wait_until_ok()
            undo.pop_all()

    def stop(self) -> None:
        for server in (*self.sentinels, *self.servers):
            server.stop()

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{NAME}/0"

    @property
    def master(self) -> Watched:
        """As the first sentinel that is up has it, be it dead or alive."""
        port = next(sentinel for sentinel in self.sentinels if sentinel.is_up).master_port
        return next(server for server in self.servers if server.port == port)

    @property
    def replicas(self) -> list[Watched]:
        """All servers but the master, dead ones too."""
        master = self.master
        return [server for server in self.servers if server is not master]

    def kill_master(self) -> Watched:
        """It may be restarted once there is a new one, and becomes a replica then."""
        master = self.master
        master.kill()
        return master

    def failover(self) -> Watched:
        """By command, without need; the new master, and all follow it. Raises ResponseError: none is fit."""
        old = self.master
        next(sentinel for sentinel in self.sentinels if sentinel.is_up).call("SENTINEL", "FAILOVER", NAME)
        return self.wait_for_new_master(old)

    def wait_for_new_master(self, old: Server) -> Watched:
        """The one that all sentinels that are up have instead of ``old``, and that takes itself for it."""
        until(lambda: self._has_other_master(old), f"there is a master other than that on port {old.port}")
        return self.master

    def _has_other_master(self, old: Server) -> bool:
        named = {sentinel.master_port for sentinel in self.sentinels if sentinel.is_up}
        return len(named) == 1 and old.port not in named and self.master.role == "master"

    def wait_until_ok(self) -> None:
        """Return once all that are up follow the master, and the sentinels know them and each other."""
        until(self._is_ok, "the sentinels and replicas are ready")

    def _is_ok(self) -> bool:
        master = self.master
        replicas = [server for server in self.servers if server.is_up and server is not master]
        sentinels = [sentinel for sentinel in self.sentinels if sentinel.is_up]
        return (
            {sentinel.master_port for sentinel in sentinels} == {master.port}
            and all(replica.is_synced_with(master.port) for replica in replicas)
            and all(sentinel.is_aware(len(replicas), len(sentinels)) for sentinel in sentinels)
        )
