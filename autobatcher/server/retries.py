"""Which request is a retry, and of which call.

A client gives up, closes its connection and sends the request again on another one. The proxy may read the retry before
the disconnect, or before the first request itself. So a request that equals a pending one waits a moment for the other
client to be gone. If both clients are there afterwards, both requests are sent.
"""

from __future__ import annotations

import trio

from .exchange import ClientGoneError, Exchange
from .pending_call import Client, PendingCall
from .pending_calls import PendingCalls
from .refusals import key_reused

MOMENT_SECONDS = 0.1
"""How long a request waits whose equal has a client that seems to be there."""

RETRY_SECONDS = 1.0
"""The same for one that says that it is a retry. Networks may deliver it before the disconnect."""


class Retries:
    """Finds the calls of retries."""

    def __init__(self, pending_calls: PendingCalls) -> None:
        self._pending_calls = pending_calls

    def with_key(self, key: tuple[str, ...], digest: bytes, client: Client) -> PendingCall | None:
        """The call with this idempotency key; None if there is none.

        Raises:
            RefusedError: 409 if the key was used for another request.
            ClientGoneError: the client is gone, and its request is pending.
        """
        call = self._pending_calls.with_key(key)
        if call is None:
            return None
        if call.digest != digest:
            raise key_reused()
        if client.peer.is_gone():
            raise ClientGoneError
        return self._pending_calls.join(key, client)

    async def without_key(self, digest: bytes, client: Client, exchange: Exchange) -> PendingCall | None:
        """The call that the client left; None if there is none.

        Raises:
            ClientGoneError: the client is gone, and an equal request is pending, which may be its retry.
        """
        equal, seconds = self._pending_calls.equal, MOMENT_SECONDS
        if says_retry(exchange):
            seconds = RETRY_SECONDS
            known = digest in equal or equal.was_delivered(digest)
        else:
            known = digest in equal
        if not known:
            return None
        if client.peer.is_gone():
            raise ClientGoneError
        call = self._pending_calls.reattach(digest, client)
        if call is not None:
            return call
        with equal.waiting(digest, client):
            try:
                return await self._when_free(digest, client, exchange, seconds)
            except BaseException:
                if client.call is not None:
                    self._pending_calls.detach(client.call, client)
                raise

    async def _when_free(self, digest: bytes, client: Client, exchange: Exchange, seconds: float) -> PendingCall | None:
        while True:
            with trio.move_on_after(seconds):
                await exchange.listen()
            if client.call is not None or not self._pending_calls.equal.will_be_free(digest):
                return client.call


def says_retry(exchange: Exchange) -> bool:
    """The official SDKs count their retries."""
    return exchange.headers.get("x-stainless-retry-count", "0") not in ("", "0")
