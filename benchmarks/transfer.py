"""How fast, and in how much memory, do 200 MB travel: an input file up, an output file down?

    python benchmarks/transfer.py [--rounds N] [--lines N]
    python benchmarks/transfer.py --one ours-upload [--lines N]

Ours is what the engine does: `UpstreamBatch.upload` (the pass that adds up the size included) for 200,000 requests
whose bodies the caller holds, and `BatchAPI.read_lines` with each line parsed. `httpx-...` is the least that the same
library can do: 64 KB chunks from memory to the same route with the same length, and chunks read and dropped. The
upstream does the same work for both (`upstream.py --drop`), and is a process of its own.

`extra_mb` is what the process's peak of resident memory (VmHWM, reset before) rose by; `mb_per_s`, of 10**6 bytes;
`cpu_s`. `ours-download` has `mb_per_s_lines_only`, too: a second download, in which lines are cut but not parsed.
The key is one as OpenAI issues them, and each answer is searched for it; the texts of `ours-download-prose` give that
search more to do.
"""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import openai
from rounds import Contender, argument_parser, run_rounds, upstream_process

from autobatcher.engine.answer_room import AnswerRoom
from autobatcher.engine.batch.upstream import UpstreamBatch
from autobatcher.engine.request import Request
from autobatcher.engine.settings import Settings
from autobatcher.upstream.account import Account
from autobatcher.upstream.batch_api import BatchAPI
from autobatcher.upstream.jsonl import InputLines, Overlong
from autobatcher.upstream.large_turn import LargeTurn
from autobatcher.upstream.output_line import parse_output_line, parse_plain_block
from autobatcher.upstream.providers import profile_for

LINES = 200_000
LINE_BYTES = 1024
CHUNK_BYTES = 64 * 1024
ENDPOINT = "/v1/chat/completions"
KEY = "sk-proj-" + base64.urlsafe_b64encode(random.Random(0).randbytes(117)).decode()

Transfer = Callable[[], Awaitable[None]]


# ---- ours ----


def ours_upload(http: Any, base_url: str, lines: int) -> tuple[Transfer, int]:
    """The transfer, and its bytes."""
    numbered = make_requests(base_url, lines)
    batch = UpstreamBatch(
        numbered[0][1].account,
        ENDPOINT,
        "idempotency_key",
        api=BatchAPI(http),
        settings=Settings(),
        emit=lambda *_, **__: None,
    )

    async def transfer() -> None:
        assert await batch.upload(numbered, anyio.CapacityLimiter(1), lambda: True)

    return transfer, InputLines(numbered, str).size


def _turn() -> LargeTurn:
    return AnswerRoom(256_000_000, isolates=False).turn("")


def ours_download(http: Any, base_url: str, lines: int, kind: str = "source") -> tuple[Transfer, int]:
    """As `engine.reading` reads."""
    read = 0

    async def take(line: bytes | Overlong) -> None:
        nonlocal read
        assert isinstance(line, bytes)
        result = parse_output_line(line)
        read += result is not None and result.status_code == 200

    def take_block(block: bytes) -> int | None:
        nonlocal read
        results = parse_plain_block(block)
        if results is None:
            return None
        assert results[0].status_code == 200
        read += len(results)
        return len(results)

    async def transfer() -> None:
        await BatchAPI(http).read_lines(make_account(base_url), f"{kind}-{lines}", take_block, take, large=_turn())
        assert read == lines

    return transfer, lines * LINE_BYTES


def ours_download_lines_only(http: Any, base_url: str, lines: int) -> tuple[Transfer, int]:
    """The same without parsing."""

    async def take(line: bytes | Overlong) -> None:
        """Do nothing."""

    async def transfer() -> None:
        api = BatchAPI(http)
        source, count = f"source-{lines}", bytes.count
        read = await api.read_lines(
            make_account(base_url), source, lambda each: count(each, b"\n"), take, large=_turn()
        )
        assert read == lines

    return transfer, lines * LINE_BYTES


def make_requests(base_url: str, lines: int) -> list[tuple[str, Request]]:
    """Each with a body of its own, as callers have them; lines of 1 KB."""
    account = make_account(base_url)
    bodies = (b'{"model":"m","messages":[{"role":"user","content":"%0880d"}]}' % number for number in range(lines))
    return [
        (f"{number:032d}-{number}", Request(account=account, endpoint=ENDPOINT, body=body, model="m"))
        for number, body in enumerate(bodies)
    ]


def make_account(base_url: str) -> Account:
    return Account(base_url=base_url, provider=profile_for(base_url), api_key=KEY)


# ---- bare httpx ----


def httpx_upload(http: Any, base_url: str, lines: int) -> tuple[Transfer, int]:
    """The same number of bytes, in chunks that are there already."""
    chunks = [bytes([number % 256]) * CHUNK_BYTES for number in range(lines * LINE_BYTES // CHUNK_BYTES)]

    async def content() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def transfer() -> None:
        headers = {"content-length": str(len(chunks) * CHUNK_BYTES)}
        async with http.stream("POST", f"{base_url}/files", content=content(), headers=headers, timeout=60) as response:
            assert response.status_code == 200

    return transfer, len(chunks) * CHUNK_BYTES


def httpx_download(http: Any, base_url: str, lines: int) -> tuple[Transfer, int]:
    """Chunks as they come."""

    async def transfer() -> None:
        size = 0
        async with http.stream("GET", f"{base_url}/files/source-{lines}/content", timeout=60) as response:
            async for chunk in response.aiter_bytes():
                size += len(chunk)
        assert size == lines * LINE_BYTES

    return transfer, lines * LINE_BYTES


# ---- measuring ----

CONTENDERS: dict[str, Callable[[Any, str, int], tuple[Transfer, int]]] = {
    "ours-upload": ours_upload,
    "httpx-upload": httpx_upload,
    "ours-download": ours_download,
    "ours-download-prose": partial(ours_download, kind="prose"),
    "httpx-download": httpx_download,
}


async def measure(name: str, base_url: str, lines: int) -> dict[str, Any]:
    async with openai.DefaultAsyncHttpxClient(trust_env=False) as http:
        warm_up, _ = CONTENDERS[name](http, base_url, 1_000)
        await warm_up()  # connection and imports
        result = await measured(*CONTENDERS[name](http, base_url, lines))
        if name == "ours-download":
            lines_only = await measured(*ours_download_lines_only(http, base_url, lines))
            result["mb_per_s_lines_only"] = lines_only["mb_per_s"]
    return {**result, "lines": lines}


async def measured(transfer: Transfer, size: int) -> dict[str, Any]:
    forget_peak()
    before, cpu, wall = memory_mb("VmHWM"), time.process_time(), time.perf_counter()
    await transfer()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"extra_mb": memory_mb("VmHWM") - before, "mb_per_s": size / wall / 1e6, "cpu_s": cpu, "mb": size / 1e6}


def forget_peak() -> None:
    """Let VmHWM begin anew, at what is resident now. (Linux; no sampling could be as complete, or as cheap.)"""
    Path("/proc/self/clear_refs").write_text("5")


def memory_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{name}:"))


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--one", choices=CONTENDERS)
    parser.add_argument("--lines", type=int, default=LINES)
    options = parser.parse_args()
    if options.one is not None:
        with upstream_process("--drop") as base_url:
            print(json.dumps(anyio.run(measure, options.one, base_url, options.lines)))
        return
    contenders = [Contender(name, arguments=("--lines", str(options.lines))) for name in CONTENDERS]
    run_rounds(__file__, "transfer", contenders, options)


if __name__ == "__main__":
    main()
