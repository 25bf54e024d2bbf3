"""What ``flowstore.typed`` raises; ``flowstore.errors`` has them with all others.

Each message names the id, the type and what to do about it.
"""

from __future__ import annotations

import errno

from flowstore._errors.root import FlowstoreError

_PUBLIC = "flowstore.errors"


class EntryExists(FlowstoreError, FileExistsError):
    """``set`` found an entry under the id that it must not replace.

    ``model_type``, ``namespace`` and ``version`` are those of the entry that stands. ``is_different``: it was
    compared (RAISE_IF_DIFFERENT), and is another one.
    """

    __module__ = _PUBLIC

    def __init__(
        self, id: str, model_type: str, namespace: str, version: int, is_different: bool = False
    ) -> None:
        super().__init__(id, model_type, namespace, version, is_different)
        self.args = (id, model_type, namespace, version, is_different)  # OSError keeps two of them
        self.errno, self.strerror, self.filename = errno.EEXIST, "File exists", None
        self.id = id
        self.model_type = model_type
        self.namespace = namespace
        self.version = version
        self.is_different = is_different

    def __str__(self) -> str:
        what = "another value" if self.is_different else "a value"
        return (
            f"id {self.id!r} has {what} already, a {self.model_type} of namespace {self.namespace!r}, "
            f"version {self.version}; WriteBehavior.OVERWRITE replaces it"
        )


class EntryMissing(FlowstoreError, FileNotFoundError):
    """There is no entry under the id, or it has expired."""

    __module__ = _PUBLIC

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.errno, self.strerror = errno.ENOENT, "No such file or directory"
        self.id = id

    def __str__(self) -> str:
        return f"there is no entry under id {self.id!r}; see list_ids() for those that there are"


class EntryMismatch(FlowstoreError, ValueError):
    """The entry is of another model than the one that was asked for."""

    __module__ = _PUBLIC

    def __init__(self, id: str, model_type: str, namespace: str, expected: str) -> None:
        super().__init__(id, model_type, namespace, expected)
        self.id = id
        self.model_type = model_type
        self.namespace = namespace
        self.expected = expected

    def __str__(self) -> str:
        return (
            f"id {self.id!r} holds a {self.model_type} of namespace {self.namespace!r}, not "
            f"{self.expected}; get it without model_class, or with the class that it is of"
        )


class InvalidEntry(FlowstoreError, ValueError):
    """The entry is whole, but no longer a valid value of its model. ``path`` leads to the part that is not.

    Its model has changed since it was stored.
    """

    __module__ = _PUBLIC

    def __init__(self, id: str, model_type: str, namespace: str, path: str, reason: str) -> None:
        super().__init__(id, model_type, namespace, path, reason)
        self.id = id
        self.model_type = model_type
        self.namespace = namespace
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"id {self.id!r}: what is stored is no valid {self.model_type} of namespace {self.namespace!r}: "
            f"{self.path}: {self.reason}; give the model a default, or register it with a new version and "
            "an upgrade"
        )


class DamagedEntry(FlowstoreError, ValueError):
    """What is stored under the id cannot be read, or is no entry at all. It is never replaced unasked.

    ``model_type`` is what it says of its type, "" if that cannot be read either.
    """

    __module__ = _PUBLIC

    def __init__(self, id: str, model_type: str, reason: str) -> None:
        super().__init__(id, model_type, reason)
        self.id = id
        self.model_type = model_type
        self.reason = reason

    def __str__(self) -> str:
        kind = f", a {self.model_type}," if self.model_type else ""
        return f"id {self.id!r}{kind} cannot be read: {self.reason}; restore it, or delete it and set it anew"


class ForeignEntry(FlowstoreError, ValueError):
    """Something else than an entry has the id: a task in the same namespace, or a file of somebody else."""

    __module__ = _PUBLIC

    def __init__(self, id: str, what: str) -> None:
        super().__init__(id, what)
        self.id = id
        self.what = what

    def __str__(self) -> str:
        return f"id {self.id!r} is taken by {self.what}; it is left alone: choose another id or place"


class ModelNotRegistered(FlowstoreError, ValueError):
    """A model, or the name of one, that the registry does not know in this namespace.

    ``id`` is that of the entry, None where the registry was asked for a name.
    """

    __module__ = _PUBLIC

    def __init__(self, model_type: str, namespace: str | None, id: str | None = None) -> None:
        super().__init__(model_type, namespace, id)
        self.model_type = model_type
        self.namespace = namespace
        self.id = id

    def __str__(self) -> str:
        entry = "" if self.id is None else f"id {self.id!r}: "
        where = "any namespace" if self.namespace is None else f"namespace {self.namespace!r}"
        argument = "" if self.namespace in (None, "default") else f"({self.namespace!r})"
        cure = f"decorate the class with @register_model{argument}"
        return f"{entry}model {self.model_type} is not registered in {where}; {cure}"


class ModelConflict(FlowstoreError, ValueError):
    """Another model is registered under the name already."""

    __module__ = _PUBLIC

    def __init__(self, name: str, namespace: str, reason: str) -> None:
        super().__init__(name, namespace, reason)
        self.name = name
        self.namespace = namespace
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"model {self.name!r} is registered in namespace {self.namespace!r} already, and {self.reason}; "
            "register this one with another name= or namespace="
        )
