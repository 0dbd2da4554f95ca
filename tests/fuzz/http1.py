"""Target: HTTP/1.1 to a running proxy. Heads, framings, encodings, pipelines, endings, and bodies of all endpoints."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any, Literal

from .bodies import BODIES
from .mutation import compressed, large_value, mutated, mutated_bytes, tree_of, written
from .proxy import ENDINGS, Script, open_door
from .target import Play, Target
from .watch import Watch

CASES = 40
LARGEST_BYTES = 9_000_000
"""Of a body, once it is decompressed; the proxy takes ten million."""

PATHS = (
    "/health",
    "/ready",
    "/status",
    "/metrics",
    "/receipt",
    "/openapi.json",
    "/",
    "/v1/models",
    "/v1/models/m",
    "/v1/responses/resp_bg_" + "0" * 40,
    "/v1/responses/x/cancel?stream=\xff",
    "/nowhere",
)
ODD_PATHS = (*("*", "//", "/%00", "/v1/models/..%2f..", "/v1/models/%ff", "http://x/health", "/v1//chat/completions"),
             *("/v1/models/" + "a" * 5000, "/?" + "q" * 5000, "/\x7f", "/v1/models/\u0663"))  # fmt: skip
METHODS = ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PRI", "post", "G\0T", "")
VALUES = (
    *(
        "",
        " ",
        "x",
        "\xe9",
        "\xff" * 10,
        "a" * 5000,
        "0",
        "-1",
        "999999999999999999999",
        "1e3",
        "nan",
        "\x1b[2J",
        "a\x0bb",
    ),
    *("gzip", "gzip, gzip", "deflate", "br", "chunked", "identity", "100-continue", "keep-alive", "close", "upgrade"),
    *("application/json", "multipart/form-data; boundary=x", "text/plain; charset=utf-16", "Bearer ", "Bearer \xe9"),
    *("h2c", "websocket", "bytes=0-", "*", "http://evil.example", "evil.example", "localhost:1", "[::1", "a,b,,c"),
)
NAMES = (
    *("host", "content-length", "transfer-encoding", "content-encoding", "content-type", "connection", "expect"),
    *(
        "authorization",
        "idempotency-key",
        "openai-organization",
        "openai-project",
        "openai-beta",
        "x-stainless-timeout",
    ),
    *("x-stainless-retry-count", "upgrade", "http2-settings", "origin", "accept", "range", "x-forwarded-for", "cookie"),
    *("te", "trailer", "sec-websocket-key", "x y", "x\0", "", ":path", "x" * 1000, "user-agent", "x-request-id"),
)

_EMPTY_500 = re.compile(rb"HTTP/1\.1 500 \r\ncontent-length: 0\r\nconnection: close\r\n[^{]*\Z")
"""What hypercorn writes when the proxy takes a half-closed connection for a client that left, as it means to."""


def target() -> Target:
    return Target("http1", cases, _open)


def _open(watch: Watch) -> AbstractContextManager[Play]:
    return open_door(watch, judge)


def judge(script: Script, said: bytes) -> str | None:
    """No answer is a 500, and a request that is in order is answered."""
    if script.ending == "half":
        said = _EMPTY_500.sub(b"", said)
    statuses = [int(status) for status in re.findall(rb"^HTTP/1\.[01] (\d{3})", said, re.MULTILINE)]
    if 500 in statuses or b"This is a bug in autobatcher" in said:
        return "500"
    if script.expects is not None and statuses[:1] != [script.expects]:
        return f"{statuses[:1]} instead of {script.expects}"
    return None


def cases(random: Random) -> list[Script]:
    """Half of them are changed in one way, the rest in many; a few are left in order."""
    return [_case(random) for _ in range(CASES)]


def _case(random: Random) -> Script:
    if random.random() < 0.1:
        endpoint, body = random.choice(list(BODIES.items()))
        return Script((_request(random, endpoint, written(tree_of(body))),), "close", expects=200)
    made = random.choice([_body_case, _body_case, _head_case, _pipeline_case, _bytes_case])(random)
    return replace(made, ending=random.choice(ENDINGS))


def _body_case(random: Random) -> Script:
    """A well-formed head, and a body that is not."""
    endpoint, body = random.choice(list(BODIES.items()))
    most = random.choice([20_000, 20_000, 200_000, LARGEST_BYTES])
    content = written(mutated(tree_of(_with_stream(body, random)), random, most))
    if random.random() < 0.1:
        content = written(large_value(random, most))
    if random.random() < 0.1:
        content = mutated_bytes(content[:100_000], random)
    return _script(random, _request(random, endpoint, content[: LARGEST_BYTES + 2_000_000]), note=endpoint)


def _with_stream(body: dict[str, Any], random: Random) -> dict[str, Any]:
    """At times with a `stream` of any type."""
    stream: Any = random.choice([None, None, True, False, 1, "true", [True], {"a": []}])
    return body if stream is None else {**body, "stream": stream, "stream_options": random.choice([None, {}, 1, []])}


def _head_case(random: Random) -> Script:
    """A well-formed body, and a head that is not."""
    endpoint, body = random.choice(list(BODIES.items()))
    path = random.choice([endpoint, endpoint, *PATHS, random.choice(ODD_PATHS)])
    method = random.choice(["POST", "GET", random.choice(METHODS)])
    odd = [(random.choice(NAMES), random.choice(VALUES)) for _ in range(random.choice([1, 1, 2, 5, 150]))]
    return _script(random, _request(random, path, written(tree_of(body)), method, odd), note=path[:40])


def _pipeline_case(random: Random) -> Script:
    """Several requests at once, the last of them in part."""
    requests = [_request(random, *_any(random)) for _ in range(random.choice([2, 3, 20]))]
    whole = b"".join(requests)
    return _script(random, whole[: random.choice([len(whole), random.randrange(len(whole))])], note="pipeline")


def _any(random: Random) -> tuple[str, bytes, str]:
    if random.random() < 0.3:
        return random.choice(PATHS), b"", "GET"
    endpoint, body = random.choice(list(BODIES.items()))
    return endpoint, written(mutated(tree_of(body), random, 2000)), "POST"


def _bytes_case(random: Random) -> Script:
    """A request with its bytes changed, wherever they are."""
    endpoint, body = random.choice(list(BODIES.items()))
    return _script(random, mutated_bytes(_request(random, endpoint, written(tree_of(body))), random), note="bytes")


def _request(
    random: Random, path: str, content: bytes, method: str = "POST", odd: list[tuple[str, str]] | None = None
) -> bytes:
    """A request; `odd` headers come in addition, or instead of the usual ones."""
    headers = [("host", "localhost"), ("content-type", "application/json")]
    if random.random() < 0.25 and method == "POST":
        encoding: Literal["gzip", "deflate"] = random.choice(["gzip", "deflate"])
        content = compressed(content, encoding)
        headers.append(("content-encoding", encoding))
    if random.random() < 0.3:
        headers.append(("transfer-encoding", "chunked"))
        content = _chunked(content, random)
    elif content or method == "POST":
        headers.append(("content-length", str(len(content))))
    for name, value in odd or []:
        headers = [pair for pair in headers if pair[0] != name or random.random() < 0.3] + [(name, value)]
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace") + content


def _chunked(content: bytes, random: Random) -> bytes:
    sizes = partial(random.choice, [1, 7, 1000, 65_536] if len(content) < 20_000 else [65_536, 1_000_000])
    parts, at = [], 0
    while at < len(content):
        piece = content[at : at + sizes()]
        parts.append(b"%x%b\r\n%b\r\n" % (len(piece), random.choice([b"", b"", b";a=b"]), piece))
        at += len(piece)
    return b"".join(parts) + b"0\r\n" + random.choice([b"", b"", b"x-trailer: 1\r\n"]) + b"\r\n"


def _script(random: Random, content: bytes, note: str) -> Script:
    """The bytes, at once or in pieces with pauses."""
    if random.random() < 0.6 or len(content) < 2:
        return Script((content,), "close", note=note)
    cuts = sorted(random.sample(range(1, len(content)), min(len(content) - 1, random.choice([1, 2, 10]))))
    pieces: list[bytes | float] = []
    for begin, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
        pieces += [content[begin:end], random.choice([0.0, 0.001, 0.02])]
    return Script(tuple(pieces), "close", note=note)
