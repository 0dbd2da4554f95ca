"""A known outcome, told by the SDK as if its call had just been made: models, lenient ones too, and exceptions."""

from __future__ import annotations

from contextvars import ContextVar
from functools import cache
from typing import Any, Self

import openai

from ..engine.request import Answer
from ..errors import BatchError, BatchSubmissionError
from .http_parts import HttpParts, answer_parts, error_parts, library_of
from .map_bodies import model_class, model_of


def answer_to(endpoint: str, outcome: Answer | BatchError, base_url: str) -> Any:
    """The SDK's model of an answer. Raises what a call with that outcome raises. No I/O."""
    model = model_of(endpoint, outcome)
    if model is not None:
        return model
    token = _OUTCOME.set(outcome)
    try:
        path = endpoint.removeprefix("/v1")
        return _sdk_client(base_url).post(path, cast_to=model_class(endpoint), body={"model": "any"})
    finally:
        _OUTCOME.reset(token)


_OUTCOME: ContextVar[Answer | BatchError] = ContextVar("_OUTCOME")


@cache
def _sdk_client(base_url: str) -> openai.OpenAI:
    """A client of the SDK that sends nothing."""
    http_client: Any = openai.DefaultHttpxClient(transport=_KnownOutcome())  # type: ignore[arg-type]  # of no library
    return openai.OpenAI(api_key="any", base_url=base_url, max_retries=0, http_client=http_client)


class _KnownOutcome:
    """A transport that answers every request with `_OUTCOME`."""

    def handle_request(self, request: Any) -> Any:
        outcome = _OUTCOME.get()
        if isinstance(outcome, BatchError) and not _has_response(outcome):
            outcome.request = request
            raise outcome
        return library_of(request).Response(**_parts(outcome))

    def close(self) -> None:
        """Do nothing: there are no connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _has_response(error: BatchError) -> bool:
    """Whether the SDK makes its own exception of a response."""
    return isinstance(error, BatchSubmissionError) and error.status_code is not None


def _parts(outcome: Answer | BatchError) -> HttpParts:
    if isinstance(outcome, Answer):
        return answer_parts(outcome)
    assert isinstance(outcome, BatchSubmissionError)
    return error_parts(outcome)
