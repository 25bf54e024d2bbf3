"""Commands that read, on stores where nothing may be written."""

from __future__ import annotations

from tests.cli.support import invoke, seed
from tests.test_read_only import dumped

READING = [
    "ls",
    "ls --count",
    "ls --all -o ids",
    "ls status:failed --exists",
    "stats",
    "errors",
    "runs",
    "workers",
    "operations",
    "apps",
    "verify",
    "metrics",
    "rm status:failed --dry-run",
]


def test_commands_that_read_write_nothing(redis_url: str) -> None:
    """On Redis neither a key nor a namespace is added by looking, whichever namespace is named."""
    assert invoke("ls", url=redis_url).code == 0
    assert dumped(redis_url) == {}, "not even the namespace that is looked at by default"
    seed(redis_url, "shop")
    before = dumped(redis_url)
    for command in READING:
        ran = invoke(*command.split(), "-n", "shop", url=redis_url)
        assert ran.code == 0, (command, ran.err)
    assert invoke("ls", "-n", "shopp", url=redis_url).code == 3
    assert dumped(redis_url) == before


def test_a_url_that_says_that_nothing_is_written(shop: str) -> None:
    """What would write is refused, and says why; what only looks works."""
    url = f"{shop}?read_only=true"
    for command in ("requeue status:failed -y", "purge", "vacuum"):
        ran = invoke(*command.split(), url=url)
        assert ran.code == 4
        assert "read_only=True: this backend stores, changes and removes nothing" in ran.err
    assert "read-only" not in invoke("doctor", url=url).out
