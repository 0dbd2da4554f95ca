"""What went through the proxy: a running count."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from ..engine.request import Answer


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Body(msgspec.Struct):
    usage: _Usage | None = None


_decode_usage = msgspec.json.Decoder(_Body).decode


@dataclass
class Tally:
    """Counts of batchable requests, by how they ended, and of the tokens that were told in their answers."""

    requests: int = 0
    answered: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def take(self, answer: Answer) -> None:
        """The upstream answered, well or badly."""
        if answer.status_code >= 400:
            self.failed += 1
            return
        self.answered += 1
        try:
            usage = _decode_usage(answer.body).usage
        except msgspec.MsgspecError:
            return
        if usage is not None:
            self.input_tokens += usage.prompt_tokens or usage.input_tokens or 0
            self.output_tokens += usage.completion_tokens or usage.output_tokens or 0
