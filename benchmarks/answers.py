"""What the upstream of the benchmarks answers to one call, by its endpoint. Each answer says whose it is."""

from __future__ import annotations

import base64
import re
import struct

FLOATS = 64
"""How long each embedding is. Few, so that the cost shows that each call has whatever it asks for. The first number is
the caller's."""

_CALLER = re.compile(rb"caller-(\d+)\.")

_CHAT = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"%b","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":'
    b'{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}'
)
_RESPONSE = (
    b'{"id":"resp_1","object":"response","created_at":1700000000,"status":"completed","background":false,"error":null,'
    b'"incomplete_details":null,"instructions":null,"max_output_tokens":null,"model":"m","output":[{"id":"msg_1",'
    b'"type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","annotations":[],'
    b'"logprobs":[],"text":"%b"}]}],"parallel_tool_calls":true,"previous_response_id":null,"reasoning":{"effort":null,'
    b'"summary":null},"service_tier":"default","store":true,"temperature":1.0,"text":{"format":{"type":"text"},'
    b'"verbosity":"medium"},"tool_choice":"auto","tools":[],"top_logprobs":0,"top_p":1.0,"truncation":"disabled",'
    b'"usage":{"input_tokens":10,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},"output_tokens":5,"output_tokens_details":'
    b'{"reasoning_tokens":0},"total_tokens":15},"user":null,"metadata":{}}'
)
_EMBEDDINGS = (
    b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":%b}],"model":"m","usage":{"prompt_tokens":10,'
    b'"total_tokens":10}}'
)
_OBJECT = rb"{\"caller\":\"%b\",\"text\":\"%b\"}"
"""What is answered to a call with a JSON schema, as a part of a JSON string."""


def answer_body(endpoint: str, body: bytes, padding: bytes) -> bytes:
    """The answer to a call.

    Args:
        endpoint: such as "/v1/embeddings".
        body: the call's, or a line with it.
        padding: follows the caller's name in texts.
    """
    found = _CALLER.search(body)
    caller, number = (found[0], int(found[1])) if found else (b"?", 0)
    if endpoint == "/v1/embeddings":
        return _EMBEDDINGS % _embedding(number, is_base64=b'"base64"' in body)
    text = _OBJECT % (caller, padding) if b'"json_schema"' in body else b"%b %b" % (caller, padding)
    return (_RESPONSE if endpoint == "/v1/responses" else _CHAT) % text


def _embedding(number: int, *, is_base64: bool) -> bytes:
    floats = [float(number), *_REST]
    if is_base64:
        return b'"%b"' % base64.b64encode(struct.pack(f"<{FLOATS}f", *floats))
    return ("[" + ",".join(map(repr, floats)) + "]").encode()


_REST = [(-1) ** index * 0.0123456789 * (index + 1) / FLOATS for index in range(1, FLOATS)]
