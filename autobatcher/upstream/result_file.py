"""Reads an output or error file line by line, while it is downloaded."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import anyio.lowlevel

from ..redaction import Redactor
from ..turns import in_turns
from .account import Account
from .http import UpstreamHTTP
from .jsonl import LineSplitter, Overlong, whole_lines
from .large_turn import LargeTurn
from .output_line import redacting

BLOCK_BYTES = 500_000
"""How much is searched for secrets, and parsed, at once. Takes a millisecond or two. Pieces are much smaller, but for
those after a long line."""

LINES_AT_ONCE = 500
"""How many lines are read before other tasks have their turn: a piece of a file may have thousands of tiny ones."""


async def read_lines(
    http: UpstreamHTTP,
    account: Account,
    path: str,
    on_block: Callable[[bytes], int | None],
    on_line: Callable[[bytes | Overlong], Awaitable[None]],
    *,
    skip: int,
    max_line_bytes: int,
    large: LargeTurn,
    drain: Callable[[], Awaitable[None]] | None,
) -> int:
    """Do what `BatchAPI.read_lines` promises, for the file whose content is at `path`."""
    # Doubleword's `skip` was called "offset" before November 2025. Servers ignore the one that they do not know.
    params = {"skip": str(skip), "offset": str(skip)} if account.provider.partial_output else {}
    splitter, count = LineSplitter(max_line_bytes), 0
    async with http.open(account, "GET", path, params=params, may_leave=True) as response, large:
        async with aclosing(response.chunks()) as chunks:
            async for chunk in chunks:
                block = splitter.feed_block(chunk, BLOCK_BYTES)
                is_clean = bool(block) and response.redactor.is_clean(block)
                if not is_clean or (taken := on_block(block)) is None:
                    lines = whole_lines(block) if block else splitter.feed(chunk)
                    taken = await _pass_on(lines, on_line, response.redactor)
                count += taken
                await large.look(splitter.kept_bytes)
                if drain is not None:
                    await drain()
        count += await _pass_on(splitter.rest(), on_line, response.redactor)
        last_line = response.header("x-last-line")
        return int(last_line) if _LINE_NUMBER.fullmatch(last_line) else skip + count


async def _pass_on(
    lines: list[bytes | Overlong], on_line: Callable[[bytes | Overlong], Awaitable[None]], redactor: Redactor
) -> int:
    """Pass on lines without secrets, and return how many there were."""
    for at in range(len(lines)):
        lines[at] = await _redacted(lines[at], redactor)  # what was masked in a large line is kept no longer
        await on_line(lines[at])
        if (at + 1) % LINES_AT_ONCE == 0:
            await anyio.lowlevel.checkpoint()
    return len(lines)


async def _redacted(line: bytes | Overlong, redactor: Redactor) -> bytes | Overlong:
    """Mask secrets. Other tasks run while a long line is searched."""
    if isinstance(line, Overlong):
        return Overlong(redactor.redact(line.beginning))
    return await in_turns(redacting(line, redactor))


_LINE_NUMBER = re.compile("[0-9]{1,12}")
