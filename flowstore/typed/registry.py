"""Which pydantic models entries are of, by namespace and name.

Any number of threads register and read: a reader sees all models as they were at one moment. No code of a
program runs under the lock, as it might import a module whose import, in another thread, waits for the lock.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import Any, Final, TypeVar, overload

from pydantic import BaseModel, RootModel

from flowstore._errors.raised import full_name
from flowstore._values.codec import Codec
from flowstore._values.refusals import short
from flowstore._values.types import Types
from flowstore.errors import ModelNotRegistered
from flowstore.stored_type import UnknownFields
from flowstore.typed.models import Models
from flowstore.typed.naming import DEFAULT_NAMESPACE, Entry, Options, check_name, entry_of
from flowstore.typed.storage import Kind

M = TypeVar("M", bound=BaseModel)
Upgrade = Callable[[int, Any], Any]


class ModelRegistry:
    """Pydantic models by namespace and name.

    The functions of the same names in this module are those of ``DEFAULT_REGISTRY``.
    """

    def __init__(self) -> None:
        self._models = Models()
        self._changing = Lock()

    @overload
    def register_model(
        self,
        model: type[M],
        /,
        *,
        namespace: str = ...,
        name: str | None = ...,
        aliases: Iterable[str] = ...,
        version: int = ...,
        upgrade: Upgrade | None = ...,
        unknown_fields: UnknownFields | None = ...,
    ) -> type[M]: ...

    @overload
    def register_model(
        self,
        namespace: str = ...,
        /,
        *,
        name: str | None = ...,
        aliases: Iterable[str] = ...,
        version: int = ...,
        upgrade: Upgrade | None = ...,
        unknown_fields: UnknownFields | None = ...,
    ) -> Callable[[type[M]], type[M]]: ...

    @overload
    def register_model(
        self,
        model: None = ...,
        /,
        *,
        namespace: str,
        name: str | None = ...,
        aliases: Iterable[str] = ...,
        version: int = ...,
        upgrade: Upgrade | None = ...,
        unknown_fields: UnknownFields | None = ...,
    ) -> Callable[[type[M]], type[M]]: ...

    def register_model(
        self,
        model: type[M] | str | None = None,
        /,
        *,
        namespace: str | None = None,
        name: str | None = None,
        aliases: Iterable[str] = (),
        version: int = 1,
        upgrade: Upgrade | None = None,
        unknown_fields: UnknownFields | None = None,
    ) -> type[M] | Callable[[type[M]], type[M]]:
        """Register a model: ``@register_model``, ``@register_model("metrics")``, ``register_model(Report)``.

        ``namespace`` is "default", and ``name`` that of the class, unless you say otherwise; neither may
        contain ":" or "[". ``aliases`` are names that the model had before: entries of these are read as this
        one. ``version``, ``upgrade`` and ``unknown_fields`` are as for StoredType. A generic model is
        registered with all its parametrizations; to register one of them by itself, give it a name.

        The same class again changes nothing. Another class of the same structure, as from a module that is
        reloaded, takes its place, with a UserWarning; one of another structure raises ModelConflict, which
        says what differs. So do the same class with other options and a name that is an alias of another.
        """
        options = Options(_texts("aliases", aliases), version, upgrade, unknown_fields)
        if isinstance(model, str):
            if namespace is not None:
                raise TypeError(f"namespace: given twice, {model!r} and {namespace!r}")
            namespace, model = model, None
        at = check_name("namespace", DEFAULT_NAMESPACE if namespace is None else namespace)
        if name is not None:
            check_name("name", name)
        if model is not None:
            return self._register(model, at, name, options)

        def register(model: type[M]) -> type[M]:
            return self._register(model, at, name, options)

        return register

    def get_model_class(self, name: str, namespace: str = DEFAULT_NAMESPACE) -> type[BaseModel]:
        """The model of that name or alias. Raises ModelNotRegistered."""
        return self.class_of(Kind(check_name("namespace", namespace), check_name("name", name)))

    def find_model_namespace(self, cls: type[BaseModel], strict: bool = False) -> str | None:
        """The namespace that the class is registered in, None if there is none.

        Of several it is "default", else the first. Unless ``strict`` a class that is not registered is found
        as the one of the same name and structure that is, as after its module was reloaded.
        """
        namespaces = [kind.namespace for kind in self._models.kinds_of(_checked(cls), None, strict)]
        return DEFAULT_NAMESPACE if DEFAULT_NAMESPACE in namespaces else next(iter(namespaces), None)

    def find_model_in_all_namespaces(self, name: str) -> dict[str, type[BaseModel]]:
        """The models of that name or alias by their namespaces, which are in order."""
        check_name("name", name)
        models = self._models
        found = {namespace: models.named(Kind(namespace, name)) for namespace in models.namespaces}
        return {namespace: entry.cls for namespace, entry in found.items() if entry is not None}

    def get_namespaces(self) -> list[str]:
        """Those that have a model, in order."""
        return [*self._models.namespaces]

    def get_models_in_namespace(self, namespace: str) -> dict[str, type[BaseModel]]:
        """The models by their names, which are in order, without aliases. {} if there are none."""
        return self._models.namespaces.get(check_name("namespace", namespace), {}).copy()

    def clear_registry(self, namespace: str | None = None) -> None:
        """Forget all models and types, or the models of one namespace."""
        if namespace is not None:
            check_name("namespace", namespace)
        with self._changing:
            self._models = self._models.without(namespace)

    def register_types(self, types: Types) -> None:
        """Know these types as well, as ``types=`` of a backend: for fields that pydantic calls ``Any``, or
        whose classes need a ``StoredType`` with functions of their own. They are no models of this registry.
        """
        with self._changing:
            self._models = self._models.with_types(types)

    def kind_of(self, cls: type[BaseModel], namespace: str | None = None, strict: bool = False) -> Kind:
        """What the class is registered as, in this namespace or, for None, in any; "default" comes first.

        A parametrization of a generic model is what the model is registered as, if it is not itself. Without
        ``strict`` a class is found by its structure, too. Raises ModelNotRegistered, and ValueError if it is
        in several namespaces, none of them "default".
        """
        if namespace is not None:
            check_name("namespace", namespace)
        kinds = self._models.kinds_of(_checked(cls), namespace, strict)
        if not kinds:
            raise ModelNotRegistered(cls.__name__, namespace)
        namespaces = [kind.namespace for kind in kinds]
        if DEFAULT_NAMESPACE in namespaces:
            return kinds[namespaces.index(DEFAULT_NAMESPACE)]
        if namespaces[0] != namespaces[-1]:
            several = ", ".join(map(repr, namespaces))
            raise ValueError(f"namespace: {cls.__qualname__} is registered in {several}; say in which one")
        return kinds[0]

    def class_of(self, kind: Kind) -> type[BaseModel]:
        """The model of that name or alias in that namespace. Raises ModelNotRegistered."""
        entry = self._models.named(kind)
        if entry is None:
            raise ModelNotRegistered(kind.name, kind.namespace)
        return entry.cls

    def names_of(self, kind: Kind) -> tuple[Kind, ...]:
        """All that entries of this model may be stored as: its name, and then its aliases.

        ``kind`` may be any of them. If there is no such model it is the only one.
        """
        entry = self._models.named(kind)
        return (kind,) if entry is None else (entry.kind, *entry.aliases)

    def codec(self, max_bytes: int, namespace: str = DEFAULT_NAMESPACE) -> Codec:
        """One that knows all models, as they are now. The same one until something has changed.

        A model that is registered in several namespaces is written under its name in ``namespace``, so that
        programs that have it in that one alone can read it, and equal values have equal bytes.
        """
        return self._models.built(namespace, max_bytes).codec

    def codec_of(self, classes: Sequence[type[BaseModel]], kind: Kind, max_bytes: int) -> Codec:
        """One that has the first class in the place of the model that is registered as ``kind``.

        For instances of a class that was replaced, and of ``classes`` in it that were, too.
        """
        return self._models.codec_of(classes, kind, max_bytes)

    def _register(self, cls: type[M], namespace: str, name: str | None, options: Options) -> type[M]:
        """Called by what the program calls, for the warning to show that line."""
        _checked(cls)
        name = check_name("name", cls.__name__) if name is None else name
        entry = entry_of(cls, Kind(namespace, name), options)
        is_said = False
        while True:
            before = self._models
            after, replaced = before.with_entry(entry)
            if replaced is not None and not is_said:
                warnings.warn(_words(entry, replaced), stacklevel=3)
                is_said = True
            with self._changing:
                if self._models is before:  # else another thread was faster, and all is to be looked at again
                    self._models = after
                    return cls


def _checked(cls: type[BaseModel]) -> type[BaseModel]:
    if not isinstance(cls, type) or not issubclass(cls, BaseModel) or cls in (BaseModel, RootModel):
        is_instance = isinstance(cls, BaseModel)
        got = f"an instance of {full_name(type(cls))}" if is_instance else short(cls)
        raise TypeError(f"model: expected a pydantic model, the class, got {got}")
    return cls


def _texts(argument: str, texts: Iterable[str]) -> tuple[str, ...]:
    if isinstance(texts, str):
        raise TypeError(f"{argument}: expected several names such as [{texts!r:.80}], got a str")
    return tuple(texts)


def _words(entry: Entry, replaced: type[BaseModel]) -> str:
    namespace, name = entry.kind
    return (
        f"model {name!r} of namespace {namespace!r} is {full_name(entry.cls)} from now on, in place of "
        f"{full_name(replaced)}, a class of the same structure; "
        "this is right if its module was reloaded, otherwise give one of them another name="
    )


DEFAULT_REGISTRY: Final = ModelRegistry()

register_model = DEFAULT_REGISTRY.register_model
get_model_class = DEFAULT_REGISTRY.get_model_class
find_model_namespace = DEFAULT_REGISTRY.find_model_namespace
find_model_in_all_namespaces = DEFAULT_REGISTRY.find_model_in_all_namespaces
get_namespaces = DEFAULT_REGISTRY.get_namespaces
get_models_in_namespace = DEFAULT_REGISTRY.get_models_in_namespace
clear_registry = DEFAULT_REGISTRY.clear_registry
register_types = DEFAULT_REGISTRY.register_types
kind_of = DEFAULT_REGISTRY.kind_of
class_of = DEFAULT_REGISTRY.class_of
names_of = DEFAULT_REGISTRY.names_of
codec = DEFAULT_REGISTRY.codec
