"""What a request says of its answers: how many, how long at most, and which job it belongs to. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple
from zlib import crc32

import msgspec

from .usage import MOST_TOKENS

WITHOUT_OUTPUT = frozenset({"/v1/embeddings", "/v1/moderations"})

_LIMITS = {
    "/v1/chat/completions": ("max_completion_tokens", "max_tokens"),
    "/v1/completions": ("max_tokens",),
    "/v1/responses": ("max_output_tokens",),
}
_HEAD_BYTES = 512


class Limits(NamedTuple):
    """What a request says of its answers.

    Attributes:
        answers: how many it wants.
        output: how many tokens each may have; None if the request does not say.
        predicted: bytes of a prediction that the request sends along. Those that are wrong are billed as output.
        job: equal for requests that probably belong together: with one limit, and one system prompt.
    """

    answers: int = 1
    output: int | None = None
    predicted: int = 0
    job: int = 0


class _Fields(msgspec.Struct):
    max_tokens: msgspec.Raw = msgspec.Raw()
    max_completion_tokens: msgspec.Raw = msgspec.Raw()
    max_output_tokens: msgspec.Raw = msgspec.Raw()
    n: msgspec.Raw = msgspec.Raw()
    best_of: msgspec.Raw = msgspec.Raw()
    prediction: msgspec.Raw = msgspec.Raw()
    instructions: msgspec.Raw = msgspec.Raw()
    messages: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()


_decode_fields = msgspec.json.Decoder(_Fields).decode


def limits_of(endpoint: str, body: bytes) -> Limits:
    """Read what a body says of its answers. Nothing is built of the rest. Never raises."""
    try:
        fields = _decode_fields(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Limits()
    if endpoint in WITHOUT_OUTPUT:
        return Limits(output=0)
    given = [_whole(getattr(fields, name)) for name in _LIMITS.get(endpoint, ())]
    output = max((limit for limit in given if limit is not None), default=None)
    answers = max(_whole(fields.n) or 1, _whole(fields.best_of) or 1)
    if endpoint == "/v1/completions":
        answers *= _prompts(fields.prompt)
    return Limits(min(answers, MOST_TOKENS), output, len(bytes(fields.prediction)), _job(fields, output))


def _whole(raw: msgspec.Raw) -> int | None:
    """A number of at least one; None for anything else. Some servers take 1e5 and "100" as well."""
    found = _NUMBER.fullmatch(bytes(raw))
    return int(min(max(1.0, float(found[1])), MOST_TOKENS)) if found is not None and float(found[1]) > 0 else None


_NUMBER = re.compile(rb'"?\s*([0-9]{1,20}(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,3})?)\s*"?')


def _prompts(raw: msgspec.Raw) -> int:
    """How many prompts a call has: texts, or lists of token numbers. They are counted and not built."""
    written = bytes(raw)
    begin = _ITEMS.match(written)
    if begin is None:
        return 1
    if begin[1] == b"[":
        return written.count(b"[") - 1
    return written.replace(b"\\\\", b"").replace(b'\\"', b"").count(b'"') // 2


_ITEMS = re.compile(rb'\[\s*(["\[])')


def _job(fields: _Fields, output: int | None) -> int:
    told = bytes(memoryview(fields.instructions)[:_HEAD_BYTES])
    for raw in (fields.messages, fields.input):
        head = bytes(memoryview(raw)[:_HEAD_BYTES]).partition(b"}")[0]
        if b'"system"' in head or b'"developer"' in head:
            told += head
    return crc32(b"%d %b" % (output or 0, told))
