"""The emulator's answers, as the real SDK reads them and as its models check them."""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any

import openai
import pydantic
import pytest
from openai.types import Completion, CreateEmbeddingResponse, ImagesResponse, ModerationCreateResponse
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from autobatcher.emulator import Emulator
from autobatcher.emulator.answers import answer

from .doors import create_batch, line, open_http, open_sdk, results

SAY_HELLO: Any = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hello there"}]


class Weather(pydantic.BaseModel):
    city: str
    degrees: float
    kind: str


WEATHER_TOOL: Any = {"name": "weather", "parameters": Weather.model_json_schema(), "strict": True}

REQUESTS: list[tuple[str, Any, dict[str, Any]]] = [
    ("/v1/chat/completions", ChatCompletion, {"messages": SAY_HELLO}),
    (
        "/v1/chat/completions",
        ChatCompletion,
        {"messages": SAY_HELLO, "n": 3, "logprobs": True, "top_logprobs": 2},
    ),
    (
        "/v1/chat/completions",
        ChatCompletion,
        {"messages": SAY_HELLO, "response_format": {"type": "json_object"}},
    ),
    (
        "/v1/chat/completions",
        ChatCompletion,
        {
            "messages": SAY_HELLO,
            "tools": [{"type": "function", "function": WEATHER_TOOL}],
            "tool_choice": "required",
        },
    ),
    (
        "/v1/chat/completions",
        ChatCompletion,
        {
            "messages": SAY_HELLO,
            "tools": [{"type": "custom", "custom": {"name": "shell"}}],
            "tool_choice": {"type": "custom", "custom": {"name": "shell"}},
        },
    ),
    ("/v1/responses", Response, {"input": "hello"}),
    (
        "/v1/responses",
        Response,
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}]},
    ),
    ("/v1/responses", Response, {"input": "hello", "max_output_tokens": 1, "metadata": {"a": "b"}}),
    (
        "/v1/responses",
        Response,
        {"input": "hi", "include": ["message.output_text.logprobs"], "top_logprobs": 1},
    ),
    (
        "/v1/responses",
        Response,
        {
            "input": "hi",
            "tools": [{"type": "function", "name": "f"}],
            "tool_choice": {"type": "function", "name": "f"},
        },
    ),
    ("/v1/embeddings", CreateEmbeddingResponse, {"input": "text"}),
    ("/v1/completions", Completion, {"prompt": ["one", "two"], "n": 2, "logprobs": 1, "echo": True}),
    ("/v1/moderations", ModerationCreateResponse, {"input": ["fine", "FLAG-ME"]}),
    ("/v1/images/generations", ImagesResponse, {"prompt": "a cat", "n": 2}),
]


@pytest.mark.parametrize(("endpoint", "model", "request_body"), REQUESTS)
def test_every_answer_satisfies_the_model_of_the_sdk(
    endpoint: str, model: type[pydantic.BaseModel], request_body: dict[str, Any]
) -> None:
    body = json.dumps({"model": "m", **request_body}).encode()
    given = answer(endpoint, body, 1_700_000_000)
    assert given.status == 200
    model.model_validate_json(given.body)
    assert answer(endpoint, body, 1_700_000_000) == given


def _ask(endpoint: str = "/v1/chat/completions", **body: Any) -> dict[str, Any]:
    given = answer(endpoint, json.dumps({"model": "m", **body}).encode(), 0)
    assert given.status == 200, given.body
    content: dict[str, Any] = json.loads(given.body)
    return content


def test_chat_echoes_the_last_words_of_the_user() -> None:
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    conversation = [*SAY_HELLO, {"role": "assistant", "content": "no"}, {"role": "user", "content": parts}]
    told = _ask(messages=[*conversation, {"role": "tool", "tool_call_id": "x", "content": "42"}])
    assert told["choices"][0]["message"]["content"] == "look"
    assert told["usage"]["total_tokens"] == told["usage"]["prompt_tokens"] + told["usage"]["completion_tokens"]


def test_a_limit_of_tokens_cuts_the_answer() -> None:
    (choice,) = _ask(messages=SAY_HELLO, max_completion_tokens=1)["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("hell", "length")


def test_a_named_tool_is_called_with_arguments_that_fit() -> None:
    other = {"type": "function", "function": {"name": "other"}}
    told = _ask(
        messages=SAY_HELLO,
        tools=[other, {"type": "function", "function": WEATHER_TOOL}],
        tool_choice={"type": "function", "function": {"name": "weather"}},
    )
    (call,) = told["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "weather"
    Weather.model_validate_json(call["function"]["arguments"], strict=True)


def test_a_model_that_may_choose_calls_no_tool() -> None:
    told = _ask(messages=SAY_HELLO, tools=[{"type": "function", "function": WEATHER_TOOL}], tool_choice="auto")
    assert "tool_calls" not in told["choices"][0]["message"]


@pytest.mark.parametrize(
    ("endpoint", "body", "param"),
    [
        ("/v1/chat/completions", {"messages": None}, "messages"),
        ("/v1/chat/completions", {"messages": []}, "messages"),
        ("/v1/chat/completions", {"messages": SAY_HELLO, "n": 0}, "n"),
        ("/v1/chat/completions", {"messages": SAY_HELLO, "model": None}, "model"),
        ("/v1/chat/completions", {"messages": SAY_HELLO, "tool_choice": "required"}, "tool_choice"),
        ("/v1/embeddings", {"input": []}, "input"),
        ("/v1/embeddings", {"input": "x", "dimensions": 0}, "dimensions"),
        ("/v1/completions", {"prompt": []}, "prompt"),
        ("/v1/responses", {}, "input"),
    ],
)
def test_what_cannot_be_answered_is_a_400_that_names_the_parameter(
    endpoint: str, body: dict[str, Any], param: str
) -> None:
    given = answer(endpoint, json.dumps({"model": "m", **body}).encode(), 0)
    assert (given.status, json.loads(given.body)["error"]["param"]) == (400, param)


@pytest.mark.parametrize("dimensions", [1, 2, 7, 256, 1536])
def test_an_embedding_is_a_unit_vector_whichever_way_it_is_written(dimensions: int) -> None:
    as_numbers = _ask("/v1/embeddings", input="some text", dimensions=dimensions)["data"][0]["embedding"]
    encoded = _ask("/v1/embeddings", input="some text", dimensions=dimensions, encoding_format="base64")
    as_bytes = base64.b64decode(encoded["data"][0]["embedding"])
    assert list(struct.unpack(f"<{dimensions}f", as_bytes)) == pytest.approx(as_numbers, abs=1e-6)
    assert len(as_numbers) == dimensions
    assert math.hypot(*as_numbers) == pytest.approx(1, abs=1e-6)


def test_an_embedding_depends_on_its_text_alone() -> None:
    told = _ask("/v1/embeddings", input=["a", "b", "a"])
    first, second, third = (row["embedding"] for row in told["data"])
    assert first == third != second
    assert _ask("/v1/embeddings", input="a", user="somebody else")["data"][0]["embedding"] == first
    assert len(_ask("/v1/embeddings", input=[1, 2, 3])["data"]) == 1
    assert len(_ask("/v1/embeddings", input=[[1], [2, 3]])["data"]) == 2


# Through the SDK

# The SDK leaves its own async generators unfinished after [DONE], which trio tells when they are collected.
sdk_leaves_generators = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


async def test_the_sdk_reads_embeddings_that_it_asked_for_in_base64() -> None:
    with Emulator() as emulator:
        async with open_sdk(emulator) as sdk:
            told = await sdk.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
            assert [len(row.embedding) for row in told.data] == [1536, 1536]
            assert math.hypot(*told.data[0].embedding) == pytest.approx(1, abs=1e-6)


async def test_the_sdk_parses_structured_answers() -> None:
    with Emulator() as emulator:
        async with open_sdk(emulator) as sdk:
            chat = await sdk.chat.completions.parse(model="m", messages=SAY_HELLO, response_format=Weather)
            assert isinstance(chat.choices[0].message.parsed, Weather)
            response = await sdk.responses.parse(model="m", input="hello", text_format=Weather)
            assert isinstance(response.output_parsed, Weather)
            assert (await sdk.responses.create(model="m", input="hello")).output_text == "hello"


@sdk_leaves_generators
async def test_the_sdk_reads_streams() -> None:
    with Emulator() as emulator:
        async with open_sdk(emulator) as sdk:
            async with sdk.chat.completions.stream(
                model="m", messages=SAY_HELLO, stream_options={"include_usage": True}
            ) as chat:
                whole = await chat.get_final_completion()
            assert whole.choices[0].message.content == "hello there"
            assert whole.usage is not None
            async with sdk.responses.stream(model="m", input="hello there") as stream:
                response = await stream.get_final_response()
            assert response.output_text == "hello there"


@sdk_leaves_generators
async def test_a_streamed_tool_call_arrives_whole() -> None:
    with Emulator() as emulator:
        async with open_sdk(emulator) as sdk:
            async with sdk.chat.completions.stream(
                model="m",
                messages=SAY_HELLO,
                tools=[{"type": "function", "function": WEATHER_TOOL}],
                tool_choice="required",
            ) as chat:
                whole = await chat.get_final_completion()
            (call,) = whole.choices[0].message.tool_calls or []
            Weather.model_validate_json(call.function.arguments)


async def test_real_time_failures_have_the_sdks_own_exceptions() -> None:
    with Emulator() as emulator:
        async with open_sdk(emulator) as sdk:
            with pytest.raises(openai.RateLimitError):
                await sdk.chat.completions.create(model="fail-429", messages=SAY_HELLO)
            with pytest.raises(openai.InternalServerError):
                await sdk.embeddings.create(model="fail-503-often", input="x")


@pytest.mark.parametrize(("endpoint", "model", "request_body"), REQUESTS)
async def test_a_line_of_a_batch_gets_the_answer_of_a_real_time_call(
    endpoint: str, model: type[pydantic.BaseModel], request_body: dict[str, Any]
) -> None:
    with Emulator(wall_clock=lambda: 1e9) as emulator:
        async with open_sdk(emulator) as sdk, open_http(emulator) as http:
            body = {"model": "m", **request_body}
            batch = await create_batch(sdk, [line("a", endpoint, body)], endpoint)
            told = (await results(sdk, batch.id))["a"]["response"]["body"]
            direct = await http.post(endpoint.removeprefix("/v1"), json=body)
            assert _without_ids(told) == _without_ids(direct.json())


def _without_ids(content: Any) -> Any:
    """Ids come from the exact bytes of a request, which are not the same in a file and in a call."""
    if isinstance(content, dict):
        noise = ("id", "call_id", "b64_json", "created", "created_at")
        return {key: _without_ids(value) for key, value in content.items() if key not in noise}
    return [_without_ids(item) for item in content] if isinstance(content, list) else content


@pytest.mark.parametrize(
    ("endpoint", "odd"),
    [
        ("/v1/responses", {"input": "x", "text": {"format": "json_object"}}),
        ("/v1/responses", {"input": [["x"]]}),
        ("/v1/chat/completions", {"messages": ["x"]}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "tools": ["x"]}),
        ("/v1/embeddings", {"input": {"a": 1}, "dimensions": "many"}),
    ],
)
def test_a_field_of_a_wrong_type_fails_that_request_alone(endpoint: str, odd: dict[str, Any]) -> None:
    given = answer(endpoint, json.dumps({"model": "m", **odd}).encode(), 0)
    assert given.status in (200, 400)
