"""Requests and replies of the emulator, and broken connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request.

    Header names are lower case; `path` is not percent-encoded; `body` is the whole body.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP response. A body that is an iterator may raise `ConnectionLostError` in the middle."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | AsyncIterator[bytes] = b""


class ConnectionLostError(Exception):
    """The connection broke before the response. `connected` is False if it was never made."""

    def __init__(self, message: str, *, connected: bool = True) -> None:
        super().__init__(message)
        self.connected = connected


class RefusedError(Exception):
    """The request is refused with an HTTP status; the dialect words the message."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code


def json_reply(status: int, content: Any) -> Reply:
    return Reply(status, {"content-type": "application/json"}, msgspec.json.encode(content))


def text_reply(status: int, text: str) -> Reply:
    return Reply(status, {"content-type": "text/plain; charset=utf-8"}, text.encode())


class CutBody:
    """The first `size` bytes of a body, then a `ConnectionLostError`, also if the body is shorter."""

    def __init__(self, body: bytes | AsyncIterator[bytes], size: int) -> None:
        self._body = body
        self._left = size

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._next_chunk() if self._left > 0 else b""
        if not chunk:
            raise ConnectionLostError("The emulator cuts this download, as its fault plan says.")
        chunk = chunk[: self._left]
        self._left -= len(chunk)
        return chunk

    async def aclose(self) -> None:
        await close_body(self._body)

    async def _next_chunk(self) -> bytes:
        if isinstance(self._body, bytes):
            whole, self._body = self._body, b""
            return whole
        return await anext(self._body, b"")


async def close_body(body: bytes | AsyncIterator[bytes]) -> None:
    """Closes a body, read or not."""
    close = getattr(body, "aclose", None)
    if close is not None:
        await close()


_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
}


def openai_error(status: int, message: str, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The body of an OpenAI error answer."""
    kind = _ERROR_TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


MOST_CONTAINERS = 1_000_000
"""How many lists and objects a body may have: each takes a hundred bytes."""


def decode_object(body: bytes, what: str = "request body") -> dict[str, Any]:
    """The JSON object in `body`; raises `RefusedError` (400) if it is something else."""
    if body.count(b"[") + body.count(b"{") > MOST_CONTAINERS:
        raise RefusedError(400, f"The {what} has more than {MOST_CONTAINERS:,} lists and objects.")
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(400, f"We could not parse the JSON of your {what}: {error}") from error
    if not isinstance(content, dict):
        raise RefusedError(400, f"The {what} must be a JSON object.")
    return content
