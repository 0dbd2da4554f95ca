"""The flags of commands that ask the upstream, and what they make: a connection to it and the account there."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
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
from ..upstream.providers import profile_named
from .flags import Secret, Url, UsageError

CLOSE_SECONDS = 2.0


# No postponed annotations in this module: cyclopts reads those of a subclass, where these names are not known.
@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class UpstreamFlags:
    """Whom to ask, and with which key.

    Attributes
    ----------
    base_url:
        The upstream's base URL, ending in /v1. Default: the environment's OPENAI_BASE_URL, then OpenAI's.
    api_key:
        The upstream's key. Default: the environment's OPENAI_API_KEY. It never appears in any output.
    provider:
        Whose rules the batches follow: doubleword, openai, azure, groq, ..., or a TOML or JSON file with a profile.
        Default: what the journal says of a batch; for new ones, by the host of --base-url.
    """

    base_url: Url | None = None
    api_key: Secret = None
    provider: str | None = None

    def client_with(self, **arguments: Any) -> BatchOpenAI:
        """A client of this upstream, with these other arguments. Raises `UsageError` for flags that cannot work."""
        try:
            return BatchOpenAI(
                base_url=self.base_url,
                api_key=self.api_key or os.environ.get("OPENAI_API_KEY"),
                provider=self.provider,
                **arguments,
            )
        except openai.OpenAIError as error:
            raise UsageError("the upstream's key is missing: give --api-key, or set OPENAI_API_KEY.") from error
        except (TypeError, ValueError) as error:
            raise UsageError(str(error)) from error


@dataclass(frozen=True)
class Upstream:
    """One account, and the way to it.

    Attributes:
        follows_records: whether a batch's own record says whose rules it follows.
    """

    api: BatchAPI
    account: Account
    follows_records: bool

    def is_payer_of(self, record: BatchRecord) -> bool:
        """Whether the batch was made with this base URL and key."""
        return is_payer(self.account, record)

    def account_for(self, record: BatchRecord) -> Account:
        """The account, by the rules that the batch was made by."""
        if not self.follows_records:
            return self.account
        try:
            return replace(self.account, provider=profile_named(record.provider))
        except ValueError:  # a profile of the program's own
            return self.account

    @property
    def host(self) -> str:
        """Where it is."""
        return host_of(self.account.base_url)


@asynccontextmanager
async def open_upstream(flags: UpstreamFlags) -> AsyncGenerator[Upstream]:
    """Connections to the upstream, while the block runs. Raises `UsageError` for flags that cannot work."""
    client = flags.client_with()
    try:
        async with openai.DefaultAsyncHttpxClient() as http:
            yield Upstream(BatchAPI(http), account_behind(client), follows_records=flags.provider is None)
    finally:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await client.close()


def host_of(base_url: str) -> str:
    """As much of a base URL as can be shown: there may be a password in it."""
    return urlsplit(base_url).hostname or "?"
