"""Chat completions and completions, told to openai-python."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ParsedChatCompletion
from pydantic import BaseModel

from .answers import CHAT, COMPLETIONS, ODD_TEXT, USAGE, chat, choice, message, token, tool_call
from .serving import SDK_LEAVES_ITS_GENERATORS, async_client, messages_of, reply, sync_client

pytestmark = pytest.mark.filterwarnings(SDK_LEAVES_ITS_GENERATORS)

ASKING: Any = {"model": "m", "messages": [{"role": "user", "content": "?"}]}
WITH_USAGE: Any = {"include_usage": True}
ENDS_WELL = [name for name in CHAT if name != "two choices"]  # one of them has the finish_reason "length"


def _chunks(answer: dict[str, Any], include_usage: bool = False) -> list[dict[str, Any]]:
    options = b', "stream_options": {"include_usage": true}' if include_usage else b""
    _, frames = reply("/v1/chat/completions", answer, b'{"stream": true%b}' % options)
    return messages_of(frames)


def _choices(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [choice for chunk in _chunks(answer) for choice in chunk["choices"]]


def _deltas(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [choice["delta"] for choice in _choices(answer)]


def told(completion: BaseModel) -> dict[str, Any]:
    """What an accumulated completion says: as it is, but for the index that openai-python leaves in tool calls."""
    fields: dict[str, Any] = completion.model_dump()
    for made in fields["choices"]:
        for call in made["message"]["tool_calls"] or []:
            call.pop("index", None)
    return fields


def whole(answer: dict[str, Any], into: Any = ChatCompletion) -> dict[str, Any]:
    """The same of an answer that was not streamed: choices in order; what never comes in a stream is not there."""
    choices = sorted(answer["choices"], key=lambda given: int(given["index"]))
    fields = told(into.model_validate({**answer, "choices": choices}))
    for made in fields["choices"]:
        made["message"]["tool_calls"] = made["message"]["tool_calls"] or None
    return fields


@pytest.mark.parametrize("name", CHAT)
def test_every_chunk_is_valid_to_the_letter(name: str) -> None:
    for chunk in _chunks(CHAT[name], include_usage=True):
        ChatCompletionChunk.model_validate(chunk, strict=True)


@pytest.mark.parametrize("name", CHAT)
async def test_the_chunks_of_a_stream_add_up_to_the_answer(name: str) -> None:
    async with async_client(CHAT[name]) as client:
        state = ChatCompletionStreamState()
        async for chunk in await client.chat.completions.create(**ASKING, stream=True, stream_options=WITH_USAGE):
            state.handle_chunk(chunk)
    assert told(state.current_completion_snapshot) == whole(CHAT[name], type(state.current_completion_snapshot))


@pytest.mark.parametrize("name", ENDS_WELL)
async def test_the_stream_helper_ends_with_the_completion_that_parse_gives(name: str) -> None:
    async with async_client(CHAT[name]) as client:
        parsed = await client.chat.completions.parse(**ASKING)
        async with client.chat.completions.stream(**ASKING, stream_options=WITH_USAGE) as stream:
            final = await stream.get_final_completion()
    assert isinstance(final, ParsedChatCompletion)
    assert told(final) == told(parsed) | {"choices": sorted(told(parsed)["choices"], key=lambda c: int(c["index"]))}


class City(BaseModel):
    city: str
    degrees: int


async def test_structured_output_is_parsed() -> None:
    async with (
        async_client(CHAT["json"]) as client,
        client.chat.completions.stream(**ASKING, response_format=City) as stream,
    ):
        final = await stream.get_final_completion()
    assert final.choices[0].message.parsed == City(city="Oslo", degrees=4)


async def test_the_stream_helper_tells_when_texts_and_calls_are_done() -> None:
    async with (
        async_client(CHAT["text and tool calls"]) as client,
        client.chat.completions.stream(**ASKING) as stream,
    ):
        done = [event async for event in stream if event.type.endswith(".done")]
    assert [event.type for event in done] == ["content.done", *["tool_calls.function.arguments.done"] * 3]
    assert [event.arguments for event in done if event.type == "tool_calls.function.arguments.done"] == [
        '{"city": "Oslo"}',
        '{"city":"Bergen"}',
        "",
    ]


@pytest.mark.parametrize("name", CHAT)
def test_each_choice_begins_with_its_role_and_ends_with_its_finish_reason(name: str) -> None:
    for original in CHAT[name]["choices"]:
        own = [told for told in _choices(CHAT[name]) if told["index"] == original["index"]]
        assert [told["delta"].get("role") for told in own] == ["assistant", *[None] * (len(own) - 1)]
        assert [told["finish_reason"] for told in own] == [*[None] * (len(own) - 1), original["finish_reason"]]
        assert own[-1]["delta"] == {}


@pytest.mark.parametrize("name", CHAT)
def test_every_chunk_has_the_same_head(name: str) -> None:
    answer = CHAT[name]
    for chunk in _chunks(answer, include_usage=True):
        assert chunk["object"] == "chat.completion.chunk"
        for field in ("id", "created", "model", "service_tier", "system_fingerprint"):
            assert chunk.get(field) == answer.get(field)


def test_usage_is_the_last_chunk_if_it_was_asked_for() -> None:
    *others, last = _chunks(CHAT["plain"], include_usage=True)
    assert last["usage"] == USAGE
    assert last["choices"] == []
    assert [chunk["usage"] for chunk in others] == [None] * len(others)


def test_usage_is_nowhere_if_it_was_not_asked_for() -> None:
    chunks = _chunks(CHAT["plain"])
    assert not any("usage" in chunk for chunk in chunks)
    assert all(chunk["choices"] for chunk in chunks)


def test_an_answer_without_usage_has_no_usage_chunk() -> None:
    assert all(chunk["choices"] for chunk in _chunks(CHAT["bare"], include_usage=True))


def test_a_tool_call_is_named_before_its_arguments_come() -> None:
    assert _deltas(CHAT["tool call"])[1:-1] == [
        {"tool_calls": [{**tool_call(1, arguments=""), "index": 0}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city": "Oslo"}'}}]},
    ]


def test_tool_calls_are_numbered_in_each_choice() -> None:
    choices = _choices(CHAT["tool calls of two choices"])
    numbers = [(told["index"], call["index"]) for told in choices for call in told["delta"].get("tool_calls", [])]
    assert list(dict.fromkeys(numbers)) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]


def test_a_call_of_a_custom_tool_comes_whole() -> None:
    call = {"id": "c", "type": "custom", "custom": {"name": "shell", "input": "ls"}}
    answer = chat(choice(message(None, tool_calls=[call]), finish_reason="tool_calls"))
    assert _deltas(answer)[1:-1] == [{"tool_calls": [{**call, "index": 0}]}]


def test_content_that_is_no_text_comes_whole() -> None:
    parts = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Hi."}]
    opening, told, _ = _deltas(chat(choice(message(parts))))
    assert opening["content"] is None
    assert told == {"content": parts}


def test_reasoning_comes_before_the_text() -> None:
    assert [next(iter(delta), None) for delta in _deltas(CHAT["reasoning"])] == [
        "role",
        "reasoning_content",
        "content",
        None,
    ]


def test_log_probabilities_come_with_their_text() -> None:
    with_logprobs = [told for told in _choices(CHAT["logprobs"]) if told["logprobs"]]
    assert [told["delta"] for told in with_logprobs] == [{"content": "a b"}]


@pytest.mark.parametrize("indexes", [(0, 0), (1, 2), (None, None), (0, None)])
def test_choices_that_are_numbered_badly_are_not_mixed_up(indexes: tuple[int | None, ...]) -> None:
    answer = chat(*(choice(message(text)) for text in ("one", "two")))
    for original, index in zip(answer["choices"], indexes, strict=True):
        original |= {"index": index}
    said = [(told["index"], told["delta"]["content"]) for told in _choices(answer) if told["delta"].get("content")]
    assert said == [(0, "one"), (1, "two")]


def test_an_answer_without_choices_still_has_a_chunk() -> None:
    (chunk,) = _chunks(chat(note="filtered"))
    assert chunk["choices"] == []
    assert chunk["note"] == "filtered"


@pytest.mark.parametrize("name", COMPLETIONS)
async def test_a_completion_is_one_chunk_for_each_choice(name: str) -> None:
    answer = COMPLETIONS[name]
    asking: Any = {"model": "m", "prompt": "?", "stream": True, "stream_options": WITH_USAGE}
    async with async_client(answer) as client:
        chunks = [chunk async for chunk in await client.completions.create(**asking)]
    assert [choice.to_dict() for chunk in chunks for choice in chunk.choices] == answer["choices"]
    assert [chunk.usage.to_dict() for chunk in chunks if chunk.usage] == (
        [answer["usage"]] if "usage" in answer else []
    )
    for chunk in chunks:
        Completion.model_validate(chunk.to_dict(), strict=True)
    assert chunks[0].to_dict().get("kv_transfer_params") == answer.get("kv_transfer_params")


TEXTS = st.text(max_size=20) | st.sampled_from(["", " ", ODD_TEXT, '{"a": [1, '])
JSON_VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | TEXTS,
    lambda inner: st.lists(TEXTS, max_size=2) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=2),
    max_leaves=4,
)
OTHERS: Any = st.dictionaries(st.sampled_from(["reasoning_content", "mood", "thinking_blocks_x"]), JSON_VALUES)
MESSAGES: Any = st.builds(
    lambda content, refusal, calls, others: {
        **others,
        "role": "assistant",
        "content": content,
        "refusal": refusal or None,
        **({"tool_calls": [tool_call(n, name or "f", text) for n, (name, text) in enumerate(calls)]} if calls else {}),
    },
    st.none() | TEXTS,
    st.none() | TEXTS,
    st.lists(st.tuples(TEXTS, TEXTS), max_size=4),
    OTHERS,
)
LOGPROBS: Any = st.none() | st.builds(
    lambda texts, refused: {"content": [token(text) for text in texts], "refusal": refused},
    st.lists(TEXTS, min_size=1, max_size=3),
    st.none(),
)
CHOICES: Any = st.lists(st.tuples(MESSAGES, LOGPROBS, OTHERS), min_size=1, max_size=3).map(
    lambda given: [
        choice(said, index, logprobs=logprobs, **others) for index, (said, logprobs, others) in enumerate(given)
    ]
)


@given(CHOICES, OTHERS)
def test_any_answer_is_rebuilt_from_its_stream(choices: list[dict[str, Any]], others: dict[str, Any]) -> None:
    answer = chat(*choices, **others)
    with sync_client(answer) as client:
        parsed = client.chat.completions.parse(**ASKING)
        with client.chat.completions.stream(**ASKING, stream_options=WITH_USAGE) as stream:
            final = stream.get_final_completion()
    assert told(final) == told(parsed)
