"""The plan of a demo: its calls, its upstream and its client."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from ..client.sdk import checked_profile
from ..upstream.providers import ProviderProfile, profile_for
from .flags import Dialect, UsageError
from .workload import ENDPOINTS, Call, Kind, Models, mixed_calls

ARRIVALS_PER_SECOND, LONGEST_ARRIVAL_SECONDS = 120, 2.5
"""Emulated calls are spread over time, so that one can watch windows close one after the other."""

EMULATED_DEADLINE_SECONDS = 7_200.0
"""What an emulated deadline stands for: time for a batch, a cancellation and the next lane. Time passes faster."""

_FLEXIBLE: tuple[Kind, ...] = ("chat", "response")
"""What has a flex lane at the emulated providers."""

_EMULATED_URL = "http://emulator.invalid/v1"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of a demo.

    Attributes:
        like: the emulated provider; None for a real one.
        client: arguments for `BatchOpenAI`.
        arrival_seconds: the time over which the calls are spread.
        rate: how many seconds pass for each that the viewer waits. The times above are counted in them.
    """

    like: Dialect | None
    upstream: str
    calls: list[Call]
    models: Models
    client: dict[str, Any] = field(repr=False)
    batch_seconds: float = 0.0
    arrival_seconds: float = 0.0
    rate: float = 1.0

    @property
    def has_deadline(self) -> bool:
        return "deadline" in self.client


def emulated_plan(requests: int, like: Dialect, batch_seconds: float, models: Models, given: dict[str, Any]) -> Plan:
    """A plan against an emulator in this process. `given` holds the client's arguments set by the user."""
    defaults = {
        "batch_size": math.ceil(requests / 5),
        "batch_window_seconds": 1.0,
        "poll_interval_seconds": 0.25,
    }
    plan = Plan(
        like=like,
        upstream=f"emulated in this process, like {like}",
        calls=mixed_calls(requests, _FLEXIBLE if "deadline" in given else tuple(ENDPOINTS)),
        models=models,
        client={**defaults, **given, "base_url": _EMULATED_URL, "api_key": "none-needed", "provider": like},
        batch_seconds=batch_seconds,
        arrival_seconds=min(LONGEST_ARRIVAL_SECONDS, requests / ARRIVALS_PER_SECOND),
    )
    return _faster(plan) if plan.has_deadline else plan


def _faster(plan: Plan) -> Plan:
    """The same plan, so much faster that its deadline stands for two hours."""
    rate = EMULATED_DEADLINE_SECONDS / plan.client["deadline"]
    times = ("deadline", "batch_window_seconds", "poll_interval_seconds")
    return replace(
        plan,
        client={**plan.client, **{name: plan.client[name] * rate for name in times}},
        batch_seconds=plan.batch_seconds * rate,
        arrival_seconds=plan.arrival_seconds * rate,
        rate=rate,
    )


def real_plan(
    requests: int,
    base_url: str,
    api_key: str | None,
    provider: str | None,
    model: str | None,
    embedding_model: str | None,
    given: dict[str, Any],
) -> Plan:
    """A plan against a real provider.

    Raises:
        UsageError: the key or the model is missing, or the provider is unknown.
    """
    if not api_key:
        raise UsageError("the key for --base-url is missing: set OPENAI_API_KEY, or give --api-key-file.")
    if not model:
        raise UsageError("--model is missing: the name of a chat model that --base-url offers.")
    profile = _find_profile(provider, base_url)
    kinds = possible_kinds(profile, has_embedding_model=embedding_model is not None)
    defaults = {"batch_window_seconds": 1.0, "poll_interval_seconds": 5.0}
    return Plan(
        like=None,
        upstream=urlsplit(base_url).hostname or base_url,  # the host alone: a URL may contain a password
        calls=mixed_calls(requests, kinds),
        models=Models(model, embedding_model or ""),
        client={**defaults, **given, "base_url": base_url, "api_key": api_key, "provider": profile},
    )


def _find_profile(provider: str | None, base_url: str) -> ProviderProfile:
    try:
        return checked_profile(provider) or profile_for(base_url)
    except ValueError as error:
        raise UsageError(f"--{error}.") from error


def possible_kinds(profile: ProviderProfile, *, has_embedding_model: bool) -> list[Kind]:
    """The kinds of calls that the provider can batch and that have a model."""
    kinds: list[Kind] = [kind for kind, endpoint in ENDPOINTS.items() if endpoint in profile.endpoints]
    return [kind for kind in kinds if kind != "embedding" or has_embedding_model]
