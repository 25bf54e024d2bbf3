"""The JSON of a task has a schema, which the package brings along and which never changes unnoticed."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import flowstore._faces.schemas
from flowstore import TaskResult
from flowstore._faces.records import VERSION
from tests.cli.support import WRITES, invoke


def schema() -> dict[str, Any]:
    """Of what ``as_json`` makes: null is not left out, and ``v`` comes first."""
    own: dict[str, Any] = TaskResult.model_json_schema(mode="serialization")
    properties = {"v": {"const": VERSION, "title": "The version of this form"}, **own["properties"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **own,
        "title": "A task",
        "properties": properties,
        "required": [*properties],
    }


def test_the_schema_is_that_of_the_model() -> None:
    """FLOWSTORE_GOLDEN=write writes it; a field that changes its meaning needs another VERSION."""
    held = files(flowstore._faces.schemas) / "record.json"
    text = json.dumps(schema(), indent=2) + "\n"
    if WRITES:
        Path(str(held)).write_text(text, "utf-8")
    assert held.read_text("utf-8") == text


def test_records_have_the_fields_of_the_schema(shop: str) -> None:
    fields = json.loads((files(flowstore._faces.schemas) / "record.json").read_text("utf-8"))["properties"]
    shown = json.loads(invoke("show", "task-3", "-o", "json", url=shop).out)
    assert fields.keys() <= shown.keys()
    for document in json.loads(invoke("ls", "-o", "json", url=shop).out):
        assert document["v"] == 1
        assert fields.keys() - document.keys() <= {"result", "args", "kwargs", "meta"}  # not loaded in a list
        assert document.keys() <= fields.keys()
