"""One call that has no answer yet, and the clients that wait for it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol

import anyio

from ..engine.request import Request
from .body_limiter import HeldBody
from .hypercorn.peer import Peer


class Answerer(Protocol):
    """Sends one client the outcome of its call."""

    async def answer(self) -> bool:
        """Send it, or have the client's own task send it: then False. Never waits."""


class Client:
    """A client that waits for a call.

    Attributes:
        peer: its end of the connection.
        has_own_connection: whether no other request shares the connection meanwhile.
        resume: wakes its task, if that waits.
        call: the call that it waits for; None while it has none.
        wait: sends it the answer; None while its task would not take one.
    """

    __slots__ = ("call", "has_own_connection", "peer", "resume", "wait")

    def __init__(
        self, peer: Peer, resume: Callable[[], None] = lambda: None, *, has_own_connection: bool = True
    ) -> None:
        self.peer: Peer = peer
        self.resume: Callable[[], None] = resume
        self.has_own_connection: bool = has_own_connection
        self.call: PendingCall | None = None
        self.wait: Answerer | None = None


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
