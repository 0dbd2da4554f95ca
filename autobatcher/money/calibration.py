"""What the `usage` of answers says about the tokens of the next requests. Pure."""

from __future__ import annotations

import math
import re

import msgspec

from .estimate import Estimate, Guess
from .limits import WITHOUT_OUTPUT, Limits, limits_of
from .line import FADING, Line, Prior
from .tokens import count_input
from .usage import MOST_TOKENS, Usage

MAX_KINDS = 256
"""How many kinds of requests are remembered. The one that was not seen for longest is forgotten first."""

LEAST_OUTPUT = 4_096
"""How many tokens an answer may have, where neither the request nor earlier answers say more. It is no limit of any
provider: a first answer without a limit can be longer."""

TEMPLATE_TOKENS = 256
"""How many tokens a provider may add to a request by itself. gpt-oss adds about 70."""

_IMAGE_OUTPUT = 6_240
"""The largest picture of gpt-image-1, in OpenAI's price list."""

_USUAL_OUTPUT, _USUAL_REASONING = 300.0, 1_500.0
"""For models that were never seen. LMSYS-Chat-1M and WildChat report 215 and 441 tokens an answer. For models that
reason it is a guess."""

_REASONING = re.compile(r"(^|/)o[1-9]|gpt-?[5-9]|gpt-oss|-r1|qwq|thinking|reason|magistral")
_OWN_JOB_FROM = 5.0
"""From how many answers on a job is judged by its own answers."""

_INPUT = Prior(shared=0.25, own=0.15, is_proportional=True)
_OUTPUT = Prior(shared=0.7, own=1.0, is_proportional=False)

_FORMAT = 1
_Key = tuple[str, str, int]


class _Seen(msgspec.Struct, array_like=True):
    """What was seen of one kind of requests."""

    input: Line = msgspec.field(default_factory=Line)
    output: Line = msgspec.field(default_factory=Line)
    cached: float = 0.0
    reasoning: float = 0.0
    largest: int = 0


class _Stored(msgspec.Struct):
    format: int
    kinds: list[tuple[_Key, _Seen]]


class Calibration:
    """The tokens of requests, learned from answers: by model and endpoint, and by job where there are several."""

    def __init__(self) -> None:
        self._kinds: dict[_Key, _Seen] = {}

    def __bool__(self) -> bool:
        """Whether anything was observed."""
        return bool(self._kinds)

    def observe(self, model: str, endpoint: str, body: bytes, usage: Usage) -> None:
        """Learn from the answer to a request.

        Args:
            body: the request's.
            usage: what its answer reports.
        """
        limits = limits_of(endpoint, body)
        counted = count_input(model, endpoint, body).tokens
        for key in _keys(model, endpoint, limits):
            seen = self._kinds.pop(key, None) or _Seen()
            self._kinds[key] = seen
            _learn(seen, counted, limits, usage)
        while len(self._kinds) > MAX_KINDS:
            del self._kinds[next(iter(self._kinds))]

    def observations(self, model: str, endpoint: str) -> float:
        """How many answers are known. Older ones count less."""
        seen = self._kinds.get((model, endpoint, 0))
        return seen.input.weight if seen is not None else 0.0

    def estimate(self, model: str, endpoint: str, body: bytes) -> Estimate:
        """Estimate the tokens of a request before it is sent."""
        limits = limits_of(endpoint, body)
        counted = count_input(model, endpoint, body)
        whole, job = (self._kinds.get(key) for key in _keys(model, endpoint, limits))
        most = self._most(model, endpoint, body, limits)
        is_own = job is not None and job.input.weight >= _OWN_JOB_FROM
        seen = job if is_own and job is not None else whole or _Seen()
        read = seen.input.guess(counted.tokens, _INPUT) or _INPUT.guess(counted.tokens)
        written = seen.output.guess(counted.tokens, _OUTPUT) or _OUTPUT.guess(_usual_output(model, endpoint))
        if limits.output is not None and not is_own:
            written = _within(written, limits.output)
        return Estimate(
            read.at_most(most.input),
            _times(written, limits.answers).at_most(most.output),
            seen.cached / seen.input.y if seen.input.y else 0.0,
            seen.reasoning / seen.output.y if seen.output.y else 0.0,
            most,
            counted.unknown,
        )

    def most(self, model: str, endpoint: str, body: bytes) -> Usage:
        """An upper bound, for caps.

        A text has no more tokens than bytes; `TEMPLATE_TOKENS` come on top. Each answer has as many tokens as the
        request allows, or, if it sets no limit, the largest of `LEAST_OUTPUT` and twice the largest answer of this
        model so far. What is unknown (see `Estimate.unknown`) is not in it.
        """
        return self._most(model, endpoint, body, limits_of(endpoint, body))

    def _most(self, model: str, endpoint: str, body: bytes, limits: Limits) -> Usage:
        output = limits.output
        if output is None:
            seen = self._kinds.get((model, endpoint, 0))
            least = _IMAGE_OUTPUT if endpoint.startswith("/v1/images") else LEAST_OUTPUT
            output = max(least, 2 * seen.largest if seen is not None else 0)
        return Usage(len(body) + TEMPLATE_TOKENS, 0, min(output * limits.answers + limits.predicted, MOST_TOKENS), 0)

    def encoded(self) -> bytes:
        """All of it, to be kept: JSON, a hundred kilobytes at most."""
        return msgspec.json.encode(_Stored(_FORMAT, list(self._kinds.items())))

    @classmethod
    def decoded(cls, content: bytes) -> Calibration:
        """What was encoded. What is damaged, or of another version, counts as nothing observed."""
        calibration = cls()
        try:
            stored = msgspec.json.decode(content, type=_Stored)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return calibration
        if stored.format == _FORMAT:
            calibration._kinds = {key: seen for key, seen in stored.kinds[-MAX_KINDS:] if _is_sound(seen)}
        return calibration


def _keys(model: str, endpoint: str, limits: Limits) -> tuple[_Key, _Key]:
    """All requests of a model to an endpoint, and those of one job."""
    return (model[:200], endpoint, 0), (model[:200], endpoint, limits.job or 1)


def _learn(seen: _Seen, counted: float, limits: Limits, usage: Usage) -> None:
    output = usage.output / limits.answers
    seen.input.add(counted, usage.input, _INPUT)
    seen.output.add(counted, output, _OUTPUT)
    seen.cached = seen.cached * FADING + usage.cached
    seen.reasoning = seen.reasoning * FADING + usage.reasoning / limits.answers
    seen.largest = max(seen.largest, math.ceil(output))


def _usual_output(model: str, endpoint: str) -> float:
    if endpoint in WITHOUT_OUTPUT:
        return 0.0
    return _USUAL_REASONING if _REASONING.search(model[:200].lower()) else _USUAL_OUTPUT


def _within(guess: Guess, most: int) -> Guess:
    """The guess for answers that are cut off at `most` tokens, as if their lengths were spread exponentially."""
    if not guess.expected:
        return guess
    share = -math.expm1(-most / guess.expected)
    return Guess(guess.expected * share, guess.shared * share, guess.own * share)


def _times(guess: Guess, answers: int) -> Guess:
    return Guess(guess.expected * answers, guess.shared * answers, guess.own * math.sqrt(answers))


def _is_sound(seen: _Seen) -> bool:
    return (
        seen.input.is_sound
        and seen.output.is_sound
        and 0 <= seen.largest <= MOST_TOKENS
        and seen.cached >= 0 <= seen.reasoning
    )
