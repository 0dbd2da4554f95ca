"""Clients with short timeouts, who do what the official SDK does until they have their answer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import h11
import trio

FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 0.5, 8.0
RETRIED = (408, 409, 429)


def dashed(text: str) -> str:
    """A text as it is in nginx's log."""
    return text.replace(" ", "-")


@dataclass
class Asked:
    """One text, which is asked for until its answer is there.

    Attributes:
        answers: what came with a 200. One is due.
        failures: what came instead, and is not to be retried.
        tries: when each began, and how it ended.
    """

    text: str
    answers: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    tries: list[tuple[float, str]] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        return len(self.answers) == 1 and self.text in self.answers[0] and not self.failures


class Client:
    """Asks one text after the other.

    Args:
        number: is part of its texts.
        port: nginx's.
        dice: decide on timeouts.
        patience: the shortest and the longest timeout, in seconds.
        is_stubborn: whether it tries again even if it is told not to.
    """

    def __init__(
        self, number: int, port: int, dice: Random, patience: tuple[float, float], *, is_stubborn: bool
    ) -> None:
        self._number = number
        self._port = port
        self._dice = dice
        self._patience = patience
        self._is_stubborn = is_stubborn
        self._last = ""

    async def run(self, asked: list[Asked], goes_on: Callable[[], bool]) -> None:
        """Ask once, and then until `goes_on` says no. Returns when the last answer is there."""
        count = 0
        await trio.sleep(self._dice.random())
        while count == 0 or goes_on():
            one = Asked(f"text {count} of client {self._number}.")
            asked.append(one)
            await self._ask(one)
            count += 1

    async def _ask(self, one: Asked) -> None:
        for retry in range(1_000_000):
            begun = time.time()
            delay = await self._try(one, retry)
            one.tries.append((begun, f"{time.time() - begun:.2f} s: {self._last}"))
            if delay is None:
                await trio.sleep(1.0 if one.failures else 0.0)  # what fails at once must not fail a thousand times
                return
            await trio.sleep(delay)

    async def _try(self, one: Asked, retry: int) -> float | None:
        """Returns when to try again, in seconds; None if there is an end."""
        timeout = self._dice.uniform(*self._patience)
        try:
            status, headers, body = await self._exchange(one.text, retry, timeout)
        except (OSError, trio.TooSlowError, trio.BrokenResourceError, h11.RemoteProtocolError) as error:
            self._last = f"{type(error).__name__} {error}"
            return self._back_off(retry)
        self._last = str(status)
        if status == 200:
            self._take(one, body)
            return None
        if status in RETRIED or status >= 500:
            if headers.get("x-should-retry") == "false" and not self._is_stubborn:
                one.failures.append(f"{status}, not to be retried: {body[:300]!r}")
                return None
            told = float(headers.get("retry-after", "0"))
            return told if 0 < told <= 60 else self._back_off(retry)
        one.failures.append(f"{status} {body[:300]!r}")
        return None

    def _take(self, one: Asked, body: bytes) -> None:
        try:
            one.answers.append(json.loads(body)["choices"][0]["message"]["content"])
        except (ValueError, LookupError):  # after heartbeats the status is 200, whatever the outcome
            one.failures.append(f"200 with {body[:300]!r}")

    def _back_off(self, retry: int) -> float:
        delay = min(FIRST_DELAY_SECONDS * 2.0 ** min(retry, 10), LONGEST_DELAY_SECONDS)
        return float(delay * (1 - 0.25 * self._dice.random()))

    async def _exchange(self, text: str, retry: int, silence: float) -> tuple[int, dict[str, str], bytes]:
        content = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
        headers = [
            ("host", "127.0.0.1"),
            ("content-type", "application/json"),
            ("content-length", str(len(content))),
            ("x-stainless-retry-count", str(retry)),
            ("x-fleet-text", dashed(text)),
            ("connection", "close"),
        ]
        if self._dice.random() < 0.1:  # the SDK always does. It then gets heartbeats, and waits as long as it takes
            headers.append(("x-stainless-read-timeout", f"{silence:.3f}"))
        protocol = h11.Connection(h11.CLIENT)
        async with await trio.open_tcp_stream("127.0.0.1", self._port) as stream:
            request = h11.Request(method="POST", target="/v1/chat/completions", headers=headers)
            sent = [protocol.send(each) for each in (request, h11.Data(data=content), h11.EndOfMessage())]
            await stream.send_all(b"".join(piece or b"" for piece in sent))
            return await _response(protocol, stream, silence)


async def _response(
    protocol: h11.Connection, stream: trio.SocketStream, silence: float
) -> tuple[int, dict[str, str], bytes]:
    """Raises `TooSlowError` after so many seconds without a byte."""
    status, headers, pieces = 0, {}, []
    while True:
        event: Any = protocol.next_event()
        if event is h11.NEED_DATA:
            with trio.fail_after(silence):
                protocol.receive_data(await stream.receive_some())
        elif isinstance(event, h11.Response):
            status = event.status_code
            headers = {name.decode(): value.decode() for name, value in event.headers}
        elif isinstance(event, h11.Data):
            pieces.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            return status, headers, b"".join(pieces)
        elif isinstance(event, h11.ConnectionClosed):
            raise h11.RemoteProtocolError("closed without a response")
