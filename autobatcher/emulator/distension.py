"""Bodies that are longer than they should be, or longer under way."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import anyio

from .wire import close_body

_CHUNK_BYTES = 65_536

Body = bytes | AsyncIterator[bytes]

CLOSE_SECONDS = 5.0
"""Closing a connection takes no longer."""


async def padded(body: Body, size: int) -> AsyncGenerator[bytes]:
    """The body, then so many spaces."""
    async with aclosing(_chunks(body)) as chunks:
        async for chunk in chunks:
            yield chunk  # noqa: ASYNC119  (who reads it closes it)
    for start in range(0, size, _CHUNK_BYTES):
        yield b" " * min(_CHUNK_BYTES, size - start)


async def compressed(body: Body) -> AsyncGenerator[bytes]:
    """The body as gzip, in one chunk: a small one arrives at once."""
    deflate = zlib.compressobj(wbits=31)
    async with aclosing(_chunks(body)) as chunks:
        content = b"".join([deflate.compress(chunk) async for chunk in chunks])
    yield content + deflate.flush()


async def dripping(body: Body, seconds: float) -> AsyncGenerator[bytes]:
    """The body, byte by byte."""
    async with aclosing(_chunks(body)) as chunks:
        async for chunk in chunks:
            for byte in chunk:
                await anyio.sleep(seconds)
                yield bytes([byte])  # noqa: ASYNC119  (who reads it closes it)


async def _chunks(body: Body) -> AsyncGenerator[bytes]:
    try:
        if isinstance(body, bytes):
            yield body  # noqa: ASYNC119  (who reads it closes it)
        else:
            async for chunk in body:
                yield chunk  # noqa: ASYNC119  (who reads it closes it)
    finally:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await close_body(body)
