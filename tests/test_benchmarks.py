"""The benchmark's harness: what it makes of numbers, what it plans, and a run of it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import redis

from benchmarks.__main__ import beginning, main
from benchmarks.places import OwnPlaces, places, through
from benchmarks.plan import PLANS, RATES, WAKES, Figure, Measure
from benchmarks.report import call_tables, exceptions, notes, ratio, reasons, references, rows_of
from benchmarks.results import Results, Run
from benchmarks.running import Runner, schedule
from benchmarks.systems import LIMITS, OURS, SYSTEMS, load, storage
from benchmarks.works import WORKS

BATCHED, EACH = "limit: redis-py, batched scripts", "limit: redis-py, a script call each"
ON_FILE = "limit: sqlite3, group commit"
RATE = Measure("throughput", "throughput", RATES, (), {}, 2)
WAKE = Measure("latency", "latency", WAKES, (), {}, 2)


def runs(measure: str, number: str, **values: float | list[float] | str) -> list[Run]:
    """Made up: the numbers of all rounds of each system, or the error it ended with."""
    made = []
    for short_name, said in values.items():
        system = {"batched": BATCHED, "each": EACH, "file": ON_FILE, "ours": "flowstore (redis)"}.get(
            short_name, short_name.replace("_sqlite", " (sqlite)").replace("_memory", " (memory)")
        )
        if isinstance(said, str):
            made.append(Run(measure, system, 1, error=said))
            continue
        for round_, value in enumerate(said if isinstance(said, list) else [said], 1):
            made.append(Run(measure, system, round_, {number: value}))
    return made


def ratios(made: list[Run], measure: Measure, figure: Figure, system: str) -> list[float | None]:
    rows = rows_of(made, measure, figure)
    [row] = [row for row in rows if row.system == system]
    return [ratio(row, reference) for reference in references(row, rows, figure)]


def test_more_is_better() -> None:
    """The limit and the peer that count are the highest; the median of the rounds stands for a system."""
    made = runs("throughput", "stores at once", batched=40, each=10, ours=[31, 20, 1], saq=4, arq=5, rq=1)
    assert ratios(made, RATE, RATES[0], "flowstore (redis)") == [0.5, 4, 4]
    assert ratios(made, RATE, RATES[0], "saq") == [0.1, 0.8, 0.8]


def test_less_is_better() -> None:
    """The limit and the peer that count are the lowest."""
    made = runs("latency", "p50", batched=1, each=2, ours=1.5, saq=3, arq=250)
    assert ratios(made, WAKE, WAKES[0], "flowstore (redis)") == [1.5, 0.5, 0.5]


def test_ratios_stay_on_their_storage() -> None:
    """All but the last, which is to the best peer on any storage but memory; memory is beside itself only."""
    made = runs("throughput", "stores at once", file=50, saq=5, huey_sqlite=2, flowrra_memory=1e6)
    made += [
        Run("throughput", name, 1, {"stores at once": 10}) for name in OURS if name != "flowstore (redis)"
    ]
    assert ratios(made, RATE, RATES[0], "flowstore (sqlite)") == [0.2, 5, 2]
    assert ratios(made, RATE, RATES[0], "flowstore (memory)") == [None, 1e-5, None]


def test_ratio_to_nothing() -> None:
    """There is none to a peer that missed no wait."""
    made = runs("latency", "missed", batched=0, ours=0, saq=0)
    assert ratios(made, WAKE, WAKES[2], "flowstore (redis)") == [None, None, None]


def test_order() -> None:
    """Limits, flowstore, peers from the best on, and those without a number last; Redis before SQLite."""
    made = runs(
        "latency", "p50", huey_sqlite=1, file=1, dbos_sqlite="failed: x", rq="timed out after 60 s", saq=3
    )
    made += runs("latency", "p50", arq=2, ours=2, batched=1)
    names = [row.system for row in rows_of(made, WAKE, WAKES[0])]
    assert names == [
        *(BATCHED, "flowstore (redis)", "arq", "saq", "rq"),
        *(ON_FILE, "huey (sqlite)", "dbos (sqlite)"),
    ]


def test_failed() -> None:
    """It has no ratio, nobody is compared with it, and the reason is given once for all that it is of."""
    made = runs(
        "throughput", "stores at once", batched=4, ours=2, saq="not installed: a", arq="not installed: a"
    )
    made.append(Run("throughput", "rq", 1, {"stores at once": 9}))
    made.append(Run("throughput", "rq", 2, error="failed: b"))
    assert ratios(made, RATE, RATES[0], "rq") == [None, None, None]
    assert ratios(made, RATE, RATES[0], "flowstore (redis)") == [0.5, None, None]
    assert list(reasons(rows_of(made, RATE, RATES[0]))) == ["  saq, arq: not installed: a", "  rq: failed: b"]


def test_calls_with_ever_more_tasks() -> None:
    """One table for each system; what takes more than three times as long is marked."""
    figures = (Figure("get", "get, ms"), Figure("count", "count, ms"))
    measures = [Measure(f"calls at {n}", "calls", figures, (), {"tasks": n}, 1) for n in (1_000, 10_000)]
    made = [
        Run("calls at 1000", "flowstore (redis)", 1, {"get": 1.0, "count": 2.0}),
        Run("calls at 10000", "flowstore (redis)", 1, {"get": 3.0, "count": 6.5}),
        Run("calls at 1000", "flowstore (sqlite)", 1, {"get": 1.0, "count": 2.0}),
        Run("calls at 10000", "flowstore (sqlite)", 1, error="timed out after 600 s"),
        Run("latency", "arq", 1, {"p50": 1.0}),
    ]
    on_redis, on_sqlite = call_tables(made, measures)
    assert [list(column.cells) for column in on_redis.columns] == [
        *(["get", "count"], ["1", "2"], ["3", "6.5"], ["3.0", "> 3.2"])
    ]
    assert list(on_sqlite.columns[3].cells) == ["", ""]
    assert "timed out" in str(on_sqlite.caption)


def test_no_p99_of_a_few_tries() -> None:
    """It would be the slowest of all; the row says so, and the other figures are there."""
    made = [Run("latency", "arq", 1, {"p50": 250, "missed": 0})]
    [p50, p99, _] = [rows_of(made, WAKE, figure)[0] for figure in WAKES]
    assert (p50.median, p50.error) == (250, "")
    assert p99.error.startswith("too few tries")


def test_what_was_asked() -> None:
    """A system that was given another task than the rest is named with it."""
    measure = replace(WAKE, options={"tries": 1_000}, options_of={"arq": {"tries": 6}, "rq": {"tries": 7}})
    rows = rows_of(runs("latency", "p50", arq=1, saq=2), measure, WAKES[0])
    assert list(exceptions(measure, rows)) == ["  2 rounds, tries 1,000", "  arq: tries 6"]


@pytest.mark.parametrize("plan", PLANS)
def test_plan(plan: str) -> None:
    """It names works and systems that exist; flowstore is in each, and a limit but where it is alone."""
    names = [measure.name for measure in PLANS[plan]]
    assert len(set(names)) == len(names)
    for measure in PLANS[plan]:
        assert measure.work in WORKS
        assert {*measure.systems, *measure.options_of} <= set(SYSTEMS)
        assert set(OURS) & set(measure.systems)
        assert set(LIMITS) & set(measure.systems) or measure.work in ("growth", "belongings", "calls")


def test_rounds_are_interleaved() -> None:
    """Each round has every system of every measure that has so many rounds."""
    one, two = Measure("a", "a", (), ("x", "y"), {}, 1), Measure("b", "b", (), ("x", "y"), {}, 2)
    order = [(measure.name, system, round_) for measure, system, round_ in schedule((one, two))]
    assert order == [("a", "x", 1), ("a", "y", 1), ("b", "x", 1), ("b", "y", 1), ("b", "x", 2), ("b", "y", 2)]


def test_storages() -> None:
    """What is told from a name is what the adapter says."""
    assert all(storage(name) == load(name).storage and load(name).name == name for name in LIMITS | OURS)


def test_notes() -> None:
    """There is one on each peer, though none is installed."""
    for note in (found := list(notes(SYSTEMS))):
        assert len(note.partition(": ")[2]) > 50
    assert len(found) == 10


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match="no peer is called 'sax': there are saq, arq"):
        beginning(["sax"], ["saq", "arq"], "peer")
    assert beginning(["a", "sa"], ["saq", "arq", "rq"], "peer") == ["saq", "arq"]


def test_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Works are run in two rounds and shown; a peer that is not installed is shown as such."""
    systems = ("flowstore (memory)", ON_FILE, "flowrra (memory)")
    is_missing = find_spec("flowrra") is None
    tiny = Measure("throughput", "throughput", RATES, systems, {"seconds": 0.01, "tasks": 10}, 2)
    monkeypatch.setitem(PLANS, "quick", (tiny,))
    monkeypatch.setattr("benchmarks.__main__.places", lambda _: OwnPlaces("memory", "redis", "sqlite"))
    main(["--out", str(tmp_path), "--work", "throughput"])
    shown = capsys.readouterr().out
    for text in ("W1 stores a second, one at a time", "flowstore (memory)", ON_FILE):
        assert text in shown
    assert ("flowrra (memory): not installed: No module named 'flowrra'" in shown) == is_missing
    results = Results.load(tmp_path / "benchmark.json")
    assert [(run.system, run.round, bool(run.error)) for run in results.runs if run.measure == tiny.name] == [
        *((name, 1, name == systems[2] and is_missing) for name in systems),
        *((name, 2, False) for name in systems[: 2 if is_missing else 3]),
    ]
    assert json.loads((tmp_path / "benchmark.json").read_text())["environments"][""]["packages"]["redis"]
    main(["--show", str(tmp_path / "benchmark.json"), "--out", str(tmp_path)])
    assert capsys.readouterr().out == shown


async def test_far_away(redis_url: str) -> None:
    """The waiting process talks to Redis through the proxy, the storing one does not."""
    delay = 0.02
    far = Measure("far", "latency", WAKES, (), {"tries": 2, "most_apart": 0.1}, 1, delay=delay)
    run = await Runner(places(redis_url), {}, print).run(far, BATCHED, 1)
    assert run.error == ""
    assert run.numbers["p50"] >= 1_000 * delay


async def test_time_limit(tmp_path: Path) -> None:
    """A child that takes longer is ended, and says nothing."""
    slow = Measure("slow", "throughput", RATES, (), {"seconds": 60, "tasks": 1}, 1, timeout=0.5)
    run = await Runner(OwnPlaces("memory"), {}, print).run(slow, "flowstore (memory)", 1)
    assert (run.numbers, run.error) == ({}, "timed out after 0.5 s")


async def test_failing_child() -> None:
    """It says why, be it by an error or by its end."""
    wrong = Measure("wrong", "throughput", RATES, (), {"nonsense": 1}, 1)
    errors = []
    for python in (sys.executable, "/bin/false", "/nowhere/python"):
        runner = Runner(OwnPlaces("memory"), {"flowstore (memory)": python}, print)
        errors.append((await runner.run(wrong, "flowstore (memory)", 1)).error)
    assert errors[0].startswith("failed: TypeError")
    assert errors[1] == "failed: it said nothing"
    assert "/nowhere/python" in errors[2]


def test_given_database(redis_url: str) -> None:
    """It is emptied after each run. One that holds a key is refused at any time, and not touched."""
    there = places(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        with there.fresh("redis") as location:
            assert location == redis_url
            client.set("a", "of the run")
        assert client.dbsize() == 0
        client.set("b", "of somebody else")
        with pytest.raises(ValueError, match="holds 1 keys"), there.fresh("redis"):
            pass
        with pytest.raises(ValueError, match="holds 1 keys"):
            places(redis_url)
        assert client.get("b")


def test_given_folder(tmp_path: Path) -> None:
    """Files are made in folders within, which are gone afterwards."""
    (tmp_path / "mine").touch()
    there = places(f"sqlite:///{tmp_path}")
    assert there.storages == ("sqlite",)
    with there.fresh("sqlite") as location:
        assert Path(location).parent.parent == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("backend", ["/nowhere", "rediss://localhost/0", "http://localhost"])
def test_wrong_backend(backend: str) -> None:
    with pytest.raises(ValueError, match=backend):
        places(backend)


def test_url_through_proxy() -> None:
    """Only the address changes."""
    assert through("redis://user:p%40ss@host:1/3?x=y", 7) == "redis://user:p%40ss@127.0.0.1:7/3?x=y"
    assert through("redis://host", 7) == "redis://127.0.0.1:7"
