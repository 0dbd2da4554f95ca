"""Attributes of spans and metrics, by OpenTelemetry's conventions for generative AI. Pure: no prompt, no answer."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import urlsplit

from ..engine.request import Answer, Request
from ..errors import BatchError
from ..money.usage import Name, Usage, name_in, usage_of
from ..printable import printable
from ..upstream.account import Account
from ..upstream.failures import UpstreamError

Attributes = dict[str, str | bool | int | float]

MOST_MODEL_CHARACTERS = 200
"""A model's name may be whatever a caller or an upstream says. No honest one is longer."""

_OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
    "/v1/images/generations": "generate_content",
    "/v1/moderations": "moderation",
}
_PROVIDERS = {
    "azure": "azure.ai.openai",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "conservative": "openai",  # nobody knows whose it is; that is the API it speaks
}
_PORTS = {"http": 80, "https": 443}


def operation_of(endpoint: str) -> str:
    """The name of the operation of an endpoint."""
    return _OPERATIONS.get(endpoint, endpoint.removeprefix("/v1/"))


def of_server(account: Account) -> Attributes:
    """Who is asked, and where."""
    return _of_server(account.provider.name, account.base_url).copy()


@lru_cache(maxsize=100)
def _of_server(provider: str, base_url: str) -> Attributes:
    url = urlsplit(base_url)
    found: Attributes = {"gen_ai.provider.name": _PROVIDERS.get(provider, provider)}
    port = url.port or _PORTS.get(url.scheme)
    if url.hostname and port:
        found |= {"server.address": url.hostname, "server.port": port}
    return found


def of_request(request: Request) -> Attributes:
    """What is asked."""
    found = {"gen_ai.operation.name": operation_of(request.endpoint), **of_server(request.account)}
    if request.model:
        found["gen_ai.request.model"] = shown_model(request.model)
    return found


def shown_model(model: str) -> str:
    """The name of a model, on one line and of a bounded length."""
    return printable(model[:MOST_MODEL_CHARACTERS])


def of_answer(name: Name, usage: Usage | None) -> Attributes:
    """What a good answer says of itself."""
    found: Attributes = {}
    if name.model:
        found["gen_ai.response.model"] = shown_model(name.model)
    if name.id:
        found["gen_ai.response.id"] = shown_model(name.id)
    if usage is not None:
        found |= {"gen_ai.usage.input_tokens": usage.input, "gen_ai.usage.output_tokens": usage.output}
        found |= {"gen_ai.usage.cache_read.input_tokens": usage.cached} if usage.cached else {}
        found |= {"gen_ai.usage.reasoning.output_tokens": usage.reasoning} if usage.reasoning else {}
    return found


def of_place(outcome: Answer | BatchError | None, request: Request) -> Attributes:
    """Where the outcome came from."""
    found: Attributes = {"autobatcher.lane": outcome.lane} if isinstance(outcome, Answer) else {}
    batch_id = request.left_batch_id if outcome is None else outcome.batch_id
    custom_id = request.custom_id if outcome is None else outcome.custom_id
    if batch_id:
        found["autobatcher.batch.id"] = batch_id
    if custom_id:
        found["autobatcher.custom_id"] = custom_id
    return found


def read_answer(outcome: Answer | BatchError | None) -> tuple[Name, Usage | None]:
    """How an answer names itself, and its tokens."""
    if not isinstance(outcome, Answer) or outcome.status_code >= 400:
        return Name(), None
    return name_in(outcome.body), usage_of(outcome.body)


def error_type(outcome: Answer | BaseException | None) -> str | None:
    """The class of an error, of which there are few: a status, or the name of an exception; None for no error.

    Args:
        outcome: None if the caller left.
    """
    if isinstance(outcome, Answer):
        return str(outcome.status_code) if outcome.status_code >= 400 else None
    if isinstance(outcome, UpstreamError) and outcome.status_code is not None:
        return str(outcome.status_code)
    return type(outcome).__name__ if isinstance(outcome, Exception) else CANCELLED


CANCELLED = "cancelled"
