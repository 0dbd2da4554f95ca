"""The flags that `serve` and `run` share, and what they make: a client and an app."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter, validators

from .. import BatchOpenAI
from .flags import Bytes, Count, Seconds
from .settings_flags import settings_of, with_settings
from .upstream_flags import UpstreamFlags

LogLevel = Literal["debug", "info", "warning", "error"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
@with_settings
class ProxyFlags(UpstreamFlags):
    """How the proxy batches, and for whom.

    Attributes
    ----------
    max_retries:
        How many more batches a line may travel in after one that failed it with 408, 409, 429 or 5xx, or expired.
    heartbeat:
        The longest silence that a client has to bear: then it gets a heartbeat (white space, or a comment in a
        stream), again and again. Earlier where the client says that it gives up earlier. 0: none.
    grace:
        Keep the request of a client that went away for this long, in case it comes back.
    max_waiting:
        How many requests may wait; further ones get a 503.
    max_body_bytes:
        How large a request may be; larger ones get a 413.
    log_level:
        How much is logged to stderr.
    config:
        A TOML file with these flags, under their names (batch-size = 500, batch-window = "1m"). Keys in a table [serve]
        or [run] are for that command alone. Flags and AUTOBATCHER_* variables win.
    """

    max_retries: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 2
    heartbeat: Seconds = 50.0
    grace: Seconds = 300.0
    max_waiting: Count = 20_000
    max_body_bytes: Bytes = 64_000_000
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

    def make_client(self, on_event: Callable[[dict[str, Any]], None], *, keeps_journaled: bool = False) -> BatchOpenAI:
        """The client that the proxy feeds. Raises `UsageError` for flags that cannot work.

        Args:
            keeps_journaled: whether batches that run when it is closed are left alone if there is a journal.
        """
        settings = settings_of(self)
        if keeps_journaled and settings["journal"] is not None:
            settings["cancel_active_batches_on_close"] = False
        return self.client_with(**settings, batch_event_handler=on_event, max_retries=self.max_retries)
