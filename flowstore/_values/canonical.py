"""Encoded values in a form that is equal for equal values: to tell whether two are the same without loss.

What does not make a difference for Python makes none here: the order of the keys of a dict, and which fields
of a model were given and which were defaults. What pydantic or JSON would blur stays different: 1, 1.0 and
True, a tuple and a list, the digits of a Decimal, the zone of a datetime.
"""

from __future__ import annotations

import json
from typing import Any


def canonical(data: bytes) -> str:
    """``data``: what ``Codec.encode_fields`` returned. The name of a model at the top does not count."""
    fields = json.loads(data)
    return _text({name: _unnamed(_plain(value)) for name, value in fields.items()})


def version_of(data: bytes) -> int:
    """The version of the model that is the only value; 0 if it is something else."""
    [value] = json.loads(data).values()
    parts = value.get("$model", ()) if isinstance(value, dict) else ()
    return 0 if not parts else parts[5] if len(parts) > 5 else 1


def _unnamed(value: Any) -> Any:
    if isinstance(value, dict) and [*value] == ["$model"]:
        _, *parts = value["$model"]
        return {"$model": parts}
    return value


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {key: _plain(item) for key, item in value.items()}
    if len(plain) != 1:
        return plain
    [(tag, content)] = plain.items()
    if tag == "$model":
        name, fields, _, *rest = content
        return {tag: [name, fields, *rest]}
    if tag == "$dict":
        return {tag: sorted(content, key=_text)}
    if tag == "$defaultdict":
        factory, pairs = content
        return {tag: [factory, sorted(pairs, key=_text)]}
    return plain
