"""One call that has no answer yet, and the clients that wait for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable

import anyio
import trio

from ..engine.request import Request
from .body_limiter import HeldBody
from .hypercorn.peer import Peer


class Client:
    """A client that waits for a call.

    Attributes:
        peer: its end of the connection.
        has_own_connection: whether no other request shares the connection meanwhile.
        wait_scope: the scope in which it waits; cancelled to resume it.
        call: the call that it waits for; None while it has none.
        answer_meanwhile: answers it while it waits; False if that cannot be. None while it waits for no answer.
        was_answered: whether that was done.
    """

    __slots__ = ("answer_meanwhile", "call", "has_own_connection", "peer", "wait_scope", "was_answered")

    def __init__(self, peer: Peer, *, has_own_connection: bool = True) -> None:
        self.peer: Peer = peer
        self.has_own_connection: bool = has_own_connection
        self.wait_scope: trio.CancelScope | None = None
        self.call: PendingCall | None = None
        self.answer_meanwhile: Callable[[], Awaitable[bool]] | None = None
        self.was_answered: bool = False

    async def answer(self) -> None:
        """Answer the client, or wake it to see to that. Never waits."""
        if self.answer_meanwhile is None or not await self.answer_meanwhile():
            self.resume()

    def resume(self) -> None:
        """Wake the client."""
        if self.wait_scope is not None:
            self.wait_scope.cancel()


class PendingCall:
    """One request in the engine, and the clients that wait for it.

    Attributes:
        digest: identifies the request and its caller.
        key: the caller and its idempotency key; None without one.
        account: who pays, as far as the proxy tells callers apart.
        held: its body, as far as the bytes of all bodies are bounded.
        clients: more than one with an idempotency key only.
        created_at: when the call was made, on the event loop's clock.
        was_delivered: whether a client was sent the outcome.
    """

    __slots__ = (
        *("__weakref__", "account", "clients", "created_at", "digest", "held", "key", "request"),
        "was_delivered",
    )

    def __init__(
        self,
        request: Request,
        digest: bytes,
        key: tuple[str, ...] | None = None,
        held: HeldBody | None = None,
        account: Hashable = None,
    ) -> None:
        self.request: Request = request
        self.digest: bytes = digest
        self.key: tuple[str, ...] | None = key
        self.held: HeldBody | None = held
        self.account: Hashable = account
        self.clients: list[Client] = []
        self.created_at: float = anyio.current_time()
        self.was_delivered: bool = False

    def attach(self, client: Client) -> None:
        """The client waits for this call."""
        self.clients.append(client)
        client.call = self

    def resume(self) -> None:
        """Wake the waiting clients."""
        for client in self.clients:
            client.resume()

    async def answer(self) -> None:
        """Answer the waiting clients, or wake them. Never waits."""
        for client in tuple(self.clients):
            await client.answer()
