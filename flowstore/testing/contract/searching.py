"""The contract of search: what a query finds, in pieces of any size, and what it costs."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from flowstore import (
    BaseResultBackend,
    Found,
    InvalidCursor,
    InvalidQuery,
    TaskResult,
    UnreadableRecords,
    parse_query,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.naive_queries import (
    NOW,
    SORTS,
    answer,
    some_tasks,
    some_terms,
)
from flowstore.testing.insides import meanwhile, plant, replaced_verb, wants
from flowstore.testing.support import EFFORT, START, failed, ids

ALL_FACETS = ("name", "worker_id", "label", "finished")


async def pieces(backend: BaseResultBackend, query: str, **options: Any) -> list[Found]:
    """The answers of a search up to its end."""
    found = [await backend.search(query, **options)]
    while found[-1].next_cursor is not None:
        found.append(await backend.search(query, cursor=found[-1].next_cursor, **options))
    return found


async def hits(backend: BaseResultBackend, query: str, **options: Any) -> list[str]:
    return [task.task_id for piece in await pieces(backend, query, **options) for task in piece.items]


def in_group(fingerprint: str) -> tuple[str, ...]:
    """The facets of a failed task with that error."""
    return "~", f"error:{fingerprint}", f"~error:{fingerprint}"


class SearchContract(Contract):
    @pytest.mark.parametrize("facets", [ALL_FACETS, ()], ids=["indexed", "passed along"])
    async def test_searches_are_brute_force(self, make_backend: MakeBackend, facets: tuple[str, ...]) -> None:
        """Any terms together, in any order, in pages of any size and with any budget: what looking at every
        task finds, each once and in order; and what actions find.
        """
        choose = random.Random(18)
        found = 0
        async with make_backend(facets=facets, clock=ManualClock(NOW)) as backend:
            await backend.store_many(some_tasks(choose, 90))
            tasks = [task async for task in backend.iter_by_status()]
            for _ in range(60 * EFFORT):
                terms = some_terms(choose, choose.choice((0, 1, 1, 2, 2, 3, 4)))
                sort = choose.choice(SORTS)
                query = " ".join([said.text for said in terms] + ([f"sort:{sort}"] if sort else []))
                expected = answer(tasks, terms, sort)
                refusal = await _refusal(backend, query)
                if refusal is not None:
                    _check_refusal(refusal, query, facets, expected)
                    continue
                found += len(expected)
                sizes = {"limit": choose.choice((3, 10, 50)), "budget": choose.choice((7, 30, 100_000))}
                answers = await pieces(backend, query, load_result=True, seconds=60, **sizes)
                assert [task for piece in answers for task in piece.items] == expected, query
                assert all(len(piece.items) <= sizes["limit"] for piece in answers)
                assert all(piece.looked_at <= sizes["budget"] for piece in answers)
                assert [task async for task in backend.iter_search(query, load_result=True)] == expected
                if terms:  # actions want at least one
                    preview = await backend.actions.apply("delete", query, include_running=True)
                    assert (preview.count, preview.is_exact) == (len(expected), True), query
                if not parse_query(query).has_text:
                    wanted = await wants(backend, query)
                    assert [task for task in tasks if wanted(task)] == answer(expected, [], None), query
        assert found > 100

    async def test_budget_of_records(self, backend: BaseResultBackend) -> None:
        """Each call looks at so many, goes on where the last one stopped, and says how far it has got."""
        await backend.store_many(
            failed(f"t{n:02}", n, labels={"x"} if n % 10 == 3 else ()) for n in range(40)
        )
        answers = await pieces(backend, "label:x -label:y tries:1", budget=4, seconds=60)
        assert [piece.looked_at for piece in answers] == [4, 0]
        answers = await pieces(backend, "-label:y tries:>1", budget=15, seconds=60)
        assert [piece.looked_at for piece in answers] == [15, 15, 10]
        assert [piece.is_complete for piece in answers] == [False, False, True]
        back = [START + timedelta(seconds=25), START + timedelta(seconds=10), START]
        assert [piece.looked_back_to for piece in answers] == back
        assert [len(piece.items) for piece in answers] == [0, 0, 0]
        answers = await pieces(backend, "label:x", limit=3)
        assert [(piece.looked_at, len(piece.items)) for piece in answers] == [(3, 3), (1, 1)]
        answers = await pieces(backend, "id:t0*,t33 tries:1", limit=3, seconds=60)
        assert [(piece.looked_at, ids(piece.items)) for piece in answers] == [
            (32, ["t33", "t09", "t08"]),
            (3, ["t07", "t06", "t05"]),
            (3, ["t04", "t03", "t02"]),
            (2, ["t01", "t00"]),
        ]
        [empty] = await pieces(backend, "status:success")
        assert (empty.looked_at, empty.looked_back_to, empty.is_complete) == (0, None, True)

    async def test_budget_of_time(self, backend: BaseResultBackend) -> None:
        """However short, each call looks at some records, and the end is reached."""
        await backend.store_many(failed(f"t{n:04}", n) for n in range(1_200))
        for query in ("tries:>1", "-tries:1 boom"):
            answers = await pieces(backend, query, seconds=1e-9)
            assert len(answers) > 1
            assert sum(piece.looked_at for piece in answers) == 1_200
            assert all(piece.looked_at > 0 for piece in answers[:-1])
        assert await hits(backend, "t0007", seconds=1e-9) == ["t0007"]

    async def test_what_is_relative_is_of_the_first_call(self, make_backend: MakeBackend) -> None:
        """Its cursor has the time, so that no task leaves the range while its pages are read."""
        clock = ManualClock(START)
        async with make_backend(clock=clock) as backend:
            await backend.store_many(failed(f"t{n}", n) for n in range(10))
            clock.advance(60)
            first = await backend.search("submitted:<56s", limit=2)
            assert ids(first.items) == ["t9", "t8"]
            clock.advance(60)
            rest = await backend.search("submitted:<56s", limit=9, cursor=first.next_cursor)
            assert ids(rest.items) == ["t7", "t6", "t5"]
            assert ids((await backend.search("submitted:<56s")).items) == []

    async def test_cursors_belong_to_their_search(self, backend: BaseResultBackend) -> None:
        """To the query, by its meaning and not its spelling, and to no other call."""
        await backend.store_many(failed(f"t{n}", n) for n in range(5))
        cursor = (await backend.search("-boom", limit=2)).next_cursor
        again = await backend.search('  -"boom" ', limit=2, cursor=cursor)
        assert ids(again.items) == ["t2", "t1"]
        other = (await backend.page(limit=2)).next_cursor
        bad = [
            ("-bang", cursor),
            ("-boom", other),
            ("-boom", ""),
            ("-boom", "1.x"),
            ("-boom", "0" + str(cursor)),
        ]
        for query, wrong in bad:
            with pytest.raises(InvalidCursor):
                await backend.search(query, cursor=wrong)

    async def test_ids_are_read_and_prefixes_are_found(self, backend: BaseResultBackend) -> None:
        """A whole id costs one read, whatever is stored; the beginning of one is passed along."""
        await backend.store_many(failed(f"ab{n}", n, worker_id="w") for n in range(30))
        await backend.store("a*", failed("a*", 99))
        scans: list[object] = []
        with replaced_verb(backend, "scan", lambda verb: _noted(verb, scans)):
            assert await hits(backend, "id:ab7") == ["ab7"]
            assert await hits(backend, "id:ab7,ab29,none worker:w", limit=1) == ["ab29", "ab7"]
            assert await hits(backend, "id:ab7 status:success") == []
            assert await hits(backend, "id:ab7,ab8,ab9 sort:submitted submitted:2026-01-01", budget=1) == [
                *("ab7", "ab8", "ab9")
            ]
            assert scans == []
        assert await hits(backend, "id:ab2*") == ["ab29", *(f"ab{n}" for n in range(28, 19, -1)), "ab2"]
        assert await hits(backend, 'id:"a*"') == ["a*"]
        assert len(await hits(backend, "id:a*", limit=7)) == 31

    async def test_filters_read_no_values(self, backend: BaseResultBackend) -> None:
        """Neither those that are walked nor those that are passed along, unless text is looked for."""
        await backend.store_many(failed(f"t{n}", n, args=(n,), worker_id="w") for n in range(8))
        calls: list[Any] = []
        with (
            replaced_verb(backend, "scan", lambda verb: _noted(verb, calls)),
            replaced_verb(backend, "read", lambda verb: _noted(verb, calls)),
        ):
            assert len(await hits(backend, "worker:w tries:1 is:root run:>0s since:2026-01-01 id:t*")) == 0
            assert len(await hits(backend, "worker:w tries:1 is:root submitted:2026-01-01 id:t*")) == 8
            queries = [args[0] for args in calls]
            assert [query.with_body for query in queries] == [False] * len(queries)
            assert [query.is_filtered for query in queries] == [False] * len(queries)
            calls.clear()
            assert await hits(backend, "worker:w id:t1,t2,t3 nothing") == []
            assert await hits(backend, "worker:w -id:t0,t1,t2,t3,t4,t5 t6") == ["t6"]  # its error says so
        assert [args[0] for args in calls if isinstance(args[0], list | tuple)] == [
            ("t1", "t2", "t3"),
            ["t3", "t2", "t1"],
            ["t7"],
        ]

    async def test_successful_tasks_by_finish(self, make_backend: MakeBackend) -> None:
        """Where they are not indexed that is an error, unless the query leaves them out."""
        async with make_backend() as backend:
            await backend.store_many([failed("f"), TaskResult.success("s")])
            for query in ("sort:-finished", "  label:x   -status:failed sort:finished"):
                with pytest.raises(InvalidQuery, match="say status:failed,cancelled") as refused:
                    await backend.search(query)
                assert query[refused.value.place :].startswith("sort:")
            assert await hits(backend, "-status:success sort:-finished") == ["f"]
        async with make_backend(facets=["finished"]) as backend:
            await backend.store_many([failed("f"), TaskResult.success("s"), TaskResult.pending("p")])
            assert await hits(backend, "sort:-finished") == ["s", "f"]

    async def test_beginnings_of_fingerprints(self, backend: BaseResultBackend) -> None:
        """The group of an error is found by a beginning that only it has; an ambiguous one names them."""
        prints = ["5d0c1b7e00000000", "5d0c1b7e11111111", "e02f9a4400000000"]
        for n, fingerprint in enumerate([*prints, prints[2]]):
            await plant(backend, failed(f"t{n}", n), facets=in_group(fingerprint))
        await backend.store("t9", failed("t9", 9))
        assert await hits(backend, "error:e02f") == ["t3", "t2"]
        assert await hits(backend, "error:e02f,5d0c1b7e0 sort:finished status:failed") == ["t3", "t2", "t0"]
        assert await hits(backend, "-error:e02f9a44") == ["t9", "t1", "t0"]
        assert await hits(backend, "error:5d0c1b7e11111111 id:t*", budget=1) == ["t1"]
        [unknown] = await pieces(backend, "error:ffff")
        assert unknown.looked_at == 0
        with pytest.raises(InvalidQuery, match="several: 5d0c1b7e00000000, 5d0c1b7e11111111") as refused:
            await backend.search("  status:failed   error:e02f,5d0c")
        assert (refused.value.term, refused.value.place) == ("error:e02f,5d0c", 18)

    async def test_beginnings_keep_their_meaning(self, backend: BaseResultBackend) -> None:
        """On all pages of a search that of the first one, also where another group begins likewise by now."""
        for n in range(6):
            await plant(backend, failed(f"t{n}", n), facets=in_group("5d0c1b7e00000000"))
        for query in ("error:5d0c,ffff", "-error:ffff error:5d0c1 id:t*"):
            first = await backend.search(query, limit=2)
            for name in ("5d0c1b7e11111111", "ffff000000000000", "ffff111111111111"):
                await plant(backend, failed(name, -1), facets=in_group(name))
            rest = await backend.search(query, cursor=first.next_cursor)
            assert ids(first.items + rest.items) == [f"t{n}" for n in range(5, -1, -1)]
            with pytest.raises(InvalidQuery, match="several"):
                await backend.search(query)
            with pytest.raises(InvalidCursor):
                await backend.search(query, cursor=str(first.next_cursor).replace("5d0c1b7e0", "5d0c1b7e1"))
            await backend.delete_many(["5d0c1b7e11111111", "ffff000000000000", "ffff111111111111"])

    async def test_records_that_cannot_be_read(self, backend: BaseResultBackend) -> None:
        """They are named where they may be meant, beside the others; the iteration ends with them."""
        await backend.store_many(failed(f"t{n}", n, worker_id="w") for n in (0, 2))
        await plant(backend, failed("t1", 1), head=b"[", body=b"{")
        await plant(backend, failed("t3", 3), is_checked=False, body=b'{"result":"changed"}')
        [found] = await pieces(backend, "-worker:x")
        assert ids(found.items) == ["t3", "t2", "t0"]
        assert [each.task_id for each in found.unreadable] == ["t1"]
        [said] = await pieces(backend, "-changed")
        assert [each.task_id for each in said.unreadable] == ["t3", "t1"]
        assert ids(said.items) == ["t2", "t0"]
        assert (await backend.search("worker:w")).unreadable == []
        assert len(await pieces(backend, "-changed", limit=1)) == 4
        walked = backend.iter_search("-worker:x")
        assert [await anext(walked) for _ in range(3)] == found.items
        with pytest.raises(UnreadableRecords, match="t1"):
            await anext(walked)

    async def test_tasks_that_change_meanwhile(self, backend: BaseResultBackend) -> None:
        """What is found is what was tested: a record that has changed so that it does not fit is left out."""
        for options in ({"load_result": True}, {}):
            await backend.store_many(
                [failed(f"t{n}", n, args=("boom",), worker_id="w") for n in range(3)], overwrite=True
            )

            async def change() -> None:
                await backend.store("t2", failed("t2", 2, args=("bang",), worker_id="w"), overwrite=True)
                await backend.store("t1", failed("t1", 1, args=("boom",), worker_id="v"), overwrite=True)

            meanwhile(backend, "scan", change)
            assert ids((await backend.search("worker:w boom", **options)).items) == ["t0"]  # type: ignore[arg-type]

    async def test_bad_searches_are_named(self, backend: BaseResultBackend) -> None:
        """At the call, also of the iteration."""
        bad: list[tuple[dict[str, Any], type[Exception], str]] = [
            ({"query": 7}, TypeError, "query: expected str"),
            ({"query": "statsu:failed"}, InvalidQuery, "did you mean 'status'"),
            ({"limit": 0}, ValueError, "limit"),
            ({"limit": 10_001}, ValueError, "limit"),
            ({"budget": 0}, ValueError, "budget"),
            ({"budget": 1.5}, TypeError, "budget"),
            ({"seconds": 0}, ValueError, "seconds"),
            ({"seconds": "1"}, TypeError, "seconds"),
            ({"cursor": 7}, TypeError, "cursor"),
            ({"max_value": 10}, ValueError, "max_value"),
            ({"load_result": 1}, TypeError, "load_result"),
        ]
        for options, error, words in bad:
            with pytest.raises(error, match=words):
                await backend.search(**{"query": "", **options})
        with pytest.raises(InvalidQuery, match="status"):
            backend.iter_search("statsu:failed")
        await backend.store("t", failed("t"))
        query = parse_query("status:failed")
        assert ids((await backend.search(query)).items) == ["t"]
        assert [task.task_id async for task in backend.iter_search(query)] == ["t"]


def _noted(verb: Callable[..., Coroutine[Any, Any, Any]], calls: list[Any]) -> Callable[..., Any]:
    async def call(*args: Any, **options: Any) -> Any:
        calls.append(args)
        return await verb(*args, **options)

    return call


async def _refusal(backend: BaseResultBackend, query: str) -> InvalidQuery | None:
    try:
        await backend.search(query)
    except InvalidQuery as error:
        return error
    return None


def _check_refusal(
    error: InvalidQuery, query: str, facets: tuple[str, ...], expected: list[TaskResult]
) -> None:
    """A query is refused only if nothing satisfies it, or if there is no index of its order."""
    if "say status:failed,cancelled" in str(error):
        assert "finished" not in facets, query
    elif "sort: by finish lists none" not in str(error):
        assert expected == [], query
