"""Answers with fields of any type, or without some: the fast path makes of them what the SDK makes."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai._models import construct_type
from pydantic import BaseModel

from autobatcher.client.parse_method import ParseMethod
from autobatcher.client.plain_method import PlainMethod
from autobatcher.client.resources import chat, responses
from autobatcher.emulator.answers import answer
from tests.client.both_ways import shape


class Said(BaseModel):
    text: str


SCHEMA = {"name": "Said", "schema": {"type": "object", "properties": {"text": {"type": "string"}}}}
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
RESPONSE: dict[str, Any] = {"model": "m", "input": "hello", "tools": [{"type": "function", "name": "f"}]}
ASKED: dict[str, tuple[PlainMethod, dict[str, Any]]] = {
    "chat.completions.create": (chat.CREATE, CHAT),
    "chat.completions.parse": (
        chat.PARSE,
        {**CHAT, "response_format": {"type": "json_schema", "json_schema": SCHEMA}},
    ),
    "responses.create": (responses.CREATE, RESPONSE),
    "responses.parse": (responses.PARSE, {**RESPONSE, "text": {"format": {"type": "json_schema", **SCHEMA}}}),
}
ITEMS: list[Any] = [
    {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "s"}]},
    {"type": "function_call", "id": "f", "call_id": "c", "name": "n", "arguments": "{}", "status": "completed"},
    {"type": "web_search_call", "id": "w", "status": "completed", "action": {"type": "search", "query": "q"}},
]
VALUES: list[Any] = [None, True, 0, -1.5, 2**70, "x", "5", [], {}, "completed", {"type": "text"}, ["a"]]


def mutated(value: Any, dice: random.Random) -> Any:
    value = copy.deepcopy(value)
    if "output" in value:
        value["output"] = [*dice.sample(copy.deepcopy(ITEMS), dice.randrange(3)), *value["output"]]
    for _ in range(dice.randrange(3)):
        holder, key = dice.choice(list(places(value)))
        if dice.random() < 0.3:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(dice.choice(VALUES))
    if dice.random() < 0.2:
        value["more"] = copy.deepcopy(dice.choice(VALUES))
    return value


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys: Any = value.keys() if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)
    for key in keys:
        yield value, key
        yield from places(value[key])


def outcome(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except Exception as error:
        return type(error), str(error)


@pytest.mark.parametrize("name", ASKED)
def test_whatever_the_answer_is_its_model_is_the_sdks(name: str) -> None:
    method, asked = ASKED[name]
    good = answer(method.endpoint, json.dumps(asked).encode(), created=1).body
    method.answer(good, Said)  # the first one of a process is parsed by the SDK alone
    validated = 0
    for seed in range(150):
        value = mutated(json.loads(good), random.Random(seed))
        constructed: Any = construct_type(type_=method._model, value=copy.deepcopy(value))
        is_parsed = isinstance(method, ParseMethod)
        theirs = outcome(method.by_the_sdk, constructed, Said) if isinstance(method, ParseMethod) else constructed
        body = json.dumps(value).encode()
        ours = outcome(method.answer, body, Said if is_parsed else None)
        assert shape(ours) == shape(theirs), seed
        if isinstance(ours, openai.BaseModel):
            assert ours.to_json(warnings=False) == theirs.to_json(warnings=False)
        validated += method.validated(body) is not None
    assert 20 < validated < 130  # both ways of making a model were gone
