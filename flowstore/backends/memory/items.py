"""The items of records and of the namespace, but for the history: by key, in order."""

from __future__ import annotations

from sortedcontainers import SortedDict

from flowstore.engine import Item, Outcome, Put, Section, Verdict


class Items(dict[tuple[str, Section], "SortedDict[str, Item]"]):
    """By owner and section."""

    def put(self, put: Put, now: int) -> Outcome:
        """Of an owner that is there."""
        items = self.setdefault((put.owner, put.section), SortedDict())
        key = put.key
        if key is None:
            key = f"{int(items.peekitem()[0]) + 1 if items else 1:016}"
        standing = items.get(key)
        version = 0 if standing is None else standing.version
        if (put.if_version is not None and version != put.if_version) or (not version and put.value is None):
            return Outcome(Verdict.STANDING, version, key)
        if put.value is None:
            del items[key]
            return Outcome(Verdict.APPLIED, 0, key)
        version, at = put.stamp or (version + 1, now)
        items[key] = Item(put.owner, key, version, at, put.check, put.value)
        while put.keep is not None and len(items) > put.keep:
            items.popitem(0)
        return Outcome(Verdict.APPLIED, version, key)
