"""Examples of JSON schemas, checked by the pydantic models that the schemas come from."""

from __future__ import annotations

import datetime
import enum
import re
import uuid
from typing import Annotated, Any, Literal, Union

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from autobatcher.emulator.answers.json_schema import UnsatisfiableError, example
from autobatcher.emulator.answers.patterns import text_matching


def _integers(low: int, span: int) -> Any:
    return Annotated[int, Field(ge=low, lt=low + span + 1)]


def _multiples(step: int) -> Any:
    return Annotated[int, Field(multiple_of=step, gt=7)]


def _floats(low: int, hundredths: int) -> Any:
    return Annotated[float, Field(gt=low, le=low + hundredths / 100)]


def _strings(least: int, span: int) -> Any:
    return Annotated[str, Field(min_length=least, max_length=least + span)]


def _matching(pattern: str) -> Any:
    return Annotated[str, Field(pattern=pattern)]


def _literals(values: list[Any]) -> Any:
    return Literal[tuple(values)]


def _lists(item: Any, least: int, span: int) -> Any:
    return Annotated[list[item], Field(min_length=least, max_length=least + span)]


def _tuples(kinds: list[Any]) -> Any:
    return tuple[tuple(kinds)]  # type: ignore[misc]


def _unions(kinds: list[Any]) -> Any:
    return Union[tuple(kinds)]  # noqa: UP007 - not known before


def _dicts(item: Any) -> Any:
    return dict[str, item]


def _models(fields: dict[str, tuple[Any, bool]]) -> Any:
    """A model with these fields: of which type, and whether required."""
    described: dict[str, Any] = {
        f"f_{name}": (kind, ...) if needed else (kind | None, None) for name, (kind, needed) in fields.items()
    }
    return pydantic.create_model("Model", **described)


_PATTERNS = [r"^[a-z]{3}-\d+$", r"^(red|green)$", r"[A-Z]\w*", r"^\+?[1-9]\d{6,14}$", r"^[^/]+$"]
_few, _small, _low = st.integers(0, 3), st.integers(0, 20), st.integers(-1000, 1000)
_SCALARS = st.one_of(
    st.sampled_from([str, int, float, bool, type(None), datetime.date, datetime.datetime, uuid.UUID]),
    st.builds(_integers, _low, _small),
    st.builds(_multiples, st.integers(1, 100)),
    st.builds(_floats, _low, st.integers(1, 10_000)),
    st.builds(_strings, _small, _few),
    st.builds(_matching, st.sampled_from(_PATTERNS)),
    st.builds(_literals, st.lists(_low | st.text(max_size=5), min_size=1, max_size=4)),
)


def _composed(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.from_regex(r"\A[a-z]{1,6}\Z")
    return st.one_of(
        st.builds(_lists, items, _few, _few),
        st.builds(_tuples, st.lists(items, min_size=1, max_size=3)),
        st.builds(_unions, st.lists(items, min_size=2, max_size=3)),
        st.builds(_dicts, items),
        st.builds(_models, st.dictionaries(names, st.tuples(items, st.booleans()), max_size=4)),
    )


_TYPES = st.recursive(_SCALARS, _composed, max_leaves=6)


@given(_TYPES, st.text(max_size=30))
def test_an_example_satisfies_the_type_its_schema_came_from(kind: Any, text: str) -> None:
    adapter = pydantic.TypeAdapter(kind)
    schema = adapter.json_schema()
    found = example(schema, text)
    adapter.validate_python(found, strict=False)
    assert found == example(schema, text)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Node(pydantic.BaseModel):
    value: int
    left: Node | None
    children: list[Node]
    by_name: dict[str, Node] = {}


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: Annotated[int, Field(ge=1, le=9)]


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    colours: Annotated[set[Colour], Field(min_length=2)]


class Home(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    pets: Annotated[list[Annotated[Cat | Dog, Field(discriminator="kind")]], Field(min_length=2)]
    numbers: Annotated[set[int], Field(min_length=5)]
    favourite: Colour
    pair: tuple[int, str]


@pytest.mark.parametrize("model", [Node, Home])
def test_recursive_and_discriminated_models_are_satisfied(model: type[pydantic.BaseModel]) -> None:
    model.model_validate(example(model.model_json_schema(), "text"))


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (True, "text"),
        ({}, "text"),
        ({"const": [1]}, [1]),
        ({"enum": ["a", 3], "type": "integer"}, 3),
        ({"type": ["null", "string"]}, "text"),
        (
            {"allOf": [{"properties": {"a": {"type": "null"}}}, {"required": ["a", "b"]}]},
            {"a": None, "b": "text"},
        ),
        ({"type": "array", "items": {"type": "integer"}, "uniqueItems": True, "minItems": 3}, [0, 1, 2]),
        ({"type": "array", "items": {"enum": [True, 1]}, "uniqueItems": True, "minItems": 2}, [True, 1]),
        ({"type": "array", "maxItems": 0}, []),
        ({"type": "number", "exclusiveMinimum": 0, "multipleOf": 0.1}, 0.1),
        ({"type": "integer", "maximum": -3}, -3),
        ({"type": "object", "minProperties": 1, "additionalProperties": {"type": "integer"}}, {"key0": 0}),
        ({"$ref": "#/definitions/a~1b", "definitions": {"a/b": {"type": "null"}}}, None),
    ],
)
def test_keywords_are_understood(schema: Any, expected: Any) -> None:
    found = example(schema, "text")
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"$ref": "#/$defs/none"},
        {"$ref": "https://example.com/schema"},
        {
            "$defs": {"a": {"properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]}},
            "$ref": "#/$defs/a",
        },
        {"enum": ["a"], "type": "integer"},
        {"type": "array", "items": {"const": 1}, "uniqueItems": True, "minItems": 2},
    ],
)
def test_a_schema_that_nothing_satisfies_is_refused(schema: Any) -> None:
    with pytest.raises(UnsatisfiableError):
        example(schema)


@given(
    st.sampled_from([r"\d{4}-\d{2}", r"^(a|bc)+$", r"[^a]x?", r"(?:ab){2,3}c*", r"^\S+@\S+\.com$"]),
    st.integers(0, 3),
)
def test_texts_match_the_pattern_they_were_written_for(pattern: str, variant: int) -> None:
    found = text_matching(pattern, 0, 40, variant)
    assert found is not None
    assert re.search(pattern, found)
