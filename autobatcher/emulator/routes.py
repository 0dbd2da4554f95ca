"""Maps requests to operations.

Any prefix may precede /v1, and another version may replace it: /v1/files, /ai/v1/files, /api/paas/v4/files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .tiers import asked_tier
from .wire import Request

_ROUTES = (
    ("POST", re.compile(r"/files(?:/upload)?"), "files.create"),
    ("GET", re.compile(r"/files"), "files.list"),
    ("GET", re.compile(r"/files/([^/]+)"), "files.retrieve"),
    ("DELETE", re.compile(r"/files/([^/]+)"), "files.delete"),
    ("GET", re.compile(r"/files/([^/]+)/content"), "files.content"),
    ("GET", re.compile(r"/files/([^/]+)/cost-estimate"), "files.cost_estimate"),
    ("POST", re.compile(r"/batches"), "batches.create"),
    ("GET", re.compile(r"/batches"), "batches.list"),
    ("GET", re.compile(r"/batches/([^/]+)"), "batches.retrieve"),
    ("DELETE", re.compile(r"/batches/([^/]+)"), "batches.delete"),
    ("POST", re.compile(r"/batches/([^/]+)/cancel"), "batches.cancel"),
    ("GET", re.compile(r"/batches/([^/]+)/analytics"), "batches.analytics"),
    ("GET", re.compile(r"/models"), "models"),
    ("GET", re.compile(r"/models/(.+)"), "models"),
)

_VERSION = re.compile(r"/v\d+/")


BILL_PATH = "/emulator/bill"
"""No part of the API that is emulated: faults do not hit it, and statistics do not count it."""


OPERATIONS = frozenset({*(operation for _, _, operation in _ROUTES), "realtime", "flex", "unknown"})
"""The names that fault plans use."""


@dataclass(frozen=True, slots=True)
class Route:
    """An operation, by the name fault plans use, and the id in the path; for "realtime" and "flex", "/v1/..."."""

    operation: str
    item_id: str = ""


def find_route(request: Request) -> Route:
    found = _VERSION.search(request.path)
    if found is None:
        return Route("unknown")
    path = request.path[found.end() - 1 :].rstrip("/")
    for method, pattern, operation in _ROUTES:
        match = pattern.fullmatch(path)
        if match and request.method == method:
            return Route(operation, match[1] if match.groups() else "")
    if request.method == "POST" and not path.startswith(("/files", "/batches", "/models")):
        return Route("flex" if asked_tier(request.body) == "flex" else "realtime", f"/v1{path}")
    return Route("unknown")
