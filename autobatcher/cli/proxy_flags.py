"""The flags that `serve` and `run` share, and what they make: a client and an app."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import openai
from cyclopts import Parameter, validators

from .. import BatchOpenAI
from .flags import Count, PositiveSeconds, Seconds, Url, UsageError

LogLevel = Literal["debug", "info", "warning", "error"]
Secret = Annotated[str | None, Parameter(show_default=False)]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ProxyFlags:
    """How the proxy batches, and for whom.

    Attributes
    ----------
    base_url:
        The upstream's base URL, ending in /v1. Default: the environment's OPENAI_BASE_URL, then OpenAI's.
    api_key:
        The upstream's key. Default: the environment's OPENAI_API_KEY. It never appears in any output.
    batch_size:
        Submit a batch when this many requests of a kind wait.
    batch_window:
        Submit a batch this many seconds after its first request came.
    poll_interval:
        Ask how a batch is doing every so many seconds.
    completion_window:
        Passed through to the upstream, e.g. 24h or 1h.
    batch_metadata:
        KEY=VALUE, attached to every batch and every event; can be given again.
    keep_active_batches_on_close:
        Leave batches that still run alone when the proxy stops; by default they are cancelled upstream. With
        --journal, serve always leaves them, for its next start, and run does if the command fails.
    max_retries:
        How many more batches a line may travel in after one that failed it with 408, 409, 429 or 5xx, or expired.
    keep_input_files:
        Leave input files upstream; by default they are deleted once their batch has been read.
    deadline_slack:
        Give a batch up so many seconds after the end of its completion window.
    max_active_batches:
        Have at most so many batches under way; further ones wait.
    max_queued_bytes:
        Hold at most so many bytes of requests that wait to be uploaded; further ones get a 503.
    journal:
        Keep batches, prompts and answers in this file (SQLite), so that nothing is lost or paid twice if this process
        dies: started again with the same file, the same requests get their places back. One process at a time.
    journal_hash_only:
        Keep no prompts and no answers in the journal; batches are found again all the same.
    journal_retention:
        Keep answers in the journal for so many seconds if nobody takes them.
    provider:
        Whose rules the batches follow: doubleword, openai, azure, groq, ... Default: by the host of --base-url.
    heartbeat:
        The longest silence, in seconds, that a client has to bear: then it gets a sign of life (white space, or a
        comment in a stream), again and again. Earlier where the client says that it gives up earlier. 0: none.
    grace:
        Keep the request of a client that went away for so many seconds, in case it comes back.
    max_waiting:
        Let so many requests wait; further ones are answered with a 503.
    max_body_bytes:
        Refuse larger requests, in bytes, with a 413.
    log_level:
        How much is logged to stderr: debug, info, warning or error.
    config:
        A TOML file with these flags, under their names (batch-size = 500). Flags and AUTOBATCHER_* variables win.
    """

    base_url: Url | None = None
    api_key: Secret = None
    batch_size: Count = 1000
    batch_window: Seconds = 10.0
    poll_interval: PositiveSeconds = 5.0
    completion_window: str = "24h"
    batch_metadata: Annotated[list[str], Parameter(negative=())] = field(default_factory=list)
    keep_active_batches_on_close: Annotated[bool, Parameter(negative=())] = False
    max_retries: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 2
    keep_input_files: Annotated[bool, Parameter(negative=())] = False
    deadline_slack: Seconds = 3600.0
    max_active_batches: Count = 200
    max_queued_bytes: Count = 1_000_000_000
    journal: Path | None = None
    journal_hash_only: Annotated[bool, Parameter(negative=())] = False
    journal_retention: Seconds = 604_800.0
    provider: str | None = None
    heartbeat: Seconds = 50.0
    grace: Seconds = 300.0
    max_waiting: Count = 20_000
    max_body_bytes: Count = 64_000_000
    log_level: LogLevel = "warning"
    config: Path | None = None

    def limits(self) -> Any:
        """The proxy's `CallLimits`."""
        from ..server import CallLimits  # here, because it is slow to import

        return CallLimits(
            heartbeat_seconds=self.heartbeat,
            grace_seconds=self.grace,
            max_waiting=self.max_waiting,
            max_body_bytes=self.max_body_bytes,
        )

    def make_client(self, on_event: Callable[[dict[str, Any]], None], *, keeps_batches: bool = False) -> BatchOpenAI:
        """The client that the proxy feeds. Raises `UsageError` for flags that cannot work.

        Args:
            keeps_batches: whether batches that run when it is closed are left alone in any case.
        """
        try:
            return BatchOpenAI(
                base_url=self.base_url,
                api_key=self.api_key or os.environ.get("OPENAI_API_KEY"),
                batch_size=self.batch_size,
                batch_window_seconds=self.batch_window,
                poll_interval_seconds=self.poll_interval,
                completion_window=self.completion_window,
                batch_metadata=parse_metadata(self.batch_metadata),
                batch_event_handler=on_event,
                cancel_active_batches_on_close=not (self.keep_active_batches_on_close or keeps_batches),
                max_retries=self.max_retries,
                delete_input_files=not self.keep_input_files,
                deadline_slack_seconds=self.deadline_slack,
                max_active_batches=self.max_active_batches,
                max_queued_bytes=self.max_queued_bytes,
                journal=self.journal,
                journal_hash_only=self.journal_hash_only,
                journal_retention_seconds=self.journal_retention,
                provider=self.provider,
            )
        except openai.OpenAIError as error:
            raise UsageError("the upstream's key is missing: give --api-key, or set OPENAI_API_KEY.") from error
        except (TypeError, ValueError) as error:
            raise UsageError(str(error)) from error


def parse_metadata(items: list[str]) -> dict[str, str]:
    """KEY=VALUE texts as a dict. Raises `UsageError` for one that is none."""
    pairs = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise UsageError(f"--batch-metadata: expected KEY=VALUE, not {item!r}.")
        pairs[key] = value
    return pairs
