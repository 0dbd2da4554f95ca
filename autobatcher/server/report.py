"""The state of a proxy, for its page and its metrics. It holds no prompt, answer or key."""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from typing import Any

from .. import events
from ..client.costs import cap_left
from ..client.openai import BatchOpenAI
from ..client.server_calls import see_fleet
from ..engine.units import format_requests
from ..money.receipt import amount_text
from ..progress import Progress
from .batch_counts import BatchCounts
from .batch_rows import FEW_ROWS
from .costs import PricedCosts, Told, nothing_told
from .failed_lines import FailedLines
from .fleet import FleetView
from .gauges import Gauges
from .overview import Overview
from .pending_calls import PendingCalls
from .tally import Tally
from .upstream_calls import UpstreamCalls

REMEMBERED_ERRORS = 20


def shown_url(url: Any) -> str:
    """A base URL without user and password."""
    return str(url.copy_with(username="", password="")) if url.userinfo else str(url)  # nosec B106


class Report:
    """State folded from lifecycle events, the tally, and the upstream's responses.

    Pass each event of the client (`batch_event_handler`) to `take_event`, or no batches are shown.

    Attributes:
        is_draining: whether the proxy takes nothing new, since it is told to stop; see `Drain`.
    """

    def __init__(self) -> None:
        self.progress: Progress = Progress(requests=None)
        self.tally: Tally = Tally()
        self.failed_lines: FailedLines = FailedLines()
        self.upstream_calls: UpstreamCalls = UpstreamCalls()
        self.batch_counts: BatchCounts = BatchCounts()
        self.gauges: Gauges = Gauges()
        self.is_draining: bool = False
        self._errors: deque[dict[str, Any]] = deque(maxlen=REMEMBERED_ERRORS)
        self._client: BatchOpenAI | None = None
        self._pending_calls: PendingCalls | None = None
        self._costs: PricedCosts | None = None
        self._fleet: FleetView | None = None
        self.overview: Overview = Overview(self.progress, self.tally)

    def watch(self, client: BatchOpenAI, pending_calls: PendingCalls) -> None:
        """Report on these, and on the upstream's responses to that client."""
        self._client, self._pending_calls = client, pending_calls
        self._costs = PricedCosts(client, self.tally.by_model.labels)
        self._fleet = FleetView(partial(see_fleet, client)) if client.shares_journal else None
        self.overview.watch(client, pending_calls)
        self.upstream_calls.watch(client.event_hooks)
        self.gauges.watch(client, pending_calls)

    def take_event(self, fields: dict[str, Any]) -> None:
        """Take a lifecycle event of the client."""
        event = events.parse(fields)
        self.progress.take(event, self.progress.seconds)
        self.batch_counts.take(event)
        match event:
            case events.BatchSubmissionFailed() | events.BatchCancelFailed():
                self._error(event.ts, event.error)
            case events.RequestsResubmitted():
                self._error(event.ts, f"{format_requests(event.request_count)} went into another batch: {event.reason}")
            case events.BatchTerminal():
                self._error(event.ts, f"batch {event.batch_id} {event.status}")

    async def price(self) -> None:
        """Bring `costs` up to date; see `PricedCosts.refresh`."""
        if self._costs is not None:
            await self._costs.refresh()

    async def refresh(self) -> None:
        """Bring `costs`, `overview` and `fleet` up to date; see `FleetView.refresh`."""
        await self.price()
        await self.overview.refresh()
        if self._fleet is not None:
            await self._fleet.refresh()

    @property
    def attended_calls(self) -> int:
        """Calls for which a client waits, or is being given the answer."""
        return 0 if self._pending_calls is None else len(self._pending_calls) - self._pending_calls.detached_count

    @property
    def unclaimed_answers(self) -> int:
        """Answers whose clients went away, and may come back for them."""
        return 0 if self._pending_calls is None else self._pending_calls.unclaimed_count

    def keep_calls(self) -> None:
        """Withdraw no call any more whose client is away."""
        if self._pending_calls is not None:
            self._pending_calls.keep_all()

    @property
    def costs(self) -> Told:
        """What was paid, as of the last `price`."""
        return nothing_told() if self._costs is None else self._costs.told

    @property
    def fleet(self) -> FleetView | None:
        """The engines that share the journal; None if only one can use it."""
        return self._fleet

    def status(self, most_batches: int = FEW_ROWS) -> dict[str, Any]:
        """The state as JSON types, with at most so many batches."""
        now, tally = self.progress.seconds, self.tally
        statistics = self._client.batch_statistics() if self._client is not None else None
        return {
            "seconds": round(now, 1),
            "upstream": shown_url(self._client.base_url) if self._client is not None else None,
            "queued": 0 if statistics is None else statistics.queued_requests,
            "waiting": 0 if statistics is None else statistics.waiting_requests,
            "lane_requests": 0 if statistics is None else statistics.lane_requests,
            "active_batches": 0 if statistics is None else len(statistics.active_batch_ids),
            "is_draining": self.is_draining,
            "clients_away": 0 if self._pending_calls is None else self._pending_calls.detached_count,
            "requests": tally.requests,
            "answered": tally.answered,
            "failed": tally.failed,
            "reattached": tally.reattached,
            "lanes": dict(tally.lanes),
            "escalated": sum(self.batch_counts.escalations.values()),
            "deadlines_missed": tally.deadlines_missed,
            "input_tokens": tally.input_tokens,
            "output_tokens": tally.output_tokens,
            "cost": self.costs.fields,
            "cap": self._cap(),
            "refused": dict(tally.refused),
            **self.overview.fields(statistics, most_batches),
            "fleet": None if self._fleet is None else self._fleet.fields(),
            "errors": list(reversed(self._errors)),
            "failures": self.failed_lines.fields(),
        }

    def _cap(self) -> dict[str, str | None] | None:
        """What is left of the cap. Amounts are texts, as in `cost`."""
        found = None if self._client is None else cap_left(self._client)
        if found is None:
            return None
        amounts = {name: amount_text(getattr(found, name)) for name in ("spent", "reserved", "left")}
        return {"cap": found.cap, **amounts}

    def _error(self, ts: float, text: str) -> None:
        self._errors.append({"time": time.strftime("%H:%M:%S", time.gmtime(ts)) + " UTC", "text": text})
