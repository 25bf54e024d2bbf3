"""Models to the bytes that are stored, and back, by what a registry says of them."""

from __future__ import annotations

from typing import Any, Final, TypeVar, cast

from pydantic import BaseModel

from flowstore._values.canonical import canonical, version_of
from flowstore._values.codec import Codec, DecodeError
from flowstore._values.refusals import origin_of
from flowstore._values.typed import Typed, is_alike, typed_of
from flowstore.errors import (
    DamagedEntry,
    EntryMismatch,
    InvalidEntry,
    ModelNotRegistered,
    NotSerializable,
    UnexpectedValue,
)
from flowstore.stand_ins import Unresolved
from flowstore.typed.deciding import usable
from flowstore.typed.registry import ModelRegistry
from flowstore.typed.storage import EntryStorage, Kind, New, Stored

Model = TypeVar("Model", bound=BaseModel)

_CURE: Final = "typed results take by flowstore.typed.register_types([...])"
_VALUE: Final = "result"
"""The name of the value among those of a record; to an operator an entry is a task with a result."""


class Values:
    """Encodes for one storage, and decodes. Every call looks at the registry as it is then."""

    def __init__(self, registry: ModelRegistry, storage: EntryStorage) -> None:
        self.registry = registry
        self._storage = storage

    def encoded(self, id: str, value: object, namespace: str | None, strict: bool, ttl: Any) -> New:
        """The entry to write. Raises ModelNotRegistered, and NotSerializable with the path in the model."""
        if not isinstance(value, BaseModel):
            raise TypeError(f"model: expected an instance of a pydantic model, got {type(value).__name__}")
        kind = self.registry.kind_of(type(value), namespace, strict)
        if (cls := self.registry.class_of(kind)) is not type(value) and origin_of(type(value)) is not cls:
            value = self._moved(value, kind)
        value = self._storage.redacted(id, kind, value)
        try:
            return New(id, kind, self._encode(value, kind), ttl)
        except NotSerializable as error:
            error.add_note(f"in a {kind.name} for id {id!r}; what a backend takes as types=, {_CURE}")
            raise

    def decoded(self, stored: Stored, model_class: type[Model] | None, namespace: str | None) -> Model:
        """The value of an entry that was read with its data. Raises what ``get`` raises.

        It is validated, and as it was stored: a validator that would change it has no say, unless the model
        has other types now.
        """
        cls = self._class_for(usable(stored), model_class, namespace)
        kind, value = stored.kind, self._decode(stored, cls)
        if type(value) is Unresolved:
            raise InvalidEntry(stored.id, kind.name, kind.namespace, "the value", value.reason)
        try:
            checked = _checks(cls).checked(value, stored.id, kind.name)
        except UnexpectedValue as error:
            raise InvalidEntry(
                stored.id, kind.name, kind.namespace, error.path, error.reason
            ) from error.__cause__
        return cast(Model, value if is_alike(value, checked) else checked)

    def is_same(self, new: New, standing: Stored) -> bool:
        """Whether the value that stands equals the new one, as ``canonical`` has it, and is of its model.

        Their encodings are compared, so nothing of the model is called; but for an entry of an earlier
        version, which is what ``upgrade`` makes of it.
        """
        if standing.kind == new.kind and standing.data == new.data:
            return True
        kinds = self.registry.names_of(new.kind)
        if standing.kind not in kinds or standing.data is None:
            return False
        if version_of(standing.data) == version_of(new.data):
            return canonical(standing.data) == canonical(new.data)
        value = self._decode(standing, self.registry.class_of(new.kind))
        if type(value) is Unresolved:
            return False
        return canonical(self._encode(value, new.kind)) == canonical(new.data)

    def kinds_of(self, model_class: type[BaseModel], namespace: str | None) -> list[Kind]:
        """The kinds that entries of this model may have: its own, and its former names."""
        _check_model(model_class)
        return [*self.registry.names_of(self.registry.kind_of(model_class, namespace))]

    def _class_for(
        self, stored: Stored, model_class: type[Model] | None, namespace: str | None
    ) -> type[BaseModel]:
        """The class to make an instance of."""
        kind = stored.kind
        if namespace is not None and namespace != kind.namespace:
            raise EntryMismatch(stored.id, kind.name, kind.namespace, f"of namespace {namespace!r}")
        try:
            cls = self.registry.class_of(kind)
        except ModelNotRegistered:
            if model_class is None:
                raise ModelNotRegistered(kind.name, kind.namespace, stored.id) from None
            cls = None
        if model_class is None:
            assert cls is not None
            return cls
        _check_model(model_class)
        if cls is not None and issubclass(cls, model_class):
            return cls
        own = self.registry.class_of(self.registry.kind_of(model_class, namespace))
        if cls is not own:
            raise EntryMismatch(stored.id, kind.name, kind.namespace, f"of model {model_class.__name__}")
        return model_class

    def _moved(self, value: BaseModel, kind: Kind) -> object:
        """An instance of a class that the registered one has taken the place of, as one of that.

        By what would be stored of it, part for part: to validate it anew would lose what validation drops.
        """
        before = self.registry.codec_of(models_in(value), kind, self._storage.max_bytes)
        moved = self._codec(kind).decode_fields(before.encode_fields({_VALUE: value}), {_VALUE})[_VALUE]
        if type(moved) is Unresolved:
            raise TypeError(f"model: cannot be made the {kind.name} that is registered now: {moved.reason}")
        return moved

    def _encode(self, value: object, kind: Kind) -> bytes:
        return self._codec(kind).encode_fields({_VALUE: value})

    def _codec(self, kind: Kind) -> Codec:
        return self.registry.codec(self._storage.max_bytes, kind.namespace)

    def _decode(self, stored: Stored, cls: type[BaseModel]) -> object:
        """Without validation; an Unresolved where that cannot be done."""
        codec = self._codec(stored.kind)
        if cls is not self.registry.class_of(stored.kind):  # the reader's own, of the same structure
            codec = self.registry.codec_of([cls], stored.kind, self._storage.max_bytes)
        try:
            return codec.decode_fields(stored.data or b"", {_VALUE})[_VALUE]
        except (DecodeError, KeyError) as error:
            raise DamagedEntry(stored.id, stored.kind.name, str(error)) from error


def models_in(value: BaseModel) -> list[type[BaseModel]]:
    """The classes of the models that it is made of, its own first."""
    found: dict[type[BaseModel], None] = {}
    ahead: list[Any] = [value]
    seen: set[int] = set()
    while ahead:
        each = ahead.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, BaseModel):
            found[type(each)] = None
            ahead += [each.__dict__, each.__pydantic_extra__, each.__pydantic_private__]
        elif isinstance(each, dict):
            ahead += each.values()
        elif isinstance(each, list | tuple | set | frozenset):
            ahead += each
    return [*found]


def _checks(cls: type[BaseModel]) -> Typed[Any]:
    checks = typed_of(cls, "model_class")
    assert checks is not None
    return checks


def _check_model(model_class: object) -> None:
    if not (isinstance(model_class, type) and issubclass(model_class, BaseModel)):
        raise TypeError(f"model_class: expected a pydantic model, got {model_class!r:.80}")
