"""Tells that requests go from one lane to another."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ... import events
from ..emitter import Emit
from ..lanes.lane import Lane
from ..request import Request
from ..settings import Settings
from ..units import format_requests

logger: logging.Logger = logging.getLogger("autobatcher")


class Escalations:
    """Tells it in the log and as an event."""

    def __init__(self, settings: Settings, emit: Emit) -> None:
        self._settings = settings
        self._emit = emit

    def tell(
        self,
        requests: Sequence[Request],
        from_lane: Lane,
        to_lane: Lane,
        reason: str,
        *,
        batch_id: str | None = None,
        paid_twice: bool = False,
    ) -> None:
        """These requests, at least one, go on.

        Args:
            batch_id: the batch that they leave, if there is one.
            paid_twice: whether they may be billed twice.
        """
        where = "" if batch_id is None else f" of batch {batch_id}"
        way = f"from the {from_lane.value} lane to {to_lane.value}"
        moved: dict[str, str | bool] = {
            "autobatcher.lane.from": from_lane.value,
            "autobatcher.lane.to": to_lane.value,
            "autobatcher.reason": reason,
            "autobatcher.paid_twice": paid_twice,
        }
        for request in requests:
            if request.trace is not None:
                request.trace.event("autobatcher.escalated", **moved)
        logger.info("autobatcher: %s%s went on %s: %s", format_requests(len(requests)), where, way, reason)
        self._emit(
            events.RequestsEscalated,
            batch_id=batch_id,
            endpoint=requests[0].endpoint,
            request_count=len(requests),
            models=sorted({request.model for request in requests}),
            metadata=dict(self._settings.batch_metadata),
            from_lane=from_lane.value,
            to_lane=to_lane.value,
            reason=reason,
            paid_twice=paid_twice,
        )
