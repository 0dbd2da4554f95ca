"""Removes streaming from a request."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from msgspec import Raw

from ...engine.digest import has_lost_names
from ...engine.json_scan import MOST_ELEMENTS, OversizeError, is_large, name_count
from ...errors import UnbatchableRequestError
from ...turns import Steps, at_once


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

    Raises:
        UnbatchableRequestError: if the body streams and has a name twice, or far more names than any honest body.
    """
    return at_once(removal_of_streaming(body))


def removal_of_streaming(body: bytes) -> Steps[StreamRequest]:
    """`without_streaming` in steps: 64 MB take 0.3 s."""
    try:
        asked = _decode_asked(body)
        if asked.stream != _TRUE:
            return StreamRequest(body, wants_stream=False, include_usage=False)
        kept = yield from _kept_fields(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OversizeError):
        return StreamRequest(body, wants_stream=False, include_usage=False)
    return StreamRequest(kept, wants_stream=True, include_usage=_includes_usage(asked.stream_options))


class _Asked(msgspec.Struct):
    stream: Raw = Raw()
    stream_options: Raw = Raw()


class _Options(msgspec.Struct):
    include_usage: Raw = Raw()


_TRUE = Raw(b"true")
_decode_asked = msgspec.json.Decoder(_Asked).decode
_decode_options = msgspec.json.Decoder(_Options).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def _includes_usage(options: Raw) -> bool:
    try:
        return _decode_options(options).include_usage == _TRUE
    except msgspec.MsgspecError:  # no object
        return False


def _kept_fields(body: bytes) -> Steps[bytes]:
    if is_large(body) and body.count(b":") > MOST_ELEMENTS:  # texts have colons, too
        yield
        if (yield from name_count(body)) > MOST_ELEMENTS:
            message = f"The body of a streamed call may have {MOST_ELEMENTS:,} names. This one has more."
            raise UnbatchableRequestError(message, param="stream")
    yield
    fields = _decode_fields(body)
    yield
    encoded = msgspec.json.encode(fields)
    yield
    if (yield from has_lost_names(body, encoded)):
        raise UnbatchableRequestError("The body of this streamed call has a name twice in one object. Send it once.")
    yield
    return msgspec.json.encode({name: value for name, value in fields.items() if name not in _REMOVED})


_REMOVED = ("stream", "stream_options")
