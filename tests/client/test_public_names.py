"""What the public methods return, and what they raise, is public itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest

import autobatcher
from autobatcher import BatchOpenAI, BatchOpenAISync, BatchTransport, errors


def public_methods(kind: type) -> Iterator[tuple[str, Any]]:
    """Methods and properties that are ours."""
    for name, member in inspect.getmembers(kind):
        function = member.fget if isinstance(member, property) else member
        if not name.startswith("_") and getattr(function, "__module__", "").startswith("autobatcher."):
            yield name, function


RETURNS = [
    pytest.param(function, id=f"{kind.__name__}.{name}")
    for kind in (BatchOpenAI, BatchOpenAISync, BatchTransport)
    for name, function in public_methods(kind)
    if "return" in getattr(function, "__annotations__", {})
]


@pytest.mark.parametrize("function", RETURNS)
def test_what_a_public_method_returns_is_exported(function: Any) -> None:
    returned = get_type_hints(function)["return"]
    for kind in get_args(returned) or (returned,):
        if isinstance(kind, type) and kind.__module__.startswith("autobatcher."):
            assert kind.__name__ in autobatcher.__all__
            assert getattr(autobatcher, kind.__name__) is kind


def test_every_error_of_ours_is_exported() -> None:
    ours = {name for name, kind in vars(errors).items() if inspect.isclass(kind) and kind.__module__ == errors.__name__}
    assert ours <= set(autobatcher.__all__)
