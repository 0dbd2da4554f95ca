"""Whether an engine has a tracer. OpenTelemetry is not imported to find that out."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ..engine.tracer import Tracer


def tracer_of(tracing: bool | None) -> Tracer | None:
    """The tracer of an engine that begins now; None if tracing is off.

    Args:
        tracing: what the setting says; None looks whether the program has set OpenTelemetry up.
    """
    if not (_is_set_up() if tracing is None else tracing):
        return None
    from .tracer import OpenTelemetryTracer  # takes a twentieth of a second

    return OpenTelemetryTracer()


def _is_set_up() -> bool:
    """Whether there is a provider of spans or of metrics that is not the API's own, which does nothing."""
    return _is_real("opentelemetry.trace", "get_tracer_provider") or _is_real(
        "opentelemetry.metrics", "get_meter_provider"
    )


def _is_real(module: str, getter: str) -> bool:
    get: Callable[[], object] | None = getattr(sys.modules.get(module), getter, None)
    return get is not None and not type(get()).__module__.startswith(("opentelemetry.trace", "opentelemetry.metrics"))
