"""A well-formed body for each batchable endpoint."""

from __future__ import annotations

from typing import Any

BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "hello"}]},
        ],
        "temperature": 0.5,
        "n": 1,
        "max_completion_tokens": 20,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
        "metadata": {"a": "b"},
    },
    "/v1/completions": {"model": "m", "prompt": ["a", "b"], "max_tokens": 5, "logprobs": 1},
    "/v1/embeddings": {"model": "m", "input": ["a", "b"], "dimensions": 8, "encoding_format": "float"},
    "/v1/responses": {
        "model": "m",
        "input": [{"role": "user", "content": "hello"}],
        "text": {"format": {"type": "json_schema", "name": "s", "schema": {"type": "object", "properties": {}}}},
    },
    "/v1/moderations": {"model": "m", "input": "hello"},
    "/v1/images/generations": {"model": "m", "prompt": "a cat", "n": 1},
}
