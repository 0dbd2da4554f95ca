"""What reading a result file keeps in memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator
from contextlib import nullcontext

from autobatcher.redaction import MASK
from autobatcher.upstream.account import Account
from autobatcher.upstream.batch_api import BatchAPI
from autobatcher.upstream.jsonl import Overlong
from autobatcher.upstream.large_turn import LargeTurn
from autobatcher.upstream.providers import CONSERVATIVE
from tests.harness import HTTP

KEY = "sk-0123456789-abcdefghijklmnop"
ACCOUNT = Account(base_url="http://upstream.test/v1", provider=CONSERVATIVE, api_key=KEY)
SIZE = 8_000_000


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
            await BatchAPI(http).read_lines(ACCOUNT, "f", take, large=LargeTurn(nullcontext()))
    finally:
        tracemalloc.stop()
    assert kept[0] < 1.5 * SIZE
