"""A scrape of a proxy to which everything has happened that has a metric."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from autobatcher.emulator import FaultPlan, HttpFault, LineFault
from autobatcher.server import Report
from tests.receipts import BILLED_PRICES, GIVEN_PRICES
from tests.server.proxies import open_proxy

CHAT: dict[str, Any] = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hello"}]}
BAD: dict[str, Any] = {**CHAT, "messages": [{"role": "user", "content": "bad"}]}
DOWNGRADED = HttpFault(operation="flex", nth=(1,), service_tier="default")
FAULTS = FaultPlan((DOWNGRADED, LineFault(kind="fail", status=404, containing="bad")))


async def busy_scrape(journal: str) -> str:
    """What `/metrics` says after good and bad answers on three lanes, with a cap, beside other engines.

    Args:
        journal: the URL of one on PostgreSQL.
    """
    report = Report()
    settings: dict[str, Any] = {"lanes": ("batch", "flex"), "prices": GIVEN_PRICES, "max_cost": 5, "journal": journal}
    async with (
        open_proxy(
            emulator={"faults": FAULTS, "prices": BILLED_PRICES},
            has_lanes=True,
            app={"report": report},
            batch_event_handler=report.take_event,
            **settings,
        ) as proxy,
        proxy.http() as http,
    ):
        for body, headers in ((CHAT, {}), (BAD, {}), (CHAT, {"x-autobatcher-deadline": "5m"})):
            await http.post("/v1/chat/completions", json=body, headers=headers)
        return (await http.get("/metrics")).text


def series_of(scrape: str) -> dict[str, frozenset[str]]:
    """Each name that a query can ask for, with the labels of its series; none for what has no series."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(scrape):
        if not family.samples:
            found.setdefault(family.name, set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return {name: frozenset(labels) for name, labels in found.items()}
