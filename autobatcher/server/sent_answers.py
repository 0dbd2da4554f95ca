"""Answers that were sent, and that their clients may not have read."""

from __future__ import annotations

from collections import OrderedDict

from ..engine.request import Answer
from .pending_call import Client, PendingCall


class SentAnswers:
    """Answers of calls whose clients may come back for them, as they gave up before they read them.

    Most clients have read them, and only tell so with their next request, or at the end of their connection. So beyond
    so many bytes, those of the calls included, the oldest are given up.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._clients: OrderedDict[PendingCall, Client] = OrderedDict()  # the oldest first

    def add(self, call: PendingCall, client: Client) -> None:
        """The answer was sent to this client, whose peer will tell whether it read it, and has it discarded then."""
        self._clients[call] = client
        self._bytes += _size(call)
        while self._bytes > self._most_bytes:
            oldest, its_client = next(iter(self._clients.items()))
            self.discard(oldest)
            its_client.peer.next_request()  # it is taken to have read it

    def discard(self, call: PendingCall) -> None:
        """It is known now whether the answer was read."""
        if self._clients.pop(call, None) is not None:
            self._bytes -= _size(call)


def _size(call: PendingCall) -> int:
    """Bytes of the request and its answer."""
    outcome = call.request.settled_as
    return len(call.request.body) + (len(outcome.body) if isinstance(outcome, Answer) else 0)
