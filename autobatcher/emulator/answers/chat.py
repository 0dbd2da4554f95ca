"""Answers to POST /v1/chat/completions: an echo, JSON that fits a schema, or a tool call."""

from __future__ import annotations

from typing import Any

import msgspec

from ..wire import RefusedError
from .json_schema import example
from .logprobs import token_logprobs
from .prompt import Prompt, count_prompt_tokens, count_tokens, cut_to_tokens, last_user_text
from .tools import Call, forced_call


def chat_completion(prompt: Prompt) -> dict[str, Any]:
    """A ChatCompletion object."""
    messages = prompt.required("messages")
    text = last_user_text(messages, "messages")
    call = forced_call(prompt.request, text)
    if call is None:
        content, finish = _content(prompt.request, text)
        choice = _choice(prompt.request, {"content": content}, finish)
        spoken = content
    else:
        choice = _choice(prompt.request, _tool_message(prompt, call), "stop" if call.named else "tool_calls")
        spoken = call.arguments
    choices, said = prompt.count("n"), count_tokens(spoken)
    thought = prompt.metering.reasoning(said, _limit(prompt.request))
    return {
        "id": f"chatcmpl-{prompt.digest}",
        "object": "chat.completion",
        "created": prompt.created,
        "model": prompt.model,
        "choices": [{"index": index, **choice} for index in range(choices)],
        "usage": _usage(prompt, count_prompt_tokens(messages), choices * (thought + said), choices * thought),
        "service_tier": prompt.tier,
        "system_fingerprint": "fp_emulator",
    }


def _content(request: dict[str, Any], text: str) -> tuple[str, str]:
    """The message and the finish reason."""
    wanted = request.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_object":
        return msgspec.json.encode({"echo": text}).decode(), "stop"
    if kind == "json_schema":
        schema = (wanted or {}).get("json_schema")
        if not isinstance(schema, dict):
            raise RefusedError(400, "Missing 'response_format.json_schema'.", param="response_format.json_schema")
        return msgspec.json.encode(example(schema.get("schema", True), text)).decode(), "stop"
    content, is_cut = cut_to_tokens(text, _limit(request))
    return content, "length" if is_cut else "stop"


def _limit(request: dict[str, Any]) -> Any:
    return request.get("max_completion_tokens", request.get("max_tokens"))


def _choice(request: dict[str, Any], message: dict[str, Any], finish: str) -> dict[str, Any]:
    logprobs = None
    if request.get("logprobs") and message["content"] is not None:
        tokens = token_logprobs(message["content"], int(request.get("top_logprobs") or 0))
        logprobs = {"content": tokens, "refusal": None}
    whole = {"role": "assistant", "refusal": None, "annotations": [], **message}
    return {"message": whole, "finish_reason": finish, "logprobs": logprobs}


def _tool_message(prompt: Prompt, call: Call) -> dict[str, Any]:
    if call.kind == "custom":
        called: dict[str, Any] = {"custom": {"name": call.name, "input": call.arguments}}
    else:
        called = {"function": {"name": call.name, "arguments": call.arguments}}
    return {"content": None, "tool_calls": [{"id": f"call_{prompt.digest}", "type": call.kind, **called}]}


def _usage(prompt: Prompt, prompt_tokens: int, completion_tokens: int, reasoning_tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {
            "cached_tokens": prompt.metering.cached(prompt_tokens),
            "cache_write_tokens": prompt.metering.into_cache(prompt_tokens),
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
