"""The Sentinel groups of the tests: they form, fail over, and take back who was gone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowstore.testing.support import IS_STRESS
from tests.sentinels import SentinelGroup
from tests.servers import ONE_KIND


@pytest.fixture(params=ONE_KIND)
def group(request: pytest.FixtureRequest) -> Iterator[SentinelGroup]:
    started = SentinelGroup(request.param, options=("--appendonly", "yes"))
    yield started
    started.stop()


def test_master_that_dies(group: SentinelGroup) -> None:
    """A replica takes over; back again, the old master follows it with what it had missed."""
    assert group.url.endswith("/mymaster/0")
    old = group.kill_master()
    new = group.wait_for_new_master(old)
    assert new is group.master
    new.call("SET", "written", "meanwhile")
    old.restart()
    group.wait_until_ok()
    assert old in group.replicas
    assert old.call("GET", "written") == b"meanwhile"


if IS_STRESS:

    def test_failover_by_command(group: SentinelGroup) -> None:
        """Another is the master, and the old one its replica, any number of times."""
        for _ in range(3):
            old, new = group.master, group.failover()
            assert new is not old
            group.wait_until_ok()

    def test_master_that_hangs(group: SentinelGroup) -> None:
        """It is replaced, and follows the new one when it goes on."""
        old = group.master
        old.pause()
        new = group.wait_for_new_master(old)
        old.resume()
        group.wait_until_ok()
        assert new is group.master
        assert old.role == "slave"

    def test_sentinel_that_dies(group: SentinelGroup) -> None:
        """Two of three suffice; the third learns from the others who is master now."""
        group.sentinels[0].kill()
        new = group.wait_for_new_master(group.kill_master())
        group.sentinels[0].restart()
        group.wait_for_new_master(next(server for server in group.servers if not server.is_up))
        assert group.sentinels[0].master_port == new.port
