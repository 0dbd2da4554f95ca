"""The lines of input, output and error files, from bytes to bytes. Pure.

Bodies are spliced into input lines, and cut out of output lines, without being parsed. Only `\\n` ends a line: U+2028,
U+0085 and `\\r` may occur inside JSON, so never use `splitlines()` here.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import msgspec

_NULL = b"null"


def input_line(custom_id: str, endpoint: str, body: bytes) -> bytes:
    """Return one line of an input file. `body` must be valid JSON; `custom_id` and `endpoint` must need no escaping."""
    if b"\n" in body or b"\r" in body:
        # JSON strings contain line breaks only in escaped form, so these are white space.
        body = body.replace(b"\n", b" ").replace(b"\r", b" ")
    head = f'{{"custom_id":"{custom_id}","method":"POST","url":"{endpoint}","body":'.encode()
    return b"%b%b}\n" % (head, body)


_FRAME_BYTES = len(input_line("", "", b""))

MAX_CUSTOM_ID_BYTES = 64


def input_line_size(custom_id: str, endpoint: str, body: bytes) -> int:
    """Return `len(input_line(...))`, in bytes."""
    return _FRAME_BYTES + len(custom_id) + len(endpoint) + len(body)


def most_line_bytes(endpoint: str, body: bytes) -> int:
    """Return the line's maximum size in bytes, for a custom_id of up to 64 characters."""
    return _FRAME_BYTES + MAX_CUSTOM_ID_BYTES + len(endpoint) + len(body)


class InputFile(io.RawIOBase):
    """An input file that is generated while it is read: a seekable stream that is never whole in memory.

    Args:
        lines: yields the lines, the same ones each time it is iterated.
        size: the total length in bytes, for the upload's Content-Length.
    """

    def __init__(self, lines: Iterable[bytes], size: int) -> None:
        super().__init__()
        self._lines = lines
        self._size = size
        self._rewind()

    def _rewind(self) -> None:
        self._left: Iterator[bytes] = iter(self._lines)
        self._buffer = b""
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Seek to the start or the end. Uploads need nothing else."""
        if whence == io.SEEK_END and offset == 0:
            self._left, self._buffer, self._position = iter(()), b"", self._size
        elif whence == io.SEEK_SET and offset == 0:
            self._rewind()
        elif not (whence == io.SEEK_SET and offset == self._position):
            raise io.UnsupportedOperation("an input file can only seek to its start or its end")
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Read `size` bytes, or all that is left. (`io.RawIOBase` would build this on `readinto`, and copy once
        more.)"""
        wanted = self._size if size is None or size < 0 else size
        parts, have = [self._buffer], len(self._buffer)
        for line in self._left if have < wanted else ():
            parts.append(line)
            have += len(line)
            if have >= wanted:
                break
        content = b"".join(parts)
        chunk, self._buffer = content[:wanted], content[wanted:]
        self._position += len(chunk)
        return chunk

    def readinto(self, buffer: Any) -> int:
        chunk = self.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)


class LineSplitter:
    """Splits a stream of chunks at `\\n`. Drops blank lines."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that `chunk` completes."""
        lines = chunk.split(b"\n")
        self._rest.append(lines[0])
        if len(lines) == 1:
            return []
        lines[0] = b"".join(self._rest)
        self._rest = [lines.pop()]
        return [line for line in lines if line.strip()]

    def rest(self) -> list[bytes]:
        """Return what follows the last `\\n`: a line without a line break, or a truncated one."""
        last = b"".join(self._rest)
        self._rest = []
        return [last] if last.strip() else []


class OutputLine(msgspec.Struct, frozen=True):
    """The result of one request, from an output or error file.

    Either `status_code` and `body` are set (the upstream responded, whatever the status), or `error` is (it did not).
    """

    custom_id: str
    status_code: int | None = None
    body: bytes = b""
    request_id: str | None = None
    error_code: str | None = None
    error: str | None = None


_Status = Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]
"""Fits into a database. A status outside this range counts as absent."""


class _Response(msgspec.Struct):
    status_code: _Status | None = None
    request_id: str | None = None
    body: msgspec.Raw = msgspec.Raw(_NULL)


class _Line(msgspec.Struct):
    custom_id: str
    response: _Response | None = None
    error: msgspec.Raw = msgspec.Raw(_NULL)


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_any = msgspec.json.Decoder().decode


def parse_output_line(line: bytes) -> OutputLine | None:
    """Parse one line of an output or error file; None if it is not a result line of any known kind. Never raises.

    Accepts OpenAI's lines and the deviations of other servers: a body as JSON text (llama-stack), a failure's status
    and body as JSON text inside `error.message` (Doubleword), `error` as a plain string and a null body (vLLM).
    """
    parsed = _parse(line)
    if parsed is None:
        return None
    if parsed.response is not None:
        body = _body_bytes(parsed.response.body)
        if body != _NULL:
            status = parsed.response.status_code
            return OutputLine(parsed.custom_id, 200 if status is None else status, body, parsed.response.request_id)
    return _failure(parsed)


def _parse(line: bytes) -> _Line | None:
    try:
        return _decode_line(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _parse_leniently(line)


def _parse_leniently(line: bytes) -> _Line | None:
    """Parse a line whose fields have unusual types. What cannot be parsed counts as absent."""
    try:
        fields = _decode_fields(line)
        custom_id = msgspec.json.decode(fields["custom_id"], type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError):
        return None
    response = None
    try:
        inner = _decode_fields(fields.get("response", b"{}"))
        status = _decode_any(inner.get("status_code", _NULL))
        status_code = int(status) if str(status).isdecimal() and len(str(status)) == 3 else None
        response = _Response(status_code=status_code, body=inner.get("body", msgspec.Raw(_NULL)))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    return _Line(custom_id, response, fields.get("error", msgspec.Raw(_NULL)))


def _body_bytes(raw: msgspec.Raw) -> bytes:
    """Return the body as JSON. A body that was sent as JSON text is unwrapped."""
    body = bytes(raw)
    if not body.startswith(b'"'):
        return body
    try:
        inner = _decode_any(body)
        _decode_fields(inner)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return body
    return str(inner).encode()


def _failure(line: _Line) -> OutputLine:
    code, message = _code_and_message(line.error)
    status = line.response.status_code if line.response is not None else None
    if status is None and (nested := _nested_failure(message)) is not None:
        return OutputLine(line.custom_id, *nested)
    code = code or _nested_type(message)
    if status is not None and status >= 400:
        body = msgspec.json.encode({"error": {"message": message, "code": code, "type": None, "param": None}})
        request_id = line.response.request_id if line.response is not None else None
        return OutputLine(line.custom_id, status, body, request_id)
    return OutputLine(line.custom_id, error_code=code, error=message)


def _code_and_message(error: msgspec.Raw) -> tuple[str | None, str]:
    try:
        value = _decode_any(error)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = None
    if isinstance(value, dict):
        code, message = value.get("code"), value.get("message")
        return (None if code is None else str(code)), str(message or code or "no reason given")
    return None, str(value or "no reason given")


def _nested_failure(message: str) -> tuple[int, bytes] | None:
    """Extract the status and body that Doubleword sends as JSON text (fusillade, `FailureReason`)."""
    try:
        details = _decode_any(message)["details"]
        status, body = details["status"], details["body"]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError, TypeError, IndexError):
        return None
    if not isinstance(status, int) or not 400 <= status <= 599:
        return None
    return status, body.encode() if isinstance(body, str) else msgspec.json.encode(body)


def _nested_type(message: str) -> str | None:
    """Extract Doubleword's name for a failure without HTTP status, such as "NetworkError"."""
    try:
        kind = _decode_any(message)["type"]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError, TypeError, IndexError):
        return None
    return kind if isinstance(kind, str) else None
