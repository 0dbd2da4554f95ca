"""Finished answers of every kind, as upstreams give them."""

from __future__ import annotations

from typing import Any

Answer = dict[str, Any]

USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 12,
    "total_tokens": 21,
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}
ODD_TEXT = 'line\nbreak\r\n\u2028\u2029\u0085 "quoted" \\ \U0001f600 \x00 data: [DONE]\n\ndata: x\t\u00e9'


def message(content: Any = "Hello, you.", **fields: Any) -> Answer:
    return {"role": "assistant", "content": content, "refusal": None, "annotations": [], **fields}


def choice(message: Answer, index: int = 0, finish_reason: str = "stop", **fields: Any) -> Answer:
    return {"index": index, "message": message, "logprobs": None, "finish_reason": finish_reason, **fields}


def chat(*choices: Answer, **fields: Any) -> Answer:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "m-2026",
        "choices": list(choices),
        "usage": USAGE,
        "service_tier": "default",
        "system_fingerprint": "fp_1",
        **fields,
    }


def tool_call(number: int, name: str = "weather", arguments: str = '{"city": "Oslo"}', **fields: Any) -> Answer:
    return {
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
        **fields,
    }


def token(text: str) -> Answer:
    likely = {"token": text, "logprob": -0.000031, "bytes": list(text.encode())}
    return {**likely, "top_logprobs": [likely]}


WEATHER_CALLS = [tool_call(1), tool_call(2, arguments='{"city":"Bergen"}'), tool_call(3, "noon", "")]

CHAT: dict[str, Answer] = {
    "plain": chat(choice(message())),
    "bare": {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    },
    "two choices": chat(choice(message("one")), choice(message("two"), 1, "length")),
    "choices out of order": chat(choice(message("two"), 1), choice(message("one"), 0)),
    "tool call": chat(choice(message(None, tool_calls=[tool_call(1)]), finish_reason="tool_calls")),
    "tool calls": chat(choice(message(None, tool_calls=WEATHER_CALLS), finish_reason="tool_calls")),
    "text and tool calls": chat(choice(message("Wait.", tool_calls=WEATHER_CALLS), finish_reason="tool_calls")),
    "tool calls of two choices": chat(
        choice(message(None, tool_calls=WEATHER_CALLS), finish_reason="tool_calls"),
        choice(message(None, tool_calls=WEATHER_CALLS[:2]), 1, "tool_calls"),
    ),
    "no tool calls": chat(choice(message(tool_calls=[], function_call=None, audio=None))),
    "tool call with a signature": chat(
        choice(
            message(None, tool_calls=[tool_call(1, extra_content={"google": {"thought_signature": "s"}})]),
            finish_reason="tool_calls",
        )
    ),
    "function call": chat(
        choice(message(None, function_call={"name": "f", "arguments": '{"a":1}'}), finish_reason="function_call")
    ),
    "refusal": chat(choice(message(None) | {"refusal": "I will not."})),
    "refusal with logprobs": chat(
        choice(message(None) | {"refusal": "No."}, logprobs={"content": None, "refusal": [token("No.")]})
    ),
    "logprobs": chat(choice(message("a b"), logprobs={"content": [token("a"), token(" b")], "refusal": None})),
    "logprobs of tool calls": chat(
        choice(
            message(None, tool_calls=[tool_call(1)]),
            finish_reason="tool_calls",
            logprobs={"content": [token("a")], "refusal": None},
        )
    ),
    "json": chat(choice(message('{"city": "Oslo", "degrees": 4}'))),
    "null content": chat(choice(message(None))),
    "empty content": chat(choice(message(""))),
    "annotations": chat(
        choice(
            message(
                annotations=[
                    {
                        "type": "url_citation",
                        "url_citation": {"start_index": 0, "end_index": 5, "title": "t", "url": "https://e.org"},
                    }
                ]
            )
        )
    ),
    "audio": chat(
        choice(message(None, audio={"id": "au_1", "data": "UklGRg==", "expires_at": 5, "transcript": "Hi."}))
    ),
    "reasoning": chat(choice(message(reasoning_content="Let me think.", reasoning=None))),
    "unknown fields": chat(
        choice(message(tone={"warm": [1, 2.5]}, score=3), stop_reason=None, content_filter_results={"hate": {"x": 1}}),
        prompt_logprobs=None,
        citations=["https://e.org"],
        type="answer",
    ),
    "odd text": chat(choice(message(ODD_TEXT, reasoning_content=ODD_TEXT))),
    "long text": chat(choice(message("lorem ipsum " * 90_000))),
}


def response(*output: Answer, status: str = "completed", **fields: Any) -> Answer:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000.0,
        "status": status,
        "background": False,
        "completed_at": 1_700_000_009.0 if status == "completed" else None,
        "error": None,
        "incomplete_details": None,
        "instructions": "Be brief.",
        "max_output_tokens": None,
        "metadata": {"k": "v"},
        "model": "m-2026",
        "output": list(output),
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 3,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 8,
        },
        **fields,
    }


def text_part(text: str = "Hello, you.", **fields: Any) -> Answer:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": [], **fields}


def output_message(*parts: Answer, number: int = 1, status: str = "completed") -> Answer:
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": list(parts),
    }


def function_call(number: int = 1, arguments: str = '{"city": "Oslo"}', status: str = "completed") -> Answer:
    return {
        "id": f"fc_{number}",
        "type": "function_call",
        "call_id": f"call_{number}",
        "name": "weather",
        "arguments": arguments,
        "status": status,
    }


REASONING = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "First."}, {"type": "summary_text", "text": "Second."}],
    "content": [{"type": "reasoning_text", "text": "Hm."}],
    "encrypted_content": "gAAAA",
    "status": "completed",
}

TOOL_ITEMS: list[Answer] = [
    {
        "id": "ws_1",
        "type": "web_search_call",
        "status": "completed",
        "action": {"type": "search", "query": "oslo", "queries": ["oslo"]},
    },
    {"id": "fs_1", "type": "file_search_call", "status": "completed", "queries": ["q"], "results": None},
    {"id": "ig_1", "type": "image_generation_call", "status": "completed", "result": "aGk="},
    {
        "id": "ci_1",
        "type": "code_interpreter_call",
        "status": "completed",
        "code": "print(1)",
        "container_id": "c",
        "outputs": [{"type": "logs", "logs": "1"}],
    },
    {
        "id": "ml_1",
        "type": "mcp_list_tools",
        "server_label": "s",
        "tools": [{"name": "t", "input_schema": {"type": "object"}}],
    },
    {
        "id": "mc_1",
        "type": "mcp_call",
        "server_label": "s",
        "name": "t",
        "arguments": "{}",
        "output": "done",
        "error": None,
        "status": "completed",
    },
    {
        "id": "mc_2",
        "type": "mcp_call",
        "server_label": "s",
        "name": "t",
        "arguments": "{}",
        "output": None,
        "status": "failed",
    },
    {"id": "ma_1", "type": "mcp_approval_request", "server_label": "s", "name": "t", "arguments": "{}"},
    {"id": "ct_1", "type": "custom_tool_call", "call_id": "call_ct", "name": "shell", "input": "ls -l\n"},
    {
        "id": "cu_1",
        "type": "computer_call",
        "call_id": "call_cu",
        "status": "completed",
        "pending_safety_checks": [],
        "action": {"type": "screenshot"},
    },
    {
        "id": "ls_1",
        "type": "local_shell_call",
        "call_id": "call_ls",
        "status": "completed",
        "action": {"type": "exec", "command": ["ls"], "env": {}},
    },
    {"id": "cm_1", "type": "compaction", "encrypted_content": "gAAAA"},
    {
        "id": "ap_1",
        "type": "apply_patch_call_output",
        "call_id": "call_ap",
        "status": "completed",
        "output": "patched",
    },
]

CITED = text_part(
    "See there.",
    annotations=[
        {"type": "url_citation", "start_index": 0, "end_index": 3, "title": "t", "url": "https://e.org"},
        {"type": "file_citation", "file_id": "file-1", "filename": "f", "index": 4},
    ],
    logprobs=[
        {"token": "See", "bytes": [83], "logprob": -0.000031, "top_logprobs": []},
        {"token": " there.", "bytes": [32], "logprob": -1.5, "top_logprobs": []},
    ],
)

RESPONSES: dict[str, Answer] = {
    "plain": response(output_message(text_part())),
    "annotations": response(output_message(CITED)),
    "several parts": response(output_message(text_part("one"), text_part("two"))),
    "refusal": response(output_message({"type": "refusal", "refusal": "I will not."})),
    "function calls": response(function_call(1), function_call(2, ""), function_call(3, '{"city":"Bergen"}')),
    "reasoning": response(REASONING, output_message(text_part())),
    "mixed": response(REASONING, output_message(text_part()), function_call(), output_message(CITED, number=2)),
    "tools": response(*TOOL_ITEMS, output_message(text_part())),
    "json": response(output_message(text_part('{"city": "Oslo", "degrees": 4}'))),
    "empty text": response(output_message(text_part(""))),
    "no output": response(),
    "odd text": response(output_message(text_part(ODD_TEXT)), function_call(1, ODD_TEXT)),
    "long text": response(output_message(text_part("lorem ipsum " * 90_000))),
    "unknown fields": response(
        output_message(text_part(mood="calm")) | {"tone": {"warm": 1}},
        output_text="Hello, you.",
        kv_transfer_params=None,
        error_rate=0.5,
    ),
}

ENDED_EARLY: dict[str, Answer] = {
    "incomplete": response(
        output_message(text_part("Hello, y"), status="incomplete"),
        function_call(1, '{"ci', status="incomplete"),
        status="incomplete",
        incomplete_details={"reason": "max_output_tokens"},
    ),
    "failed": response(status="failed", error={"code": "server_error", "message": "Sorry."}, usage=None),
}

COMPLETIONS: dict[str, Answer] = {
    "plain": {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": "m",
        "choices": [{"text": "Hello.", "index": 0, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    },
    "two choices": {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "text": ODD_TEXT,
                "index": 0,
                "logprobs": {"tokens": ["a"], "token_logprobs": [-1.5], "top_logprobs": None, "text_offset": [0]},
                "finish_reason": "length",
                "stop_reason": 7,
            },
            {"text": "", "index": 1, "logprobs": None, "finish_reason": "stop"},
        ],
        "system_fingerprint": "fp",
        "kv_transfer_params": {"a": 1},
    },
}
