"""Lies of an upstream: an honest response, changed. Pure."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from .mutation import SMALL, Members, Tree, large_value, mutated, mutated_bytes, mutated_json, tree_of, written

LARGEST_BYTES = 12_000_000
"""Of a body, once it is decompressed."""

MODEL_BYTES = 1_000_000
"""Of an answer of which the SDK makes a model. That takes 60 ns for each byte of lists, whoever gave it the answer."""

STATUSES = (
    *(200, 201, 204, 206, 226, 300, 301, 302, 303, 304, 307, 308, 400, 401, 402, 403, 404, 405, 408, 409, 410, 413),
    *(418, 422, 425, 429, 451, 499, 500, 501, 502, 503, 504, 507, 520, 529, 599, 600, 700, 999),
)
LINE_STATUSES = (0, 42, 100, 101, 199, 204, 299, 304, 400, 404, 429, 500, 599, 600, 1000, -5, 10**30, "200", None, True)
HEADERS: tuple[tuple[str, str], ...] = (
    *(
        ("retry-after", value)
        for value in ("nan", "-1", "1e9", "inf", "", "0", "Wed, 21 Oct 2099 07:28:00 GMT", "\u0663")
    ),
    *(
        ("location", value)
        for value in ("", "/", "//", "http://[", "file:///etc/passwd", "http://upstream.test/v1/files")
    ),
    *(
        ("content-type", value)
        for value in ("text/html", "", "application/json; charset=utf-16", "x", "a/b; charset=\0")
    ),
    *(("content-encoding", value) for value in ("gzip", "deflate", "br", "zstd", "x", "gzip, gzip", "identity")),
    *(("x-last-line", value) for value in ("0", "-1", "9" * 30, "\u0663", "")),
    *(("x-request-id", value) for value in ("", "\x1b[2J", "a" * 10_000, "\xe9", "a\tb")),
    *(
        ("x-should-retry", "true"),
        ("x-should-retry", "x"),
        ("set-cookie", "a=" + "b" * 10_000),
        ("content-length", "5"),
    ),
)
FAILURES = ("ReadError", "ConnectError", "RemoteProtocolError", "ReadTimeout", "WriteError", "TooManyRedirects")


@dataclass(frozen=True)
class Lie:
    """What is changed, and when: from the `first` response to an operation, so many `times`."""

    operation: str
    first: int
    times: int
    kind: str
    seed: int


@dataclass(frozen=True)
class Growth:
    """What comes in addition at one place of a body, and is never whole in the fuzzer's memory."""

    at: int
    opening: bytes
    piece: bytes
    times: int
    closing: bytes


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes
    failure: str | None = None
    drip_seconds: float | None = None
    growth: Growth | None = None


def told(lie: Lie, reply: Reply) -> Reply:
    """The reply that the lie makes of an honest one."""
    changed = _KINDS[lie.kind](reply, Random(lie.seed))
    headers = {name: value for name, value in changed.headers.items() if name != "content-length" or value == "5"}
    return replace(changed, headers=headers)


def _status(reply: Reply, random: Random) -> Reply:
    changed = replace(reply, status=random.choice(STATUSES))
    return changed if random.random() < 0.5 else replace(changed, body=random.choice(_BODIES))


_BODIES = (
    b"",
    b"<html>",
    b"null",
    b"[]",
    b'""',
    b'{"error":null}',
    b'{"error":{"message":{"a":[]},"code":5}}',
    b"\xff",
)


def _header(reply: Reply, random: Random) -> Reply:
    odd = dict(random.choice(HEADERS) for _ in range(random.choice([1, 1, 3])))
    return (
        _status(replace(reply, headers={**reply.headers, **odd}), random)
        if random.random() < 0.5
        else replace(reply, headers={**reply.headers, **odd})
    )


def _many_headers(reply: Reply, random: Random) -> Reply:
    return replace(reply, headers={**reply.headers, **{f"x-{number}": "y" * 100 for number in range(2000)}})


def _json(reply: Reply, random: Random) -> Reply:
    return replace(reply, body=mutated_json(reply.body, random))


def _bytes(reply: Reply, random: Random) -> Reply:
    return replace(reply, body=mutated_bytes(reply.body, random))


def _body(reply: Reply, random: Random) -> Reply:
    return replace(reply, body=random.choice(_BODIES))


def _huge(reply: Reply, random: Random) -> Reply:
    content = written(large_value(random, LARGEST_BYTES))
    whole = random.choice([content, reply.body + content])
    if random.random() < 0.5:
        return replace(reply, body=gzip.compress(whole, 1), headers={**reply.headers, "content-encoding": "gzip"})
    return replace(reply, body=whole)


def _grown(reply: Reply, random: Random) -> Reply:
    """A member more in the answer, or in the first answer of a result file: text, escapes, lists, ..."""
    place = reply.body.find(b'"body":{')
    at = reply.body.find(b"{", max(place, 0)) + 1
    if at == 0:
        return reply
    opening, unit, closing = random.choice(_UNITS)
    piece = unit * (65_536 // len(unit))
    growth = Growth(at, b'"grown":' + opening, piece, random.choice(_SIZES) // len(piece), closing + b',"z":0,')
    changed = _status(reply, random) if random.random() < 0.2 else reply
    return replace(changed, body=reply.body, growth=growth)


_SIZES = (2_500_000, 14_000_000, 31_000_000, 60_000_000)

_UNITS = (
    *(
        (b'"', unit, b'"')
        for unit in (
            b"x",
            "\u00e9".encode(),
            b"\\u0041",
            b"\\\\",
            b"%41" + b"x" * 200,
            b"sk-fuzz-0123456789-abcdefghijklmnop ",
        )
    ),
    *((b"[", unit + b",", b"0]") for unit in (b"[]", b"1", b'""', b'{"a":0}', b"5e-324")),
)


def _failure(reply: Reply, random: Random) -> Reply:
    return replace(reply, failure=random.choice(FAILURES))


def _drip(reply: Reply, random: Random) -> Reply:
    return replace(reply, drip_seconds=random.choice([0.1, 10.0, 59.0, 100.0]))


def _lines(reply: Reply, random: Random) -> Reply:
    """The lines of a result file: lost, twice, in another order, cut, or glued together."""
    lines = reply.body.splitlines(keepends=True)
    for _ in range(random.choice([1, 1, 3])):
        at = random.randrange(len(lines) + 1)
        match random.randrange(7):
            case 0:
                del lines[at : at + 1]
            case 1:
                lines += lines[at : at + 1]
            case 2:
                random.shuffle(lines)
            case 3:
                lines.insert(at, random.choice([b"\n", b"\r\n", b"null\n", b"{}\n", b"[]\n", b"\xef\xbb\xbf", b"\0\n"]))
            case 4:
                lines[at : at + 1] = [line[: random.randrange(len(line) + 1)] for line in lines[at : at + 1]]
            case 5:
                lines.insert(at, b'{"custom_id":"' + b"x" * random.choice([100, 5_000_000]) + b'"}\n')
            case _:
                lines = [line.rstrip(b"\n") for line in lines]
    return replace(reply, body=b"".join(lines))


def _line_content(reply: Reply, random: Random) -> Reply:
    """One line or all, with odd fields."""
    lines = reply.body.splitlines()
    chosen = range(len(lines)) if random.random() < 0.3 else [random.randrange(len(lines))] if lines else []
    for at in chosen:
        lines[at] = _odd_line(lines[at], random)
    return replace(reply, body=b"\n".join(lines) + b"\n")


def _odd_line(line: bytes, random: Random) -> bytes:
    try:
        fields: Any = json.loads(line)
        response = fields["response"]
    except (ValueError, KeyError, TypeError):
        return mutated_bytes(line, random)
    match random.randrange(5):
        case 0 if isinstance(response, dict):
            response["status_code"] = random.choice(LINE_STATUSES)
        case 1 if isinstance(response, dict):
            response["request_id"] = random.choice(["\r\nx: y", "a" * 10_000, "\u2028", 5, None, "\0", "é"])
        case 2 if isinstance(response, dict):
            return written(_with_body(tree_of(fields), mutated(tree_of(response.get("body")), random, MODEL_BYTES)))
        case 3:
            fields["error"] = random.choice(["x", 5, [], {"code": 5, "message": {}}, {"code": "x" * 10_000}])
        case _:
            return written(mutated(tree_of(fields), random, 200_000))
    return written(tree_of(fields))


def _with_body(tree: Tree, body: Tree) -> Tree:
    """The line with another body in its response."""
    response = next(value for name, value in tree.pairs if name == "response")
    pairs = [(name, body if name == "body" else value) for name, value in response.pairs]
    return Members([(name, Members(pairs) if name == "response" else value) for name, value in tree.pairs])


def _field(reply: Reply, random: Random) -> Reply:
    """A field of the object itself with a value of any kind: status, ids, counts, errors."""
    try:
        fields: Any = json.loads(reply.body)
    except ValueError:
        return _bytes(reply, random)
    if not isinstance(fields, dict) or not fields:
        return _json(reply, random)
    name = random.choice([*fields, "status", "output_file_id", "error_file_id", "request_counts", "id", "errors"])
    pairs = [(key, value) for key, value in tree_of(fields).pairs if key != name]
    words = ["failed", "expired", "cancelled", "completed", "finalizing", "in_progress", "COMPLETED", "paused"]
    value = random.choice(words) if name == "status" else random.choice([*SMALL, "..", "../x", "file-1", "batch/1"])
    return replace(reply, body=written(Members([*pairs, (name, value)])))


_KINDS: dict[str, Callable[[Reply, Random], Reply]] = {
    "status": _status,
    "header": _header,
    "many headers": _many_headers,
    "json": _json,
    "field": _field,
    "bytes": _bytes,
    "body": _body,
    "huge": _huge,
    "grown": _grown,
    "failure": _failure,
    "drip": _drip,
    "lines": _lines,
    "line content": _line_content,
}
KINDS = tuple(_KINDS)
