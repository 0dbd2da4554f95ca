"""Target: HTTP/2 to a running proxy. Frames in any order, floods, windows, settings, and header blocks."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import AbstractContextManager
from random import Random

import hpack

from .bodies import BODIES
from .mutation import mutated, mutated_bytes, tree_of, written
from .proxy import ENDINGS, Script, open_door
from .target import Play, Target
from .watch import Watch

CASES = 30
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x4, 0x8, 0x20

Headers = list[tuple[str, str]]


def target() -> Target:
    return Target("http2", cases, _open)


def _open(watch: Watch) -> AbstractContextManager[Play]:
    return open_door(watch, judge)


def judge(script: Script, said: bytes) -> str | None:
    """No answer tells of a defect, and a request that is in order is answered. (An empty 500 is hypercorn's, for a
    stream whose client is gone.)"""
    statuses = statuses_in(said)
    if b"This is a bug in autobatcher" in said:
        return "500"
    if script.expects is not None and statuses[:1] != [b"%d" % script.expects]:
        return f"{statuses[:1]} instead of {script.expects}"
    return None


def statuses_in(said: bytes) -> list[bytes]:
    """The statuses of all answers, as far as their header blocks can be read."""
    decoder, found, at = hpack.Decoder(), [], 0
    while at + 9 <= len(said):
        length, kind = int.from_bytes(said[at : at + 3], "big"), said[at + 3]
        if kind == HEADERS:
            try:
                block = decoder.decode(said[at + 9 : at + 9 + length], raw=True)
            except hpack.HPACKError:
                break
            found += [bytes(value) for name, value in block if bytes(name) == b":status"]
        at += 9 + length
    return found


def cases(random: Random) -> list[Script]:
    return [_case(random) for _ in range(CASES)]


def _case(random: Random) -> Script:
    opening = PREFACE + frame(SETTINGS, 0, 0, b"")
    if random.random() < 0.1:
        return Script((opening + b"".join(_request(random, 1)),), "close", expects=200)
    frames = [each for stream in range(1, random.choice([3, 3, 9, 41]), 2) for each in _request(random, stream)]
    for _ in range(random.choice([0, 1, 1, 3, 20])):
        at = random.randrange(len(frames) + 1)
        frames[at:at] = random.choice(ODD)(random)
    if random.random() < 0.3:
        random.shuffle(frames)
    if random.random() < 0.2:
        frames = [frames[random.randrange(len(frames))] for _ in frames]
    content = b"".join(frames)
    if random.random() < 0.3:
        content = mutated_bytes(content, random)
    if random.random() < 0.05:
        opening = mutated_bytes(opening, random)
    return Script(tuple(_pieces(opening + content, random)), random.choice(ENDINGS))


def _pieces(content: bytes, random: Random) -> list[bytes | float]:
    if random.random() < 0.6:
        return [content]
    at = random.randrange(len(content))
    return [content[:at], 0.01, content[at:]]


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def _request(random: Random, stream: int) -> list[bytes]:
    """A request, well-formed but for its body, which is changed at times."""
    endpoint, body = random.choice(list(BODIES.items()))
    tree = tree_of(body)
    content = written(tree if stream == 1 else mutated(tree, random, 5000))
    block = block_of(headers_of(endpoint, content))
    ends = [
        frame(HEADERS, END_HEADERS, stream, block),
        *(frame(DATA, 0, stream, content[at : at + 16_000]) for at in range(0, len(content), 16_000)),
        frame(DATA, END_STREAM, stream, b""),
    ]
    if stream == 1 or random.random() < 0.6:
        return ends
    cut = random.randrange(len(block))
    ends[:1] = [frame(HEADERS, 0, stream, block[:cut]), frame(CONTINUATION, END_HEADERS, stream, block[cut:])]
    return ends


def headers_of(endpoint: str, content: bytes) -> Headers:
    return [
        *((":method", "POST"), (":path", endpoint), (":scheme", "http"), (":authority", "localhost")),
        *(("content-type", "application/json"), ("content-length", str(len(content)))),
    ]


def block_of(headers: Headers) -> bytes:
    """Without the dynamic table: blocks that are lost or reordered stay readable."""
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    return bytes(encoder.encode(headers))


# ---- what nobody expects ----


def _odd_headers(random: Random) -> list[bytes]:
    """A header block with names and values that HTTP/2 forbids, or a great many of them."""
    headers = headers_of("/v1/embeddings", b"{}")
    odd = random.choice(
        [
            *([("X-Upper", "1")], [("connection", "close")], [("te", "x")], [("transfer-encoding", "chunked")]),
            *([(":status", "200")], [(":path", "")], [("", "x")], [("a\0b", "c\r\nd: e")], [("cookie", "a=b")] * 500),
            *([("x", "y" * 16_000)], [("content-length", "5")], [(":protocol", "websocket")], [("host", "evil")]),
            *([("expect", "100-continue")], [("authorization", "Bearer \xe9")], [(":authority", "a@b:99999")]),
        ]
    )
    del headers[random.randrange(len(headers)) : random.randrange(len(headers) + 1)]
    headers[random.randrange(len(headers) + 1) :] = odd
    return [frame(HEADERS, END_HEADERS | END_STREAM, 2 * random.randrange(1000) + 1, block_of(headers))]


def _bad_blocks(random: Random) -> list[bytes]:
    block = random.choice(
        [
            *(b"\xff" * 20, b"\x80", b"\x3f\xff\xff\xff\xff\xff\x0f", b"\x00\x7f\xff\xff\xff\x0f", b"\xbe" * 5000),
            *(random.randbytes(50), b"\x40\x01a\x7f\x80\x80\x01" + b"b" * 100, b"\x20" * 1000, b""),
            mutated_bytes(block_of(headers_of("/v1/embeddings", b"{}")), random),
            b"\x40\x01a\x7f\xe1\x1f" + b"b" * 4096 + b"\xbe" * 10_000,  # one entry, named ten thousand times
        ]
    )
    return [frame(HEADERS, random.choice([END_HEADERS, 0, 0xFF]), 2 * random.randrange(100) + 1, block[:16_384])]


def _floods(random: Random) -> list[bytes]:
    count = random.choice([50, 500, 3000])
    block = block_of(headers_of("/v1/embeddings", b"{}"))
    match random.randrange(8):
        case 0:
            return [
                frame(HEADERS, END_HEADERS, stream, block) + frame(RST, 0, stream, struct.pack("!I", 8))
                for stream in range(1001, 1001 + 2 * count, 2)
            ]
        case 1:
            return [frame(HEADERS, END_HEADERS, stream, block) for stream in range(1001, 1001 + 2 * count, 2)]
        case 2:
            return [frame(PING, 0, 0, b"12345678")] * count
        case 3:
            return [frame(SETTINGS, 0, 0, struct.pack("!HI", 4, number)) for number in range(count)]
        case 4:
            return [frame(CONTINUATION, 0, 1001, b"\x00\x01a\x01b" * 100)] * count
        case 5:
            return [frame(DATA, 0, 1, b"")] * count
        case 6:
            return [frame(PRIORITY, 0, number, struct.pack("!IB", 0, 1)) for number in range(1, count, 2)]
        case _:
            opened = frame(HEADERS, 0, 1001, block)
            return [opened, *[frame(CONTINUATION, 0, 1001, b"\x00\x01a\x7f\x81\x06" + b"b" * 256)] * count]


def _settings(random: Random) -> list[bytes]:
    value = random.choice([0, 1, 2**14, 2**24, 2**31 - 1, 2**31, 2**32 - 1])
    payload = struct.pack("!HI", random.choice([1, 2, 3, 4, 5, 6, 8, 9, 0xFFFF]), value) * random.choice([1, 2, 300])
    return [frame(SETTINGS, random.choice([0, 0, 1]), random.choice([0, 0, 1]), payload[: random.choice([6000, 5])])]


def _windows(random: Random) -> list[bytes]:
    step = struct.pack("!I", random.choice([0, 1, 2**31 - 1, 2**32 - 1]))
    return [frame(WINDOW, 0, random.choice([0, 1, 3, 999]), step)] * random.choice([1, 2, 500])


def _small_window(random: Random) -> list[bytes]:
    """The answer has to go out byte by byte."""
    steps = [frame(WINDOW, 0, 1, struct.pack("!I", 1))] * 50
    return [frame(SETTINGS, 0, 0, struct.pack("!HI", 4, 0)), *steps]


def _any_frame(random: Random) -> list[bytes]:
    payload = random.randbytes(random.choice([0, 1, 4, 5, 8, 100, 16_384, 20_000]))
    stream = random.choice([0, 1, 2, 3, 5, 2**31 - 1, 2**31, 2**32 - 1])
    return [frame(random.choice([*range(11), 0xFF]), random.randrange(256), stream, payload)]


def _endings(random: Random) -> list[bytes]:
    code = struct.pack("!II", random.choice([0, 1, 2**31 - 1]), random.choice([0, 1, 2, 11, 2**32 - 1]))
    reset = frame(RST, 0, random.choice([0, 1, 2, 3, 99]), code[4:])
    return random.choice([[frame(GOAWAY, 0, 0, code + b"x" * 100)], [reset], [reset, reset]])


ODD: tuple[Callable[[Random], list[bytes]], ...] = (
    *(_odd_headers, _bad_blocks, _floods, _settings, _windows, _small_window, _any_frame, _endings),
)
