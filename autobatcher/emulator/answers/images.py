"""Answers to POST /v1/images/generations and /v1/images/edits: a PNG of one pixel, coloured by the prompt."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

from .prompt import Prompt, count_tokens


def images(prompt: Prompt) -> dict[str, Any]:
    """An ImagesResponse with `n` images in base64."""
    text = str(prompt.required("prompt"))
    number = prompt.count("n", most=10)
    picture = base64.b64encode(_png(bytes.fromhex(prompt.digest[:6]))).decode()
    return {
        "created": prompt.created,
        "data": [{"b64_json": picture, "revised_prompt": None, "url": None} for _ in range(number)],
        "usage": _usage(count_tokens(text), 16 * number),
    }


def _usage(asked: int, drawn: int) -> dict[str, Any]:
    details = {"image_tokens": 0, "text_tokens": asked}
    return {
        "input_tokens": asked,
        "input_tokens_details": details,
        "output_tokens": drawn,
        "total_tokens": asked + drawn,
    }


def _png(colour: bytes) -> bytes:
    """A PNG image of one pixel with the three bytes of `colour`."""
    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\x00" + colour)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
