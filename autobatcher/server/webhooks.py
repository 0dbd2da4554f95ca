"""`POST /webhooks`: a provider says that a batch has ended, so it is polled now. What it says is not believed."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence

import trio

from ..client.openai import BatchOpenAI
from ..client.server_calls import poll_now
from .body_limiter import BodyLimiter, HeldBody
from .exchange import ClientGoneError, Exchange, RefusedError
from .refusals import refusal_parts
from .webhook_event import ended_batch, is_genuine, secret_mistake

logger: logging.Logger = logging.getLogger("autobatcher")

MOST_BYTES, MOST_SECONDS = 65_536, 10.0
"""Limits for one webhook. They are a few hundred bytes."""

MOST_BYTES_OF_ALL = 4_000_000
"""For all that arrive at the same time: whoever sends them has shown no key."""

TOLD_SECONDS = 60.0
"""Interval between log lines on wrong signatures."""

OUTCOMES = ("batch", "unknown_batch", "no_end", "wrong_signature", "unreadable")
"""What becomes of webhooks: of a batch that runs here, or of one that does not (yet); not of an end; refused."""


class Webhooks:
    """Takes the webhooks of providers.

    Args:
        secrets: those that sign them; several while one replaces another.
        counts: webhooks, by `OUTCOMES`.

    Raises:
        ValueError: a secret cannot be used.
    """

    def __init__(self, client: BatchOpenAI, secrets: Sequence[str], counts: Counter[str]) -> None:
        for secret in secrets:
            if (mistake := secret_mistake(secret)) is not None:
                raise ValueError(f"a webhook secret {mistake}")
            client.mask(secret)
        self._client = client
        self._secrets = secrets
        self._counts = counts
        self._bodies = BodyLimiter(MOST_BYTES_OF_ALL, lambda: (0, math.inf))
        self._told_at = -math.inf

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request: 204, or why it is refused."""
        held = HeldBody(self._bodies)
        try:
            outcome = self._take(await self._read(exchange, held), exchange)
        except ClientGoneError:
            return
        except RefusedError as refused:
            self._counts["wrong_signature" if refused.status_code == 401 else "unreadable"] += 1
            held.release()  # draining the rest may take a while
            await exchange.refuse(refusal_parts(refused))
        else:
            self._counts[outcome] += 1
            await _accept(exchange)
        finally:
            held.release()

    async def _read(self, exchange: Exchange, held: HeldBody) -> bytes:
        try:
            return await exchange.read_body(held, most_bytes=MOST_BYTES, most_seconds=MOST_SECONDS)
        except RefusedError as refused:
            if refused.status_code != 413:
                raise
            raise RefusedError(413, f"The body is larger than {MOST_BYTES:,} bytes, more than webhooks have.") from None

    def _take(self, body: bytes, exchange: Exchange) -> str:
        """Act on one webhook, and return its outcome. Raises `RefusedError`."""
        if not is_genuine(self._client, body, exchange.headers, self._secrets):
            self._tell_wrong()
            raise _WRONG
        try:
            batch_id = ended_batch(body)
        except (ValueError, RecursionError):
            raise _UNREADABLE from None
        if batch_id is None:
            return "no_end"
        return "batch" if poll_now(self._client, batch_id) else "unknown_batch"

    def _tell_wrong(self) -> None:
        now = trio.current_time()
        if now - self._told_at >= TOLD_SECONDS:
            self._told_at = now
            logger.warning(
                "autobatcher: a webhook was refused (401): its signature is wrong, or its time too far from this clock"
            )


async def _accept(exchange: Exchange) -> None:
    try:
        await exchange.begin(204, {})
        await exchange.end(b"")
    except ClientGoneError:
        return


_WRONG = RefusedError(
    401,
    "This is no webhook that a secret of this proxy (--webhook-secret) has signed within five minutes.",
    code="invalid_webhook_signature",
)
_UNREADABLE = RefusedError(400, "This webhook is signed, but it names no batch, or is no event.", code="no_event")
