"""Processes on one tree that race and die: ``tree_lab.py <job> <folder>`` prints what happened, as JSON.

All are forked from this one, which has loaded what they need and runs no thread.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from flowstore.typed.storage import Kind, New, Stored
from flowstore.typed.tree.content import entry_of
from flowstore.typed.tree.files import OWN, Tree
from flowstore.typed.tree.storage import TreeStorage

KIND = Kind("default", "Counter")
STEPS = ("open", "write", "replace", "mkdir", "rmdir", "unlink", "fsync", "pwrite", "close")


def data(n: int, size: int = 3) -> bytes:
    return b'{"result":{"$model":["default:Counter",{"n":%d,"pad":"%s"},["n","pad"],null,null]}}' % (
        n,
        b"x" * size,
    )


def number(stored: Stored | None) -> int:
    assert stored is not None
    assert stored.data is not None, stored
    return int(json.loads(stored.data)["result"]["$model"][1]["n"])


def tree(base: str, now: int = 1_000_000) -> Tree:
    made = Tree(base, True, lambda: now, 10)
    made.open()
    return made


def forked(work: Callable[[], object]) -> int:
    """The process id of a child that does the work."""
    if pid := os.fork():
        return pid
    try:
        work()
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def at_once(count: int, work: Callable[[int], object]) -> list[Any]:
    """What each of the processes returned, which began together."""
    gate_read, gate_write = os.pipe()
    answers = [os.pipe() for _ in range(count)]

    def one(n: int) -> None:
        os.close(gate_write)
        os.read(gate_read, 1)
        os.write(answers[n][1], json.dumps(work(n)).encode())

    pids = [forked(partial(one, n)) for n in range(count)]
    os.close(gate_write)
    assert [ended(pid) for pid in pids] == [0] * count
    return [json.loads(os.read(read, 65_536)) for read, _ in answers]


def race(base: str) -> object:
    """8 processes create each of 20 ids: who has won each."""

    async def work(n: int) -> list[bool]:
        storage = TreeStorage(base)
        won = []
        for id in range(20):
            won += await storage.create([New(f"deep/{id}/one", KIND, data(n))])
        await storage.close()
        return won

    winners = list(zip(*at_once(8, lambda n: asyncio.run(work(n))), strict=True))
    looked = tree(base)
    stands = [number(looked.get(f"deep/{id}/one", with_data=True)) for id in range(20)]
    return {
        "winners": [each.count(True) for each in winners],
        "are_theirs": [w[n] for w, n in zip(winners, stands, strict=True)],
    }


async def increment(storage: TreeStorage, id: str) -> int:
    while True:
        [standing] = await storage.read([id])
        if standing is None:
            if (await storage.create([New(id, KIND, data(1))]))[0]:
                return 1
        elif await storage.replace(New(id, KIND, data(number(standing) + 1)), standing):
            return number(standing) + 1


def count(base: str) -> object:
    """4 processes with 3 tasks each increment a counter 15 times."""

    async def work(n: int) -> int:
        storage = TreeStorage(base, durability="normal")
        for _ in range(15):
            await asyncio.gather(*(increment(storage, "a/counter") for _ in range(3)))
        await storage.close()
        return n

    at_once(4, lambda n: asyncio.run(work(n)))
    [stored] = tree(base).read(["a/counter"], True)
    assert stored is not None
    return {"n": number(stored), "version": stored.version}


def prune(base: str) -> object:
    """4 processes make and remove siblings in one deep folder: none fails, and nothing is left."""
    lab = Tree(base, False, lambda: 1_000_000, 10)
    lab.open()

    def work(n: int) -> int:
        for _ in range(150):
            assert lab.create([New(f"a/b/c/{n}", KIND, data(n))]) == [True]
            assert number(lab.get(f"a/b/c/{n}", with_data=True)) == n
            assert lab.remove(f"a/b/c/{n}")
        return n

    at_once(4, work)
    return litter(base)


def litter(base: str) -> list[str]:
    """What is in the tree but entries: empty folders, files that are left, notes that are not crossed out."""
    found = []
    for folder, folders, files in os.walk(base):
        own = Path(folder).name == OWN
        found += [
            f"{folder}/{name}" for name in files if not name.endswith((".lock", "format") if own else ".json")
        ]
        if not own and not folders and not files:
            found.append(folder)
    notes = [path for path in Path(base, OWN).glob("*.lock") if path.read_bytes().split(b"\n")[0]]
    return found + list(map(str, notes))


def damaged(base: str) -> list[str]:
    files = [path for path in Path(base).rglob("*.json") if OWN not in path.parts]
    return [str(path) for path in files if entry_of("", path.read_bytes()).trouble]


@contextmanager
def dying(at: int) -> Iterator[None]:
    """Die before the step with this number; a write is two steps, of a half each."""
    steps = iter(range(at + 1))

    def step() -> None:
        if next(steps) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(first: Any, *args: Any, **options: Any) -> Any:
            step()
            if name in ("write", "pwrite") and len(args[0]) > 1:
                half = len(args[0]) // 2
                done = real(first, args[0][:half], *args[1:], **options)
                if name == "write":
                    return done
                step()
            return real(first, *args, **options)

        return call

    for name in STEPS:
        setattr(os, name, watched(name, getattr(os, name)))
    fcntl.flock = watched("flock", fcntl.flock)
    yield


def steps(base: str) -> object:
    """For each verb, a process that dies at each of its steps in turn: what was wrong afterwards."""
    # a step still, but what is killed loses nothing that was written
    os.fsync = lambda fd: None
    a, sibling, long = (
        New("a/b/c", KIND, data(1)),
        New("a/x", KIND, data(2)),
        New("a/b/c", KIND, data(3, 9_000)),
    )
    short = New("a/b/c", KIND, data(4), 0.5)
    verbs: dict[str, tuple[list[New], Callable[[Tree], object], set[int | None]]] = {
        "create": ([], lambda lab: lab.create([long]), {None, 3}),
        "create beside": ([sibling], lambda lab: lab.create([a]), {None, 1}),
        "create two": ([], lambda lab: lab.create([sibling, a]), {None, 1}),
        "create over an expired one": ([short], lambda lab: lab.create([a]), {None, 1}),
        "replace": ([a], lambda lab: lab.replace(long, lab.get("a/b/c")), {1, 3}),  # type: ignore[arg-type]
        "overwrite": ([a], lambda lab: lab.overwrite(long), {1, 3}),
        "overwrite nothing": ([], lambda lab: lab.overwrite(a), {None, 1}),
        "remove": ([a], lambda lab: lab.remove("a/b/c"), {None, 1}),
        "remove beside": ([a, sibling], lambda lab: lab.remove("a/b/c"), {None, 1}),
        "clear": ([a, sibling], lambda lab: lab.clear(lab.places()), {None, 1}),
        "expire": ([short], lambda lab: lab.get("a/b/c"), {None}),
    }
    counts, wrong = {}, []
    for name, (before, verb, expected) in verbs.items():
        for at in range(1_000):
            place = f"{base}/{name}-{at}"
            Tree(place, True, lambda: 0, 10).open()
            Tree(place, True, lambda: 0, 10).create(before)
            lab, other = tree(place), tree(place)
            code = ended(forked(partial(die, lab, at, verb)))
            wrong += [f"{name} {at}: {what}" for what in aftermath(place, other, at, expected)]
            if code != -signal.SIGKILL:
                wrong += [f"{name} {at}: exit code {code}"] if code else []
                counts[name] = at
                break
    return {"steps": counts, "wrong": wrong}


def die(lab: Tree, at: int, verb: Callable[[Tree], object]) -> None:
    with dying(at):
        verb(lab)


def aftermath(place: str, other: Tree, at: int, expected: set[int | None]) -> list[str]:
    """What is wrong after a death: with what is found, or with what the next one leaves."""
    wrong = [f"damaged {path}" for path in damaged(place)]
    found = other.get("a/b/c", with_data=True)
    if (None if found is None else number(found)) not in expected:
        wrong.append(f"found {found}")
    if at % 2:  # the next one who takes the lock, be it for nothing
        other.remove("a/b/c")
        other.remove("a/x")
        left = [path for path in litter(place) if not path.endswith(".new")]
        return wrong + [f"left {path}" for path in left]
    tree(place)
    return wrong + [f"left {path}" for path in litter(place)]


def kills(base: str) -> object:
    """3 processes write and remove, and are killed at random; what each has acknowledged must be there."""
    chance, wrong = random.Random(7), []
    done = 0
    for _ in range(25):
        read, write = os.pipe()
        pids = [forked(partial(storm, base, write, n)) for n in range(3)]
        time.sleep(chance.uniform(0.005, 0.04))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            if (code := ended(pid)) != -signal.SIGKILL:
                wrong.append(f"ended with {code}")
        os.close(write)
        while portion := os.read(read, 65_536):
            done += len(portion)
        os.close(read)
        wrong += damaged(base)
        lab = tree(base)
        wrong += litter(base)
        stored = lab.get("n/counter", with_data=True)
        value = 0 if stored is None else number(stored)
        if not done <= value <= done + len(pids):
            wrong.append(f"{done} acknowledged, found {value}")
        done = value
    return {"wrong": wrong, "done": done}


def storm(base: str, acknowledged: int, n: int) -> None:
    lab = Tree(base, False, lambda: 1_000_000, 10)
    lab.open()
    while True:
        lab.create([New(f"m/{n}/x/y", KIND, data(1))])
        standing = lab.get("n/counter", with_data=True)
        if standing is None:
            is_done = lab.create([New("n/counter", KIND, data(1))])[0]
        else:
            is_done = lab.replace(New("n/counter", KIND, data(number(standing) + 1)), standing)
        if is_done:
            os.write(acknowledged, b".")
        lab.remove(f"m/{n}/x/y")


def inherit(base: str) -> object:
    """A process that is killed in the midst of a call, whose child lives on: others get the lock at once."""
    lab = tree(base)
    read, write = os.pipe()

    def parent() -> None:
        with lab._locked("a"):
            os.write(write, f"{forked(lambda: time.sleep(60))}".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    pid = forked(parent)
    child = int(os.read(read, 100))
    ended(pid)
    began = time.monotonic()
    lab.create([New("a", KIND, data(1))])
    os.kill(child, signal.SIGKILL)
    return time.monotonic() - began


def replace_for_ever(base: str) -> None:
    lab = Tree(base, False, lambda: 1_000_000, 10)
    lab.open()
    while True:
        for id in range(0, 600, 7):
            lab.remove(f"d/{id}x")
            lab.create([New(f"d/{id}x", KIND, data(1))])
            standing = lab.get(f"d/{id}")
            assert standing is not None
            lab.replace(New(f"d/{id}", KIND, data(2)), standing)


def listing(base: str) -> object:
    """Pages of a folder whose files others replace, make and remove: what was listed wrongly."""
    lab = Tree(base, False, lambda: 1_000_000, 10)
    lab.open()
    ids = [f"d/{id}" for id in range(600)]
    lab.create([New(id, KIND, data(1)) for id in ids])
    pids = [forked(lambda: replace_for_ever(base)) for _ in range(2)]
    wrong = []
    for _ in range(12):
        found, after = [], None
        while page := lab.scan("d/", after, 100):
            found += [stored.id for stored in page if not stored.trouble]
            after = page[-1].id
        if found != sorted(found) or [id for id in found if not id.endswith("x")] != sorted(ids):
            wrong.append(sorted(set(ids) ^ {id for id in found if not id.endswith("x")}))
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        ended(pid)
    return wrong


JOBS = {job.__name__: job for job in (race, count, prune, steps, kills, inherit, listing)}

if __name__ == "__main__":
    print(json.dumps(JOBS[sys.argv[1]](sys.argv[2])))
