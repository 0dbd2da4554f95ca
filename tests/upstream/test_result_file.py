"""What reading a result file keeps in memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from itertools import pairwise

import anyio
import msgspec
from hypothesis import given
from hypothesis import strategies as st

from autobatcher.redaction import MASK
from autobatcher.upstream.account import Account
from autobatcher.upstream.batch_api import BatchAPI
from autobatcher.upstream.jsonl import Overlong
from autobatcher.upstream.large_turn import LargeTurn
from autobatcher.upstream.output_line import OutputLine, parse_output_line, parse_plain_block
from autobatcher.upstream.providers import CONSERVATIVE
from tests.harness import HTTP

KEY = "sk-0123456789-abcdefghijklmnop"
ACCOUNT = Account(base_url="http://upstream.test/v1", provider=CONSERVATIVE, api_key=KEY)
SIZE = 8_000_000


def refuse(block: bytes) -> None:
    """Take no block: each line comes alone then."""


async def test_a_large_line_that_quotes_the_key_is_kept_once() -> None:
    kept = []

    async def take(line: bytes | Overlong) -> None:
        assert isinstance(line, bytes)
        assert line.startswith(MASK.encode())
        kept.append(tracemalloc.get_traced_memory()[0])

    async def pieces() -> AsyncIterator[bytes]:
        yield KEY.encode()
        for _ in range(SIZE // 50_000):
            yield b"x" * 50_000

    answer = HTTP.Response(200, content=pieces())
    tracemalloc.start()
    try:
        async with HTTP.AsyncClient(transport=HTTP.MockTransport(lambda _: answer)) as http:
            await BatchAPI(http).read_lines(ACCOUNT, "f", refuse, take, large=LargeTurn(nullcontext()))
    finally:
        tracemalloc.stop()
    assert kept[0] < 1.5 * SIZE


PLAIN = b'{"custom_id":"%d","response":{"status_code":200,"request_id":"r","body":{"a":"%s"}},"error":null}'
KINDS = (
    PLAIN % (1, b"b"),
    PLAIN.replace(b"200", b"429") % (2, b"b"),
    PLAIN.replace(b"200", b"304") % (3, b"b"),
    PLAIN % (4, KEY.encode()),
    PLAIN % (5, b"c" * 900),  # overlong
    b'{"custom_id":"6","response":null,"error":{"code":"batch_expired","message":"late"}}',
    b"  \r",
    b"no JSON",
)


@given(st.lists(st.sampled_from(KINDS), max_size=20), st.lists(st.integers(0, 5_000), max_size=5), st.booleans())
def test_lines_that_come_in_blocks_say_what_they_say_alone(
    lines: list[bytes], cuts: list[int], has_last_end: bool
) -> None:
    stream = b"\n".join(lines) + (b"\n" if has_last_end else b"")
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    chunks = [stream[start:end] for start, end in pairwise(places)]

    async def said(on_block: Callable[[bytes, list[object]], int | None]) -> tuple[int, list[object]]:
        found: list[object] = []

        async def take(line: bytes | Overlong) -> None:
            found.append(parse_output_line(line) if isinstance(line, bytes) else line)

        async def content() -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk

        answer = HTTP.Response(200, content=content())
        async with HTTP.AsyncClient(transport=HTTP.MockTransport(lambda _: answer)) as http:
            count = await BatchAPI(http).read_lines(
                ACCOUNT,
                "f",
                lambda block: on_block(block, found),
                take,
                large=LargeTurn(nullcontext()),
                max_line_bytes=500,
            )
        return count, found

    def parse(block: bytes, found: list[object]) -> int | None:
        results = parse_plain_block(block)
        found += results or ()
        return None if results is None else len(results)

    in_blocks, alone = (anyio.run(said, on_block) for on_block in (parse, lambda block, found: None))
    assert in_blocks == alone
    assert KEY not in repr([vars_of(each) for each in in_blocks[1]])


def vars_of(result: object) -> object:
    return msgspec.structs.asdict(result) if isinstance(result, OutputLine) else result


async def test_good_lines_are_taken_in_blocks() -> None:
    blocks = []

    def take_block(block: bytes) -> int:
        blocks.append(block)
        return block.count(b"\n")

    async def take(line: bytes | Overlong) -> None:
        raise AssertionError("one alone")

    answer = HTTP.Response(200, content=b"\n".join([KINDS[0]] * 100) + b"\n")
    async with HTTP.AsyncClient(transport=HTTP.MockTransport(lambda _: answer)) as http:
        read_lines = BatchAPI(http).read_lines
        assert await read_lines(ACCOUNT, "f", take_block, take, large=LargeTurn(nullcontext())) == 100
    assert b"".join(blocks) == b"\n".join([KINDS[0]] * 100) + b"\n"
