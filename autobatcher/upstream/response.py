"""One response of an upstream, open for reading: bounded in size and in time, whatever the upstream sends."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, aclosing
from typing import Any

import anyio
import anyio.lowlevel

from ..redaction import Redactor
from ..turns import in_turns
from .decompression import Decoder, EncodingError
from .failures import UnusableAnswerError, UpstreamError
from .large_turn import LargeTurn
from .progress import PROGRESS_SECONDS, Progress

MAX_ANSWER_BYTES = 10_000_000
"""For a batch object, a page of a list and the answer to an upload, decompressed. The largest honest one names 50,000
lines that are at fault."""

MAX_ERROR_BYTES = 1_000_000
"""How much of an error's body is read."""

MAX_FILE_BYTES = 1_000_000_000_000
"""For a result file, decompressed: more than 50,000 of the largest answers we know of, images of some MB. A file that
never ends would otherwise keep its reader for ever."""


CHUNKS_AT_ONCE = 100
"""How many chunks are taken before other tasks have their turn: one read of a socket may bring ten thousand."""


class OpenResponse:
    """A response that is open for reading. Whatever the HTTP client raises becomes an `UpstreamError`.

    Args:
        response: of the HTTP library, not read yet.
        failures: turns the library's exceptions into `UpstreamError`.

    Attributes:
        redactor: masks what the request carried. `read` and `read_error` have done so; `chunks` has not.
    """

    def __init__(
        self,
        operation: str,
        response: Any,
        failures: Callable[[], AbstractContextManager[None]],
        redactor: Redactor,
    ) -> None:
        self._operation = operation
        self._response = response
        self._failures = failures
        self.redactor: Redactor = redactor

    def header(self, name: str) -> str:
        """The header of that name; "" if there is none."""
        value: str = self._response.headers.get(name, "")
        return value

    async def read(self) -> bytes:
        """Read the whole body. Raises `UpstreamError` if it is larger than `MAX_ANSWER_BYTES`.

        That may succeed later: the answer may be that of a broken gateway.
        """
        return await in_turns(self.redactor.redacting(await self._body(MAX_ANSWER_BYTES)))

    async def read_answer(self, most_bytes: int, large: LargeTurn) -> bytes:
        """Read the answer to a call, and take the turn if it is large. Raises `UpstreamError` if it is larger."""
        return await in_turns(self.redactor.redacting_answer(await self._body(most_bytes, large)))

    async def _body(self, most_bytes: int, large: LargeTurn | None = None) -> bytes:
        body = io.BytesIO()  # its value is no copy, as that of a bytearray would be
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                body.write(chunk)
                if body.tell() > most_bytes:
                    raise UnusableAnswerError(
                        f"{self._operation} answered with more than {most_bytes:,} bytes, which no honest answer has",
                        may_have_been_sent=True,
                    )
                if large is not None:
                    await large.look(body.tell())
        return body.getvalue()

    async def read_error(self) -> bytes:
        """Read the beginning of the body, as far as it can be read. Raises nothing but Cancelled."""
        body = bytearray()
        try:
            async with aclosing(self.chunks()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) >= MAX_ERROR_BYTES:
                        break
        except UpstreamError:
            pass  # the status says enough
        return await in_turns(self.redactor.redacting(bytes(body[:MAX_ERROR_BYTES])))

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Read the body piece by piece, without its content encoding.

        Raises:
            UpstreamError: if it breaks, drips (see `Progress`), cannot be decoded, or does not end.
        """
        if self._response.is_stream_consumed:  # by the transport, or by an event hook
            with self._failures():
                content: bytes = self._response.content
            yield content  # noqa: ASYNC119  (who reads it closes it)
            return
        size, count, progress = 0, 0, Progress()
        async with aclosing(self._response.aiter_raw()) as raw_chunks:
            try:
                decoder = Decoder(self.header("content-encoding"))
                while (raw := await self._next(raw_chunks, progress)) is not None:
                    count += 1
                    if count % CHUNKS_AT_ONCE == 0:
                        await anyio.lowlevel.checkpoint()
                    for number, piece in enumerate(decoder.pieces(raw)):
                        if number:  # one piece after the other came without any waiting
                            await anyio.lowlevel.checkpoint()
                        size += len(piece)
                        if size > MAX_FILE_BYTES:
                            raise self._error(f"with more than {MAX_FILE_BYTES:,} bytes, and gave no sign of an end")
                        if piece:
                            yield piece  # noqa: ASYNC119  (who reads it closes it)
                decoder.end()
            except EncodingError as error:
                raise self._error(str(error)) from error

    async def _next(self, chunks: AsyncGenerator[bytes], progress: Progress) -> bytes | None:
        """The next chunk as it came; None at the end."""
        begun = anyio.current_time()
        with anyio.CancelScope(deadline=begun + progress.seconds_left) as limit:
            try:
                chunk = await anext(chunks, None)
            except Exception:
                with self._failures():
                    raise
        if limit.cancelled_caught:
            raise self._error(f"so slowly that it was given up after {PROGRESS_SECONDS:.0f} s")
        if chunk is not None:
            progress.record(len(chunk), anyio.current_time() - begun)
        return chunk

    def _error(self, how: str) -> UpstreamError:
        return UpstreamError(f"{self._operation} answered {how}", may_have_been_sent=True)
