"""What a model reads of a request: its texts, its token numbers, its pictures. Pure, and bounded for any body."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..upstream.bounded_json import has_hard_numbers

MOST_MEMBERS = 20_000
"""Bodies with more lists, objects and values are judged by samples of their text. These take ten milliseconds."""

MOST_BYTES = 4_000_000
"""The same for their size."""

_READ = (
    "messages",
    "input",
    "prompt",
    "suffix",
    "instructions",
    "tools",
    "functions",
    "response_format",
    "text",
    "image",
)
_KEPT_ELSEWHERE = ("previous_response_id", "conversation")
_NO_TEXT = frozenset(
    {"type", "role", "id", "call_id", "tool_call_id", "status", "detail", "strict", "format", "encrypted_content"}
)
_IMAGES = frozenset({"image_url", "input_image"})
_FILES = {"file": "a file", "input_file": "a file", "input_audio": "audio", "audio": "audio", "video_url": "a video"}
_TOOLS_THAT_READ = re.compile("search|interpreter|computer|mcp")


@dataclass(slots=True)
class Prompt:
    """What a request gives to its model.

    Attributes:
        texts: its texts; of a large body samples of the JSON itself.
        share: how much of its text they are, from 0 to 1.
        numbers: how many token numbers it lists instead of texts.
        messages: how many messages it has.
        images: the URL and the detail of each picture.
        unknown: what else the model reads, of unknown size.
    """

    texts: list[str | bytes] = field(default_factory=list)
    share: float = 1.0
    numbers: int = 0
    messages: int = 0
    images: list[tuple[str, object]] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)


def prompt_of(body: bytes) -> Prompt:
    """Read a body. Never raises: what is no JSON object is judged by its bytes."""
    if len(body) > MOST_BYTES or _most_members(body) > MOST_MEMBERS or has_hard_numbers(body):
        return _sampled(body)
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _sampled(body)
    return _walked(fields) if isinstance(fields, dict) else Prompt()


def _most_members(body: bytes) -> int:
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def _walked(fields: dict[str, Any]) -> Prompt:
    prompt = Prompt()
    messages = fields.get("messages", fields.get("input"))
    prompt.messages = sum(isinstance(message, dict) for message in messages) if isinstance(messages, list) else 1
    if any(fields.get(name) for name in _KEPT_ELSEWHERE) or isinstance(fields.get("prompt"), dict):
        prompt.unknown.add("what the provider keeps of earlier calls")
    waiting: list[Any] = [fields[name] for name in _READ if name in fields]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            prompt.texts.append(value)
        elif isinstance(value, list):
            _take_list(prompt, value, waiting)
        elif isinstance(value, dict):
            _take_object(prompt, value, waiting)
    return prompt


def _take_list(prompt: Prompt, items: list[Any], waiting: list[Any]) -> None:
    if items and isinstance(items[0], int):
        prompt.numbers += len(items)
    else:
        waiting.extend(items)


def _take_object(prompt: Prompt, value: dict[str, Any], waiting: list[Any]) -> None:
    kind = value["type"] if isinstance(value.get("type"), str) else ""
    if kind in _IMAGES or "image_url" in value:
        prompt.images.append(_image(value))
    elif "file_id" in value or kind in _FILES:
        prompt.unknown.add(_FILES.get(kind, "a file"))
    elif _TOOLS_THAT_READ.search(kind):
        prompt.unknown.add("what its tools read")
    else:
        waiting.extend(member for name, member in value.items() if name not in _NO_TEXT or isinstance(member, dict))
        if "properties" in value or "function" in value or "schema" in value:
            prompt.texts.extend(value)  # a schema is read with its names


def _image(value: dict[str, Any]) -> tuple[str, object]:
    url: Any = value.get("image_url")
    detail = value.get("detail")
    if isinstance(url, dict):
        url, detail = url.get("url"), url.get("detail", detail)
    return (url if isinstance(url, str) else "", detail)


_PIECES, _PIECE_BYTES = 16, 2**14
_MOST_IMAGES, _IMAGE_HEAD_BYTES = 500, 2**16
_BASE64 = re.compile(rb"[A-Za-z0-9+/=]{300,}")  # audio and files; they are no text
_NUMBERS = re.compile(rb'"(?:input|prompt)"\s*:\s*(?:\[\s*){1,2}\d')


def _sampled(body: bytes) -> Prompt:
    """Judge a body by pieces of it, evenly spread."""
    if _NUMBERS.search(body[:_PIECE_BYTES]):
        return Prompt(numbers=body.count(b",") + 1)
    prompt = Prompt(messages=1)
    text = _without_images(body, prompt)
    step = max(_PIECE_BYTES, len(text) // _PIECES)
    pieces = [text[begin : begin + _PIECE_BYTES] for begin in range(0, len(text), step)]
    prompt.texts.extend(_unescaped(_BASE64.sub(b"", piece)) for piece in pieces)
    prompt.share = sum(len(piece) for piece in pieces) / max(1, len(text))
    return prompt


def _without_images(body: bytes, prompt: Prompt) -> bytes:
    """Take the pictures out of a body, and note them."""
    kept, at = [], 0
    while len(prompt.images) < _MOST_IMAGES and (begin := body.find(b"data:image/", at)) >= 0:
        end = body.find(b'"', begin)
        end = len(body) if end < 0 else end
        prompt.images.append((body[begin : min(end, begin + _IMAGE_HEAD_BYTES)].decode("latin-1"), None))
        kept.append(body[at:begin])
        at = end
    return b"".join((*kept, body[at:]))


def _unescaped(piece: bytes) -> str | bytes:
    """What many programs write as \\uXXXX is one character."""
    if b"\\u" not in piece or not piece.isascii():
        return piece
    return piece.decode("raw_unicode_escape", "replace")
