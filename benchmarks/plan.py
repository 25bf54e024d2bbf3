"""What is measured: each work with its options, the systems that take part, and the figures it gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.calls import CASES, CLEAR
from benchmarks.systems import OURS, SYSTEMS, storage


@dataclass(frozen=True)
class Figure:
    """One number of a work, by the name that the work gives it."""

    number: str
    title: str
    is_higher_better: bool = False


@dataclass(frozen=True)
class Measure:
    """A work with its options. ``options_of`` are a system's own, instead of ``options`` of the same name."""

    name: str
    work: str
    figures: tuple[Figure, ...]
    systems: tuple[str, ...]
    options: Mapping[str, Any]
    rounds: int
    options_of: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    timeout: float = 60.0
    """Seconds for one run, with all that it prepares."""
    delay: float = 0.0
    """Seconds that a proxy adds on each way between the waiting process and Redis."""


RATES = (
    Figure("stores at once", "W1 stores a second, 100 tasks at once", is_higher_better=True),
    Figure("stores alone", "W1 stores a second, one at a time", is_higher_better=True),
    Figure("gets at once", "W2 gets a second, 100 tasks at once", is_higher_better=True),
    Figure("gets alone", "W2 gets a second, one at a time", is_higher_better=True),
)
WAKES = (
    Figure("p50", "W3 from the call of store in another process to the end of the wait: p50, ms"),
    Figure("p99", "W3 from the call of store in another process to the end of the wait: p99, ms"),
    Figure("missed", "W3 waits that missed the store"),
)
FAR_WAKES = (
    Figure(
        "missed", "W3 waits that missed the store, Redis 4 ms away, stored 0 to 20 ms after the wait began"
    ),
    Figure("p50", "W3 p50 with Redis 4 ms away, ms"),
)
INSIDE = (Figure("p50", "W3 from the call of store to the end of the wait, in one process: p50, us"),)
CROWDS = (
    Figure("all woken after", "W4 a crowd of waiters: all woken after, ms"),
    Figure("lag after the last store", "W4 the last one woken after the last store, ms"),
    Figure("bytes a waiter", "W4 memory of a waiter, bytes"),
    Figure("extra connections", "W4 connections beside the first"),
    Figure("idle commands/s", "W4 commands a second while idle"),
    Figure("idle CPU %", "W4 CPU while idle, %"),
)
PAGES = (
    Figure("first page", "W5 the 50 newest failed of all results, a tenth of them failed: first page, ms"),
    Figure("deep page", "W5 the same, nine tenths of the failed further down, ms"),
)
SIZES = (Figure("bytes a result", "W6 bytes that a result of 568 bytes takes"),)
SMALL_SIZES = (
    Figure("bytes a result", "W6 bytes of a result of 213 bytes, with name, worker, times and a transition"),
)
SERVER = (
    Figure("store at once", "W7 CPU of the server for a store, 100 tasks at once, us"),
    Figure("get at once", "W7 CPU of the server for a get, 100 tasks at once, us"),
    Figure("store alone", "W7 CPU of the server for a store, one at a time, us"),
    Figure("get alone", "W7 CPU of the server for a get, one at a time, us"),
)
PROCESSES = (
    Figure("stores", "W8 stores a second by several processes at once", is_higher_better=True),
    Figure("server %", "W8 of a processor that the server takes meanwhile, %"),
)
BELONGINGS = (
    Figure("times a bare store", "a store with history, parent, two labels and progress, in bare stores"),
)
GROWTH = (
    Figure("stores at once", "stores a second, 100 tasks", is_higher_better=True),
    Figure("wake p50", "wake-up, p50, ms"),
    Figure("first page", "first page, ms"),
    Figure("deep page", "deep page, ms"),
)
CALLS = tuple(Figure(name, f"{name}, ms") for name in (*CASES, CLEAR))

EVERYBODY = tuple(SYSTEMS)
LONE_LIMITS = ("limit: redis-py, a script call each", "limit: aiosqlite, a commit each")
"""They differ from the other limits only in how stores and gets leave."""
SHARED = tuple(name for name in SYSTEMS if storage(name) != "memory" and name not in LONE_LIMITS)
"""On a storage that several processes share."""
IN_MEMORY = tuple(name for name in SYSTEMS if storage(name) == "memory")
ON_REDIS = tuple(name for name in SHARED if storage(name) == "redis")
OUR_SHARED = tuple(name for name in SHARED if name in OURS)
LIMITS_AND_OURS = tuple(name for name in SHARED if name in OURS or name.startswith("limit"))
WITH_AN_INDEX = (*LIMITS_AND_OURS, "saq", "flowrra (redis)")
CROWDED = (*LIMITS_AND_OURS, "arq", "saq", "taskiq-redis")
"""Without the threaded ones, which wait in at most 100 threads."""

# Who polls is stored at any moment of its interval: soon after a look would show the longest wait only
POLLS: dict[str, dict[str, Any]] = {
    "taskiq-redis": {"most_apart": 0.2},
    "arq": {"most_apart": 0.5},
    "huey (redis)": {"most_apart": 1.0},
    "huey (sqlite)": {"most_apart": 1.0},
    "dbos (sqlite)": {"most_apart": 1.0},
    "pynenc (redis)": {"most_apart": 0.1},
    "pynenc (sqlite)": {"most_apart": 0.1},
}
FEW = {name: options | {"tries": 6} for name, options in POLLS.items()}
SOME = {name: options | {"tries": 30} for name, options in POLLS.items()}
# A result costs them milliseconds; beside 100 others pynenc on SQLite leaves some 30 files open for each, so
# that a thousand results fail where a process may have 20,000
SLOW = {name: {"results": 300} for name in ("dbos (sqlite)", "pynenc (redis)", "pynenc (sqlite)")}
FAR = 0.002
"""Each way; as timers of asyncio are up to 1 ms late, a round trip takes 4 to 5 ms."""


def calls_of(sizes: tuple[int, ...], tries: int, seconds: float) -> Iterator[Measure]:
    """Each public call of ours with so many tasks; ``tries`` of it, and not many more ``seconds``."""
    for tasks in sizes:
        options = {"tasks": tasks, "tries": tries, "seconds": seconds}
        yield Measure(f"calls at {tasks:,}", "calls", CALLS, tuple(OURS), options, 1, timeout=600)


QUICK = (
    Measure("throughput", "throughput", RATES, EVERYBODY, {"seconds": 0.2, "tasks": 100}, 2),
    Measure("server", "server", SERVER, ON_REDIS, {"results": 3_000, "tasks": 100}, 1, SLOW),
    Measure("latency", "latency", WAKES, SHARED, {"tries": 100, "patience": 2}, 2, FEW),
    Measure(
        "far",
        "latency",
        FAR_WAKES,
        (*(name for name in LIMITS_AND_OURS if storage(name) == "redis"), "saq", "flowrra (redis)"),
        {"tries": 25, "patience": 1},
        1,
        delay=FAR,
    ),
    Measure("inside", "inside", INSIDE, IN_MEMORY, {"tries": 100}, 1),
    Measure("crowd", "crowd", CROWDS, CROWDED, {"waiters": 2_000, "idle": 0.5}, 1),
    Measure("belongings", "belongings", BELONGINGS, OUR_SHARED, {"seconds": 0.1, "tasks": 100}, 1),
    Measure("listing", "listing", PAGES, WITH_AN_INDEX, {"results": 20_000}, 1),
    Measure("size", "size", SIZES, SHARED, {"results": 1_000}, 1, SLOW),
    Measure("small size", "size", SMALL_SIZES, SHARED, {"results": 1_000, "payload": 213}, 1, SLOW),
    *calls_of((1_000, 10_000), tries=9, seconds=0.1),
)

FULL = (
    Measure("throughput", "throughput", RATES, EVERYBODY, {"seconds": 1.0, "tasks": 100}, 5),
    Measure("server", "server", SERVER, ON_REDIS, {"results": 10_000, "tasks": 100}, 3, SLOW, timeout=180),
    *(
        Measure(
            f"{processes} processes",
            "processes",
            PROCESSES,
            (*(name for name in LIMITS_AND_OURS if storage(name) == "redis"), "arq", "saq"),
            {"processes": processes, "results": 64_000},
            1,
            timeout=180,
        )
        for processes in (1, 16)
    ),
    Measure("latency", "latency", WAKES, SHARED, {"tries": 200, "patience": 2}, 3, SOME),
    Measure("far", "latency", FAR_WAKES, ON_REDIS, {"tries": 100, "patience": 2}, 1, delay=FAR, timeout=300),
    Measure("inside", "inside", INSIDE, IN_MEMORY, {"tries": 500}, 3),
    Measure(
        "crowd",
        "crowd",
        CROWDS,
        (*CROWDED, "flowrra (redis)"),
        {"waiters": 10_000, "idle": 3.0},
        3,
        timeout=180,
    ),
    Measure("belongings", "belongings", BELONGINGS, OUR_SHARED, {"seconds": 0.5, "tasks": 100}, 1),
    Measure("listing", "listing", PAGES, SHARED, {"results": 100_000}, 1, timeout=120),
    Measure("size", "size", SIZES, SHARED, {"results": 10_000}, 1, SLOW, timeout=120),
    Measure(
        "small size", "size", SMALL_SIZES, SHARED, {"results": 10_000, "payload": 213}, 1, SLOW, timeout=120
    ),
    *(
        Measure(
            f"growth to {results:,}",
            "growth",
            GROWTH,
            OUR_SHARED,
            {"results": results, "seconds": 1.0},
            1,
            timeout=600,
        )
        for results in (1_000, 10_000, 100_000, 1_000_000)
    ),
    *calls_of((1_000, 10_000, 100_000), tries=25, seconds=0.5),
)

PLANS = {"quick": QUICK, "full": FULL}
