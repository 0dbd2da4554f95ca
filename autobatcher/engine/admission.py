"""Refuses requests that no batch of their provider can hold. Pure."""

from __future__ import annotations

import math
from functools import cache

from ..errors import UnbatchableRequestError
from .checks import completion_window_seconds
from .request import Request


def check_provider_takes(request: Request, completion_window: str) -> None:
    """Check that the request's provider can batch it, with that completion window.

    Raises:
        UnbatchableRequestError: naming the limit of the provider that the request exceeds.
    """
    provider = request.account.provider
    if not _is_within(completion_window, provider.completion_windows):
        shortest, longest = provider.completion_windows or ("", "")
        accepted = shortest if shortest == longest else f"{shortest} to {longest}"
        raise UnbatchableRequestError(
            f"Provider {provider.name!r} accepts a completion_window of {accepted}, not {completion_window!r}."
        )
    if request.endpoint not in provider.endpoints:
        raise UnbatchableRequestError(
            f"The Batch API of provider {provider.name!r} does not take {request.endpoint}. Use an ordinary "
            "openai client for this call, or pass provider= if the provider was detected wrongly."
        )
    if provider.needs_model and not request.model:
        raise UnbatchableRequestError(
            f"Provider {provider.name!r} needs a model in each request: pass one.", param="model"
        )
    most = min(provider.max_line_bytes or math.inf, provider.max_file_bytes)
    if request.size > most:
        raise UnbatchableRequestError(
            f"This request has {len(request.body):,} bytes; provider {provider.name!r} takes {most:,} at most."
        )
    if request.embedding_inputs > (provider.max_embedding_inputs or math.inf):
        raise UnbatchableRequestError(
            f"This request has {request.embedding_inputs:,} embedding inputs; provider {provider.name!r} takes "
            f"{provider.max_embedding_inputs:,} in a batch at most."
        )


@cache
def _is_within(window: str, accepted: tuple[str, str] | None) -> bool:
    """Whether a window is in a range. A window without a length, such as "background", is left to the provider."""
    seconds = completion_window_seconds(window)
    if accepted is None or math.isinf(seconds):
        return True
    return completion_window_seconds(accepted[0]) <= seconds <= completion_window_seconds(accepted[1])
