"""Estimates of single calls: their tokens, and what they cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import pydantic
from openai import NotGiven, Omit

from ..engine.admission import check_provider_takes
from ..engine.lanes.lane import Lane, lanes_of, usable_lanes
from ..engine.request import Request
from ..engine.settings import Settings
from ..engine.spending import Spending
from ..errors import UnbatchableRequestError
from ..money.price_list import REALTIME
from ..money.quote import cost_of
from ..money.rates import UnknownPrice
from ..money.service_tiers import billed_lane
from ..upstream.account import Account
from ..upstream.providers import BATCHABLE_ENDPOINTS, ProviderProfile
from .batchable import batch_request
from .call_estimate import CallEstimate

_ENDPOINTS = {"messages": "/v1/chat/completions", "prompt": "/v1/completions", "input": "/v1/responses"}
"""Which argument tells which endpoint."""

_NOT_IN_BODY = frozenset({"extra_headers", "extra_query", "extra_body", "timeout", "stream", "stream_options"})


class Estimator:
    """Estimates the calls of a client and its copies.

    Args:
        settings: which lanes and which completion window they use.
        spending: knows prices, and what earlier answers say about tokens.
    """

    def __init__(self, settings: Settings, spending: Spending) -> None:
        self._settings = settings
        self._spending = spending

    def estimate(self, account: Account, endpoint: str | None, arguments: Mapping[str, Any]) -> CallEstimate:
        """Estimate a call with these arguments. Raises as `BatchOpenAI.estimate` does."""
        request = batch_request(account, _known(endpoint or _told_by(arguments)), _body(arguments))
        lane, window = self._lane(account.provider, request.endpoint)
        if lane is Lane.BATCH:
            check_provider_takes(request, self._settings.completion_window)
        return self._priced(request, lane.value, window)

    def _lane(self, provider: ProviderProfile, endpoint: str) -> tuple[Lane, str | None]:
        allowed = lanes_of(self._settings.lanes, has_deadline=self._settings.deadline is not None)
        lane = next(iter(usable_lanes(allowed, provider, endpoint)), Lane.BATCH)
        return lane, self._settings.completion_window if lane is Lane.BATCH else None

    def _priced(self, request: Request, lane: str, window: str | None) -> CallEstimate:
        tokens = self._spending.calibration.estimate(request.model, request.endpoint, request.body)
        prices = self._spending.prices.of(request.account)
        billed = billed_lane(lane, request.body)
        rates = prices.look_up(request.model, lane=billed, completion_window=window, endpoint=request.endpoint)
        listed = prices.look_up(request.model, lane=REALTIME, completion_window=None, endpoint=request.endpoint)
        unknown = dict.fromkeys(each.reason for each in (rates, listed) if isinstance(each, UnknownPrice))
        cost = None if isinstance(rates, UnknownPrice) else cost_of(rates, tokens)
        return CallEstimate(
            request.endpoint,
            request.model,
            lane,
            window,
            tokens,
            cost.expected if cost is not None else None,
            cost.low if cost is not None else None,
            cost.high if cost is not None else None,
            None if isinstance(listed, UnknownPrice) else cost_of(listed, tokens).expected,
            (*unknown, *tokens.unknown),
        )


def _told_by(arguments: Mapping[str, Any]) -> str:
    for name, endpoint in _ENDPOINTS.items():
        if name in arguments:
            return endpoint
    raise TypeError('estimate() needs endpoint=, such as "/v1/chat/completions": the arguments do not tell it')


def _known(endpoint: str) -> str:
    found = "/v1/" + endpoint.strip("/").removeprefix("v1/")
    if found not in BATCHABLE_ENDPOINTS:
        names = ", ".join(sorted(BATCHABLE_ENDPOINTS))
        raise UnbatchableRequestError(f"{endpoint!r} is no endpoint of batches. These are: {names}.", param="endpoint")
    return found


def _body(arguments: Mapping[str, Any]) -> bytes:
    """The body that the SDK would send, as far as tokens depend on it."""
    given = {name: value for name, value in arguments.items() if name not in _NOT_IN_BODY and not _is_left_out(value)}
    extra = arguments.get("extra_body")
    return msgspec.json.encode({**given, **(extra if isinstance(extra, Mapping) else {})}, enc_hook=_as_json)


def _is_left_out(value: object) -> bool:
    return isinstance(value, NotGiven | Omit)


def _as_json(value: Any) -> Any:
    """What the SDK takes beside the types of JSON."""
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json", exclude_unset=True, by_alias=True)
    if isinstance(value, type) and issubclass(value, pydantic.BaseModel):
        return value.model_json_schema()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray | memoryview):
        return list(value)
    raise TypeError(f"estimate() takes what JSON can hold, not {type(value).__name__}")
