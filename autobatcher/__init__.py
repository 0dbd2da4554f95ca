"""Ordinary OpenAI-style awaits, sent through the Batch API at batch prices."""

import logging as _logging
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from . import errors, events
from .client.async_openai import AsyncOpenAI
from .client.call_estimate import CallEstimate
from .client.mapping import CallMap, MapResult
from .client.openai import BatchOpenAI
from .display.snapshot import BatchSnapshot, ProgressSnapshot
from .engine.request import Answer, Request
from .engine.statistics import BatcherStatistics
from .errors import (
    BatchEndedError,
    BatchError,
    BatchSubmissionError,
    BatchTimeoutError,
    BatchUnreachableError,
    BudgetExceededError,
    ClientClosedError,
    DeadlineMissedError,
    EngineError,
    IdempotencyKeyReusedError,
    JournalError,
    JournalInUseError,
    JournalUnreachableError,
    UnbatchableRequestError,
    WrongEventLoopError,
)
from .money.receipt import Receipt
from .printable import PrintableRecords as _PrintableRecords
from .upstream.providers import ProviderProfile

if _TYPE_CHECKING:
    from .client.batch_transport import BatchTransport
    from .client.mapping_sync import CallMapSync
    from .client.openai_sync import BatchOpenAISync

    __version__: str

__all__ = [
    "AsyncOpenAI",
    "BatchOpenAI",
    "BatchOpenAISync",
    "BatchTransport",
    "CallMap",
    "CallMapSync",
    "MapResult",
    "ProviderProfile",
    "Answer",
    "Receipt",
    "Request",
    "BatcherStatistics",
    "CallEstimate",
    "ProgressSnapshot",
    "BatchSnapshot",
    "errors",
    "events",
    "BatchError",
    "BatchEndedError",
    "BatchSubmissionError",
    "BatchTimeoutError",
    "BatchUnreachableError",
    "BudgetExceededError",
    "ClientClosedError",
    "DeadlineMissedError",
    "EngineError",
    "JournalError",
    "IdempotencyKeyReusedError",
    "JournalInUseError",
    "JournalUnreachableError",
    "UnbatchableRequestError",
    "WrongEventLoopError",
    "__version__",
]

_logging.getLogger("autobatcher").addFilter(_PrintableRecords())


def __getattr__(name: str) -> _Any:
    """What most programs do not use is imported when it is."""
    if name == "BatchOpenAISync":
        from .client.openai_sync import BatchOpenAISync

        return BatchOpenAISync
    if name == "CallMapSync":
        from .client.mapping_sync import CallMapSync

        return CallMapSync
    if name == "BatchTransport":
        from .client.batch_transport import BatchTransport

        return BatchTransport
    if name == "__version__":
        from importlib.metadata import version

        return version("autobatcher")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
