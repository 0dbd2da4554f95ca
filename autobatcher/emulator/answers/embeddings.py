"""Answers to POST /v1/embeddings: unit vectors that depend on the text alone, fast enough for whole batches.

A vector is a row of pairs (cos a, sin a), scaled to length 1. Each angle is one of 256, picked by a byte of the text's
hash, so a vector is joined from precomputed pieces: float32 bytes for base64, JSON text for numbers.
"""

from __future__ import annotations

import base64
import math
import struct
from functools import lru_cache
from hashlib import shake_256
from typing import Any

import msgspec

from ..wire import RefusedError
from .prompt import Prompt, count_tokens

# OpenAI's sizes; any other model gets a short vector.
DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
DEFAULT_DIMENSIONS = 256
MAX_DIMENSIONS = 8192


def embeddings(prompt: Prompt) -> dict[str, Any]:
    """A CreateEmbeddingResponse; its vectors are numbers, or base64 of little-endian float32."""
    inputs = prompt.texts("input")
    dimensions = _dimensions(prompt)
    write = _base64_vector if prompt.request.get("encoding_format") == "base64" else _json_vector
    rows = [
        {"object": "embedding", "index": index, "embedding": write(text, dimensions)}
        for index, text in enumerate(inputs)
    ]
    tokens = sum(max(1, count_tokens(text)) for text in inputs)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": rows, "model": prompt.model, "usage": usage}


def _dimensions(prompt: Prompt) -> int:
    given = prompt.request.get("dimensions")
    if given is None:
        return DIMENSIONS.get(prompt.model, DEFAULT_DIMENSIONS)
    if not isinstance(given, int) or not 1 <= given <= MAX_DIMENSIONS:
        raise RefusedError(400, f"'dimensions' must be from 1 to {MAX_DIMENSIONS}.", param="dimensions")
    return given


def _base64_vector(text: str, dimensions: int) -> str:
    return base64.b64encode(b"".join(_parts(text, dimensions, *_float32_pieces(dimensions)))).decode()


def _json_vector(text: str, dimensions: int) -> msgspec.Raw:
    return msgspec.Raw(b"[" + b",".join(_parts(text, dimensions, *_json_pieces(dimensions))) + b"]")


def _parts(text: str, dimensions: int, pairs: list[bytes], lone: list[bytes]) -> list[bytes]:
    """The pieces of a vector: one for each pair of numbers, and one for the last number of an odd vector."""
    chosen = shake_256(text.encode("utf-8", "surrogatepass")).digest((dimensions + 1) // 2)
    parts = [pairs[byte] for byte in chosen]
    if dimensions % 2:
        parts[-1] = lone[chosen[-1]]
    return parts


def _pairs(dimensions: int) -> list[tuple[float, float]]:
    # Every number of an n-vector has the mean square 1/n, and both of a pair together always 2/n.
    angles = [2 * math.pi * byte / 256 for byte in range(256)]
    scale = math.sqrt(2 / dimensions)
    return [(scale * math.cos(angle), scale * math.sin(angle)) for angle in angles]


def _lone(dimensions: int) -> list[float]:
    """The last number of an odd vector, by its byte."""
    return [(-1 if byte & 128 else 1) / math.sqrt(dimensions) for byte in range(256)]


@lru_cache(maxsize=16)
def _float32_pieces(dimensions: int) -> tuple[list[bytes], list[bytes]]:
    pairs = [struct.pack("<2f", *pair) for pair in _pairs(dimensions)]
    return pairs, [struct.pack("<f", number) for number in _lone(dimensions)]


@lru_cache(maxsize=16)
def _json_pieces(dimensions: int) -> tuple[list[bytes], list[bytes]]:
    pairs = [f"{first:.9f},{second:.9f}".encode() for first, second in _pairs(dimensions)]
    return pairs, [f"{number:.9f}".encode() for number in _lone(dimensions)]
