"""A rehearsal of `run`: an emulator in this process answers instead of the provider."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import openai

from ..emulator import Emulator, Reply, Request
from ..emulator.dialects import OpenAIDialect
from ..emulator.known_dialects import DIALECTS, Like
from ..emulator.transport import make_client
from ..engine.request import Request as EngineRequest
from ..errors import UnbatchableRequestError
from ..money.calibration import Calibration
from ..money.price_list import PriceList
from ..planning import Plan
from ..upstream.account import Account
from ..upstream.failures import http_library
from ..upstream.providers import KNOWN_PROFILES, ProviderProfile
from .flags import UsageError
from .journal_flags import is_there
from .output import notice_room, print_notice
from .plan import learned_from
from .plan_report import cost_text
from .price_flags import usable_prices
from .proxy_flags import ProxyFlags
from .settings_flags import settings_of

TOLD = "What it would have cost, by estimate, since its answers were echoes:"

NO_KEY = "none-needed"
POLL_SECONDS = 0.1
"""Batches are done at once: there is nothing to wait for."""

_UNLIMITED = 2**31


@dataclass(frozen=True)
class Rehearsal:
    """A rehearsal.

    Attributes:
        flags: with which it runs.
        http_client: whose calls end in this process.
        plan: what its requests would cost. Their answers are echoes, so nothing is learned from them.
    """

    flags: ProxyFlags
    http_client: Any
    plan: Plan

    def count(self, request: EngineRequest) -> None:
        """Count a request that was answered."""
        with contextlib.suppress(UnbatchableRequestError):  # it was a call on another lane
            self.plan.add(request, settings_of(self.flags)["completion_window"])

    def told(self) -> list[str]:
        """What it would have cost, in lines."""
        return ["", TOLD, *cost_text(self.plan, room=notice_room()).plain.splitlines()] if self.plan.requests else []


@contextlib.contextmanager
def rehearsal(flags: ProxyFlags) -> Iterator[Rehearsal]:
    """Rehearse what these flags would do.

    Raises:
        UsageError: for a provider that cannot be emulated, and for prices that are none.
    """
    settings = settings_of(flags)
    profile, url, given = usable_prices(flags.provider, flags.base_url, settings["prices"])
    journal, calibration = settings["journal"], Calibration()
    if journal is not None:
        print_notice("autobatcher run: --journal is only read: a rehearsal's answers must not be taken for paid ones.")
        if is_there(journal):
            calibration = learned_from(journal, Account(base_url=url, provider=profile))
    prices = PriceList(profile, url, given)
    prices.warm()  # here, because it would hold up the event loop later
    plan = Plan(profile, prices, calibration, batch_size=settings["batch_size"])
    with make_emulator(profile) as emulator:
        yield Rehearsal(rehearsed(flags), _client(emulator, url), plan)


def rehearsed(flags: ProxyFlags) -> ProxyFlags:
    """The same flags, with a short poll interval and without a journal, and with some key."""
    poll_interval = min(POLL_SECONDS, settings_of(flags)["poll_interval_seconds"])
    changed: dict[str, Any] = {"journal": None, "poll_interval": poll_interval}
    if not flags.has_key:
        changed["api_key"] = NO_KEY
    return replace(flags, **changed)


def make_emulator(profile: ProviderProfile) -> Emulator:
    """An emulator with the provider's rules. Raises `UsageError` if there is none that takes such files."""
    like = like_of(profile)
    inputs = profile.max_embedding_inputs
    return Emulator(
        like=like,
        max_requests=profile.max_requests,
        max_file_bytes=profile.max_file_bytes,
        max_embedding_inputs=_UNLIMITED if inputs is None else inputs,
        completion_windows=None if profile in KNOWN_PROFILES and like == profile.name else (),
    )


def like_of(profile: ProviderProfile) -> Like:
    """The emulated provider that is most like this one."""
    names = dict.fromkeys((profile.name, "openai", "doubleword", *DIALECTS))
    fitting = [name for name in names if name in DIALECTS and _takes_files_of(DIALECTS[name], profile)]
    if not fitting:
        raise UsageError(f"--rehearse: no emulated provider takes the files of {profile.name!r}: leave --provider out.")
    # The first of those that lack the fewest endpoints.
    return cast("Like", min(fitting, key=lambda name: len(profile.endpoints - DIALECTS[name].endpoints)))


def _takes_files_of(dialect: OpenAIDialect, profile: ProviderProfile) -> bool:
    mixes = profile.mixes_endpoints or profile.mixes_models
    return (
        dialect.url_prefix == profile.url_prefix
        and dialect.purpose == profile.file_purpose
        and dialect.upload_path == profile.upload_path
        and (profile.upload_names_file or "file_name" not in dialect.upload_fields)
        and (dialect.validates_at_upload or not mixes)
    )


def _client(emulator: Emulator, base_url: str) -> Any:
    """An HTTP client that finds the emulator below any base URL."""
    prefix = unquote(urlsplit(base_url).path).rstrip("/")

    async def handle(request: Request) -> Reply:
        return await emulator.handle(replace(request, path="/v1" + request.path.removeprefix(prefix)))

    return make_client(handle, http_library(openai.DefaultAsyncHttpxClient).__name__)
