"""The lines of an input: those of the Batch API, or bare bodies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import msgspec

from ..upstream.providers import BATCHABLE_ENDPOINTS

MAX_LINE_BYTES = 200_000_000
"""Longer than any provider's limit for a whole file."""


class InputLine(NamedTuple):
    """One call.

    Attributes:
        number: of its line, from 1.
        custom_id: as the file has it; "line-17" for a bare body on line 17.
    """

    number: int
    custom_id: str
    endpoint: str
    body: bytes


class BadLine(NamedTuple):
    """A line that is no call.

    Attributes:
        reason: what is wrong with it, in a sentence without a full stop.
    """

    number: int
    reason: str


def input_lines(stream: BinaryIO, endpoint: str | None) -> Iterator[InputLine | BadLine]:
    """Read line by line; blank lines are left out.

    Args:
        endpoint: of the lines that do not say one; None refuses those.
    """
    number = 0
    while line := stream.readline(MAX_LINE_BYTES):
        number += 1
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            _skip_line(stream)
            yield BadLine(number, f"it is longer than {MAX_LINE_BYTES:,} bytes")
        elif not line.isspace():
            yield _parsed(number, line.removeprefix(_MARK) if number == 1 else line, endpoint)


_MARK = b"\xef\xbb\xbf"
"""What Windows programs write before UTF-8."""


def _skip_line(stream: BinaryIO) -> None:
    while (rest := stream.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
        pass


class _Line(msgspec.Struct):
    custom_id: str | msgspec.UnsetType = msgspec.UNSET
    body: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    url: str | None = None
    method: str | None = None


_decode = msgspec.json.Decoder(_Line).decode


def _parsed(number: int, line: bytes, endpoint: str | None) -> InputLine | BadLine:
    try:
        fields = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return BadLine(number, _shown(error))
    body, custom_id = fields.body, fields.custom_id
    if body is msgspec.UNSET and endpoint is not None:
        return InputLine(number, f"line-{number}", endpoint, line.strip())
    if isinstance(custom_id, msgspec.UnsetType):
        return BadLine(number, "it has no custom_id" + _bare(body))
    if isinstance(body, msgspec.UnsetType):
        return BadLine(number, "it has no body")
    found = _endpoint(fields.url) if fields.url is not None else endpoint
    if found is None:
        what = "it has no url" if fields.url is None else f"its url {fields.url[:100]!r} is none that batches have"
        return BadLine(number, f"{what}: {', '.join(sorted(BATCHABLE_ENDPOINTS))}")
    if fields.method not in (None, "POST"):
        return BadLine(number, f"its method must be POST, not {fields.method[:100]!r}")
    return InputLine(number, custom_id, found, bytes(body))


def _bare(body: object) -> str:
    return " (for bare bodies, give --endpoint)" if body is msgspec.UNSET else ""


def _endpoint(url: str) -> str | None:
    """The endpoint of a line's url, with /v1 or without it."""
    for name in (url, f"/v1{url}"):
        if name in BATCHABLE_ENDPOINTS:
            return name
    return None


def _shown(error: Exception) -> str:
    """What the parser says, without what the line says."""
    if isinstance(error, msgspec.ValidationError):
        return f"it is no line of a batch ({error})"
    return f"it is not valid JSON: {error}".replace(": JSON is malformed", "")
