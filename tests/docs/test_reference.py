"""docs/reference has every public name, and what it makes of docstrings reads as they do."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import autobatcher
from autobatcher import emulator, errors, events, server

from .pages import DOCS

PUBLIC = (autobatcher, emulator, errors, events, server)
TYPED = Path(__file__).parents[1] / "public_types.py"


@pytest.mark.parametrize("module", [autobatcher, emulator, server], ids=lambda module: module.__name__)
def test_every_public_name_is_in_the_reference(module: ModuleType) -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (DOCS / "reference").glob("*.md"))
    named = set(re.findall(rf"(?:auto\w+|class):: {module.__name__}\.(\w+)", text))
    whole = re.findall(r"automodule:: (\S+)", text)  # with all their members
    public = {name: getattr(module, name) for name in module.__all__ if name not in {*named, "__version__"}}
    modules = {name: getattr(thing, "__module__", "") or thing.__name__ for name, thing in public.items()}
    assert {name for name, its_module in modules.items() if its_module not in whole} == set()


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_type_checkers_see_a_use_of_every_public_name(module: ModuleType) -> None:
    nodes = list(ast.walk(ast.parse(TYPED.read_text(encoding="utf-8"))))
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    used |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    assert set(module.__all__) - used - {"errors"} == set()


@pytest.fixture
def rest(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    pytest.importorskip("sphinx", reason="the extra `docs` is not installed")
    monkeypatch.syspath_prepend(str(DOCS))
    from importlib import import_module

    made: Any = import_module("site_parts.docstrings").rest
    return lambda text, *parameters: [
        line
        for line in made(text.splitlines(), parameters=parameters, link={"Answer": "autobatcher.Answer"}.get)
        if line
    ]


def test_sections_become_fields_and_names_become_links(rest: Callable[..., list[str]]) -> None:
    text = """Return an `Answer`, or `None`; 2 * 3.

    client.call()

Args:
    one: the first,
        at length.
    two, three: others.

Raises:
    ValueError: at once.

Cancelled: nothing happens."""
    assert rest(text) == [
        r"Return an :py:obj:`Answer <autobatcher.Answer>`, or ``None``; 2 \* 3.",
        ".. code-block:: python",
        "    client.call()",
        ":param one: the first, at length.",
        ":param two: others.",
        ":param three: others.",
        ":raises ValueError: at once.",
        "Cancelled: nothing happens.",
    ]


def test_attributes_are_parameters_where_they_can_be_passed(rest: Callable[..., list[str]]) -> None:
    text = "What it is.\n\nAttributes:\n    given: passed.\n    made: not passed."
    assert rest(text, "given")[1:] == [":param given: passed.", ":ivar made: not passed."]
