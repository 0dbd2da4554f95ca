"""What the `usage` of answers says about the tokens of the next requests. Pure."""

from __future__ import annotations

import math
import re
from typing import TypeVar

import msgspec

from .estimate import Estimate, Guess
from .limits import WITHOUT_OUTPUT, Limits, limits_of
from .line import FADING, Line, Prior
from .tokens import count_input, most_for_images
from .usage import MOST_TOKENS, Usage

MAX_MODELS, MAX_JOBS = 128, 256
"""How many models are remembered, each with an endpoint, and how many jobs. The one that was not seen for longest is
forgotten first."""

LEAST_OUTPUT = 4_096
"""How many tokens an answer may have, where neither the request nor earlier answers say more. It is no limit of any
provider: a first answer without a limit can be longer."""

TEMPLATE_TOKENS = 256
"""How many tokens a provider may add to a request by itself. gpt-oss adds about 70."""

_IMAGE_OUTPUT = 6_240
"""The largest picture of gpt-image-1, in OpenAI's price list."""

_USUAL_OUTPUT, _USUAL_REASONING = 300.0, 1_500.0
"""For models that were never seen. LMSYS-Chat-1M reports 215 tokens an answer, WildChat 441. For models that reason it
is a guess."""

_REASONING = re.compile(r"(^|/)o[1-9]|gpt-?[5-9]|gpt-oss|-r1|qwq|thinking|reason|magistral")
_OWN_JOB_FROM = 5.0
"""From how many answers on a job is judged by its own answers."""

_INPUT = Prior(shared=0.25, own=0.15, is_proportional=True)
_OUTPUT = Prior(shared=0.7, own=1.0, is_proportional=False)

_FORMAT = 1
_MOST_NAME = 200
_K = TypeVar("_K", bound=tuple[object, ...])
_Model = tuple[str, str]
_Job = tuple[str, str, int]


class _Seen(msgspec.Struct, array_like=True):
    """What was seen of one kind of requests."""

    input: Line = msgspec.field(default_factory=Line)
    output: Line = msgspec.field(default_factory=Line)
    cached: float = 0.0
    reasoning: float = 0.0
    largest: int = 0


class _Stored(msgspec.Struct):
    format: int
    models: list[tuple[_Model, _Seen]]
    jobs: list[tuple[_Job, _Seen]]


class Calibration:
    """The tokens of requests, learned from answers: by model and endpoint, and by job where there are several."""

    def __init__(self) -> None:
        self._models: dict[_Model, _Seen] = {}
        self._jobs: dict[_Job, _Seen] = {}

    def __bool__(self) -> bool:
        """Whether anything was observed."""
        return bool(self._models)

    def observe(self, model: str, endpoint: str, body: bytes, usage: Usage) -> None:
        """Learn from the answer to a request.

        Args:
            body: the request's.
            usage: what its answer reports.
        """
        limits = limits_of(endpoint, body)
        counted = count_input(model, endpoint, body).tokens
        key = _key(model, endpoint)
        for seen in (_renewed(self._models, key, MAX_MODELS), _renewed(self._jobs, (*key, limits.job), MAX_JOBS)):
            _learn(seen, counted, limits, usage)

    def observations(self, model: str, endpoint: str) -> float:
        """How many answers are known. Older ones count less."""
        seen = self._models.get(_key(model, endpoint))
        return seen.input.weight if seen is not None else 0.0

    def estimate(self, model: str, endpoint: str, body: bytes) -> Estimate:
        """Estimate the tokens of a request before it is sent."""
        limits = limits_of(endpoint, body)
        counted = count_input(model, endpoint, body)
        most = self._most(model, endpoint, body, limits)
        key = _key(model, endpoint)
        job = self._jobs.get((*key, limits.job))
        is_own = job is not None and job.input.weight >= _OWN_JOB_FROM
        seen = job if job is not None and is_own else self._models.get(key) or _Seen()
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

        A text has no more tokens than bytes; `TEMPLATE_TOKENS` come on top, and what the pictures have. Each answer has
        as many tokens as the request allows, or, if it sets no limit, the largest of `LEAST_OUTPUT` and twice the
        largest answer of this model so far. What is unknown (see `Estimate.unknown`) is not in it.
        """
        return self._most(model, endpoint, body, limits_of(endpoint, body))

    def _most(self, model: str, endpoint: str, body: bytes, limits: Limits) -> Usage:
        output = limits.output
        if output is None:
            seen = self._models.get(_key(model, endpoint))
            least = _IMAGE_OUTPUT if endpoint.startswith("/v1/images") else LEAST_OUTPUT
            output = max(least, 2 * seen.largest if seen is not None else 0)
        read = len(body) + TEMPLATE_TOKENS + most_for_images(model, body)
        return Usage(read, 0, min(output * limits.answers + limits.predicted, MOST_TOKENS), 0)

    def adopt(self, other: Calibration) -> None:
        """Begin with what the other has learned. What this one has learned meanwhile counts instead."""
        for key, model in other._models.items():
            self._models.setdefault(key, model)
        for job_key, job in other._jobs.items():
            self._jobs.setdefault(job_key, job)

    def encoded(self) -> bytes:
        """All of it, to be kept: JSON, a hundred kilobytes at most."""
        return msgspec.json.encode(_Stored(_FORMAT, list(self._models.items()), list(self._jobs.items())))

    @classmethod
    def decoded(cls, content: bytes) -> Calibration:
        """What was encoded. What is damaged, or of another version, counts as nothing observed."""
        calibration = cls()
        try:
            stored = msgspec.json.decode(content, type=_Stored)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return calibration
        if stored.format == _FORMAT:
            calibration._models = {key: seen for key, seen in stored.models[-MAX_MODELS:] if _is_sound(seen)}
            calibration._jobs = {key: seen for key, seen in stored.jobs[-MAX_JOBS:] if _is_sound(seen)}
        return calibration


def _key(model: str, endpoint: str) -> _Model:
    """Callers of a proxy choose the names of models."""
    return model[:_MOST_NAME], endpoint[:_MOST_NAME]


def _renewed(kinds: dict[_K, _Seen], key: _K, most: int) -> _Seen:
    """What was seen of a kind, now the one that was seen last. Forgets the oldest ones beyond `most`."""
    seen = kinds.pop(key, None) or _Seen()
    kinds[key] = seen
    while len(kinds) > most:
        del kinds[next(iter(kinds))]
    return seen


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
    shares = 0 <= seen.cached <= seen.input.y and 0 <= seen.reasoning <= seen.output.y
    return shares and seen.input.is_sound and seen.output.is_sound and 0 <= seen.largest <= MOST_TOKENS
