"""Server-sent events: the bytes of one frame.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

DONE = b"data: [DONE]\n\n"
"""The end of a stream of chunks. Streams of responses end with their last event."""

_ESCAPES = {"\u0085": rb"\u0085", "\u2028": rb"\u2028", "\u2029": rb"\u2029"}
"""Only \\r and \\n end a line of an event, but `str.splitlines` (httpx's `iter_lines`) also breaks at these. In JSON
they only occur in strings, where they can be escaped."""


def frame(message: Mapping[str, Any], name: str | None = None) -> bytes:
    """Encode one event with `message` as its JSON and an optional name."""
    event = b"" if name is None else b"event: %b\n" % name.encode()
    return b"%bdata: %b\n\n" % (event, _one_line(msgspec.json.encode(message)))


def _one_line(encoded: bytes) -> bytes:
    """The same JSON without line ends: raw parts of an answer may be indented."""
    if b"\n" in encoded or b"\r" in encoded:
        encoded = encoded.translate(_SPACES)
    if encoded.isascii():
        return encoded
    for character, escape in _ESCAPES.items():
        encoded = encoded.replace(character.encode(), escape)
    return encoded


_SPACES = bytes.maketrans(b"\n\r", b"  ")
