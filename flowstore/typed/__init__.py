"""Typed results by id, for programs that are no queue. See docs/typed.md."""

from flowstore.typed.behaviors import WriteBehavior
from flowstore.typed.entries import EntryInfo, EntryPage
from flowstore.typed.generated import ResultsManager
from flowstore.typed.manager import AsyncResultsManager
from flowstore.typed.registry import (
    DEFAULT_REGISTRY,
    ModelRegistry,
    clear_registry,
    find_model_in_all_namespaces,
    find_model_namespace,
    get_model_class,
    get_models_in_namespace,
    get_namespaces,
    register_model,
    register_types,
)

__all__ = [
    "DEFAULT_REGISTRY",
    "AsyncResultsManager",
    "EntryInfo",
    "EntryPage",
    "ModelRegistry",
    "ResultsManager",
    "WriteBehavior",
    "clear_registry",
    "find_model_in_all_namespaces",
    "find_model_namespace",
    "get_model_class",
    "get_models_in_namespace",
    "get_namespaces",
    "register_model",
    "register_types",
]
