"""The head of a plain HTTP/1.1 request. Pure.

Plain is what one strict regular expression says: so there is one way to read it, and nothing to disagree about with
whatever stands in front of the proxy. Nearly all requests are. Of the others h11 says what they mean.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

_TOKEN = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]++"
_VALUE = rb"[\t -~\x80-\xff]*+"
_HEAD = re.compile(rb"(GET|POST|DELETE) ([!-~]++) HTTP/1\.1((?:\r\n%b:%b)++)\r\n\r\n" % (_TOKEN, _VALUE))
_LINE = re.compile(rb"\r\n(%b):[\t ]*+(%b)" % (_TOKEN, _VALUE))
_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength:[\t ]*+([0-9]{1,19})[\t ]*+(?=\r)")

_NOT_PLAIN = frozenset({b"transfer-encoding", b"upgrade", b"expect", b"content-length"})
_KEEPS_ALIVE = {b"keep-alive": True, b"close": False}

_UPPER_CASE = range(ord("A"), ord("Z") + 1)


Fields = tuple[tuple[bytes, bytes], ...]


class PlainHead(NamedTuple):
    """A head that is plain.

    Attributes:
        fields: the headers but for the length of the body, names in lower case.
        length: of the body, in digits; None if the head does not tell.
        memory: the same dict for each request with these fields, as long as they are remembered.
        keeps_alive: whether the client may send another request.
        size: of the head itself, in bytes.
    """

    method: str
    target: bytes
    fields: Fields
    length: bytes | None
    keeps_alive: bool
    memory: dict[Any, Any]
    size: int

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """All headers, names in lower case."""
        length = [] if self.length is None else [(b"content-length", self.length)]
        return [*self.fields, *length]


def is_unfinished(received: bytes, most_bytes: int) -> bool:
    """Whether more must be received to tell if this begins with a plain head, which is no longer than that."""
    if b"\n\r\n" in received or b"\n\n" in received:
        return False
    return not received or (received[0] in _UPPER_CASE and len(received) <= most_bytes)


def plain_head(received: bytes) -> PlainHead | None:
    """The head that this begins with; None if it is not plain."""
    match = _HEAD.match(received)
    if match is None:
        return None
    method, target, lines = match.groups()
    length = _LENGTH.search(lines + b"\r")
    if length is not None:
        lines = lines[: length.start()] + lines[length.end() :]
    read = _remembered(lines) if len(lines) <= _REMEMBERED_BYTES else _read(lines)
    if read is None:
        return None
    fields, keeps_alive, memory = read
    return PlainHead(method.decode(), target, fields, length and length[1], keeps_alive, memory, match.end())


def _read(lines: bytes) -> tuple[Fields, bool, dict[Any, Any]] | None:
    """The headers in these lines, whether they keep the connection alive, and a memory; None if they are not plain."""
    fields = tuple([(name.lower(), value.rstrip(b"\t ")) for name, value in _LINE.findall(lines)])
    names = [name for name, _ in fields]
    if names.count(b"host") != 1 or names.count(b"connection") > 1 or not _NOT_PLAIN.isdisjoint(names):
        return None
    keeps_alive = _KEEPS_ALIVE.get(dict(fields).get(b"connection", b"keep-alive").lower())
    return None if keeps_alive is None else (fields, keeps_alive, {})


_REMEMBERED_BYTES = 2_000
_remembered = lru_cache(200)(_read)
"""Nearly all requests have the headers of one before."""
