"""What a response is on the wire, for a plain HTTP/1.1 request. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from .http1 import CLOSE

_LINES = re.compile(rb"(?:[-!#$%&'*+.^_`|~0-9A-Za-z]++: [\t -~\x80-\xff]*+\r\n)*+")
_WITHOUT_BODY = frozenset({204, 304})


class ResponseHead(NamedTuple):
    """The head of a response, and how its body is sent.

    Attributes:
        content: the bytes of the head.
        has_body: False for a status that never has one.
        is_chunked: whether the body comes in chunks, since its length is not known.
        closes: whether the connection is closed after the response.
    """

    content: bytes
    has_body: bool
    is_chunked: bool
    closes: bool

    def framed(self, body: bytes, *, is_last: bool) -> bytes:
        """A piece of the body."""
        if not self.has_body:
            return b""
        if not self.is_chunked:
            return body
        return (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"0\r\n\r\n" if is_last else b"")


def response_head(status: int, headers: Iterable[tuple[bytes, bytes]], added: bytes, *, closes: bool) -> ResponseHead:
    """Make a head.

    Args:
        headers: names in lower case.
        added: the lines of further headers.
        closes: whether to close the connection even if no header says so.

    Raises:
        ValueError: there is a header that HTTP cannot hold.
    """
    headers = list(headers)
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    if not _LINES.fullmatch(lines) or lines.count(b"\n") != len(headers):
        raise ValueError("a header of the response has bytes that HTTP does not allow")
    has_body = status not in _WITHOUT_BODY
    is_chunked = has_body and not any(name == b"content-length" for name, _ in headers)
    says_close = CLOSE in headers
    ending = b"transfer-encoding: chunked\r\n" if is_chunked else b""
    if closes and not says_close:
        ending += b"connection: close\r\n"
    content = b"HTTP/1.1 %d \r\n%b%b%b\r\n" % (status, lines, added, ending)
    return ResponseHead(content, has_body, is_chunked, closes or says_close)
