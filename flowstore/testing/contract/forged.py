"""The contract of records that others wrote into the storage: they are data or corrupt, never executed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from flowstore import BaseResultBackend, TaskResult, TaskStatus, UnreadableRecord
from flowstore.testing.contract.base import Contract
from flowstore.testing.insides import plant
from flowstore.testing.support import failed, waiting

PICKLE = "cos\nsystem\n(S'true'\ntR."
NOT_IMPORTED = "this"
"""A module of the standard library that nothing else imports."""

OF_NEWER: dict[str, Any] = {"type": "x", "message": "y", "seen": 1}
OF_NEWER |= {"cause": {**OF_NEWER, "exceptions": [OF_NEWER.copy()]}, "exceptions": [OF_NEWER.copy()]}
"""An error with a key that nobody knows, at every level."""

HEADS_REFUSED = [
    "",
    "null",
    "[]",
    "{",
    "{}{}",
    PICKLE,
    '{"error":"boom"}',
    '{"error":{"type":1,"message":2}}',
    '{"error":{"type":"x","message":"y","args":[{}]}}',
    '{"error":{"type":"x","message":"y","args":[1e999]}}',
    '{"error":' + '{"type":"x","message":"y","cause":' * 9_000,
    '{"error":' + '{"type":"x","message":"y","exceptions":[' * 9_000,
    '{"error":{"type":"x","message":"y","notes":[1]}}',
    '{"error":{"type":"x","message":"y","notes":"abc"}}',
    '{"error":{"type":"x","message":"y","exceptions":[7]}}',
    '{"error":{"type":"x","message":"y","exceptions_left_out":-1}}',
    '{"error":{"type":"x","message":"y","module":1}}',
    '{"error":{"type":"x","message":"y","is_cut":1}}',
    '{"worker_id":null' + " " * 5 * 2**20 + "}",
]
HEADS_READ = [  # keys that nobody knows are those of a newer program
    "{}",
    '{"anything":1}',
    '{"error":{"type":"x","message":"y","__class__":"os.system"}}',
    '{"labels":"abc"}',
    '{"finished_at":"yesterday"}',
    '{"labels":[' + ",".join(map(str, range(100_000))) + "]}",
    '{"progress":{"done":1e999}}',
    '{"worker_id":"' + "x" * 10**6 + '"}',
    '{"' + "x" * 10**6 + '":1}',
    ' {"worker_id":"a", "worker_id":"b"} ',
    '{"error":{"type":"os.system","message":"true","args":["true"]}}',
    json.dumps({"error": {"type": f"{NOT_IMPORTED}.s", "message": PICKLE, "args": [PICKLE]}}),
    '{"error":' + '{"type":"x","message":"y","cause":' * 90 + "null" + "}" * 91,
    '{"error":' + '{"type":"x","message":"y","exceptions":[' * 90 + "]}" * 90 + "}",
    json.dumps({"error": {"type": "x", "message": "y", "module": "x" * 10**6, "notes": ["\1" * 9_000] * 40}}),
    json.dumps(
        {"error": {"type": "x", "message": "y", "exceptions": [{"type": "x", "message": "y"}] * 9_000}}
    ),
    json.dumps(
        {"error": {"type": "x", "message": "y", "cause": OF_NEWER, "exceptions": [OF_NEWER, OF_NEWER]}}
    ),
]
BODIES_REFUSED = [
    "",
    "null",
    "[]",
    PICKLE,
    '{"result":1',
    '{"result":{"$tuple":[1,',
    '{"result":{"$tuple":7}}',
    '{"result":' + "9" * 10_000 + "}",
    '{"result":' + "[" * 100_000,
    '{"result":{"$int":[1]},"result":2}',
    '{"args":7}',
    '{"kwargs":[1]}',
    '{"kwargs":{"$dict":[[1,2]]}}',
]
BODIES_READ = [  # a type that is not registered makes a stand-in
    '{"result":{"$pickle":' + json.dumps(PICKLE) + "}}",
    '{"result":{"$os.system":["true"]}}',
    f'{{"result":{{"$enum":["{NOT_IMPORTED}:s","x"]}}}}',
    '{"result":{"$dataclass":["os:system",{"command":"true"}]}}',
    '{"result":{"$model":["subprocess:Popen",{"args":"true"},[],null,null]}}',
    '{"result":{"$' + "x" * 10**6 + '":1}}',
    "{}",
    '{"anything":1}',
    '{"anything":{"$os.system":["true"]},"result":{"$tuple":[1]}}',
    ' { "result" : 1 } ',
    '{"result":{"__reduce__":["os.system",["true"]],"__class__":"os.system","py/object":"os.system"}}',
    '{"result":"!!python/object/apply:os.system [true]","args":[' + json.dumps(PICKLE) + "]}",
]
FORGED = [
    *((head, "{}", False) for head in HEADS_REFUSED),
    *((head, "{}", True) for head in HEADS_READ),
    *(("{}", body, False) for body in BODIES_REFUSED),
    *(("{}", body, True) for body in BODIES_READ),
]


class ForgedContract(Contract):
    @pytest.mark.parametrize(
        ("head", "body", "is_data"), FORGED, ids=[f"{head[:20]}-{body[:30]}" for head, body, _ in FORGED]
    )
    async def test_forged_records(
        self,
        backend: BaseResultBackend,
        monkeypatch: pytest.MonkeyPatch,
        head: str,
        body: str,
        is_data: bool,
    ) -> None:
        """Read as data, or UnreadableRecord for every reader; others stay readable, and it can be deleted."""
        called: list[object] = []
        monkeypatch.setattr(os, "system", called.append)
        monkeypatch.setattr(subprocess, "Popen", called.append)
        task = await waiting(backend, "t")
        await plant(backend, failed("t"), head=head.encode(), body=body.encode())
        await backend.store("u", failed("u", 1))
        for call in (task, backend.get("t"), backend.get_many(["t", "u"])):
            await _read(call, is_data)
        page = await backend.page(TaskStatus.FAILED)
        assert [item.task_id for item in page.items] == (["u", "t"] if is_data else ["u"])
        assert [one.task_id for one in page.unreadable] == ([] if is_data else ["t"])
        assert len((await backend.page(TaskStatus.FAILED, limit=1)).items) == 1
        assert (await backend.count_by_status())[TaskStatus.FAILED] == 2
        assert (await backend.wait_for("u", 5)).status is TaskStatus.FAILED
        assert await backend.store("t", TaskResult.success("t", 1), overwrite=True) is True
        assert (await backend.wait_for("t", 5)).result == 1
        assert await backend.delete("t") is True
        assert called == []
        assert NOT_IMPORTED not in sys.modules


async def _read(call: Any, is_data: bool) -> None:
    if is_data:
        await call
        return
    with pytest.raises(UnreadableRecord, match="'t'") as caught:
        await call
    assert len(str(caught.value)) < 500
