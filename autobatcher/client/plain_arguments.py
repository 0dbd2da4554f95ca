"""Which arguments of a call the SDK would send exactly as they are: those that JSON has, in the types that it has."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from inspect import signature
from math import isfinite
from typing import Any

from openai import NotGiven, Omit

from .batchable import LONGEST_MODEL_NAME


def names_of(method: Callable[..., Any]) -> frozenset[str]:
    """The parameters of a method of the SDK that are fields of the body."""
    return frozenset(signature(method).parameters) - _NO_FIELDS


def plain_fields(
    arguments: Mapping[str, Any], names: Collection[str], required: Iterable[str]
) -> dict[str, Any] | None:
    """The body's fields of a plain call; None for any other call.

    Args:
        names: the parameters that are fields of the body.
        required: those that a call cannot leave out, beside the model.
    """
    fields: dict[str, Any] = {}
    for name, value in arguments.items():
        if name in names:
            if not is_given(value):
                continue
            if not is_json(value):
                return None
            fields[name] = value
        elif name not in _EXTRAS or (value is not None and is_given(value)):
            return None
    model = fields.get("model")
    is_named = type(model) is str and 0 < len(model) <= LONGEST_MODEL_NAME
    is_plain = is_named and fields.get("stream", False) is False
    return fields if is_plain and all(name in fields for name in required) else None


def is_given(value: Any) -> bool:
    """Whether it is a value, and not one of the SDK's marks for none."""
    return type(value) not in _SENTINELS


def is_json(value: Any) -> bool:
    """Whether a value consists of exact JSON types. The SDK converts subclasses and other types."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is list:
        return _are_json(value)
    if kind is dict:
        return all(type(name) is str for name in value) and _are_json(value.values())
    return kind is float and isfinite(value)


def _are_json(values: Iterable[Any]) -> bool:
    for value in values:  # noqa: SIM110  (a generator costs half a microsecond)
        if not is_json(value):
            return False
    return True


_SENTINELS = frozenset({Omit, NotGiven})
_SCALARS = frozenset({str, int, bool, type(None)})
_EXTRAS = frozenset({"extra_headers", "extra_query", "extra_body"})
_NO_FIELDS = _EXTRAS | {"self", "timeout", "stream_options"}
