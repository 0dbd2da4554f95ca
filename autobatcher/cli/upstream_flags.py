"""The flags of commands that call the upstream, and the connection and account made from them."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import openai
from cyclopts import Parameter

from .. import BatchOpenAI
from ..client.sdk import account_behind
from ..engine.journal import BatchRecord
from ..engine.journal.file import is_payer
from ..upstream.account import Account
from ..upstream.batch_api import BatchAPI
from ..upstream.http import UpstreamHTTP
from ..upstream.providers import profile_named
from ..upstream.reachability import certificates_mistake
from .flags import Secret, Url, UsageError
from .key_file import key_given
from .loopback import bypass_proxy

CLOSE_SECONDS = 2.0


# No postponed annotations in this module: cyclopts reads those of a subclass, where these names are not known.
@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class UpstreamFlags:
    """The upstream and its key.

    Attributes
    ----------
    base_url:
        The upstream's base URL, ending in /v1. Default: the environment's OPENAI_BASE_URL, then OpenAI's.
    api_key:
        The upstream's key. Default: the environment's OPENAI_API_KEY. It is never printed or logged, but other users
        see the command line in `ps`: prefer the variable or --api-key-file.
    api_key_file:
        A file with the upstream's key and nothing else.
    provider:
        The provider's rules for batches: doubleword, openai, azure, groq, ..., or a TOML or JSON file with a profile.
        Default: for a batch in a journal, as recorded; for new ones, by the host of --base-url.
    """

    base_url: Url | None = None
    api_key: Secret = field(default=None, repr=False)
    api_key_file: Path | None = None
    provider: str | None = None

    @property
    def has_key(self) -> bool:
        """Whether there is a key, from wherever."""
        return bool(self.api_key or self.api_key_file or os.environ.get("OPENAI_API_KEY"))

    def client_with(self, **arguments: Any) -> BatchOpenAI:
        """A client of this upstream, with further arguments. Raises `UsageError` for unusable flags."""
        given = key_given(self.api_key, self.api_key_file, "--api-key")
        if (mistake := certificates_mistake()) is not None:
            raise UsageError(f"{mistake}.")
        bypass_proxy(self.base_url or os.environ.get("OPENAI_BASE_URL"))
        try:
            return BatchOpenAI(
                base_url=self.base_url,
                api_key=given or os.environ.get("OPENAI_API_KEY"),
                provider=self.provider,
                **arguments,
            )
        except openai.OpenAIError as error:
            raise UsageError("the upstream's key is missing: set OPENAI_API_KEY, or give --api-key-file.") from error
        except (TypeError, ValueError) as error:
            raise UsageError(str(error)) from error


@dataclass(frozen=True)
class Upstream:
    """One account and its API.

    Attributes:
        http: makes calls of any kind there.
        follows_records: whether a batch follows the provider in its own record.
    """

    api: BatchAPI
    http: UpstreamHTTP
    account: Account
    follows_records: bool

    def is_payer_of(self, record: BatchRecord) -> bool:
        """Whether the batch was created with this base URL and key."""
        return is_payer(self.account, record)

    def account_for(self, record: BatchRecord) -> Account:
        """The account, with the provider that the batch was created for."""
        if not self.follows_records:
            return self.account
        try:
            return replace(self.account, provider=profile_named(record.provider))
        except ValueError:  # the program's own profile
            return self.account

    @property
    def host(self) -> str:
        """The host of its base URL."""
        return host_of(self.account.base_url)


@asynccontextmanager
async def open_upstream(flags: UpstreamFlags) -> AsyncGenerator[Upstream]:
    """Connect to the upstream while the block runs. Raises `UsageError` for unusable flags."""
    client = flags.client_with()
    try:
        async with openai.DefaultAsyncHttpxClient() as http:
            api, account = BatchAPI(http), account_behind(client)
            yield Upstream(api, UpstreamHTTP(http), account, follows_records=flags.provider is None)
    finally:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await client.close()


def host_of(base_url: str) -> str:
    """The host of a base URL, which may contain a password."""
    return urlsplit(base_url).hostname or "?"
