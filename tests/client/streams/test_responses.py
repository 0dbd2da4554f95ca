"""Responses, told to openai-python."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from .answers import (
    CITED,
    ENDED_EARLY,
    ODD_TEXT,
    REASONING,
    RESPONSES,
    TOOL_ITEMS,
    Answer,
    function_call,
    output_message,
    response,
    text_part,
)
from .serving import async_client, messages_of, reply, sync_client

EVENT: Any = TypeAdapter(ResponseStreamEvent)
ALL = {**RESPONSES, **ENDED_EARLY}
ASKING: Any = {"model": "m", "input": "?"}


def _events(answer: Answer) -> list[dict[str, Any]]:
    _, frames = reply("/v1/responses", answer, b'{"stream": true}')
    return messages_of(frames)


def _events_inside(item: Answer) -> list[dict[str, Any]]:
    """The events of a response's only item, from added to done, without what says where it is."""
    where = ("sequence_number", "output_index", "item_id")
    return [
        {name: value for name, value in event.items() if name not in where} for event in _events(response(item))[2:-1]
    ]


def _names(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


@pytest.mark.parametrize("name", ALL)
def test_every_event_is_valid_to_the_letter(name: str) -> None:
    for event in _events(ALL[name]):
        assert EVENT.validate_python(event, strict=True).type == event["type"]


@pytest.mark.parametrize("name", ALL)
def test_events_are_numbered_from_zero(name: str) -> None:
    events = _events(ALL[name])
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


@pytest.mark.parametrize("name", ALL)
def test_the_response_begins_empty_and_ends_as_it_was(name: str) -> None:
    created, in_progress, *_, last = _events(ALL[name])
    for event, kind in ((created, "response.created"), (in_progress, "response.in_progress")):
        begun = event["response"]
        assert event["type"] == kind
        assert (begun["status"], begun["output"], begun["usage"], begun["error"]) == ("in_progress", [], None, None)
        assert begun["metadata"] == ALL[name]["metadata"]
    assert last["type"] == f"response.{ALL[name]['status']}"
    assert last["response"] == ALL[name]


@pytest.mark.parametrize("name", ALL)
def test_each_item_is_added_and_done(name: str) -> None:
    events = _events(ALL[name])
    done = [event for event in events if event["type"] == "response.output_item.done"]
    added = [event for event in events if event["type"] == "response.output_item.added"]
    assert [event["item"] for event in done] == ALL[name]["output"]
    assert [event["output_index"] for event in added] == list(range(len(ALL[name]["output"])))
    for event, item in zip(added, ALL[name]["output"], strict=True):
        assert event["item"]["id"] == item["id"]
        assert "status" not in item or item["type"].endswith("_output") or event["item"]["status"] == "in_progress"


@pytest.mark.parametrize("name", ALL)
async def test_an_ordinary_stream_brings_the_texts_the_calls_and_the_response(name: str) -> None:
    texts: dict[tuple[int, int], str] = {}
    calls: dict[int, str] = {}
    async with async_client(ALL[name]) as client:
        async for event in await client.responses.create(**ASKING, stream=True):
            if event.type == "response.output_text.delta":
                where = (event.output_index, event.content_index)
                texts[where] = texts.get(where, "") + event.delta
            elif event.type == "response.function_call_arguments.delta":
                calls[event.output_index] = calls.get(event.output_index, "") + event.delta
            last = event
    assert last.type in ("response.completed", "response.failed", "response.incomplete")
    assert last.response.to_dict() == Response.model_validate(ALL[name]).to_dict()
    output = last.response.output
    assert "".join(texts.values()) == last.response.output_text
    assert "".join(calls.values()) == "".join(item.arguments for item in output if item.type == "function_call")


@pytest.mark.parametrize("name", RESPONSES)
async def test_the_stream_helper_ends_with_the_response_that_parse_gives(name: str) -> None:
    async with async_client(RESPONSES[name]) as client:
        parsed = await client.responses.parse(**ASKING)
        async with client.responses.stream(**ASKING) as stream:
            final = await stream.get_final_response()
    assert final == parsed
    assert final.output_text == parsed.output_text


@pytest.mark.parametrize("name", ENDED_EARLY)
async def test_the_stream_helper_brings_the_end_of_a_response_that_did_not_complete(name: str) -> None:
    async with async_client(ENDED_EARLY[name]) as client, client.responses.stream(**ASKING) as stream:
        *_, last = [event async for event in stream]
    assert last.type == f"response.{name}"


class City(BaseModel):
    city: str
    degrees: int


async def test_structured_output_is_parsed() -> None:
    async with (
        async_client(RESPONSES["json"]) as client,
        client.responses.stream(**ASKING, text_format=City) as stream,
    ):
        final = await stream.get_final_response()
    assert final.output_parsed == City(city="Oslo", degrees=4)


async def test_the_snapshots_of_the_stream_helper_grow_to_the_whole() -> None:
    async with (
        async_client(RESPONSES["mixed"]) as client,
        client.responses.stream(**ASKING) as stream,
    ):
        snapshots = [
            event.snapshot
            async for event in stream
            if event.type in ("response.output_text.delta", "response.function_call_arguments.delta")
        ]
    assert snapshots == ["Hello, you.", '{"city": "Oslo"}', "See there."]


def test_a_message_is_told_part_by_part() -> None:
    events = _events_inside(output_message(CITED))
    at = {"content_index": 0}
    text, logprobs = {"text": "See there."}, {"logprobs": CITED["logprobs"]}
    first, second = CITED["annotations"]
    noted = {"type": "response.output_text.annotation.added", **at}
    empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    assert events == [
        {
            "type": "response.output_item.added",
            "item": {**output_message(), "status": "in_progress"},
        },
        {"type": "response.content_part.added", **at, "part": empty},
        {"type": "response.output_text.delta", **at, "delta": "See there.", **logprobs},
        {**noted, "annotation_index": 0, "annotation": first},
        {**noted, "annotation_index": 1, "annotation": second},
        {"type": "response.output_text.done", **at, **text, **logprobs},
        {"type": "response.content_part.done", **at, "part": CITED},
        {"type": "response.output_item.done", "item": output_message(CITED)},
    ]


def test_a_refusal_has_events_of_its_own() -> None:
    part = {"type": "refusal", "refusal": "No."}
    assert _events_inside(output_message(part))[1:-1] == [
        {"type": "response.content_part.added", "content_index": 0, "part": {"type": "refusal", "refusal": ""}},
        {"type": "response.refusal.delta", "content_index": 0, "delta": "No."},
        {"type": "response.refusal.done", "content_index": 0, "refusal": "No."},
        {"type": "response.content_part.done", "content_index": 0, "part": part},
    ]


def test_reasoning_is_told_by_summary_and_by_content() -> None:
    events = _events_inside(REASONING)
    assert _names(events) == [
        "output_item.added",
        *["reasoning_summary_part.added", "reasoning_summary_text.delta"],
        *["reasoning_summary_text.done", "reasoning_summary_part.done"],
        *["reasoning_summary_part.added", "reasoning_summary_text.delta"],
        *["reasoning_summary_text.done", "reasoning_summary_part.done"],
        *["content_part.added", "reasoning_text.delta", "reasoning_text.done", "content_part.done"],
        "output_item.done",
    ]
    assert events[0]["item"] == {**REASONING, "summary": [], "content": [], "status": "in_progress"}
    assert [event["summary_index"] for event in events if "summary_index" in event] == [0] * 4 + [1] * 4


def test_a_function_call_is_told_by_its_arguments() -> None:
    arguments = '{"city": "Oslo"}'
    assert _events_inside(function_call())[1:-1] == [
        {"type": "response.function_call_arguments.delta", "delta": arguments},
        {"type": "response.function_call_arguments.done", "arguments": arguments, "name": "weather"},
    ]


@pytest.mark.parametrize("item", TOOL_ITEMS, ids=lambda item: item["id"])
def test_tools_are_told_step_by_step(item: Answer) -> None:
    steps: dict[str, list[str]] = {
        "ws_1": ["web_search_call.in_progress", "web_search_call.searching", "web_search_call.completed"],
        "fs_1": ["file_search_call.in_progress", "file_search_call.searching", "file_search_call.completed"],
        "ig_1": [
            "image_generation_call.in_progress",
            "image_generation_call.generating",
            "image_generation_call.completed",
        ],
        "ci_1": [
            "code_interpreter_call.in_progress",
            "code_interpreter_call_code.delta",
            "code_interpreter_call_code.done",
            "code_interpreter_call.interpreting",
            "code_interpreter_call.completed",
        ],
        "ml_1": ["mcp_list_tools.in_progress", "mcp_list_tools.completed"],
        "mc_1": [
            "mcp_call.in_progress",
            "mcp_call_arguments.delta",
            "mcp_call_arguments.done",
            "mcp_call.completed",
        ],
        "mc_2": ["mcp_call.in_progress", "mcp_call_arguments.delta", "mcp_call_arguments.done", "mcp_call.failed"],
        "ct_1": ["custom_tool_call_input.delta", "custom_tool_call_input.done"],
    }
    assert _names(_events_inside(item)) == ["output_item.added", *steps.get(item["id"], []), "output_item.done"]


@pytest.mark.parametrize("status", ["failed", "incomplete"])
def test_a_tool_that_did_not_complete_is_not_told_to_have(status: str) -> None:
    assert _names(_events_inside({**TOOL_ITEMS[0], "status": status})) == [
        "output_item.added",
        "web_search_call.in_progress",
        "web_search_call.searching",
        "output_item.done",
    ]


def test_items_and_parts_of_unknown_kinds_are_added_and_done_as_they_are() -> None:
    oracle = {"type": "oracle", "answer": 42, "status": "done"}
    assert _events_inside(oracle) == [
        {"type": "response.output_item.added", "item": oracle},
        {"type": "response.output_item.done", "item": oracle},
    ]
    part = {"type": "hologram", "depth": 3}
    assert _events_inside(output_message(part))[1:-1] == [
        {"type": "response.content_part.added", "content_index": 0, "part": part},
        {"type": "response.content_part.done", "content_index": 0, "part": part},
    ]


def test_items_without_an_id_still_have_events_that_belong_together() -> None:
    calls = [{name: value for name, value in function_call(n).items() if name != "id"} for n in (1, 2)]
    events = _events(response(*calls))
    for event in events:
        EVENT.validate_python(event, strict=True)
    assert [event["item_id"] for event in events if "item_id" in event] == ["item_0"] * 2 + ["item_1"] * 2


@pytest.mark.parametrize(
    ("status", "last"),
    [("cancelled", "failed"), ("queued", "queued"), ("in_progress", "in_progress"), (None, "completed")],
)
def test_the_last_event_tells_the_status(status: Any, last: str) -> None:
    assert _events(response(status=status))[-1]["type"] == f"response.{last}"


async def test_a_response_still_in_progress_is_not_taken_for_a_complete_one() -> None:
    answer = response(status="in_progress", background=True, usage=None)
    async with async_client(answer) as client, client.responses.stream(**ASKING) as stream:
        with pytest.raises(RuntimeError, match=r"response\.completed"):
            await stream.get_final_response()


TEXTS = st.text(max_size=20) | st.sampled_from(["", ODD_TEXT])
PARTS: Any = st.one_of(
    st.builds(text_part, TEXTS, annotations=st.lists(st.sampled_from(CITED["annotations"]), max_size=2)),
    st.builds(lambda text: {"type": "refusal", "refusal": text}, TEXTS),
)
ITEMS: Any = st.one_of(
    st.lists(PARTS, max_size=3).map(lambda parts: output_message(*parts)),
    st.builds(lambda text: function_call(arguments=text), TEXTS),
    st.builds(
        lambda texts: {
            **REASONING,
            "summary": [{"type": "summary_text", "text": text} for text in texts],
            "content": [{"type": "reasoning_text", "text": text} for text in texts] or None,
        },
        st.lists(TEXTS, max_size=2),
    ),
    st.sampled_from(TOOL_ITEMS),
)
OUTPUTS: Any = st.lists(ITEMS, max_size=4).map(
    lambda items: [{**item, "id": f"id_{number}", "call_id": f"call_{number}"} for number, item in enumerate(items)]
)


@given(OUTPUTS)
def test_any_response_is_rebuilt_from_its_stream(output: list[Answer]) -> None:
    answer = response(*output)
    for event in _events(answer):
        EVENT.validate_python(event, strict=True)
    with sync_client(answer) as client:
        parsed = client.responses.parse(**ASKING)
        with client.responses.stream(**ASKING) as stream:
            final = stream.get_final_response()
    assert final == parsed


@given(OUTPUTS)
def test_the_deltas_alone_make_up_the_output(output: list[Answer]) -> None:
    """As an accumulator does that reads no event of anything done."""
    built: list[Answer] = []
    for event in _events(response(*output)):
        _accumulate(built, event)
    for made, item in zip(built, output, strict=True):
        for field in ("content", "summary", "arguments", "input", "code"):
            if item["type"] in ("message", "reasoning", "function_call", "custom_tool_call", "code_interpreter_call"):
                assert (made.get(field) or None) == (item.get(field) or None)


def _accumulate(built: list[Answer], event: dict[str, Any]) -> None:
    match event["type"].removeprefix("response."):
        case "output_item.added":
            built.append(event["item"])
        case "content_part.added":
            built[event["output_index"]]["content"].append(event["part"])
        case "reasoning_summary_part.added":
            built[event["output_index"]]["summary"].append(event["part"])
        case "reasoning_summary_text.delta":
            built[event["output_index"]]["summary"][event["summary_index"]]["text"] += event["delta"]
        case "output_text.delta" | "reasoning_text.delta":
            built[event["output_index"]]["content"][event["content_index"]]["text"] += event["delta"]
        case "refusal.delta":
            built[event["output_index"]]["content"][event["content_index"]]["refusal"] += event["delta"]
        case "output_text.annotation.added":
            annotations = built[event["output_index"]]["content"][event["content_index"]]["annotations"]
            annotations.insert(event["annotation_index"], event["annotation"])
        case "function_call_arguments.delta":
            built[event["output_index"]]["arguments"] += event["delta"]
        case "custom_tool_call_input.delta":
            built[event["output_index"]]["input"] += event["delta"]
        case "code_interpreter_call_code.delta":
            built[event["output_index"]]["code"] += event["delta"]
