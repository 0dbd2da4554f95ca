"""A rehearsal of `run`: an emulator in this process answers instead of the provider."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import openai

from ..client.sdk import checked_profile
from ..emulator import Emulator, Reply, Request
from ..emulator.dialects import OpenAIDialect
from ..emulator.known_dialects import DIALECTS, Like
from ..emulator.transport import make_client
from ..upstream.failures import http_library
from ..upstream.providers import KNOWN_PROFILES, ProviderProfile, profile_for
from .flags import UsageError
from .output import print_notice
from .proxy_flags import ProxyFlags
from .settings_flags import settings_of

OPENAI_URL = "https://api.openai.com/v1"
NO_KEY = "none-needed"
POLL_SECONDS = 0.1
"""Batches are done at once: there is nothing to wait for."""

_UNLIMITED = 2**31


@contextlib.contextmanager
def rehearsal(flags: ProxyFlags) -> Iterator[tuple[ProxyFlags, Any]]:
    """The flags of a rehearsal, and the HTTP client whose calls end in this process.

    Raises:
        UsageError: for a provider that cannot be emulated.
    """
    url = flags.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL
    try:
        profile = checked_profile(flags.provider) or profile_for(url)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if settings_of(flags)["journal"] is not None:
        print_notice("autobatcher run: --journal is left alone: a rehearsal's answers must not be taken for paid ones.")
    with make_emulator(profile) as emulator:
        yield rehearsed(flags), _client(emulator, url)


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
