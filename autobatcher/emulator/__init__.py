"""A Batch API server of our own, for the demo, for tests, and for people who run their own models."""

from __future__ import annotations

from .bill import Bill, BillEntry
from .durations import LogNormal, Recorded
from .faults import BatchFault, Fault, FaultPlan, HttpFault, LineFault
from .ledger import Billed
from .prices import Price, PriceList
from .server import Emulator
from .statistics import BatchView, LineView, Statistics
from .upstream import BatchUpstream
from .usage import Usage
from .webhook import Webhook
from .wire import ConnectionLostError, Reply, Request

__all__ = [
    "Emulator",
    "BatchUpstream",
    "FaultPlan",
    "Fault",
    "HttpFault",
    "BatchFault",
    "LineFault",
    "LogNormal",
    "Recorded",
    "Billed",
    "Bill",
    "BillEntry",
    "Price",
    "PriceList",
    "Usage",
    "Webhook",
    "Statistics",
    "BatchView",
    "LineView",
    "Request",
    "Reply",
    "ConnectionLostError",
]
