"""Removes streaming from a request."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec


class StreamRequest(NamedTuple):
    """A request's body without streaming, and how the caller wants the answer."""

    body: bytes
    wants_stream: bool
    include_usage: bool

    def __repr__(self) -> str:
        """The body is a prompt."""
        return f"StreamRequest({len(self.body)} bytes, wants_stream={self.wants_stream})"


def without_streaming(body: bytes) -> StreamRequest:
    """Remove `stream` and `stream_options` from a request that has `"stream": true`.

    All other fields keep their bytes. Any other body, even a malformed one, is returned unchanged.
    """
    try:
        asked = _decode_asked(body)
        if asked.stream is not True:
            return StreamRequest(body, wants_stream=False, include_usage=False)
        fields = _decode_fields(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return StreamRequest(body, wants_stream=False, include_usage=False)
    kept = {name: value for name, value in fields.items() if name not in ("stream", "stream_options")}
    return StreamRequest(msgspec.json.encode(kept), wants_stream=True, include_usage=_includes_usage(asked))


class _Asked(msgspec.Struct):
    stream: Any = None
    stream_options: Any = None


_decode_asked = msgspec.json.Decoder(_Asked).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _includes_usage(asked: _Asked) -> bool:
    options = asked.stream_options
    return isinstance(options, dict) and options.get("include_usage") is True
