"""The fast path of each method equals the SDK's path: types, fields, errors and bodies."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

import openai
import pytest
from openai import NOT_GIVEN, omit
from openai.lib._parsing import _completions
from openai.resources.chat import AsyncCompletions
from openai.resources.embeddings import AsyncEmbeddings
from openai.resources.responses import AsyncResponses
from openai.types.chat import ChatCompletion
from pydantic import BaseModel, create_model

from autobatcher import BatchOpenAI
from autobatcher.client.batchable import batch_request
from autobatcher.client.class_schemas import ClassSchemas
from autobatcher.client.parse_method import ParseChat
from autobatcher.client.resources.chat import PARSE
from autobatcher.client.resources.embeddings import CREATE
from autobatcher.emulator import FaultPlan, LineFault
from autobatcher.upstream.account import Account
from autobatcher.upstream.providers import profile_named
from tests.client.both_ways import sent_and_told, shape, took
from tests.harness import MODEL, Harness

__all__ = ["took"]


class Inner(BaseModel):
    number: int


class Said(BaseModel):
    """What is said."""

    text: str
    inner: Inner
    more: list[Inner]


MESSAGES: Any = [{"role": "user", "content": "hello"}]
NEEDED: dict[str, dict[str, Any]] = {
    "embeddings.create": {"input": "hello"},
    "responses.create": {"input": "hello"},
    "chat.completions.parse": {"messages": MESSAGES, "response_format": Said},
    "responses.parse": {"input": "hello", "text_format": Said},
}
OWNERS = {
    "embeddings.create": AsyncEmbeddings,
    "responses.create": AsyncResponses,
    "chat.completions.parse": AsyncCompletions,
    "responses.parse": AsyncResponses,
}
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}


def called(method: str, options: dict[str, Any]) -> Callable[[BatchOpenAI], Any]:
    def call(client: Any) -> Any:
        for name in method.split("."):
            client = getattr(client, name)
        return client(**{"model": MODEL, **NEEDED[method.replace("with_raw_response.", "")], **options})

    return call


PLAIN: list[tuple[str, dict[str, Any]]] = [
    ("embeddings.create", {}),
    ("embeddings.create", {"input": ["hello", "you"], "dimensions": 5, "user": "u", "encoding_format": NOT_GIVEN}),
    ("embeddings.create", {"input": [1, 2, 3], "encoding_format": "float"}),
    ("embeddings.create", {"input": [[1], [2]], "encoding_format": "base64", "dimensions": omit}),
    ("responses.create", {}),
    ("responses.create", {"input": MESSAGES, "instructions": "i", "temperature": 0.5, "metadata": {"a": "é"}}),
    ("responses.create", {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "f"}, "stream": False}),
    ("responses.create", {"include": ["message.output_text.logprobs"], "top_logprobs": 2, "max_output_tokens": 1}),
    ("chat.completions.parse", {}),
    ("chat.completions.parse", {"n": 2, "temperature": 0.5, "logprobs": True}),
    ("responses.parse", {}),
    ("responses.parse", {"text": {"verbosity": "low"}, "instructions": "i", "input": MESSAGES, "stream": omit}),
]


@pytest.mark.parametrize(("method", "options"), PLAIN)
async def test_a_plain_call_takes_the_fast_path_and_gives_what_the_sdks_way_gives(
    method: str, options: dict[str, Any], took: list[str]
) -> None:
    fast, told_fast = await sent_and_told("fast", called(method, options))
    assert took == ["fast"]
    long, told_long = await sent_and_told("sdk", called(method, options))
    assert took == ["fast", "sdk"]
    assert fast == long
    assert shape(told_fast) == shape(told_long)
    assert isinstance(told_fast, openai.BaseModel)
    assert bool(told_fast._request_id) == bool(told_long._request_id)


TOOL = openai.pydantic_function_tool(Inner)
UNUSUAL: list[tuple[str, dict[str, Any]]] = [
    ("embeddings.create", {"input": ("hello", "you")}),
    ("embeddings.create", {"timeout": 1_000}),
    ("embeddings.with_raw_response.create", {}),
    ("responses.create", {"extra_body": {"x": 1}}),
    ("responses.create", {"stream": True}),
    ("responses.with_raw_response.create", {}),
    ("chat.completions.parse", {"tools": [TOOL]}),
    ("chat.completions.parse", {"response_format": {"type": "text"}}),
    ("chat.completions.parse", {"response_format": omit}),
    ("responses.parse", {"extra_headers": {"traceparent": "1"}}),
    ("responses.parse", {"text": {"format": {"type": "text"}}}),
    ("responses.parse", {"text_format": omit}),
]


@pytest.mark.parametrize(("method", "options"), UNUSUAL)
async def test_an_unusual_call_goes_the_sdks_way(method: str, options: dict[str, Any], took: list[str]) -> None:
    await sent_and_told("fast", called(method, options))
    assert took == ["sdk"]


def item(body: Any) -> Any:
    return body["data"][0]


def message(body: Any) -> Any:
    return body["choices"][0]["message"]


def without(name: str, field: Callable[[Any], Any] = lambda body: body) -> Callable[[Any], Any]:
    return lambda body: field(body).pop(name)


def with_other(field: Callable[[Any], Any] = lambda body: body, **values: Any) -> Callable[[Any], Any]:
    return lambda body: field(body).update(values)


ODD: list[tuple[str, Callable[[Any], Any]]] = [
    ("embeddings.create", with_other(item, embedding=[1, 0.5, -2.0])),
    ("embeddings.create", with_other(item, embedding=[1, "0.5"])),
    ("embeddings.create", with_other(item, index="0", more=[{"a": 1}])),
    ("embeddings.create", with_other(item, embedding="AACAPw==", more=None)),
    ("embeddings.create", without("usage")),
    ("embeddings.create", with_other(more={"a": [1]})),
    ("embeddings.create", with_other(data=[])),
    ("embeddings.create", without("data")),
    ("embeddings.create", with_other(item, embedding="no base64")),
    ("embeddings.create", with_other(item, embedding="AAA=")),
    ("embeddings.create", without("embedding", item)),
    ("responses.create", without("cache_write_tokens", lambda body: body["usage"]["input_tokens_details"])),
    ("responses.create", without("parallel_tool_calls")),
    ("responses.create", with_other(output=[{"type": "reasoning", "id": "r", "summary": []}])),
    ("responses.create", with_other(output=[{"type": "of tomorrow", "id": "r", "x": [1]}])),
    ("responses.create", with_other(output=None)),
    ("responses.create", with_other(created_at="5", temperature=1, more={"a": [1]})),
    ("responses.create", with_other(instructions=[{"role": "user", "content": "x"}, {"type": "message"}])),
    ("chat.completions.parse", with_other(message, content=None, refusal="no")),
    ("chat.completions.parse", with_other(message, content="no JSON")),
    ("chat.completions.parse", with_other(message, content='{"text": 5}')),
    ("chat.completions.parse", with_other(message, content="", more=1)),
    ("chat.completions.parse", with_other(message, parsed={"text": "x"})),
    (
        "chat.completions.parse",
        with_other(message, tool_calls=[{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}]),
    ),
    ("chat.completions.parse", with_other(lambda body: body["choices"][0], finish_reason="length")),
    ("chat.completions.parse", with_other(lambda body: body["choices"][0], finish_reason="content_filter")),
    ("chat.completions.parse", with_other(choices=None)),
    ("chat.completions.parse", with_other(more={"a": [1]})),
    ("responses.parse", without("parallel_tool_calls")),
    ("responses.parse", with_other(output=[], more=1)),
    ("responses.parse", with_other(lambda body: body["output"][0], content=[{"type": "refusal", "refusal": "no"}])),
    ("responses.parse", with_other(lambda body: body["output"][0], phase="commentary")),
    ("responses.parse", with_other(lambda body: body["output"][0]["content"][0], text="no JSON")),
    ("responses.parse", with_other(lambda body: body["output"][0]["content"][0], more=1)),
    ("responses.parse", with_other(output=[{"type": "reasoning", "id": "r", "summary": []}])),
    (
        "responses.parse",
        with_other(output=[{"type": "function_call", "id": "i", "call_id": "c", "name": "f", "arguments": "{}"}]),
    ),
]


@pytest.mark.parametrize(("method", "change"), ODD)
async def test_odd_answers_become_what_the_sdk_makes_of_them(
    method: str, change: Callable[[Any], Any], took: list[str]
) -> None:
    if "parse" in method:
        await sent_and_told("fast", called(method, {}))  # the first answer of a process is parsed by the SDK alone
    _, fast = await sent_and_told("fast", called(method, {}), change)
    _, long = await sent_and_told("sdk", called(method, {}), change)
    assert took[-2:] == ["fast", "sdk"]
    assert type(fast) is type(long)
    if isinstance(fast, Exception):
        assert str(fast) == str(long)
    else:
        assert shape(fast) == shape(long)
        assert {**fast.to_dict(warnings=False), "created_at": 0, "created": 0} == {
            **long.to_dict(warnings=False),
            "created_at": 0,
            "created": 0,
        }


@pytest.mark.parametrize("method", NEEDED)
async def test_failures_are_equal_on_both_ways(method: str) -> None:
    plan = FaultPlan((LineFault(kind="fail", status=400),))
    _, fast = await sent_and_told("fast", called(method, {}), faults=plan)
    _, long = await sent_and_told("sdk", called(method, {}), faults=plan)
    assert isinstance(fast, openai.BadRequestError)
    assert type(fast) is type(long)
    assert fast.request.url == long.request.url
    assert json.loads(fast.request.content) == json.loads(long.request.content)


@pytest.mark.parametrize("method", NEEDED)
async def test_a_replaced_method_of_the_sdk_sees_every_call(
    method: str, monkeypatch: pytest.MonkeyPatch, took: list[str]
) -> None:
    seen: list[str] = []
    owner, name = OWNERS[method], method.rpartition(".")[2]
    original = getattr(owner, name)

    async def traced(self: Any, **options: Any) -> Any:
        seen.append(name)
        return await original(self, **options)

    monkeypatch.setattr(owner, name, traced)
    _, told = await sent_and_told("fast", called(method, {}))
    assert isinstance(told, openai.BaseModel)
    assert (took, seen) == (["sdk"], [name])


COMPLETION: dict[str, Any] = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "logprobs": None,
            "message": {"role": "assistant", "refusal": None, "content": '{"number": 5}'},
        }
    ],
}


@pytest.mark.parametrize("is_of_tomorrow", [False, True])
def test_the_first_answer_tells_whether_the_sdk_parses_as_it_did(is_of_tomorrow: bool) -> None:
    """If so, its code parses no further one; if not, it parses all."""
    asked: list[Any] = []

    def parse(**options: Any) -> Any:
        asked.append(options)
        parsed = _completions.parse_chat_completion(**options)
        if is_of_tomorrow:
            parsed.choices[0].message.content = "more"
        return parsed

    functions = {"type_to_response_format_param": dict, "parse_chat_completion": parse}
    method = ParseChat(AsyncCompletions, ChatCompletion, SimpleNamespace(**functions))
    answers = [method.answer(json.dumps(COMPLETION).encode(), Inner) for _ in range(3)]
    assert shape(answers[0]) == shape(answers[1]) == shape(answers[2])
    assert answers[0].choices[0].message.parsed == Inner(number=5)
    assert len(asked) == (3 if is_of_tomorrow else 1)


def test_where_the_sdk_has_moved_its_parsing_every_parse_goes_its_way() -> None:
    asked: dict[str, Any] = {"model": MODEL, "messages": MESSAGES, "response_format": Said}
    assert PARSE.fields(asked) is not None
    assert ParseChat(AsyncCompletions, ChatCompletion, None).fields(asked) is None


@pytest.mark.parametrize("given", ["hello", ["a", "b"], [1, 2, 3], [[1], [2, 3]], [], ["a"]])
async def test_inputs_of_embeddings_are_counted_as_those_of_any_other_door(given: Any) -> None:
    body = json.dumps({"model": MODEL, "input": given}).encode()
    account = Account(base_url="http://upstream.test/v1", provider=profile_named("openai"), api_key="k")
    counted = batch_request(account, "/v1/embeddings", body).embedding_inputs
    assert CREATE.input_count({"model": MODEL, "input": given}) == counted


async def test_a_class_that_was_rebuilt_is_sent_with_its_schema_of_now() -> None:
    changing = create_model("Changing", text=(str, ...))
    harness = Harness()
    async with harness.client() as client:
        await client.responses.parse(model=MODEL, input="hello", text_format=changing)
        changing.model_fields["text"].description = "more"
        changing.model_rebuild(force=True)
        await client.responses.parse(model=MODEL, input="hello", text_format=changing)
    harness.emulator.close()
    texts = [body["text"]["format"]["schema"]["properties"]["text"] for body in harness.bodies_sent()]
    assert [text.get("description") for text in texts] == [None, "more"]


def test_classes_that_are_made_for_each_call_are_not_kept_for_ever() -> None:
    schemas, made = ClassSchemas(lambda form: form.model_json_schema(), most=2), WeakSet[type]()
    for _ in range(9):
        form = create_model("Made", text=(str, ...))
        made.add(form)
        assert schemas.schema_of(form) is schemas.schema_of(form) is not None
    del form
    gc.collect()
    assert len(made) <= 3
