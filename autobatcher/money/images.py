"""How many tokens a picture in a request has, by its size and the public rules of OpenAI. Pure.

OpenAI's guide "Images and vision", November 2026. Its rules for other models are not public, or were not found: their
pictures count as unknown.
"""

from __future__ import annotations

import base64
import binascii
import math
import re

_BASE64 = re.compile(r"data:image/[a-z.+-]+;base64,([A-Za-z0-9+/]*)")
_HEADER_CHARACTERS = 2**17
"""How much of a picture is decoded for its size. JPEGs may have a thumbnail first."""

_TILES = (
    (re.compile(r"^gpt-4o-mini"), 2833, 5667),
    (re.compile(r"^(gpt-4o|gpt-4\.1(?!-mini|-nano)|gpt-4\.5|gpt-4-turbo|chatgpt-4o)"), 85, 170),
    (re.compile(r"^gpt-5(-chat|-20|$)"), 70, 140),
    (re.compile(r"^(o1|o3)(?!-mini)"), 75, 150),
    (re.compile(r"^computer-use"), 65, 129),
)
"""Tokens of a picture, and of each of its tiles."""

_PATCHES = (
    (re.compile(r"^(gpt-4\.1-mini|gpt-5-mini)"), 1.62),
    (re.compile(r"^(gpt-4\.1-nano|gpt-5-nano)"), 2.46),
    (re.compile(r"^o4-mini"), 1.72),
)
"""Tokens for each patch of 32 by 32 pixels."""

_MOST_PATCHES = 1536
_MOST_TILES = 8  # of a picture of 2,048 by 768 pixels


def image_tokens(model: str, url: str, detail: object) -> int | None:
    """The tokens of a picture; None if they are unknown.

    Args:
        url: where it is. Only pictures in the request itself (`data:image/...;base64,`) have a known size.
        detail: what the request says; "auto" and nothing count as "high".
    """
    name = model.rpartition("/")[2]
    for pattern, base, tile in _TILES:
        if pattern.match(name):
            if detail == "low":
                return base
            size = _size(url)
            return base + tile * _tiles(*size) if size is not None else None
    for pattern, factor in _PATCHES:
        if pattern.match(name):
            size = _size(url)
            return math.ceil(_patches(*size) * factor) if size is not None else None
    return None


def most_image_tokens(model: str) -> int:
    """The tokens of the largest picture; 0 if the model's rule is unknown."""
    name = model.rpartition("/")[2]
    tiled = (base + tile * _MOST_TILES for pattern, base, tile in _TILES if pattern.match(name))
    patched = (math.ceil(_MOST_PATCHES * factor) for pattern, factor in _PATCHES if pattern.match(name))
    return max((*tiled, *patched), default=0)


def _tiles(width: int, height: int) -> int:
    """Tiles of 512 pixels, once the picture is within 2,048 by 2,048, and its shorter side within 768."""
    scale = min(1.0, 2048 / max(width, height))
    scale *= min(1.0, 768 / (min(width, height) * scale))
    return math.ceil(round(width * scale) / 512) * math.ceil(round(height * scale) / 512)


def _patches(width: int, height: int) -> int:
    """Patches of 32 pixels; a larger picture is made smaller until it has no more than 1,536."""
    return min(_MOST_PATCHES, math.ceil(width / 32) * math.ceil(height / 32))


def _size(url: str) -> tuple[int, int] | None:
    """Width and height in pixels; None if the URL does not hold the picture, or it is of an unknown kind."""
    found = _BASE64.match(url[: _HEADER_CHARACTERS + 100])
    if found is None:
        return None
    written = found[1][:_HEADER_CHARACTERS]
    try:
        head = base64.b64decode(written[: len(written) & ~3])
    except binascii.Error:
        return None
    size = _png(head) or _gif(head) or _webp(head) or _jpeg(head)
    return size if size is not None and min(size) > 0 else None


def _png(head: bytes) -> tuple[int, int] | None:
    if not head.startswith(b"\x89PNG\r\n\x1a\n") or len(head) < 24:
        return None
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def _gif(head: bytes) -> tuple[int, int] | None:
    if not head.startswith((b"GIF87a", b"GIF89a")) or len(head) < 10:
        return None
    return int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")


def _webp(head: bytes) -> tuple[int, int] | None:
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP" or len(head) < 30:
        return None
    if head[12:16] == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF


def _jpeg(head: bytes) -> tuple[int, int] | None:
    """A JPEG is a chain of segments; a "start of frame" has the size."""
    at = 2
    while head.startswith(b"\xff\xd8") and at + 9 <= len(head) and head[at] == 0xFF:
        kind = head[at + 1]
        if 0xC0 <= kind <= 0xCF and kind not in _NO_FRAMES:
            return int.from_bytes(head[at + 7 : at + 9], "big"), int.from_bytes(head[at + 5 : at + 7], "big")
        at += 2 + max(2, int.from_bytes(head[at + 2 : at + 4], "big"))
    return None


_NO_FRAMES = (0xC4, 0xC8, 0xCC)
