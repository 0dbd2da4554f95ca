"""Ordinary OpenAI-style awaits, sent through the Batch API at batch prices."""

from importlib.metadata import version as _version

from . import errors, events
from .client.openai import BatchOpenAI
from .client.openai_sync import BatchOpenAISync
from .client.transport import BatchTransport
from .errors import (
    BatchEndedError,
    BatchError,
    BatchSubmissionError,
    BatchTimeoutError,
    BatchUnreachableError,
    ClientClosedError,
    EngineError,
    UnbatchableRequestError,
    WrongEventLoopError,
)
from .upstream.providers import ProviderProfile

__version__ = _version("autobatcher")

__all__ = [
    "BatchOpenAI",
    "BatchOpenAISync",
    "BatchTransport",
    "ProviderProfile",
    "errors",
    "events",
    "BatchError",
    "BatchEndedError",
    "BatchSubmissionError",
    "BatchTimeoutError",
    "BatchUnreachableError",
    "ClientClosedError",
    "EngineError",
    "UnbatchableRequestError",
    "WrongEventLoopError",
    "__version__",
]
