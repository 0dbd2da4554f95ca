"""What a client may write in a path that is passed on. Pure."""

from __future__ import annotations

from urllib.parse import unquote

MOST_DECODINGS = 4
"""Gateways decode a path once or twice. What is still encoded after this many times is no name."""


def is_model_name(name: str) -> bool:
    """Whether a model can have this name: without segments that lead elsewhere, however often they are encoded."""
    for _ in range(MOST_DECODINGS):
        segments = name.replace("\\", "/").split("/")
        if not all(segments) or not {".", ".."}.isdisjoint(segments):
            return False
        if not name.isprintable():
            return False
        decoded = unquote(name)
        if decoded == name:
            return True
        name = decoded
    return False
