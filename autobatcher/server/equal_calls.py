"""Equal calls: those of one caller with one body. Finds the call that a retry left, or is about to leave."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

from .pending_call import Client, PendingCall

LOOKED_AT = 64
"""Equal calls whose connections are looked at: a program may send the same body ten thousand times."""


class EqualCalls:
    """Calls by digest: with clients, without, or just delivered; and requests that wait for one to lose its client.

    What is taken from the front is in an `OrderedDict`: a dict looks for its first key behind all that are gone.
    """

    def __init__(self) -> None:
        self._all: dict[bytes, dict[PendingCall, None]] = {}
        self._free: dict[bytes, OrderedDict[PendingCall, None]] = {}  # in order of disconnects
        self._delivered: dict[bytes, dict[PendingCall, Client]] = {}
        self._waiting: dict[bytes, OrderedDict[Client, None]] = {}

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._all

    @property
    def free_count(self) -> int:
        """Number of calls without a client."""
        return sum(len(calls) for calls in self._free.values())

    def add(self, call: PendingCall) -> None:
        self._all.setdefault(call.digest, {})[call] = None

    def free(self, call: PendingCall) -> None:
        """The call has no client any more."""
        self._free.setdefault(call.digest, OrderedDict())[call] = None

    def take_free(self, digest: bytes) -> PendingCall | None:
        """The call that lost its client first; None if there is none."""
        call = next(iter(self._free.get(digest, ())), None)
        if call is not None:
            _remove(self._free, call)
        return call

    def discard(self, call: PendingCall) -> None:
        _remove(self._all, call)
        _remove(self._free, call)

    def deliver(self, call: PendingCall, client: Client) -> None:
        """The answer was sent to the client, which may not have read it."""
        self.discard(call)
        self._delivered.setdefault(call.digest, {})[call] = client

    def was_delivered(self, digest: bytes) -> bool:
        """Whether an answer was sent, and it is not known yet whether it was read."""
        return digest in self._delivered

    def forget_delivery(self, call: PendingCall) -> None:
        _remove(self._delivered, call)

    def __iter__(self) -> Iterator[PendingCall]:
        return chain.from_iterable(self._all.values())

    @contextmanager
    def waiting(self, digest: bytes, client: Client) -> Iterator[None]:
        """Inside this block the client waits for a call to lose its client."""
        waiting = self._waiting.setdefault(digest, OrderedDict())
        waiting[client] = None
        try:
            yield
        finally:
            waiting.pop(client, None)
            if not waiting:
                self._waiting.pop(digest, None)

    def next_waiting(self, digest: bytes) -> Client | None:
        """The first client that waits for a call, which is now its own; None if there is none."""
        waiting = self._waiting.get(digest)
        return waiting.popitem(last=False)[0] if waiting else None

    def will_be_free(self, digest: bytes) -> bool:
        """Whether a client is gone whose disconnect was not read yet."""
        waiting = (client for call in self._all.get(digest, ()) for client in call.clients)
        clients = chain(waiting, self._delivered.get(digest, {}).values())
        return any(client.peer.is_gone() for client in islice(clients, LOOKED_AT))


def _remove(calls: MutableMapping[bytes, Any], call: PendingCall) -> None:
    same = calls.get(call.digest, {})
    same.pop(call, None)
    if not same:
        calls.pop(call.digest, None)
