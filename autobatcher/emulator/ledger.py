"""Who was billed for what, on which lane."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec

from .answers.prompt import last_user_text
from .tiers import Lane

# Bytes of real-time calls that are kept; beyond that the oldest are forgotten.
REMEMBERED_BYTES = 256 * 1024 * 1024
_LANES_OWN = ("service_tier", "stream", "stream_options")


@dataclass(frozen=True, slots=True, kw_only=True)
class Billed:
    """One execution that was billed, whether or not its answer was delivered.

    `at` is the emulator's clock. `batch_id` and `custom_id` are empty outside batches.
    """

    lane: Lane
    endpoint: str
    model: str
    raw_body: bytes
    at: float
    batch_id: str = ""
    custom_id: str = ""

    @property
    def body(self) -> dict[str, Any]:
        content: dict[str, Any] = msgspec.json.decode(self.raw_body)
        return content

    @property
    def digest(self) -> str:
        """Identifies the request on every lane: endpoint and body, without its service tier and streaming."""
        body = {name: value for name, value in self.body.items() if name not in _LANES_OWN}
        canonical = msgspec.json.encode([self.endpoint, body], order="deterministic")
        return blake2b(canonical, digest_size=12).hexdigest()

    @property
    def text(self) -> str:
        """What the user said: the last message, the input, or the prompt; lists of texts as JSON."""
        body = self.body
        given = body.get("messages") or body.get("input") or body.get("prompt") or ""
        if isinstance(given, str):
            return given
        if all(isinstance(item, dict) for item in given):
            return last_user_text(given, "messages")
        return msgspec.json.encode(given).decode()


class RealtimeLedger:
    """The billed calls outside batches, oldest first."""

    def __init__(self) -> None:
        self.calls: deque[Billed] = deque()
        self._bytes = 0

    def add(self, call: Billed) -> None:
        self.calls.append(call)
        self._bytes += len(call.raw_body)
        while self._bytes > REMEMBERED_BYTES and len(self.calls) > 1:
            self._bytes -= len(self.calls.popleft().raw_body)
