"""The flags that `serve` and `run` share, and the client and limits made from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter, validators

from .. import BatchOpenAI
from ..display.choice import ProgressSetting
from ..money.given_prices import GivenPrices
from .flags import Bytes, Count, Seconds, Switch
from .output import print_notice
from .settings_flags import settings_of, with_settings
from .upstream_flags import UpstreamFlags

LogLevel = Literal["debug", "info", "warning", "error"]

FEW_WAITING = 1_000
"""So many waiting requests are enough for those who say nothing of them."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
@with_settings
class ProxyFlags(UpstreamFlags):
    """The flags of the proxy.

    Attributes
    ----------
    max_retries:
        How often a line that failed with 408, 409, 429 or 5xx, or expired, is retried in another batch.
    heartbeat:
        Send keep-alive bytes (white space, or a comment in a stream) to each waiting client at least this often, and
        more often to clients with a shorter timeout. 0: never.
    grace:
        Keep the request of a client that disconnects for this long, so that a retry finds it.
    drain:
        After a first SIGTERM, SIGHUP or Ctrl-C wait this long for running calls; new ones get a 503. 0: stop at once.
    max_waiting:
        Maximum number of waiting requests; further ones get a 503. By default 20000, or fewer if the limit of open
        files allows no more.
    max_waiting_bytes:
        Maximum size of all bodies that are being received or wait; further requests get a 503.
    max_body_bytes:
        Maximum size of a request; larger ones get a 413.
    no_check:
        Do not ask the upstream at start whether it works.
    log_level:
        The least severe messages to log to stderr.
    request_log:
        Append a line to this file for each call, as JSON: time, status, model, ids, sizes, tokens, cost, wait; never
        prompts or answers. It may be moved away (logrotate).
    config:
        A TOML file with these flags (batch-size = 500, batch-window = "1m"). Keys in a table [serve] or [run] apply to
        that command only. Flags and AUTOBATCHER_* variables win.
    """

    max_retries: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 2
    heartbeat: Seconds = 50.0
    grace: Seconds = 300.0
    drain: Seconds = 0.0
    max_waiting: Count | None = None
    max_waiting_bytes: Bytes = 2_000_000_000
    max_body_bytes: Bytes = 64_000_000
    no_check: Switch = False
    log_level: LogLevel = "warning"
    request_log: Path | None = None
    config: Path | None = None

    def limits(self) -> Any:
        """The proxy's `CallLimits`, lowered to what the limit of open files allows."""
        from ..server import CallLimits  # here, because it is slow to import
        from ..server.file_limit import raise_file_limit, room_for_clients

        return CallLimits(
            heartbeat_seconds=self.heartbeat,
            grace_seconds=self.grace,
            max_waiting=int(
                min(self.max_waiting or CallLimits.max_waiting, room_for_clients(raise_file_limit()).waiting)
            ),
            max_waiting_bytes=self.max_waiting_bytes,
            max_body_bytes=self.max_body_bytes,
        )

    def say_if_lowered(self, command: str, limits: Any) -> None:
        """Print a line if fewer requests may wait than `--max-waiting` says, or few where it says nothing."""
        if limits.max_waiting < (self.max_waiting or FEW_WAITING):
            print_notice(
                f"autobatcher {command}: --max-waiting is lowered to {limits.max_waiting:,}, because this process "
                "may not have more open files (ulimit -Hn)."
            )

    def make_client(
        self,
        on_event: Callable[[dict[str, Any]], None],
        *,
        keeps_journaled: bool = False,
        forward_keys: bool = False,
        max_cost_per_key: str | None = None,
        flat_prices: GivenPrices | None = None,
        http_client: Any = None,
        progress: ProgressSetting = False,
    ) -> BatchOpenAI:
        """The proxy's client. Raises `UsageError` for unusable flags.

        Args:
            keeps_journaled: with a journal, leave running batches alone when the client closes.
            forward_keys: callers have accounts of their own, and share what is limited.
            max_cost_per_key: the most that each account may spend.
            flat_prices: instead of those of --prices.
            http_client: for the calls upstream; None for one of the client's own.
            progress: where it is shown.
        """
        settings = {
            **settings_of(self),
            "isolate_accounts": forward_keys,
            "max_cost_per_account": max_cost_per_key,
            "progress": progress,
        }
        if flat_prices is not None:
            settings["prices"] = flat_prices
        if keeps_journaled and settings["journal"] is not None:
            settings["cancel_active_batches_on_close"] = False
        return self.client_with(
            **settings, batch_event_handler=on_event, max_retries=self.max_retries, http_client=http_client
        )
