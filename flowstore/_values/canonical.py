"""Encoded values in a form that is equal for equal values: to tell whether two are the same without loss.

What does not make a difference for Python makes none here: the order of the keys of a dict, and which fields
of a model were given and which were defaults. What pydantic or JSON would blur stays different: 1, 1.0 and
True, a tuple and a list, the digits of a Decimal, the zone of a datetime.
"""

from __future__ import annotations

import json
from typing import Any


def canonical(data: bytes) -> str:
    """``data``: what ``Codec.encode_fields`` returned."""
    return _text(_plain(json.loads(data)))


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
