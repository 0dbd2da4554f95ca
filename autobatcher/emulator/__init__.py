"""A Batch API server of our own, for the demo, for tests, and for people who run their own models."""

from __future__ import annotations

from .durations import LogNormal, Recorded
from .faults import BatchFault, Fault, FaultPlan, HttpFault, LineFault
from .ledger import Billed
from .server import Emulator
from .statistics import BatchView, LineView, Statistics
from .wire import ConnectionLostError, Reply, Request

__all__ = [
    "Emulator",
    "FaultPlan",
    "Fault",
    "HttpFault",
    "BatchFault",
    "LineFault",
    "LogNormal",
    "Recorded",
    "Billed",
    "Statistics",
    "BatchView",
    "LineView",
    "Request",
    "Reply",
    "ConnectionLostError",
]
