"""The lines of an input file of a Batch API, read one at a time."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from ..upstream.providers import BATCHABLE_ENDPOINTS, ProviderProfile
from .flags import UsageError

STDIN = "-"
_LONGEST_LINE = 256_000_000
"""In bytes. No more of a file is in memory."""

_PIECE_BYTES = 2**20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """A line of an input file, from 1.

    Attributes:
        content: the line; None if it is longer than any provider takes.
    """

    number: int
    content: bytes | None


class Asked(NamedTuple):
    """What a line asks."""

    endpoint: str
    body: bytes


class BadLineError(ValueError):
    """A line that no Batch API takes. The message says why."""


class _Fields(msgspec.Struct):
    body: msgspec.Raw = msgspec.Raw()
    custom_id: str | None = None
    method: str | None = None
    url: str | None = None


_decode_fields = msgspec.json.Decoder(_Fields).decode


def lines_of(path: str) -> Iterator[Line]:
    """The lines that are not blank.

    Args:
        path: a file, read through gzip if its name ends in .gz; "-" for standard input.

    Raises:
        UsageError: if it cannot be read.
    """
    try:
        with ExitStack() as stack:
            yield from _lines(sys.stdin.buffer if path == STDIN else stack.enter_context(_opened(path)))
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path} cannot be read: {reason}.") from error


def _opened(path: str) -> BinaryIO:
    if path.endswith(".gz"):
        return gzip.open(path, "rb")  # type: ignore[return-value]  # it reads like one
    return Path(path).open("rb")


def _lines(file: BinaryIO) -> Iterator[Line]:
    number = 0
    while content := file.readline(_LONGEST_LINE):
        number += 1
        if number == 1:
            content = content.removeprefix(_BYTE_ORDER_MARK)
        if len(content) == _LONGEST_LINE and not content.endswith(b"\n"):
            _skip_line(file)
            yield Line(number, None)
        elif content and not content.isspace():
            yield Line(number, content)


def _skip_line(file: BinaryIO) -> None:
    while (piece := file.readline(_PIECE_BYTES)) and not piece.endswith(b"\n"):
        pass


def asked_by(line: Line, profile: ProviderProfile) -> Asked:
    """What a line asks. Raises `BadLineError`."""
    if line.content is None:
        raise BadLineError(f"is longer than {_LONGEST_LINE:,} bytes")
    try:
        fields = _decode_fields(line.content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        reason = str(error)
    else:
        return Asked(_endpoint(fields, profile), _body(fields))
    raise BadLineError(f"is no line of an input file: {reason}")


def _endpoint(fields: _Fields, profile: ProviderProfile) -> str:
    if not fields.custom_id:
        raise BadLineError("has no custom_id")
    if fields.method != "POST":
        raise BadLineError('needs the method "POST"')
    if not fields.url:
        raise BadLineError('has no url, such as "/v1/chat/completions"')
    for endpoint in BATCHABLE_ENDPOINTS:
        if fields.url in (endpoint, profile.line_url(endpoint)):
            return endpoint
    raise BadLineError(f"has the url {fields.url!r:.100}, which is no batchable endpoint")


def _body(fields: _Fields) -> bytes:
    body = bytes(fields.body)
    if not body.startswith(b"{"):
        raise BadLineError("has no body: a JSON object")
    return body
