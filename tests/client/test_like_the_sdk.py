"""Whatever the official client does on a batchable endpoint, ours does through a batch, with the same result.

Each surface is called twice: on `AsyncOpenAI`, which the emulator answers in real time, and on `BatchOpenAI`. The rows
of docs/surfaces.md are these.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import openai
import pytest
from openai import NOT_GIVEN, omit
from pydantic import BaseModel

from tests.harness import MODEL, SDK_LIBRARY, Harness, open_harness

Surface = Callable[[Any], Awaitable[Any]]


class City(BaseModel):
    name: str
    people: int


def user(text: str = "hello") -> Any:
    return {"role": "user", "content": text}


MESSAGES: Any = [user()]
TOOL: Any = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"word": {"type": "string"}}}},
}
RESPONSES_TOOL: Any = {"type": "function", **TOOL["function"], "strict": False}
CALL_IT: Any = {"type": "function", "function": {"name": "look_up"}}
SCHEMA: Any = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


async def chat(client: Any, **options: Any) -> Any:
    return await client.chat.completions.create(**{"model": MODEL, "messages": MESSAGES, **options})


async def chat_with_its_own_answer(client: Any) -> Any:
    message = (await chat(client)).choices[0].message
    return await chat(client, messages=[user(), message, user("again")])


async def chat_of_an_iterator(client: Any) -> Any:
    def messages() -> Iterator[Any]:
        yield {"role": "system", "content": "be brief"}
        yield user("iterated")

    return await chat(client, messages=messages())


async def chat_streamed(client: Any, **options: Any) -> Any:
    stream = await chat(client, stream=True, **options)
    async with stream:
        chunks = [chunk async for chunk in stream]
    assert len({chunk.id for chunk in chunks}) == 1
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    usage = chunks[-1].usage
    return {
        "role": deltas[0].role,
        "text": "".join(delta.content or "" for delta in deltas),
        "calls": "".join(call.function.arguments for delta in deltas for call in delta.tool_calls or ()),
        "finish": [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason],
        "usage": usage and usage.model_dump(),
    }


async def chat_stream_helper(client: Any, **options: Any) -> Any:
    async with client.chat.completions.stream(model=MODEL, messages=MESSAGES, **options) as stream:
        kinds = {event.type async for event in stream}
        completion = await stream.get_final_completion()
    assert {"chunk"} < kinds
    told = completion.model_dump(warnings=False)
    del told["service_tier"], told["choices"][0]["message"]["annotations"]  # the emulator's own streams lack these
    return told


async def chat_raw(client: Any) -> Any:
    raw = await client.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES)
    assert raw.status_code == 200
    assert raw.headers["x-request-id"]
    assert raw.parse()._request_id == raw.headers["x-request-id"]
    return raw.parse()


async def chat_raw_parse(client: Any) -> Any:
    raw = await client.chat.completions.with_raw_response.parse(model=MODEL, messages=MESSAGES, response_format=City)
    return raw.parse()


async def chat_streaming_response(client: Any) -> Any:
    door = client.chat.completions.with_streaming_response
    async with door.create(model=MODEL, messages=MESSAGES) as response:
        assert response.headers["x-request-id"]
        return await response.json()


async def chat_streaming_response_lines(client: Any) -> Any:
    door = client.chat.completions.with_streaming_response
    async with door.create(model=MODEL, messages=MESSAGES, stream=True) as response:
        lines = [line async for line in response.iter_lines()]
    assert lines[-2:] == ["data: [DONE]", ""] or lines[-1] == "data: [DONE]"
    return {line[:5] for line in lines if line}


async def posted(client: Any) -> Any:
    body = {"model": MODEL, "messages": MESSAGES}
    return await client.post("/chat/completions", body=body, cast_to=object)


async def completion_streamed(client: Any) -> Any:
    stream = await client.completions.create(model=MODEL, prompt="hello", stream=True)
    return "".join([choice.text async for chunk in stream for choice in chunk.choices])


async def response(client: Any, **options: Any) -> Any:
    return await client.responses.create(**{"model": MODEL, "input": "hello", **options})


async def response_of_its_own_output(client: Any) -> Any:
    first = await response(client)
    return await response(client, input=[{"role": "user", "content": "hi"}, *first.output, user("again")])


async def response_streamed(client: Any, **options: Any) -> Any:
    stream = await response(client, stream=True, **options)
    events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    kinds = {event.type for event in events}
    assert {"response.output_item.added", "response.output_item.done"} <= kinds
    assert events[-1].type == "response.completed"
    return events[-1].response


async def response_stream_helper(client: Any, **options: Any) -> Any:
    async with client.responses.stream(model=MODEL, input="hello", **options) as stream:
        await stream.until_done()
        return await stream.get_final_response()


async def response_raw(client: Any) -> Any:
    raw = await client.responses.with_raw_response.create(model=MODEL, input="hello")
    return raw.parse()


async def response_streaming_response(client: Any) -> Any:
    async with client.responses.with_streaming_response.create(model=MODEL, input="hello") as given:
        return await given.parse()


async def failing(call: Awaitable[Any]) -> Any:
    """What a call raises, in all that an `except` clause may look at."""
    with pytest.raises(openai.APIStatusError) as caught:
        await call
    error = caught.value
    return type(error).__name__, error.status_code, error.body, error.message, error.code, error.param, error.type


NO_SCHEMA: Any = {"type": "json_schema"}

SURFACES: dict[str, Surface] = {
    "chat.completions.create": chat,
    "chat.completions.create, every option": lambda c: chat(
        c, temperature=0.5, seed=1, stop=["x"], user="u", metadata={"a": "b"}, store=False, max_completion_tokens=3
    ),
    "chat.completions.create, n and logprobs": lambda c: chat(c, n=3, logprobs=True, top_logprobs=2),
    "chat.completions.create, omit, NOT_GIVEN and None": lambda c: chat(
        c, temperature=NOT_GIVEN, top_p=omit, stop=None
    ),
    "chat.completions.create, extra_body": lambda c: chat(c, extra_body={"top_k": 5, "user": "other"}),
    "chat.completions.create, extra_headers of tracers": lambda c: chat(c, extra_headers={"traceparent": "00-1-2-03"}),
    "chat.completions.create, own credentials": lambda c: chat(c, extra_headers={"OpenAI-Project": "p"}),
    "chat.completions.create, timeout": lambda c: chat(c, timeout=1000),
    "chat.completions.create, an answer passed back": chat_with_its_own_answer,
    "chat.completions.create, messages from an iterator": chat_of_an_iterator,
    "chat.completions.create, tools": lambda c: chat(c, tools=[TOOL], tool_choice=CALL_IT),
    "chat.completions.create, stream=True": chat_streamed,
    "chat.completions.create, stream=True with usage": lambda c: chat_streamed(
        c, stream_options={"include_usage": True}
    ),
    "chat.completions.create, stream=True with tools": lambda c: chat_streamed(c, tools=[TOOL], tool_choice=CALL_IT),
    "chat.completions.create, stream in extra_body": lambda c: chat_streamed(c, extra_body={"x": 1}),
    "chat.completions.create, a refused request": lambda c: failing(chat(c, response_format=NO_SCHEMA)),
    "chat.completions.create, a refused stream": lambda c: failing(chat(c, response_format=NO_SCHEMA, stream=True)),
    "chat.completions.parse": lambda c: c.chat.completions.parse(model=MODEL, messages=MESSAGES, response_format=City),
    "chat.completions.stream": chat_stream_helper,
    "chat.completions.stream, response_format": lambda c: chat_stream_helper(c, response_format=City),
    "chat.completions.stream, tools": lambda c: chat_stream_helper(
        c, tools=[openai.pydantic_function_tool(City)], tool_choice={"type": "function", "function": {"name": "City"}}
    ),
    "chat.completions.with_raw_response.create": chat_raw,
    "chat.completions.with_raw_response.parse": chat_raw_parse,
    "chat.completions.with_streaming_response.create": chat_streaming_response,
    "chat.completions.with_streaming_response.create, stream=True": chat_streaming_response_lines,
    "with_options(...).chat.completions.create": lambda c: chat(c.with_options(timeout=500, max_retries=1)),
    "copy(...).chat.completions.create": lambda c: chat(c.copy(default_headers={"x-team": "a"})),
    "client.post": posted,
    "beta.chat.completions.parse": lambda c: c.beta.chat.completions.parse(
        model=MODEL, messages=MESSAGES, response_format=City
    ),
    "beta.chat.completions.create": lambda c: c.beta.chat.completions.create(model=MODEL, messages=MESSAGES),
    "completions.create": lambda c: c.completions.create(model=MODEL, prompt="hello"),
    "completions.create, stream=True": completion_streamed,
    "embeddings.create": lambda c: c.embeddings.create(model=MODEL, input="hello"),
    "embeddings.create, a list of texts": lambda c: c.embeddings.create(model=MODEL, input=["a", "b"], dimensions=8),
    "embeddings.create, tokens": lambda c: c.embeddings.create(model=MODEL, input=[[1, 2], [3]]),
    "embeddings.create, base64": lambda c: c.embeddings.create(model=MODEL, input="x", encoding_format="base64"),
    "embeddings.with_raw_response.create": lambda c: c.embeddings.with_raw_response.create(model=MODEL, input="x"),
    "responses.create": response,
    "responses.create, every option": lambda c: response(c, instructions="be brief", temperature=0.1, store=False),
    "responses.create, its output passed back": response_of_its_own_output,
    "responses.create, tools": lambda c: response(
        c, tools=[RESPONSES_TOOL], tool_choice={"type": "function", "name": "look_up"}
    ),
    "responses.create, text.format": lambda c: response(
        c, text={"format": {"type": "json_schema", "name": "City", "schema": SCHEMA}}
    ),
    "responses.create, stream=True": response_streamed,
    "responses.create, stream=True with tools": lambda c: response_streamed(
        c, tools=[RESPONSES_TOOL], tool_choice={"type": "function", "name": "look_up"}
    ),
    "responses.create, a refused request": lambda c: failing(response(c, input=omit)),
    "responses.parse": lambda c: c.responses.parse(model=MODEL, input="hello", text_format=City),
    "responses.stream": response_stream_helper,
    "responses.stream, text_format": lambda c: response_stream_helper(c, text_format=City),
    "responses.with_raw_response.create": response_raw,
    "responses.with_streaming_response.create": response_streaming_response,
    "moderations.create": lambda c: c.moderations.create(model="omni-moderation-latest", input="hello"),
    "images.generate": lambda c: c.images.generate(model=MODEL, prompt="a cat"),
}

# The SDK stops reading a stream at its end mark and leaves its own generators to be collected; trio tells of that.
STREAMS = pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")

_ITS_OWN = frozenset(
    {"created", "created_at", "completed_at", "id", "call_id"}
)  # the emulator's ids tell of the whole body


def comparable(value: Any) -> Any:
    """A result as plain values, without what no two calls have in common."""
    if hasattr(value, "parse"):
        value = value.parse()
    if isinstance(value, BaseModel):
        value = {"type": type(value).__name__, **value.model_dump(warnings=False)}
    if isinstance(value, dict):
        return {name: comparable(each) for name, each in value.items() if name not in _ITS_OWN}
    return [comparable(each) for each in value] if isinstance(value, list) else value


@STREAMS
@pytest.mark.full_price  # the official client's calls; those of ours are checked by `open_harness`
@pytest.mark.proves("surfaces", "{surface}")
@pytest.mark.parametrize("surface", SURFACES)
async def test_a_surface_gives_what_the_official_client_gives(surface: str) -> None:
    call = SURFACES[surface]
    with_official = Harness()
    official = openai.AsyncOpenAI(
        api_key="test-key",
        base_url="http://upstream.test/v1",
        http_client=with_official.emulator.http_client(library=SDK_LIBRARY),
    )
    expected = comparable(await call(official))
    assert sum(with_official.emulator.statistics().realtime_calls.values()) >= 1
    await official.close()
    with_official.emulator.close()
    async with open_harness() as harness, harness.client() as client:
        assert comparable(await call(client)) == expected
        assert harness.emulator.statistics().batches_created >= 1
